//! Leases, liveness and generations, and two hosts with one identity.

use super::*;

impl Lab {
    /// `lb1`'s process `boot`, which runs for `uptime` seconds, dials.
    fn dial_lb1(&mut self, link: u64, boot: u8, uptime: u64) -> Result<(), RefuseReason> {
        let hello = lb1_after(uptime * 1_000, boot);
        match self.keeper.hello(LinkId(link), &hello, "198.51.100.1:1000".parse().unwrap(), self.now) {
            Verdict::Welcome(_) => Ok(()),
            Verdict::Refuse(refuse) => Err(refuse.reason),
        }
    }

    fn close(&mut self, links: impl IntoIterator<Item = u64>) {
        links.into_iter().for_each(|link| self.keeper.closed(LinkId(link), self.now));
    }

    fn states(&self, of: impl IntoIterator<Item = u8>) -> Vec<LbState> {
        of.into_iter().map(|n| self.state(n)).collect()
    }

    fn own_fault(&self) -> bool {
        self.keeper.figures().own_fault
    }
}

#[test]
fn an_older_process_cannot_undo_what_a_newer_one_said() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.pass(100);
    lab.close([1]);
    // A copy of the host as it was an hour ago, while the newer one's lease runs.
    assert_eq!(lab.dial_lb1(11, 9, 3_600), Err(RefuseReason::Duplicate));
    assert_eq!((lab.ask("10.1.0.1").0, lab.keeper.figures().prefixes), (Decision::Suspect, 1));
    lab.pass(60);
    assert_eq!(lab.dial_lb1(12, 9, 3_660), Ok(()), "nobody else is there");
    assert_eq!(lab.keeper.figures().duplicates, 0, "the newer one may well be dead");
}

#[test]
fn a_generation_stands_for_one_content() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    let refused = |said: &[Message]| match said {
        [Message::MapAck(ack)] => ack.refused.iter().map(|r| r.reason).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&lab.map(1, 1, &["10.1.0.9/32"])), [RefusedReason::Stale]);
    assert_eq!(refused(&lab.map(1, 1, &["10.1.0.1/32"])), [], "the same once more");
    assert_eq!(refused(&lab.map(1, 1 << 63, &["10.1.0.9/32"])), [RefusedReason::Stale], "nobody could count on");
    assert_eq!((lab.keeper.figures().stale, lab.keeper.figures().prefixes), (2, 1));
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

#[test]
fn an_older_report_undoes_nothing_though_it_is_whole() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    assert_eq!(lab.report(1, 7, 0, vec![ranking([10, 20])]).len(), 1);
    assert!(lab.report(1, 6, 0, vec![]).is_empty());
    assert_eq!((lab.ask("10.1.0.1").0, lab.keeper.figures().stale), (Decision::Mapped, 1));
    assert_eq!(lab.report(1, 7, 0, vec![ranking([10, 20])]).len(), 1, "the same once more");
}

#[test]
fn whoever_maps_nothing_has_a_lease_too() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.map(1, 1, &[]);
    lab.ready(1, 1);
    lab.check(1, true);
    lab.close([1]);
    lab.pass(59);
    assert_eq!((lab.state(1), lab.keeper.figures().leases_ended), (LbState::Suspect, 0));
    lab.pass(1);
    assert_eq!((lab.state(1), lab.keeper.figures().leases_ended), (LbState::Gone, 1));
    lab.pass(600);
    assert_eq!(lab.keeper.figures().leases_ended, 1, "it ends once");
    // One that never said a word but HELLO.
    lab.dial(2, "lb2", PeerRole::DnsLb, 1).unwrap();
    lab.close([2]);
    lab.pass(60);
    assert_eq!(lab.state(2), LbState::Gone);
}

#[test]
fn many_links_that_drop_at_once_demote_nobody_not_even_for_a_moment() {
    let mut lab = Lab::with_catalogue();
    (1..=8).for_each(|n| lab.join(n, [10, 20]));
    lab.pass(1);
    // No time goes by between the third and the question.
    lab.close(1..=3);
    assert!(lab.own_fault());
    assert_eq!(lab.states(1..=8), [LbState::Alive; 8]);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
    lab.close(4..=8);
    lab.pass(59);
    assert_eq!(lab.states(1..=8), [LbState::Alive; 8]);
    // Leases are leases: after them there is nothing left that could be handed out.
    lab.pass(1);
    assert_eq!((lab.states(1..=8), lab.own_fault()), (vec![LbState::Gone; 8], false));
}

