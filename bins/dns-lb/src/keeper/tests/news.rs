//! Catalogues as snapshots, deltas and withdrawals, and what is asked for.

use dglb_core::{
    catalogue::{CatalogueDelta, CatalogueUpdate, Withdrawal},
    proto::message::{CatalogueAck, Want, ZoneGeneration},
};

use super::*;

const ZONE: &str = "glb.test";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn delta(delta: CatalogueDelta) -> Message {
    Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta)))
}

fn withdrawal(generation: u64) -> Message {
    Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(Withdrawal { zone: name(ZONE), generation })))
}

/// The answer to a catalogue, and what is asked for besides.
fn answer(effects: &Effects) -> (CatalogueAck, Vec<Resync>) {
    let ack = effects.send.iter().find_map(|(_, m)| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None });
    let resyncs =
        effects.send.iter().filter_map(|(_, m)| if let Message::Resync(r) = m { Some(r.clone()) } else { None });
    (ack.expect("an answer").clone(), resyncs.collect())
}

/// Two generations of the zone: the second has another service more.
fn generations(www: &Service) -> (ZoneCatalogue, ZoneCatalogue) {
    let second = vec![service("api.glb.test", 1), www.clone()];
    (zone(ZONE, 1, vec![www.clone()]).normalised(), zone(ZONE, 2, second).normalised())
}

#[test]
fn a_delta_leads_to_the_new_catalogue_in_one_step() {
    let (mut lb, www) = Lb::measured();
    let (first, second) = generations(&www);
    let change = second.delta_from(&first).unwrap();
    assert_eq!(change.services.len(), 1, "only what is new is sent");
    let effects = lb.said("b1", delta(change.clone()));
    let (ack, resyncs) = answer(&effects);
    assert_eq!((ack.refused, ack.generation, ack.held, resyncs), (None, 2, 2, vec![]));
    assert!(effects.targets && effects.answers);
    assert_eq!(lb.keeper.catalogues()[&name(ZONE)], second);
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Label, "what was measured counts on");

    // The same from another dns-b is no news, and one with another content a conflict.
    lb.up("b2", fleet(1));
    let effects = lb.said("b2", delta(change.clone()));
    assert_eq!((answer(&effects).0.refused, effects.targets), (None, false));
    let effects = lb.said("b2", delta(CatalogueDelta { digest: 7, ..change }));
    assert!(answer(&effects).0.refused.unwrap().contains("another content"));
    assert_eq!(lb.metrics.catalogue_conflicts.get(), 1);
}

#[test]
fn a_delta_that_does_not_fit_changes_nothing_and_everything_is_asked_for() {
    let (mut lb, www) = Lb::measured();
    let (first, second) = generations(&www);
    let third = ZoneCatalogue { generation: 3, ..second.clone() };
    let everything = vec![Resync::Catalogue { zone: name(ZONE), held: 0 }];
    // Built on 2, which is not held; then on 1, but another 1.
    let mut foreign = second.delta_from(&first).unwrap();
    foreign.digest ^= 1;
    for (change, complaint) in [(third.delta_from(&second).unwrap(), "held is 1"), (foreign, "another content")] {
        let effects = lb.said("b1", delta(change));
        let (ack, resyncs) = answer(&effects);
        assert!(ack.refused.as_deref().unwrap().contains(complaint), "{ack:?}");
        assert_eq!((ack.held, &resyncs), (1, &everything));
        assert!(!effects.targets && !effects.answers);
        assert_eq!(lb.keeper.catalogues()[&name(ZONE)], first);
    }
    let effects = lb.said("b1", Message::snapshot(third.clone()));
    assert_eq!((answer(&effects).0.held, lb.keeper.catalogues()[&name(ZONE)].clone()), (3, third));

    // One whose content is refused is not asked for again.
    let mut nothing = zone(ZONE, 4, vec![]);
    nothing.generation = 4;
    let change = nothing.delta_from(&lb.keeper.catalogues()[&name(ZONE)].clone()).unwrap();
    let (ack, resyncs) = answer(&lb.said("b1", delta(change)));
    assert_eq!((ack.refused.as_deref(), ack.held, resyncs), (Some("zone glb.test. has no service"), 3, vec![]));
}

