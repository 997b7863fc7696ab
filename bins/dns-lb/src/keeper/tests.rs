mod decisions;
mod floods;
mod health;
mod keep;
mod news;
mod residence;

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    catalogue::{Service, ZoneStyle},
    dns::{Asked, Decision, Handled, Responder, Role, Transport},
    fleet::{FleetLabel, FleetServer, FleetTtls},
    proto::message::{BootId, MapAck, Report, ReportAck},
};

use super::*;
use crate::{
    measurements::tests::{sample, service},
    metrics::CatalogueLabels,
};

const SETTLE: Duration = Duration::from_secs(5);
const DIGEST: Duration = Duration::from_secs(60);
const ON_DEMAND: Duration = Duration::from_secs(60);

/// A keeper and its fake time.
struct Lb {
    keeper: Keeper,
    now: Instant,
    metrics: Metrics,
}

impl Lb {
    fn new() -> Self {
        let claim = Claim {
            addresses: vec!["198.51.100.53".parse().unwrap()],
            resolvers: vec!["192.0.2.1".parse().unwrap()],
            networks: vec![],
            preference: 0,
            weight: 1,
            lease: Duration::from_secs(60),
        };
        let servers = vec![id("b1"), id("b2")];
        let (identity, first_question, on_demand_after) = (id("sea1"), FirstQuestion::default(), ON_DEMAND);
        let (settle, digest, self_check) = (SETTLE, DIGEST, DIGEST);
        let here = Here::default();
        let settings =
            Settings { identity, claim, servers, settle, digest, self_check, first_question, on_demand_after, here };
        let (now, metrics) = (Instant::now(), Metrics::default());
        Self { keeper: Keeper::new(settings, metrics.clone(), now), now, metrics }
    }

    /// Connected to `b1` and with a catalogue of one service, but not measured.
    fn with_catalogue() -> (Self, Service) {
        let mut lb = Self::new();
        lb.up("b1", fleet(1));
        let www = service("www.glb.test", 3);
        lb.said("b1", Message::snapshot(zone("glb.test", 1, vec![www.clone()])));
        (lb, www)
    }

    /// Measured, too: `s2` is the nearest, then `s1`, then `s3`.
    fn measured() -> (Self, Service) {
        let (mut lb, www) = Self::with_catalogue();
        for (n, ms) in [(1, 50), (2, 20), (3, 90)] {
            for _ in 0..3 {
                lb.sample(&www, n, Some(ms));
            }
        }
        (lb, www)
    }

    fn handle(&mut self, event: Event) -> Effects {
        self.keeper.handle(event, self.now)
    }

    fn up(&mut self, server: &str, fleet: Fleet) -> Effects {
        self.up_holding(server, fleet, 0)
    }

    /// Up to a dns-b that holds this report.
    fn up_holding(&mut self, server: &str, fleet: Fleet, report_generation: u64) -> Effects {
        let welcome = welcome(server, fleet, report_generation);
        self.handle(Event::Up(id(server), Box::new(welcome), FleetStamp::default()))
    }

    fn said(&mut self, server: &str, message: Message) -> Effects {
        self.handle(Event::Said(id(server), message))
    }

    fn sample(&mut self, service: &Service, n: usize, ms: Option<u64>) -> Effects {
        let sample = sample(service, n, ms, self.now);
        self.handle(Event::Sample(sample))
    }

    /// What DNS says: the question's `decision` and the addresses in the answer's octets.
    fn ask(&self, name: &str) -> (Handled, Vec<u8>) {
        let name: Name = name.parse().unwrap();
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend_from_slice(name.wire());
        packet.extend_from_slice(&[0, 1, 0, 1]);
        let peer: SocketAddr = "192.0.2.1:5353".parse().unwrap();
        let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role: Role::DnsLb };
        let mut reply = vec![0; 4_096];
        let handled = Responder::with_defaults(self.keeper.directory()).respond(&asked, &mut reply);
        reply.truncate(handled.length);
        (handled, reply)
    }

    /// The address that the service is answered with.
    fn answered(&self) -> String {
        let (_, reply) = self.ask("www.sea1.glb.test");
        let octets: [u8; 4] = *reply.last_chunk().unwrap();
        IpAddr::from(octets).to_string()
    }
}