#[test]
fn the_presumption_ends_when_most_are_back() {
    let mut lab = Lab::with_catalogue();
    (1..=9).for_each(|n| lab.join(n, [10, 20]));
    lab.pass(1);
    // Links and checks together make the crowd.
    lab.close([1, 2]);
    (0..2).for_each(|_| lab.check(3, false));
    assert!(lab.own_fault());
    lab.pass(20);
    assert_eq!(lab.states(1..=9), [LbState::Alive; 9]);
    lab.dial(11, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.pass(1);
    assert!(!lab.own_fault());
    assert_eq!(lab.states([1, 2, 3]), [LbState::Alive, LbState::Suspect, LbState::Suspect]);
    // lb3's DNS side still hangs when others begin to fail: it does not count a second time.
    lab.pass(60);
    lab.close([4, 5]);
    lab.pass(1);
    assert!(!lab.own_fault());
    assert_eq!(lab.states([3, 4, 5]), [LbState::Suspect; 3]);
}

#[test]
fn failing_again_and_again_is_not_failing_at_once() {
    let mut lab = Lab::with_catalogue();
    (1..=8).for_each(|n| lab.join(n, [10, 20]));
    lab.pass(1);
    // One link that flaps within a tick is one failure, and over.
    for round in 0..10 {
        lab.close([if round == 0 { 1 } else { 10 + round }]);
        lab.dial(11 + round, "lb1", PeerRole::DnsLb, 1).unwrap();
    }
    lab.close([2]);
    lab.pass(1);
    assert!(!lab.own_fault());
    assert_eq!(lab.states([1, 2]), [LbState::Alive, LbState::Suspect]);
}

#[test]
fn two_hosts_with_one_identity_are_told_apart_and_shown() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.pass(10);
    lab.keeper.take_outbox();
    assert_eq!(lab.dial_lb1(11, 2, 0), Ok(()));
    let bye = lab.sent();
    assert!(matches!(&bye[0], (LinkId(1), Message::Bye(bye)) if bye.reason == ByeReason::Duplicate), "{bye:?}");
    assert_eq!(lab.keeper.figures().duplicates, 0, "it may have been restarted");
    // The older one is alive: it heard the BYE, and dials again.
    lab.pass(1);
    assert_eq!(lab.dial_lb1(12, 1, 11), Err(RefuseReason::Duplicate));
    lab.pass(5);
    assert_eq!(lab.dial_lb1(13, 1, 16), Err(RefuseReason::Duplicate));
    lab.pass(1);
    let figures = lab.keeper.figures();
    assert_eq!((figures.duplicates, figures.duplicated, figures.refused_links, figures.links), (1, 1, 2, 2));
    let status = lab.keeper.status(lab.now).document();
    let seen = &status["duplicates"][0];
    assert_eq!((&seen["identity"], &seen["seen_seconds_ago"]), (&"lb1".into(), &1.into()), "{status:#}");
    assert_eq!(seen["processes"].as_array().unwrap().len(), 2, "{status:#}");
    // Ten minutes without a sign of it.
    lab.pass(600);
    assert_eq!(lab.keeper.figures().duplicated, 0);
    assert!(lab.keeper.status(lab.now).document()["duplicates"].as_array().unwrap().is_empty());
}

#[test]
fn what_flaps_is_kept_and_shown() {
    let mut lab = Lab::with_catalogue();
    for boot in 1..=5 {
        let _ = lab.dial_lb1(u64::from(boot), boot, 0);
    }
    assert_eq!(lab.dial_lb1(9, 9, 0), Err(RefuseReason::Duplicate));
    assert!(lab.keeper.knows(LinkId(4)) && !lab.keeper.knows(LinkId(5)), "three took another's place");
    lab.pass(1);
    let status = lab.keeper.status(lab.now).document();
    assert_eq!(status["duplicates"][0]["present_kept_seconds"], 59, "{status:#}");
    assert_eq!(lab.keeper.figures().duplicated, 1);
}

/// What `lb1`'s process `boot` says that has run for so long.
fn lb1_after(uptime_ms: u64, boot: u8) -> Hello {
    Hello { uptime_ms, ..hello("lb1", PeerRole::DnsLb, boot, FleetStamp::default()) }
}

#[test]
fn a_lost_link_makes_suspect_and_the_lease_end_forgets() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    assert_eq!((lab.ask("10.1.0.1"), lab.state(1)), ((Decision::Mapped, 3600), LbState::Alive));
    lab.keeper.closed(LinkId(1), lab.now);
    assert_eq!((lab.ask("10.1.0.1"), lab.state(1)), ((Decision::Suspect, 60), LbState::Suspect));
    lab.pass(59);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Suspect);
    lab.pass(1);
    assert_eq!((lab.ask("10.1.0.1").0, lab.state(1)), (Decision::Aggregate, LbState::Gone));
    lab.pass(121);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::CustomerOrder, "what it last said is too old to count");
    let figures = lab.keeper.figures();
    assert_eq!((figures.leases_ended, figures.prefixes, figures.lbs), (1, 0, [0, 0, 1]));
}