#[test]
fn a_withdrawn_zone_is_gone_until_something_newer_comes() {
    let (mut lb, www) = Lb::measured();
    lb.said("b1", Message::ReportAck(ReportAck { generation: 1, refused: 0 }));
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Label);
    assert!(answer(&lb.said("b1", withdrawal(1))).0.refused.unwrap().contains("another content"));

    let effects = lb.said("b1", withdrawal(2));
    let (ack, _) = answer(&effects);
    assert_eq!((ack.refused, ack.held), (None, 2));
    assert!(effects.targets && effects.answers);
    assert_eq!(report(&effects).unwrap().1.removed, [name("www.glb.test")]);
    assert!(lb.keeper.targets().is_empty());
    assert_eq!(lb.keeper.withdrawn().get(&name(ZONE)), Some(&2));
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Relay);

    // A dns-b that is behind does not bring it back.
    let effects = lb.said("b2", Message::snapshot(zone(ZONE, 1, vec![www.clone()])));
    assert!(answer(&effects).0.refused.unwrap().contains("withdrawn with generation 2"));
    assert_eq!(lb.metrics.catalogues_behind.get(), 1);
    assert_eq!(answer(&lb.said("b2", withdrawal(2))).0.refused, None);
    assert_eq!(lb.metrics.catalogues_behind.get(), 0);
    let effects = lb.said("b1", Message::snapshot(zone(ZONE, 3, vec![www])));
    assert_eq!((answer(&effects).0.held, lb.keeper.withdrawn().len()), (3, 0));
}

#[test]
fn a_link_that_comes_up_hears_what_is_held_and_what_is_lacking() {
    let (mut lb, _) = Lb::with_catalogue();
    let offer = |zone: &str, on_referral| ZoneGeneration { zone: name(zone), generation: 1, on_referral };
    let welcome = Welcome {
        version: 1,
        identity: id("b2"),
        boot: BootId([7; 16]),
        observed: "203.0.113.9:4000".parse().unwrap(),
        features: 0,
        fleet: None,
        map_generation: 0,
        report_generation: 0,
        catalogues: vec![offer(ZONE, true), offer("other.test", false), offer("third.test", true)],
    };
    let effects = lb.handle(Event::Up(id("b2"), Box::new(welcome), lb.keeper.fleet_stamp()));
    let resyncs: Vec<_> = effects.send.iter().filter(|(_, m)| matches!(m, Message::Resync(_))).cloned().collect();
    let resync = |zone: &str, held| (id("b2"), Message::Resync(Resync::Catalogue { zone: name(zone), held }));
    assert_eq!(resyncs, [resync(ZONE, 1), resync("other.test", 0)]);
    assert_eq!(lb.metrics.fleet_disagreements.get(), 0, "without a document it has ours");
}

#[test]
fn every_dns_b_is_asked_once_for_the_zone_of_a_service_that_is_not_known() {
    let (mut lb, _) = Lb::with_catalogue();
    lb.up("b2", fleet(1));
    let wants = |effects: Effects| -> Vec<(String, Name)> {
        let want = |(to, message): (Identity, Message)| match message {
            Message::Want(Want { service }) => Some((to.to_string(), service)),
            _ => None,
        };
        effects.send.into_iter().filter_map(want).collect()
    };
    let ask = |lb: &mut Lb, text: &str| wants(lb.handle(Event::Asked(name(text))));
    assert_eq!(lb.ask("shop.sea1.other.test").0.decision, Decision::Relay);
    let shop = name("shop.other.test");
    assert_eq!(ask(&mut lb, "shop.sea1.other.test"), [("b1".to_owned(), shop.clone()), ("b2".to_owned(), shop)]);
    assert_eq!(ask(&mut lb, "else.sea1.other.test"), [], "the zone was asked for");
    lb.now += Duration::from_secs(30);
    lb.handle(Event::Down(id("b2")));
    assert_eq!(ask(&mut lb, "sea1.other.test"), [("b1".to_owned(), name("other.test"))]);

    // What is held is being measured, and what is not below our label is nobody's.
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Relay);
    assert_eq!(ask(&mut lb, "www.sea1.glb.test"), []);
    assert_ne!(lb.ask("www.third.test").0.decision, Decision::Relay);
    assert_eq!(ask(&mut lb, "www.third.test"), []);
    assert_eq!(lb.metrics.wants.get(), 2);
}
