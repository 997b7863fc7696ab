//! What is too much for one peer: refused with a reason, counted, and nobody else's loss.

use dglb_core::proto::message::{
    CatalogueAck, Nonce, Proof, ProofSecret, RefusedReason, ReportAck, Seen, SeenOutcome, Want,
};

use super::*;
use crate::{
    config::Held,
    keeper::{Holdings, QUOTAS},
};

/// How often something was too much.
fn over(lab: &Lab, quota: &str) -> u64 {
    let at = QUOTAS.iter().position(|known| *known == quota).unwrap();
    lab.keeper.figures().over_quota[at]
}

fn held(lab: &Lab, identity: &str) -> Holdings {
    lab.keeper.holdings(&identity.parse().unwrap())
}

fn resync(held: u64) -> Message {
    Message::Resync(Resync::Catalogue { zone: "glb.test".parse().unwrap(), held })
}

fn catalogues(said: &[Message]) -> usize {
    said.iter().filter(|message| matches!(message, Message::Catalogue(_))).count()
}

/// A ranking of a service that no zone has, with so many sites.
fn made_up(n: usize, sites: usize) -> Ranking {
    let site = |n| RankedSite { site: format!("site{n}"), score: None, addresses: vec![], share: 0 };
    Ranking {
        service: format!("s{n}.elsewhere.test").parse().unwrap(),
        catalogue: 1,
        sites: (0..sites).map(site).collect(),
        unsettled: false,
    }
}

fn refused(said: &[Message]) -> u32 {
    match said {
        [Message::ReportAck(ReportAck { refused, .. })] => *refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_beyond_the_quota_are_refused_in_one_line() {
    let mut lab = Lab::with_catalogue();
    lab.join(2, [10, 20]);
    lab.keeper.quotas = Held { entries: 3, ..Held::default() };
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    let prefixes: Vec<String> = (1..=9).map(|n| format!("10.1.0.{n}/32")).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let said = lab.map(1, 1, &prefixes);
    let [Message::MapAck(ack)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ack.accepted, ack.refused.len()), (3, 1));
    assert_eq!(
        (ack.refused[0].prefix.to_string(), ack.refused[0].reason),
        ("10.1.0.4/32".into(), RefusedReason::Limit)
    );
    assert_eq!(ack.refused[0].text, "3 entries are taken; this one and the 5 behind it are too many");
    assert_eq!((over(&lab, "entries"), lab.keeper.figures().refused_entries), (6, 6));
    assert_eq!((held(&lab, "lb1").entries, held(&lab, "lb2").entries), (3, 1));
    // One that says less the next time has room.
    let said = lab.map(1, 2, &prefixes[..2]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 2 && ack.refused.is_empty()), "{said:?}");
    assert_eq!(lab.ask("10.2.0.1").0, Decision::Mapped, "the other one is served");
}

#[test]
fn a_peer_may_have_quotas_of_its_own() {
    let mut lab = Lab::with_catalogue();
    let mut config = config();
    config.map.quotas.held = Held { entries: 2, services: 1, ..Held::default() };
    config.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap().held =
        HeldOf { entries: Some(4), ..HeldOf::default() };
    lab.keeper.reconfigure(&config, lab.now);
    for n in [1, 2] {
        lab.dial(n, &format!("lb{n}"), PeerRole::DnsLb, 1).unwrap();
        let prefixes: Vec<String> = (1..=5).map(|m| format!("10.{n}.0.{m}/32")).collect();
        lab.map(n as u8, 1, &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
        // What is not said of it holds for all.
        let said = lab.report(n as u8, 1, 0, vec![ranking([10, 20]), made_up(1, 1)]);
        assert_eq!(refused(&said), 1);
    }
    assert_eq!((held(&lab, "lb1").entries, held(&lab, "lb2").entries, over(&lab, "entries")), (4, 2, 1 + 3));
    // It loses that with the next configuration; what it holds is judged when it says it again.
    config.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap().held = HeldOf::default();
    lab.keeper.reconfigure(&config, lab.now);
    lab.map(1, 2, &["10.1.0.1/32", "10.1.0.2/32", "10.1.0.3/32"]);
    assert_eq!(held(&lab, "lb1").entries, 2);
}

#[test]
fn rankings_beyond_the_quota_are_refused_and_said_to_be() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.quotas = Held { services: 4, sites: 20, ..Held::default() };
    // One is there; three more have room.
    let said = lab.report(1, 2, 1, (0..6).map(|n| made_up(n, 1)).collect());
    assert_eq!((refused(&said), over(&lab, "services")), (3, 3));
    assert_eq!((held(&lab, "lb1").services, held(&lab, "lb1").sites), (4, 2 + 3));
    // Another ranking of the same service takes its place: only what it has more of counts.
    let said = lab.report(1, 3, 2, vec![made_up(0, 16)]);
    assert_eq!((refused(&said), held(&lab, "lb1").sites), (0, 2 + 2 + 16));
    let said = lab.report(1, 4, 3, vec![made_up(0, 17)]);
    assert_eq!((refused(&said), over(&lab, "sites"), held(&lab, "lb1").sites), (1, 1, 20));
    // Octets.
    lab.keeper.quotas = Held { octets: held(&lab, "lb1").octets + 10, ..Held::default() };
    let said = lab.report(1, 5, 4, vec![made_up(7, 1)]);
    assert_eq!((refused(&said), over(&lab, "held")), (1, 1));
    // What is given up makes room; what was refused is asked of nobody.
    let said = lab.report(1, 6, 0, vec![ranking([10, 20]), made_up(7, 1)]);
    assert_eq!((refused(&said), held(&lab, "lb1").services), (0, 2));
    assert_eq!(lab.keeper.figures().rankings_refused, 5);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
}

