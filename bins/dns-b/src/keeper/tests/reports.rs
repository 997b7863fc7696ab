//! Rankings: what is taken in, what is kept, and who speaks for who is silent.

use super::*;

#[test]
fn rankings_of_services_that_nobody_has_are_bounded() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    for part in 0..3u64 {
        let named = |n: u64| Ranking { service: format!("s{n}.elsewhere.test").parse().unwrap(), ..ranking([1, 2]) };
        let rankings = (part * 600..(part + 1) * 600).map(named).collect();
        lab.report(1, 2 + part, 1 + part, rankings);
    }
    let lb = lab.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
    assert_eq!(lab.keeper.lbs[&lb].rankings.len(), 1_001);
    assert_eq!(lab.keeper.figures().rankings_refused, 800);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
}

#[test]
fn a_report_on_an_unknown_base_is_asked_for_whole() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    assert!(matches!(lab.report(1, 3, 1, vec![ranking([10, 20])])[..], [Message::ReportAck(_)]));
    assert!(matches!(lab.report(1, 9, 7, vec![])[..], [Message::Resync(Resync::Report)]));
    assert!(lab.report(1, 2, 1, vec![]).is_empty(), "an older one says nothing");
    // A whole report without the service takes its ranking away.
    lab.report(1, 10, 0, vec![]);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::CustomerOrder);
}

#[test]
fn a_ranking_that_came_before_its_catalogue_is_used_after() {
    let mut lab = Lab::new();
    lab.join(1, [10, 20]);
    assert_eq!(lab.keeper.figures().unknown_rankings, 1);
    lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
    lab.say(100, Message::snapshot(zone(1)));
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

#[test]
fn the_nearest_fresh_dns_lb_speaks_for_one_that_is_silent() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 100]);
    lab.join(2, [100, 10]);
    lab.join(3, [12, 110]);
    lab.pass(100);
    lab.report(2, 2, 0, vec![ranking([100, 10])]);
    lab.report(3, 2, 0, vec![ranking([12, 110])]);
    let borrows = |lab: &Lab| {
        let directory = lab.keeper.directory();
        let lb1 = directory.find_lb(directory.lb_of(&"lb1".parse().unwrap()).unwrap()).unwrap();
        lb1.borrows.and_then(|b| directory.find_lb(b)).map(|b| b.identity.to_string())
    };
    lab.pass(80);
    assert_eq!(borrows(&lab), None);
    lab.pass(1);
    assert_eq!(borrows(&lab).as_deref(), Some("lb3"));
    lab.report(1, 2, 0, vec![ranking([10, 100])]);
    lab.pass(1);
    assert_eq!(borrows(&lab), None);
}

#[test]
fn however_many_fall_silent_all_find_a_neighbour_in_the_end() {
    let mut lab = Lab::with_catalogue();
    (1..=9).for_each(|n| lab.join(n, [10 * u32::from(n), 100]));
    lab.pass(170);
    (8..=9).for_each(|n| drop(lab.report(n, 2, 1, vec![ranking([10 * u32::from(n), 100])])));
    lab.pass(20);
    let borrows = |lab: &Lab, n: u8| {
        let index = lab.keeper.directory().lb_of(&format!("lb{n}").parse().unwrap()).unwrap();
        let lender = lab.keeper.directory().find_lb(index).unwrap().borrows;
        lender.map(|lender| lab.keeper.directory().find_lb(lender).unwrap().identity.to_string())
    };
    assert!((1..=7).all(|n| borrows(&lab, n).as_deref() == Some("lb8")), "the nearer of the two that still report");
    assert_eq!((borrows(&lab, 8), borrows(&lab, 9)), (None, None));
}

#[test]
fn a_dead_dns_lbs_label_keeps_its_ranking_while_it_may_be_cached() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [20, 10]);
    lab.join(2, [10, 20]);
    lab.join(3, [10, 30]);
    lab.keeper.closed(LinkId(1), lab.now);
    let at_fallback = |lab: &Lab| {
        let (decision, reply) = lab.ask_for("www.lb1.glb.test", "192.0.2.77", Role::Fallback);
        (decision, reply.answers[0].data.to_string() == "203.0.113.2")
    };
    lab.pass(60);
    assert_eq!(lab.state(1), LbState::Gone);
    assert_eq!(at_fallback(&lab), (Decision::Label, true), "the world's best is site1");
    lab.pass(3600 + 3600);
    assert_eq!(at_fallback(&lab).0, Decision::CustomerOrder, "forgotten, and nobody else reported for hours");
}
