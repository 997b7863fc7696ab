//! Which DNS-LB is sent what of which zone, and what becomes of a zone that is gone.

use dglb_core::{
    catalogue::{CatalogueUpdate, Withdrawal},
    proto::message::{CatalogueAck, Want, ZoneGeneration},
};
use hickory_proto::op::ResponseCode;

use super::*;

const ZONE: &str = "glb.test";
const OTHER: &str = "other.example.test";

fn other(generation: u64) -> ZoneCatalogue {
    let mut zone = ZoneCatalogue { zone: OTHER.parse().unwrap(), ..zone(generation) };
    zone.services[0].name = format!("www.{OTHER}").parse().unwrap();
    zone
}

fn withdrawal(zone: &str, generation: u64) -> Message {
    Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(Withdrawal { zone: zone.parse().unwrap(), generation })))
}

fn resync(zone: &str, held: u64) -> Message {
    Message::Resync(Resync::Catalogue { zone: zone.parse().unwrap(), held })
}

/// A keeper whose dns-a-sync may publish two zones; `all` of them go to DNS-LBs unasked, or none.
fn lab(all: bool) -> Lab {
    let mut lab = Lab::new();
    lab.keeper.peers.get_mut(&"sync".parse::<Identity>().unwrap()).unwrap().may_publish.push(OTHER.parse().unwrap());
    let mut settings = Settings::default();
    settings.on_referral.all = !all;
    lab.keeper.directory.set_settings(settings);
    lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
    lab.say(100, Message::snapshot(zone(1)));
    lab.say(100, Message::snapshot(other(1)));
    lab.keeper.take_outbox();
    lab
}

/// What WELCOME lists, as zone, generation and whether it is on referral.
fn welcomed(lab: &mut Lab, n: u64) -> Vec<(String, u64, bool)> {
    let hello = hello(&format!("lb{n}"), PeerRole::DnsLb, 1, lab.keeper.fleet.stamp());
    let from: SocketAddr = "198.51.100.1:1000".parse().unwrap();
    let Verdict::Welcome(welcome) = lab.keeper.hello(LinkId(n), &hello, from, lab.now) else { panic!("refused") };
    assert_eq!(welcome.fleet, None, "it has the document");
    let row = |z: ZoneGeneration| (z.zone.to_string(), z.generation, z.on_referral);
    welcome.catalogues.into_iter().map(row).collect()
}

/// The news that goes to a link, in short.
fn news(lab: &mut Lab, link: u64) -> Vec<String> {
    let sent = lab.sent().into_iter().filter(|(to, _)| *to == LinkId(link));
    let short = |message| match message {
        Message::Catalogue(update) => Some(match *update {
            CatalogueUpdate::Snapshot(zone) => format!("{} {}", zone.zone, zone.generation),
            CatalogueUpdate::Delta(delta) => format!("{} {}-{}", delta.zone, delta.base, delta.generation),
            CatalogueUpdate::Withdrawn(gone) => format!("{} {} gone", gone.zone, gone.generation),
        }),
        _ => None,
    };
    sent.filter_map(|(_, message)| short(message)).collect()
}

fn refused(said: &[Message]) -> Option<String> {
    match said.iter().find(|m| matches!(m, Message::CatalogueAck(_))) {
        Some(Message::CatalogueAck(ack)) => ack.refused.clone(),
        _ => panic!("{said:?}"),
    }
}

/// The same zone with something changed that is short to say.
fn changed(generation: u64) -> ZoneCatalogue {
    ZoneCatalogue { cname_ttl: generation as u32, ..zone(generation) }
}

