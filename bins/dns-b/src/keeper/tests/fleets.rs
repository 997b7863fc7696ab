//! Who holds which fleet document.

use super::*;

/// A DNS-LB dials that holds this document; the one that WELCOME brings.
fn welcomed_with(lab: &mut Lab, n: u64, fleet: FleetStamp) -> Option<Fleet> {
    let hello = hello(&format!("lb{n}"), PeerRole::DnsLb, 1, fleet);
    let from: SocketAddr = "198.51.100.1:1000".parse().unwrap();
    let Verdict::Welcome(welcome) = lab.keeper.hello(LinkId(n), &hello, from, lab.now) else { panic!("refused") };
    welcome.fleet
}

/// How many hold a newer one and another of the same serial, and who does by the status.
fn alarm(lab: &Lab) -> ((u64, u64), String) {
    let figures = lab.keeper.figures();
    let status = lab.keeper.status(lab.now).document();
    let fleet = &status["fleet"];
    assert_eq!(fleet["serial"], lab.keeper.fleet.serial);
    ((figures.fleet_newer, figures.fleet_other), format!("{} {}", fleet["newer_at"], fleet["other_at"]))
}

#[test]
fn who_holds_the_document_is_not_sent_it_and_who_holds_another_is() {
    let mut lab = Lab::new();
    let (ours, none) = (config().fleet, "[] []".to_owned());
    assert_eq!(welcomed_with(&mut lab, 1, ours.stamp()), None);
    assert_eq!(welcomed_with(&mut lab, 2, FleetStamp::default()), Some(ours.clone()), "it has none");
    let older = FleetStamp { serial: 0, digest: 17 };
    assert_eq!(welcomed_with(&mut lab, 3, older), Some(ours));
    assert_eq!(alarm(&lab), ((0, 0), none), "who is behind takes the newer one over");
}

#[test]
fn a_newer_document_at_a_peer_is_an_alarm_and_is_not_taken_from_it() {
    let mut lab = Lab::with_catalogue();
    let ours = config().fleet;
    let mut newer = ours.clone();
    (newer.serial, newer.ttl.label_ns) = (2, 7);
    assert_eq!(welcomed_with(&mut lab, 1, newer.stamp()), Some(ours.clone()), "so that it sees who is behind");
    assert_eq!(alarm(&lab), ((1, 0), "[\"lb1\"] []".to_owned()));
    assert_eq!((&lab.keeper.fleet, lab.keeper.directory().fleet()), (&ours, Some(&ours)));
    // Until the operator gives it to this dns-b as well, or the peer is gone.
    assert_eq!(welcomed_with(&mut lab, 2, newer.stamp()), Some(ours));
    lab.keeper.closed(LinkId(2), lab.now);
    assert_eq!(alarm(&lab).0, (1, 0));
    let mut config = config();
    config.fleet = newer.clone();
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(alarm(&lab), ((0, 0), "[] []".to_owned()));
    assert_eq!(welcomed_with(&mut lab, 1, newer.stamp()), None);
}

#[test]
fn two_documents_of_one_serial_are_an_alarm_until_a_newer_one_ends_it() {
    let mut lab = Lab::with_catalogue();
    let ours = config().fleet;
    let mut other = ours.clone();
    other.ttl.retry = 1;
    assert_eq!(welcomed_with(&mut lab, 1, other.stamp()), Some(ours.clone()));
    assert_eq!(alarm(&lab), ((0, 1), "[] [\"lb1\"]".to_owned()));
    assert_eq!(lab.keeper.fleet, ours, "its own is kept");
    let mut config = config();
    config.fleet = Fleet { serial: 2, ..other };
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(alarm(&lab).0, (0, 0));
    assert!(lab.sent().iter().any(|(to, m)| *to == LinkId(1) && matches!(m, Message::Fleet(f) if f.serial == 2)));
}