fn welcome(server: &str, fleet: Fleet, report_generation: u64) -> Welcome {
    Welcome {
        version: 1,
        identity: id(server),
        boot: BootId([7; 16]),
        observed: "203.0.113.9:4000".parse().unwrap(),
        features: 0,
        fleet: Some(fleet),
        map_generation: 0,
        report_generation,
        catalogues: vec![],
    }
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn fleet(serial: u32) -> Fleet {
    Fleet {
        serial,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![FleetServer {
            identity: id("b1"),
            referral: vec!["203.0.113.1".parse().unwrap()],
            fallback: vec!["203.0.113.2".parse().unwrap()],
        }],
        labels: vec![],
        ttl: FleetTtls::default(),
    }
}

fn zone(name: &str, generation: u64, services: Vec<Service>) -> ZoneCatalogue {
    ZoneCatalogue {
        zone: name.parse().unwrap(),
        generation,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services,
        records: vec![],
    }
}

fn report(effects: &Effects) -> Option<(&str, &Report)> {
    effects.send.iter().find_map(|(to, message)| match message {
        Message::Report(report) => Some((to.as_str(), report)),
        _ => None,
    })
}

fn order(report: &Report) -> Vec<&str> {
    report.rankings[0].sites.iter().map(|s| s.site.as_str()).collect()
}

fn refusal(effects: &Effects) -> Option<&str> {
    effects.send.iter().find_map(|(_, message)| match message {
        Message::CatalogueAck(ack) => Some(ack.refused.as_deref().unwrap_or("accepted")),
        _ => None,
    })
}

#[test]
fn from_the_first_link_to_the_first_answer() {
    let mut lb = Lb::new();
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::NotReady);
    let effects = lb.up("b1", fleet(1));
    assert!(matches!(&effects.send[..], [(to, Message::Map(_))] if to.as_str() == "b1"), "{effects:?}");
    let www = service("www.glb.test", 3);
    let effects = lb.said("b1", Message::snapshot(zone("glb.test", 1, vec![www.clone()])));
    assert_eq!(refusal(&effects), Some("accepted"));
    assert!(effects.targets && effects.answers);
    assert_eq!(lb.keeper.targets().len(), 3);
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Relay);
    assert!(!lb.keeper.can_answer());

    for n in 1..=2 {
        for _ in 0..3 {
            assert_eq!(lb.sample(&www, n, Some(70 - 20 * n as u64)), Effects::default());
        }
    }
    lb.sample(&www, 3, None);
    let effects = lb.sample(&www, 3, None);
    assert!(effects.answers && !effects.targets);
    let (to, first) = report(&effects).unwrap();
    assert_eq!((to, first.generation, first.base, order(first)), ("b1", 1, 0, vec!["s2", "s1", "s3"]));
    assert!(lb.keeper.can_answer());
    for name in ["www.sea1.glb.test", "www.glb.test"] {
        let (handled, reply) = lb.ask(name);
        assert_eq!((handled.decision, handled.rcode), (Decision::Label, 0), "{name}");
        assert!(reply.ends_with(&[192, 0, 2, 2]), "{reply:?}");
    }
    assert_eq!(lb.ask("www.lon1.glb.test").0.rcode, 5, "somebody else's label");
    assert_eq!(lb.metrics.ranking_changes.get(), 1);
    let labels = |outcome| ProbeLabels { kind: "tcp", outcome };
    assert_eq!(lb.metrics.probes.get_or_create(&labels("ok")).get(), 6);
    assert_eq!(lb.metrics.probes.get_or_create(&labels("refused")).get(), 2);
    assert_eq!((lb.metrics.services.get(), lb.metrics.services_ranked.get()), (1, 1));
}