#[test]
fn a_dns_lb_asks_for_what_it_lacks_and_is_told_of_what_changes() {
    let mut lab = lab(true);
    let listed = welcomed(&mut lab, 1);
    assert_eq!(listed, [(format!("{ZONE}."), 1, false), (format!("{OTHER}."), 1, false)]);
    lab.keeper.established(LinkId(1));
    assert!(news(&mut lab, 1).is_empty(), "what it did not ask for it may have");
    lab.keeper.message(LinkId(1), resync(ZONE, 0), lab.now);
    lab.keeper.message(LinkId(1), resync(OTHER, 1), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 1")]);

    lab.keeper.message(LinkId(100), Message::snapshot(changed(2)), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 1-2")], "it was told that it has 1");
    lab.keeper.message(LinkId(100), Message::snapshot(changed(3)), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 2-3")], "without waiting for its answer");
    // It could not use the last one, and says what it has.
    let ack = CatalogueAck { zone: ZONE.parse().unwrap(), generation: 3, held: 2, refused: Some("no".into()) };
    lab.keeper.message(LinkId(1), Message::CatalogueAck(ack), lab.now);
    lab.keeper.message(LinkId(100), Message::snapshot(changed(4)), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 2-3"), format!("{ZONE}. 3-4")]);
    lab.keeper.message(LinkId(1), resync(ZONE, 0), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 4")]);
    let figures = lab.keeper.figures();
    assert_eq!((figures.catalogues_sent, figures.catalogues_refused_by_lb), (6, 1));

    // One that comes later and holds 2 gets the steps; one that holds the newest nothing.
    for (n, held, sent) in [(2, 2, vec![format!("{ZONE}. 2-3"), format!("{ZONE}. 3-4")]), (3, 4, vec![])] {
        welcomed(&mut lab, n);
        lab.keeper.established(LinkId(n));
        lab.keeper.message(LinkId(n), resync(ZONE, held), lab.now);
        assert_eq!(news(&mut lab, n), sent, "{n}");
    }
}

#[test]
fn what_is_published_while_a_link_comes_up_arrives() {
    let mut lab = lab(true);
    welcomed(&mut lab, 1);
    lab.keeper.message(LinkId(100), Message::snapshot(changed(2)), lab.now);
    assert!(news(&mut lab, 1).is_empty(), "nothing can be sent yet");
    lab.keeper.established(LinkId(1));
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 2")]);
    // It says what it held when it saw the WELCOME: that is older than what it was sent since.
    lab.keeper.message(LinkId(1), resync(ZONE, 1), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{ZONE}. 1-2")], "once too often does no harm");
}

#[test]
fn on_referral_only_the_zone_of_the_checks_comes_unasked() {
    let mut lab = lab(false);
    let listed = welcomed(&mut lab, 1);
    assert_eq!(listed, [(format!("{ZONE}."), 1, false), (format!("{OTHER}."), 1, true)]);
    lab.keeper.established(LinkId(1));
    lab.keeper.message(LinkId(1), resync(ZONE, 0), lab.now);
    news(&mut lab, 1);
    lab.keeper.message(LinkId(100), Message::snapshot(other(2)), lab.now);
    assert!(news(&mut lab, 1).is_empty(), "nobody asked for it");

    let want = |name: &str| Message::Want(Want { service: name.parse().unwrap() });
    lab.keeper.message(LinkId(1), want("www.nowhere.test"), lab.now);
    assert!(news(&mut lab, 1).is_empty());
    lab.keeper.message(LinkId(1), want(&format!("not-yet.{OTHER}")), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{OTHER}. 2")], "the zone, whether or not the service is there");
    lab.keeper.message(LinkId(1), want(&format!("www.{OTHER}")), lab.now);
    assert!(news(&mut lab, 1).is_empty(), "it has it");
    let mut third = other(3);
    third.cname_ttl = 3;
    lab.keeper.message(LinkId(100), Message::snapshot(third), lab.now);
    assert_eq!(news(&mut lab, 1), [format!("{OTHER}. 2-3")], "kept up to date from then on");
    let figures = lab.keeper.figures();
    assert_eq!((figures.wants, figures.wants_unknown), (3, 1));

    // Without the zone of its checks it could not be handed out: it gets the next one.
    welcomed(&mut lab, 2);
    lab.keeper.established(LinkId(2));
    lab.keeper.message(LinkId(2), resync(ZONE, 1), lab.now);
    lab.keeper.message(LinkId(100), withdrawal(ZONE, 2), lab.now);
    assert_eq!(news(&mut lab, 2), [format!("{ZONE}. 2 gone"), format!("{OTHER}. 3")]);
}

#[test]
fn on_referral_a_dns_lb_is_handed_out_before_it_has_ranked() {
    for (all, decision) in [(true, Decision::CustomerOrder), (false, Decision::Mapped)] {
        let mut lab = lab(all);
        lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
        lab.map(1, 1, &["10.1.0.1/32"]);
        lab.ready(1, 1);
        lab.check(1, true);
        assert_eq!(lab.ask("10.1.0.1").0, decision, "all: {all}");
    }
}

#[test]
fn a_withdrawn_zone_is_gone_at_once_and_only_something_newer_brings_it_back() {
    let mut lab = lab(true);
    lab.join(1, [10, 20]);
    lab.keeper.message(LinkId(1), resync(ZONE, 1), lab.now);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);
    assert!(refused(&lab.say(100, withdrawal(ZONE, 0))).unwrap().contains("older"));
    assert!(refused(&lab.say(100, withdrawal(ZONE, 1))).unwrap().contains("another content"));
    assert!(refused(&lab.say(100, withdrawal("glb2.test", 5))).unwrap().contains("may not publish"));
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped);

    lab.keeper.take_changed();
    lab.keeper.message(LinkId(100), withdrawal(ZONE, 2), lab.now);
    assert!(lab.keeper.take_changed());
    let sent = lab.sent();
    let to_lb = sent.iter().filter(|(to, m)| *to == LinkId(1) && matches!(m, Message::Catalogue(_))).count();
    assert_eq!(to_lb, 1);
    assert!(!sent.iter().any(|(_, m)| matches!(m, Message::Delegation(_))), "nobody is to delegate it");
    assert_eq!(lab.ask_for(SERVICE, "10.1.0.1", Role::Referral).0, Decision::Refused);
    assert_eq!(refused(&lab.say(100, withdrawal(ZONE, 2))), None, "once more is no mistake");
    assert!(refused(&lab.say(100, Message::snapshot(zone(2)))).unwrap().contains("withdrawn"));
    assert!(refused(&lab.say(100, Message::snapshot(zone(1)))).unwrap().contains("withdrawn"));

    // Whoever comes now hears of it only if it has it.
    let listed = welcomed(&mut lab, 2);
    assert_eq!(listed, [(format!("{ZONE}."), 2, true), (format!("{OTHER}."), 1, false)]);
    lab.keeper.established(LinkId(2));
    lab.keeper.message(LinkId(2), resync(ZONE, 1), lab.now);
    assert_eq!(news(&mut lab, 2), [format!("{ZONE}. 2 gone")]);

    assert_eq!(refused(&lab.say(100, Message::snapshot(zone(3)))), None);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Mapped, "with the rankings that were kept");
    assert_eq!(lab.keeper.figures().zones, 2);
}

#[test]
fn a_delta_is_taken_from_the_origin_too() {
    let mut lab = lab(true);
    let delta = changed(2).normalised().delta_from(&zone(1).normalised()).unwrap();
    let update = |delta| Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta)));
    assert_eq!(refused(&lab.say(100, update(delta.clone()))), None);
    assert_eq!(lab.keeper.catalogue_of(&ZONE.parse().unwrap()), Some(&changed(2).normalised()));
    assert!(refused(&lab.say(100, update(delta))).unwrap().contains("changes generation 1"));
}

#[test]
fn catalogues_are_bounded_by_right_and_generation_and_go_to_every_dns_lb() {
    let mut lab = Lab::new();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
    let refused = |said: &[Message]| match &said[0] {
        Message::CatalogueAck(ack) => ack.refused.clone(),
        other => panic!("{other:?}"),
    };
    let mut foreign = zone(1);
    foreign.zone = "other.test".parse().unwrap();
    foreign.services[0].name = "www.other.test".parse().unwrap();
    assert!(refused(&lab.say(100, Message::snapshot(foreign))).unwrap().contains("may not publish"));
    let mut empty = zone(1);
    empty.services.clear();
    assert!(refused(&lab.say(100, Message::snapshot(empty))).unwrap().contains("no service"));
    lab.keeper.message(LinkId(100), Message::snapshot(zone(5)), lab.now);
    let sent = lab.sent();
    assert!(sent.iter().any(|(to, m)| *to == LinkId(1) && matches!(m, Message::Catalogue(c) if c.generation() == 5)));
    let delegation = sent.iter().find_map(|(to, m)| match m {
        Message::Delegation(d) if *to == LinkId(100) => Some(d),
        _ => None,
    });
    let servers: Vec<String> = delegation.unwrap().servers.iter().map(|(n, a)| format!("{n} {a:?}")).collect();
    assert_eq!(servers, ["b1.glb.test. [192.0.2.10]", "b2.glb.test. [192.0.2.20]"]);
    assert!(refused(&lab.say(100, Message::snapshot(zone(4)))).unwrap().contains("older"));
    assert_eq!(refused(&lab.say(100, Message::snapshot(zone(5)))), None);
    let mut other = zone(5);
    other.services[0].ttl = 7;
    assert!(refused(&lab.say(100, Message::snapshot(other))).unwrap().contains("another content"));
    let mut server = zone(6);
    server.services[0].name = "www.b2.glb.test".parse().unwrap();
    assert!(refused(&lab.say(100, Message::snapshot(server))).unwrap().contains("dns-b"));
    let figures = lab.keeper.figures();
    assert_eq!((figures.catalogues_adopted, figures.catalogues_refused, figures.zones), (2, 5, 1));
}

/// Whoever may publish a zone makes it ours; until its catalogue comes, names in it are not refused.
#[test]
fn zones_that_may_be_published_are_ours_before_they_come() {
    let mut lab = Lab::with_catalogue();
    let mut config = config();
    let decision = |lab: &Lab, name: &str| lab.ask_for(name, "192.0.2.1", Role::Referral).0;
    assert_eq!(decision(&lab, "www.other.test"), Decision::Refused);
    let sync = config.peers.get_mut(&"sync".parse::<Identity>().unwrap()).unwrap();
    sync.may_publish.push("other.test".parse().unwrap());
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(decision(&lab, "www.other.test"), Decision::NotReady);
    assert_eq!(decision(&lab, "elsewhere.test"), Decision::Refused);
    // So it is from the start.
    let early = Lab::new();
    assert_eq!(decision(&early, SERVICE), Decision::NotReady);
    assert_eq!(decision(&early, "www.other.test"), Decision::Refused);
}

/// Another dns-b has a newer catalogue, and sends clients to what is new in it.
#[test]
fn a_service_of_a_newer_catalogue_is_not_denied_before_that_comes() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    let new = |catalogue| Ranking { service: "new.glb.test".parse().unwrap(), catalogue, ..ranking([10, 20]) };
    let asked = |lab: &Lab, name: &str, role| {
        let (decision, reply) = lab.ask_for(name, "10.1.0.1", role);
        (decision, reply.metadata.response_code)
    };
    let denied = (Decision::Authority, ResponseCode::NXDomain);
    let not_ready = (Decision::NotReady, ResponseCode::ServFail);
    assert_eq!(asked(&lab, "new.lb1.glb.test", Role::Fallback), denied);
    // By the generation that is held here it may be an old one.
    lab.report(1, 2, 0, vec![ranking([10, 20]), new(1)]);
    assert_eq!(asked(&lab, "new.lb1.glb.test", Role::Fallback), denied);
    lab.report(1, 3, 0, vec![ranking([10, 20]), new(2)]);
    for (name, role) in [
        ("new.lb1.glb.test", Role::Fallback),
        ("new.lb2.glb.test", Role::Fallback),
        ("new.unheard-of.glb.test", Role::Referral),
        ("new.glb.test", Role::Referral),
    ] {
        assert_eq!(asked(&lab, name, role), not_ready, "{name}");
    }
    assert_eq!(asked(&lab, "other.lb1.glb.test", Role::Fallback), denied);
    assert_eq!(asked(&lab, "www.lb1.glb.test", Role::Fallback).0, Decision::Label);
    // It comes.
    let mut next = zone(2);
    next.services.push(Service { name: "new.glb.test".parse().unwrap(), ..next.services[0].clone() });
    lab.say(100, Message::snapshot(next));
    assert_eq!(asked(&lab, "new.lb1.glb.test", Role::Fallback).0, Decision::Label);
    // It goes again, and whoever still ranks it is behind.
    lab.say(100, Message::snapshot(zone(3)));
    assert_eq!(asked(&lab, "new.lb1.glb.test", Role::Fallback), denied);
}

#[test]
fn names_that_are_made_up_are_denied_again_when_nobody_says_them_any_more() {
    let mut lab = Lab::with_catalogue();
    (1..=2).for_each(|n| lab.join(n, [10, 20]));
    let made_up = Ranking { service: "x.glb.test".parse().unwrap(), catalogue: 9, ..ranking([10, 20]) };
    let decision = |lab: &Lab| lab.ask_for("x.lb1.glb.test", "10.1.0.1", Role::Fallback).0;
    lab.report(1, 2, 0, vec![made_up.clone()]);
    lab.report(2, 2, 1, vec![made_up]);
    assert_eq!(decision(&lab), Decision::NotReady);
    lab.report(1, 3, 0, vec![]);
    assert_eq!(decision(&lab), Decision::NotReady, "lb2 still does");
    lab.keeper.closed(LinkId(2), lab.now);
    lab.pass(60);
    assert_eq!(decision(&lab), Decision::Authority);
}