#[test]
fn a_publisher_publishes_no_more_than_it_may() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    let services = |generation: u64, count: usize| {
        let mut zone = zone(generation);
        let first = zone.services[0].clone();
        let more = (1..count).map(|n| Service {
            name: format!("s{n}.glb.test").parse().unwrap(),
            host: format!("s{n}.test").parse().unwrap(),
            ..first.clone()
        });
        zone.services.extend(more);
        zone
    };
    let publish = |lab: &mut Lab, zone: ZoneCatalogue| {
        let said = lab.say(100, Message::snapshot(zone));
        let ack = said.into_iter().find_map(|m| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None });
        ack.unwrap().refused
    };
    lab.keeper.quotas = Held { services: 3, ..Held::default() };
    assert_eq!(publish(&mut lab, services(2, 3)), None);
    let why = publish(&mut lab, services(3, 4)).unwrap();
    assert_eq!(why, "with it \"sync\" would publish 4 services; 3 are allowed");
    lab.keeper.quotas = Held { sites: 5, ..Held::default() };
    assert!(publish(&mut lab, services(4, 3)).unwrap().contains("6 sites; 5"));
    lab.keeper.quotas = Held { octets: 100, ..Held::default() };
    assert!(publish(&mut lab, services(5, 1)).unwrap().contains("octets; 100"));
    assert_eq!([over(&lab, "services"), over(&lab, "sites"), over(&lab, "held")], [1, 1, 1]);
    // What was adopted before stands.
    assert_eq!((held(&lab, "sync").services, lab.ask("10.1.0.1").0), (3, Decision::Mapped));
}

#[test]
fn whoever_asks_for_a_zone_all_the_time_gets_it_now_and_then() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.dial(2, "lb2", PeerRole::DnsLb, 1).unwrap();
    let want = || Message::Want(Want { service: SERVICE.parse().unwrap() });
    let refuses = || {
        let zone = "glb.test".parse().unwrap();
        Message::CatalogueAck(CatalogueAck { zone, generation: 1, held: 0, refused: Some("no".into()) })
    };
    let sent: Vec<usize> = (0..100).map(|_| catalogues(&lab.say(1, resync(0)))).collect();
    assert_eq!((sent.iter().sum::<usize>(), &sent[..3]), (3, &[1, 1, 1][..]), "three times at once");
    // Saying that it could not use what it got, and asking otherwise, is no way around it.
    for _ in 0..100 {
        assert_eq!(catalogues(&lab.say(1, refuses())) + catalogues(&lab.say(1, want())), 0);
    }
    assert_eq!(over(&lab, "asked"), 97 + 100);
    assert_eq!(catalogues(&lab.say(2, resync(0))), 1, "another one is not to blame");
    lab.keeper.take_outbox();
    // It gets it once, when it is time.
    let mut later = Vec::new();
    for _ in 0..40 {
        lab.pass(1);
        later.push(lab.sent().iter().filter(|(to, m)| *to == LinkId(1) && matches!(m, Message::Catalogue(_))).count());
    }
    assert_eq!((later.iter().sum::<usize>(), later[9]), (1, 1), "{later:?}");
    // Who asks again after a while is answered at once, and one that is gone is owed nothing.
    assert_eq!(catalogues(&lab.say(1, resync(0))), 1);
    (0..5).for_each(|_| drop(lab.say(1, resync(0))));
    lab.keeper.closed(LinkId(1), lab.now);
    lab.keeper.take_outbox();
    lab.pass(60);
    assert_eq!(lab.sent().iter().filter(|(to, _)| *to == LinkId(1)).count(), 0);
}

#[test]
fn proofs_in_a_flood_are_not_looked_at() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    let reasons: Vec<RefusedReason> = (0..200)
        .map(|n| {
            let proof = Proof { nonce: Nonce([n; 16]), secret: ProofSecret(vec![n; 8]) };
            match &lab.say(1, Message::Proof(proof))[..] {
                [Message::Seen(Seen { outcome: SeenOutcome::Refused { reason, .. }, .. })] => *reason,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert!(reasons[..100].iter().all(|reason| *reason == RefusedReason::UnknownNonce));
    assert!(reasons[100..].iter().all(|reason| *reason == RefusedReason::Limit));
    assert_eq!((over(&lab, "proofs"), lab.keeper.figures().proofs_refused.iter().sum::<u64>()), (100, 200));
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
}

#[test]
fn a_zone_that_changes_all_the_time_is_passed_on_once_a_second() {
    let mut lab = Lab::with_catalogue();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.say(1, resync(0));
    let mut sent = 0;
    for generation in 2..=100_u64 {
        lab.keeper.message(
            LinkId(100),
            Message::snapshot(ZoneCatalogue { cname_ttl: generation as u32, ..zone(generation) }),
            lab.now,
        );
        sent += lab.sent().iter().filter(|(to, _)| *to == LinkId(1)).count();
        assert_eq!(
            lab.keeper.catalogue_of(&"glb.test".parse().unwrap()).unwrap().generation,
            generation,
            "it is in use"
        );
    }
    // The first one of all was at once, too.
    assert_eq!((sent, over(&lab, "changes")), (7, 92));
    lab.pass(1);
    let last: Vec<u64> = lab.sent().iter().filter_map(|(to, m)| newest(*to, m)).collect();
    assert_eq!(last, [100], "with everything that came meanwhile");
    lab.pass(60);
    assert!(lab.sent().iter().all(|(_, m)| !matches!(m, Message::Catalogue(_))), "once");
}

/// The generation that the news for `lb1` lead to.
fn newest(to: LinkId, message: &Message) -> Option<u64> {
    match message {
        Message::Catalogue(update) if to == LinkId(1) => Some(update.generation()),
        _ => None,
    }
}