/// Which names are its own a DNS-LB hears from a dns-b, zone by zone: until it has heard of all, it
/// refuses nothing.
#[test]
fn names_are_refused_only_when_all_zones_are_known() {
    let (mut lb, _) = Lb::with_catalogue();
    let decision = |lb: &Lb, name: &str| lb.ask(name).0.decision;
    assert_eq!(decision(&lb, "www.other.test"), Decision::NotReady, "its catalogue may be on its way");
    let other = zone("other.test", 1, vec![service("www.other.test", 3)]);
    lb.said("b1", Message::snapshot(other));
    assert_eq!(decision(&lb, "elsewhere.test"), Decision::NotReady);
    // What a dns-b was told it answers behind all of its catalogues.
    let effects = lb.said("b1", Message::MapAck(MapAck { generation: 1, accepted: 1, refused: vec![] }));
    assert!(effects.answers);
    assert_eq!(decision(&lb, "elsewhere.test"), Decision::Refused);
    assert_eq!(decision(&lb, "www.other.test"), Decision::NotReady, "it is not measured");
    // A link that comes up again changes nothing.
    lb.handle(Event::Down(id("b1")));
    lb.up("b1", fleet(1));
    assert_eq!(decision(&lb, "elsewhere.test"), Decision::Refused);
}

#[test]
fn a_dead_site_moves_answers_and_reports_at_once() {
    let (mut lb, www) = Lb::measured();
    lb.said("b1", Message::ReportAck(ReportAck { generation: 1, refused: 0 }));
    assert_eq!(lb.sample(&www, 2, None), Effects::default(), "one failure is no verdict");
    let effects = lb.sample(&www, 2, None);
    let (_, delta) = report(&effects).unwrap();
    assert_eq!((delta.generation, delta.base, order(delta)), (2, 1, vec!["s1", "s3", "s2"]));
    assert!(lb.ask("www.sea1.glb.test").1.ends_with(&[192, 0, 2, 1]));
    assert_eq!((lb.metrics.reports_sent.get(), lb.metrics.reports_acknowledged.get()), (2, 1));
}

/// What happens when all sites fail while a dns-b is reached, be it that the way to it is another one.
#[test]
fn an_outage_of_its_own_ends_where_it_began() {
    let (mut lb, www) = Lb::measured();
    let twice = |lb: &mut Lb, n, ms| {
        lb.sample(&www, n, ms);
        lb.sample(&www, n, ms);
        lb.ask("www.sea1.glb.test").1.last().copied()
    };
    // Site by site comes to its verdict, and the answers flee before it.
    assert_eq!(twice(&mut lb, 2, None), Some(1));
    assert_eq!(twice(&mut lb, 1, None), Some(3));
    // All are down: the last good figures count, so it is the nearest again.
    assert_eq!(twice(&mut lb, 3, None), Some(2));
    let order = |lb: &Lb| -> Vec<_> {
        let ranking = lb.keeper.rankings().next().unwrap().1.unwrap();
        ranking.sites.iter().map(|s| (s.site.clone(), s.health())).collect()
    };
    use dglb_core::report::Health::{Down, Up};
    let all = |health| ["s2", "s1", "s3"].map(|site| (site.to_owned(), health)).to_vec();
    assert_eq!(order(&lb), all(Down));
    // A known weakness: whichever site is probed first when the network is back is the answer
    // until the nearest has its own verdict, which takes up to `rise` intervals.
    assert_eq!(twice(&mut lb, 3, Some(90)), Some(3));
    assert_eq!(twice(&mut lb, 1, Some(50)), Some(1));
    assert_eq!(twice(&mut lb, 2, Some(20)), Some(2));
    assert_eq!(order(&lb), all(Up));
}

