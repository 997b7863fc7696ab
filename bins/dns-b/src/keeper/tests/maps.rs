//! What DNS-LBs map, and when they are handed out for it.

use super::*;

#[test]
fn a_dns_lb_maps_what_it_may_and_nothing_else() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    let said = lab.map(1, 1, &["10.1.0.1/32", "10.2.0.1/32", "10.0.0.0/8", "10.1.4.0/24"]);
    let [Message::MapAck(ack)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ack.generation, ack.accepted), (1, 2));
    let refused: Vec<_> = ack.refused.iter().map(|r| (r.prefix.to_string(), r.reason)).collect();
    assert_eq!(
        refused,
        [("10.2.0.1/32".into(), RefusedReason::NotProven), ("10.0.0.0/8".into(), RefusedReason::NotProven)]
    );
    assert_eq!((lab.keeper.figures().refused_entries, lab.keeper.figures().prefixes), (2, 2));
}

#[test]
fn nobody_is_handed_out_before_ready_check_and_ranking() {
    // In every order of the three.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut lab = Lab::with_catalogue();
        lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
        lab.map(1, 1, &["10.1.0.1/32"]);
        for step in order {
            let (decision, ttl) = lab.ask("10.1.0.1");
            assert!(
                matches!(decision, Decision::Direct | Decision::Aggregate | Decision::CustomerOrder),
                "{decision:?}"
            );
            assert!(ttl <= 30);
            match step {
                0 => lab.ready(1, 1),
                1 => lab.check(1, true),
                _ => drop(lab.report(1, 1, 0, vec![ranking([10, 20])])),
            }
        }
        assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
    }
}

#[test]
fn ready_for_another_map_does_not_count() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.map(1, 2, &["10.1.0.1/32"]);
    lab.report(1, 1, 0, vec![ranking([10, 20])]);
    lab.check(1, true);
    lab.ready(1, 1);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Direct);
    lab.ready(1, 2);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
}

#[test]
fn an_older_map_undoes_nothing() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.map(1, 5, &["10.1.0.1/32", "10.1.0.2/32"]);
    let said = lab.map(1, 4, &["10.1.0.9/32"]);
    let [Message::MapAck(ack)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ack.accepted, ack.refused[0].reason), (0, RefusedReason::Stale));
    assert_eq!((lab.keeper.figures().prefixes, lab.keeper.figures().stale), (2, 1));
    let unmap = |generation, prefixes: &[&str]| {
        Message::Unmap(Unmap { generation, prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect() })
    };
    lab.say(1, unmap(5, &["10.1.0.1/32"]));
    assert_eq!(lab.keeper.figures().prefixes, 2);
    lab.say(1, unmap(6, &["10.1.0.1/32"]));
    assert_eq!(lab.keeper.figures().prefixes, 1);
    lab.say(1, unmap(7, &[]));
    assert_eq!(lab.keeper.figures().prefixes, 0);
}

#[test]
fn an_unmapped_resolver_gets_the_default_group() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    assert_eq!(lab.ask("192.0.2.99").0, Decision::Aggregate);
    lab.join(9, [20, 10]);
    assert_eq!(lab.ask("192.0.2.99"), (Decision::DefaultGroup, 60));
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
}

#[test]
fn a_store_that_fills_gives_no_long_promises() {
    let mut lab = Lab::with_catalogue();
    lab.keeper.directory.set_filling(true);
    lab.join(1, [10, 20]);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 60));
    lab.pass(60);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
    // Not that long where everybody is here.
    let mut lab = Lab::with_catalogue();
    lab.keeper.directory.set_filling(true);
    (1..=9).for_each(|n| lab.join(n, [10, 20]));
    lab.pass(1);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}