#[test]
fn a_link_that_comes_back_in_time_changes_nothing() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.closed(LinkId(1), lab.now);
    lab.pass(30);
    lab.dial(11, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
    lab.pass(120);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

#[test]
fn a_restarted_dns_lb_waits_for_its_ready() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.closed(LinkId(1), lab.now);
    lab.dial(11, "lb1", PeerRole::DnsLb, 2).unwrap();
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Direct, 30));
    lab.check(1, true);
    let entry =
        MapEntry { prefix: "10.1.0.1/32".parse().unwrap(), kind: EntryKind::Resolver, preference: 1, weight: 1 };
    let map = Map { generation: 2, lease_ms: 60_000, addresses: vec![ip("198.18.0.1")], entries: vec![entry] };
    lab.say(11, Message::Map(map));
    let ready = Ready { map_generation: 2, servers: vec!["b1".parse().unwrap()] };
    lab.say(11, Message::Ready(ready));
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

#[test]
fn a_newer_link_of_the_same_identity_replaces_the_older() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.take_outbox();
    lab.dial(11, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert!(matches!(lab.sent()[0], (LinkId(1), Message::Bye(_))));
    // The old link's end is no news about the DNS-LB.
    lab.keeper.closed(LinkId(1), lab.now);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

#[test]
fn many_failures_at_once_are_presumed_to_be_ones_own_for_a_lease() {
    let mut lab = Lab::with_catalogue();
    (1..=8).for_each(|n| lab.join(n, [10, 20]));
    (1..=2).for_each(|n| lab.keeper.closed(LinkId(n), lab.now));
    lab.pass(1);
    assert_eq!((lab.state(1), lab.keeper.figures().own_fault), (LbState::Suspect, false));
    // A link that is up and a DNS side that hangs has no lease that could end.
    (0..2).for_each(|_| lab.check(3, false));
    lab.pass(1);
    assert!(lab.keeper.figures().own_fault);
    assert!((1..=8).all(|n| lab.state(n) == LbState::Alive));
    lab.pass(60);
    assert_eq!((lab.state(1), lab.state(3), lab.state(4)), (LbState::Gone, LbState::Suspect, LbState::Alive));
    assert!(!lab.keeper.figures().own_fault);
}

#[test]
fn who_never_worked_does_not_count_as_failing_at_once() {
    let mut lab = Lab::with_catalogue();
    (1..=4).for_each(|n| lab.join(n, [10, 20]));
    for n in 5..=7 {
        lab.dial(u64::from(n), &format!("lb{n}"), PeerRole::DnsLb, 1).unwrap();
        lab.map(n, 1, &[]);
        (0..2).for_each(|_| lab.check(n, false));
    }
    lab.pass(1);
    assert!(!lab.keeper.figures().own_fault);
}

#[test]
fn after_its_lease_a_dns_lb_says_everything_again() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.closed(LinkId(1), lab.now);
    lab.pass(60);
    assert_eq!(lab.state(1), LbState::Gone);
    // The same process, cut off for longer than its lease: its MAP is not held any more.
    let hello = |lab: &mut Lab| {
        let (link, from) = (LinkId(11), "198.51.100.1:1000".parse().unwrap());
        match lab.keeper.hello(link, &lb1_after(90_000, 1), from, lab.now) {
            Verdict::Welcome(welcome) => (welcome.map_generation, welcome.report_generation),
            Verdict::Refuse(refuse) => panic!("{refuse:?}"),
        }
    };
    assert_eq!(hello(&mut lab), (0, 1), "its ranking is kept for the fall-back, its map is not");
}

#[test]
fn of_two_processes_with_one_identity_the_newer_stays() {
    let mut lab = Lab::with_catalogue();
    let dial = |lab: &mut Lab, link, boot, uptime_ms| {
        let hello = lb1_after(uptime_ms, boot);
        lab.keeper.hello(LinkId(link), &hello, "198.51.100.1:1000".parse().unwrap(), lab.now)
    };
    assert!(matches!(dial(&mut lab, 1, 1, 5_000), Verdict::Welcome(_)));
    assert!(matches!(dial(&mut lab, 2, 2, 19_000), Verdict::Refuse(r) if r.reason == RefuseReason::Duplicate));
    assert!(lab.keeper.knows(LinkId(1)));
    assert!(matches!(dial(&mut lab, 3, 3, 1_000), Verdict::Welcome(_)));
    assert!(!lab.keeper.knows(LinkId(1)) && lab.keeper.knows(LinkId(3)));
}

/// It would look accepted if nothing were refused by name.
#[test]
fn what_names_no_prefix_is_refused_as_stale_all_the_same() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.map(1, 5, &["10.1.0.1/32"]);
    let refused = |said: &[Message]| match said {
        [Message::MapAck(ack)] => {
            (ack.accepted, ack.refused.iter().map(|r| (r.prefix.to_string(), r.reason)).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    let all = (0, vec![("0.0.0.0/0".to_owned(), RefusedReason::Stale)]);
    assert_eq!(refused(&lab.map(1, 4, &[])), all);
    assert_eq!(refused(&lab.say(1, Message::Unmap(Unmap { generation: 5, prefixes: vec![] }))), all);
    assert_eq!((lab.keeper.figures().stale, lab.keeper.figures().prefixes), (2, 1));
}