#[test]
fn after_a_restart_a_blackholed_service_delays_no_other_and_loses_nothing() {
    let mut lb = Lb::new();
    lb.up_holding("b1", fleet(1), 41);
    let (www, api) = (service("www.glb.test", 1), service("api.other.test", 1));
    lb.said("b1", Message::snapshot(zone("glb.test", 1, vec![www.clone()])));
    lb.said("b1", Message::snapshot(zone("other.test", 1, vec![api.clone()])));
    for _ in 0..2 {
        assert_eq!(report(&lb.sample(&www, 1, Some(50))), None);
    }
    // No probe of the other service has ended yet.
    let effects = lb.sample(&www, 1, Some(50));
    let (_, first) = report(&effects).unwrap();
    assert_eq!((first.generation, first.base, first.rankings.len()), (42, 41, 1), "what b1 holds of api stays");
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Label);
    assert_eq!(lb.ask("api.sea1.other.test").0.decision, Decision::Relay);
    lb.said("b1", Message::ReportAck(ReportAck { generation: 42, refused: 0 }));
    lb.now += DIGEST;
    assert_eq!(report(&lb.handle(Event::Tick)).unwrap().1.base, 42);
    lb.said("b1", Message::ReportAck(ReportAck { generation: 43, refused: 0 }));
    lb.sample(&api, 1, None);
    let effects = lb.sample(&api, 1, None);
    let (_, whole) = report(&effects).unwrap();
    assert_eq!((whole.base, whole.rankings.len()), (0, 2));
}

#[test]
fn a_slow_address_is_not_waited_for_for_ever() {
    let (mut lb, www) = Lb::with_catalogue();
    for _ in 0..3 {
        lb.sample(&www, 3, Some(10));
    }
    assert_eq!(lb.handle(Event::Tick), Effects::default());
    lb.now += SETTLE;
    let effects = lb.handle(Event::Tick);
    assert_eq!(order(report(&effects).unwrap().1), ["s3", "s1", "s2"]);
    assert!(effects.answers);
}

#[test]
fn everything_again_at_an_interval() {
    let (mut lb, www) = Lb::measured();
    lb.said("b1", Message::ReportAck(ReportAck { generation: 1, refused: 0 }));
    for _ in 0..9 {
        assert_eq!(lb.sample(&www, 2, Some(25)), Effects::default(), "the order is the same");
    }
    lb.now += DIGEST;
    let effects = lb.handle(Event::Tick);
    let (_, digest) = report(&effects).unwrap();
    assert_eq!((digest.base, digest.rankings[0].sites[0].addresses[0].latency_us), (0, Some(25_000)));
    assert_eq!(lb.handle(Event::Tick), Effects::default());
    let effects = lb.said("b1", Message::GetReport);
    assert_eq!(report(&effects).unwrap().1.base, 0);
}

#[test]
fn the_newest_catalogue_wins_wherever_it_comes_from() {
    let (mut lb, www) = Lb::measured();
    lb.up("b2", fleet(1));
    let offer = |lb: &mut Lb, generation, services| {
        let effects = lb.said("b2", Message::snapshot(zone("glb.test", generation, services)));
        (refusal(&effects).unwrap().to_owned(), effects)
    };
    assert_eq!(offer(&mut lb, 1, vec![www.clone()]).0, "accepted", "the same again");
    let (reason, _) = offer(&mut lb, 1, vec![service("api.glb.test", 1)]);
    assert_eq!(reason, "generation 1 is in use with another content");
    assert_eq!(lb.metrics.catalogue_conflicts.get(), 1);
    let (reason, _) = offer(&mut lb, 2, vec![]);
    assert_eq!(reason, "zone glb.test. has no service");
    assert_eq!(lb.keeper.catalogues()[&"glb.test".parse::<Name>().unwrap()].generation, 1);

    lb.said("b1", Message::ReportAck(ReportAck { generation: 1, refused: 0 }));
    let (reason, effects) = offer(&mut lb, 3, vec![service("api.glb.test", 1)]);
    assert_eq!(reason, "accepted");
    assert!(effects.targets);
    assert_eq!(report(&effects).unwrap().1.removed, ["www.glb.test".parse::<Name>().unwrap()]);
    let (reason, _) = offer(&mut lb, 2, vec![www.clone()]);
    assert_eq!(reason, "generation 3 is in use, which is newer than 2");
    assert_eq!(lb.sample(&www, 1, Some(1)), Effects::default(), "a late probe of what is gone");
    assert_eq!(lb.keeper.targets().len(), 1);
    let outcomes = |outcome| lb.metrics.catalogues.get_or_create(&CatalogueLabels { outcome }).get();
    assert_eq!((outcomes("accepted"), outcomes("refused")), (3, 3));
}

