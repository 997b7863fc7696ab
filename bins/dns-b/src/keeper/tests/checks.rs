//! Checks of the DNS-LBs: when they are due, and what their outcomes change.

use super::{super::Target, *};

#[test]
fn failing_checks_make_suspect_though_the_link_is_up() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.check(1, false);
    assert_eq!(lab.state(1), LbState::Alive);
    lab.check(1, false);
    assert_eq!((lab.state(1), lab.ask("10.1.0.1")), (LbState::Suspect, (Decision::Suspect, 60)));
    lab.check(1, true);
    assert_eq!((lab.state(1), lab.ask("10.1.0.1")), (LbState::Alive, (Decision::Mapped, 3600)));
    assert_eq!((lab.keeper.figures().checks_passed, lab.keeper.figures().checks_failed), (2, 2));
}

#[test]
fn checks_are_due_at_their_interval_and_soon_until_the_first_passes() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert!(lab.keeper.take_due_checks(lab.now).is_empty(), "no address is known yet");
    lab.map(1, 1, &[]);
    let due = |lab: &mut Lab| lab.keeper.take_due_checks(lab.now).len();
    assert_eq!(due(&mut lab), 1);
    lab.pass(100);
    assert_eq!(due(&mut lab), 0, "the first round is still under way");
    lab.check(1, false);
    lab.pass(1);
    assert_eq!(due(&mut lab), 1);
    lab.check(1, true);
    lab.pass(9);
    assert_eq!(due(&mut lab), 0);
    lab.pass(1);
    assert_eq!(due(&mut lab), 1);
}

#[test]
fn checks_ask_in_a_zone_where_the_dns_lb_has_its_label() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.map(1, 1, &[]);
    let mut hiding = zone(2);
    hiding.records = vec![dglb_core::catalogue::StaticRecord {
        name: "_443._tcp.lb1.glb.test".parse().unwrap(),
        rtype: 16,
        ttl: 60,
        rdata: vec![0],
    }];
    lab.say(100, Message::snapshot(hiding));
    assert!(lab.keeper.take_due_checks(lab.now).is_empty(), "the only zone has something else at its name");
    lab.say(100, Message::snapshot(zone(3)));
    assert_eq!(lab.keeper.take_due_checks(lab.now)[0].label_zone.to_string(), "lb1.glb.test.");
}

#[test]
fn tcp_is_asked_until_it_passes_after_failures_and_now_and_then() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.map(1, 1, &[]);
    let mut round = |passes: bool| {
        lab.pass(10);
        let tcp = lab.keeper.take_due_checks(lab.now)[0].tcp;
        lab.check(1, passes);
        tcp
    };
    assert_eq!([round(false), round(true)], [true, true], "until the first round that goes well");
    assert_eq!((0..12).filter(|_| round(true)).count(), 2, "in every sixth round");
    round(false);
    assert!(round(true), "once more after a failure");
}

#[test]
fn rounds_that_fall_due_together_are_spread_over_the_interval() {
    const LBS: usize = 1_000;
    let mut config = config();
    let identity = |n: usize| -> Identity { format!("x{n}").parse().unwrap() };
    let peer = config.peers[&"lb1".parse::<Identity>().unwrap()].clone();
    config.peers.extend((0..LBS).map(|n| (identity(n), peer.clone())));
    let mut lab = Lab::with_catalogue();
    lab.keeper.reconfigure(&config, lab.now);
    for n in 0..LBS {
        let link = 1_000 + n as u64;
        lab.dial(link, identity(n).as_str(), PeerRole::DnsLb, 1).unwrap();
        let addresses = vec![[198, 18, (n / 250) as u8, (n % 250) as u8].into()];
        lab.say(link, Message::Map(Map { generation: 1, lease_ms: 60_000, addresses, entries: vec![] }));
    }
    let round = |lab: &mut Lab| {
        let due = lab.keeper.take_due_checks(lab.now);
        for target in &due {
            let (lb, boot, addresses) = (target.lb, target.boot, target.addresses.clone());
            lab.keeper.checked(Checked { lb, boot, addresses, outcome: CheckOutcome::Passed }, lab.now);
        }
        due.len()
    };
    assert_eq!(round(&mut lab), LBS, "nobody who waits to be handed out waits for others");
    lab.pass(9);
    let mut rounds = Vec::new();
    for _ in 0..100 {
        lab.now += Duration::from_millis(200);
        rounds.push(round(&mut lab));
    }
    assert!(rounds.iter().all(|round| *round <= 60), "{rounds:?}");
    assert!(rounds.iter().sum::<usize>() >= 3 * LBS / 2, "and none is forgotten: {rounds:?}");
}

#[test]
fn who_moves_or_restarts_all_the_time_is_checked_now_and_then() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.dial(2, "lb2", PeerRole::DnsLb, 1).unwrap();
    let (mut asked, mut generation) = (Vec::new(), 0);
    for step in 0..1_000_u32 {
        generation += 1;
        let addresses = vec![[198, 18, (step / 250) as u8, (step % 250) as u8].into()];
        lab.say(1, Message::Map(Map { generation, lease_ms: 60_000, addresses, entries: vec![] }));
        if step % 100 == 99 {
            lab.keeper.closed(LinkId(1), lab.now);
            lab.dial(1, "lb1", PeerRole::DnsLb, (step / 100) as u8 + 2).unwrap();
        }
        asked.extend(lab.keeper.take_due_checks(lab.now));
        lab.now += Duration::from_millis(100);
        lab.keeper.turn(lab.now);
    }
    assert!((10..=40).contains(&asked.len()), "in 100 s {} rounds, each of another address", asked.len());
    let over = lab.keeper.figures().over_quota[super::super::QUOTAS.iter().position(|q| *q == "checks").unwrap()];
    assert!(over >= 900, "{over} rounds came later");
    // Nobody else waits for that, and who keeps its place is checked there.
    lab.map(2, 1, &[]);
    let others = lab.keeper.take_due_checks(lab.now);
    assert!(others.iter().any(|target| target.identity.as_str() == "lb2"));
    lab.pass(20);
    let last = lab.keeper.take_due_checks(lab.now);
    let kept = |target: &Target| target.identity.as_str() == "lb1" && target.addresses == [ip("198.18.3.249")];
    assert!(others.iter().chain(&last).any(kept), "{last:?}");
}