#[test]
fn a_dns_b_that_is_behind_is_shown_until_it_has_caught_up_or_is_gone() {
    let (mut lb, www) = Lb::with_catalogue();
    let offer = |lb: &mut Lb, server: &str, generation| {
        let effects = lb.said(server, Message::snapshot(zone("glb.test", generation, vec![www.clone()])));
        (refusal(&effects).unwrap().to_owned(), lb.metrics.catalogues_behind.get())
    };
    offer(&mut lb, "b1", 9);
    lb.up("b2", fleet(1));
    let reason = "generation 9 is in use, which is newer than 1";
    assert_eq!(offer(&mut lb, "b1", 1), (reason.to_owned(), 1));
    assert_eq!(offer(&mut lb, "b2", 1), (reason.to_owned(), 2));
    assert_eq!(lb.keeper.behind().next().unwrap(), (&id("b1"), &"glb.test".parse().unwrap(), 1));
    assert_eq!(offer(&mut lb, "b1", 10), ("accepted".to_owned(), 1));
    lb.handle(Event::Down(id("b2")));
    assert_eq!(lb.metrics.catalogues_behind.get(), 0);
}

#[test]
fn dns_bs_of_the_fleet_document_that_nobody_dials_are_an_alarm() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(1));
    assert_eq!(lb.metrics.fleet_not_dialled.get(), 0);
    let mut larger = fleet(2);
    larger.servers.push(FleetServer {
        identity: id("b3"),
        referral: vec!["203.0.113.5".parse().unwrap()],
        fallback: vec!["203.0.113.6".parse().unwrap()],
    });
    lb.said("b1", Message::Fleet(Box::new(larger)));
    assert_eq!((lb.metrics.fleet_not_dialled.get(), lb.keeper.not_dialled()), (1, &[id("b3")][..]));
    lb.said("b1", Message::Fleet(Box::new(fleet(3))));
    assert_eq!(lb.metrics.fleet_not_dialled.get(), 0);
}

#[test]
fn a_service_belongs_to_one_zone() {
    let (mut lb, www) = Lb::with_catalogue();
    let mut host_style = zone("www.glb.test", 1, vec![www]);
    host_style.style = ZoneStyle::Host;
    let effects = lb.said("b1", Message::snapshot(host_style));
    assert_eq!(refusal(&effects), Some("service www.glb.test. is in zone glb.test. already"));
    assert_eq!(lb.keeper.catalogues().len(), 1);
}

#[test]
fn the_newest_fleet_document_wins_and_disagreement_is_an_alarm() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(5));
    assert_eq!((lb.metrics.fleet_serial.get(), lb.metrics.fleet_disagreements.get()), (5, 0));
    let effects = lb.up("b2", fleet(4));
    assert!(!effects.answers);
    assert_eq!((lb.metrics.fleet_serial.get(), lb.metrics.fleet_disagreements.get()), (5, 1));
    // The operator states our addresses now: those are what every server gives as glue.
    let mut newer = fleet(6);
    let stated: IpAddr = "198.51.100.99".parse().unwrap();
    newer.labels.push(FleetLabel { identity: id("sea1"), addresses: vec![stated] });
    assert!(lb.said("b2", Message::Fleet(Box::new(newer.clone()))).answers);
    assert_eq!((lb.metrics.fleet_serial.get(), lb.metrics.fleet_disagreements.get()), (6, 1));
    assert_eq!(lb.keeper.directory().own().unwrap().1.addresses, [stated]);
    lb.said("b1", Message::Fleet(Box::new(newer)));
    assert_eq!(lb.metrics.fleet_disagreements.get(), 0);
    // One serial, two contents.
    let mut other = fleet(6);
    other.ttl.retry = 1;
    lb.said("b1", Message::Fleet(Box::new(other)));
    assert_eq!(lb.metrics.fleet_disagreements.get(), 1);
    lb.handle(Event::Down(id("b1")));
    assert_eq!(lb.metrics.fleet_disagreements.get(), 0, "who is not there does not disagree");
    // A broken one changes nothing.
    let mut broken = fleet(9);
    broken.servers.clear();
    assert!(!lb.said("b2", Message::Fleet(Box::new(broken))).answers);
    assert_eq!(lb.metrics.fleet_serial.get(), 6);
}

/// A WELCOME without a document speaks of the one that HELLO named, which may not be the newest any more.
#[test]
fn a_dns_b_that_has_what_hello_named_is_behind_once_a_newer_one_has_come() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(5));
    let five = lb.keeper.fleet_stamp();
    assert_eq!(five, fleet(5).stamp());
    // Between the HELLO to b2 and its WELCOME, b1 brings a newer one.
    lb.said("b1", Message::Fleet(Box::new(fleet(6))));
    let mut welcome = welcome("b2", fleet(5), 0);
    welcome.fleet = None;
    lb.handle(Event::Up(id("b2"), Box::new(welcome.clone()), five));
    assert_eq!((lb.metrics.fleet_serial.get(), lb.metrics.fleet_disagreements.get()), (6, 1));
    assert_eq!(lb.keeper.fleet_disagrees().collect::<Vec<_>>(), [&id("b2")]);
    // On the next link it is told the newer one's name, and has it, too.
    lb.handle(Event::Down(id("b2")));
    lb.handle(Event::Up(id("b2"), Box::new(welcome), lb.keeper.fleet_stamp()));
    assert_eq!(lb.metrics.fleet_disagreements.get(), 0);
}

#[test]
fn registered_when_all_that_are_reached_have_acknowledged() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(1));
    lb.up("b2", fleet(1));
    let ack = |generation| Message::MapAck(MapAck { generation, accepted: 1, refused: vec![] });
    assert!(lb.said("b1", ack(1)).send.is_empty());
    assert_eq!(lb.metrics.registered.get(), 0);
    let effects = lb.said("b2", ack(1));
    assert!(matches!(&effects.send[..], [(_, Message::Ready(_)), (_, Message::Ready(_))]), "{effects:?}");
    assert_eq!((lb.metrics.registered.get(), lb.metrics.map_generation.get()), (1, 1));
    let effects = lb.handle(Event::Resolvers(vec!["192.0.2.7".parse().unwrap()]));
    assert!(matches!(&effects.send[..], [(_, Message::Map(_)), (_, Message::Map(_))]), "{effects:?}");
    assert_eq!((lb.metrics.registered.get(), lb.metrics.map_generation.get()), (0, 2));
    lb.said("b1", Message::Drain(true));
    assert!(lb.keeper.drained_by().contains(&id("b1")));
    lb.said("b1", Message::Drain(false));
    assert!(lb.keeper.drained_by().is_empty());
    let effects = lb.said("b2", Message::Resync(Resync::Map));
    assert!(matches!(&effects.send[..], [(to, Message::Map(_))] if to.as_str() == "b2"), "{effects:?}");
}

mod steering;
