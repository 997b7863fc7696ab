use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use dglb_core::{
    answer::{Question, answer},
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{LbState, Settings},
    dns::{Decision, Role},
    fleet::{Fleet, FleetServer, FleetTtls},
    locate::Client,
    name::Name,
    proto::message::{
        BootId, EntryKind, Hello, Map, MapEntry, Message, PeerRole, Ready, RefuseReason, RefusedReason, Report, Resync,
        Unmap,
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use dglb_node::link::{LinkId, PlainTcp};

use super::{CheckOutcome, Checked, Keeper, Verdict};
use crate::config::{CheckConfig, Config, DefaultMember, MapConfig, Peer};

const SERVICE: &str = "www.glb.test";
const LEASE: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config() -> Config {
    let server = |identity: &str, n: u8| FleetServer {
        identity: identity.parse().unwrap(),
        referral: vec![ip(&format!("192.0.2.{n}"))],
        fallback: vec![ip(&format!("192.0.2.{}", n + 1))],
    };
    let fleet = Fleet {
        serial: 1,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![server("b1", 10), server("b2", 20)],
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    let lb = |n: u8| {
        let may_map = vec![format!("10.{n}.0.0/16").parse().unwrap()];
        (format!("lb{n}").parse().unwrap(), Peer { role: PeerRole::DnsLb, may_map, may_publish: vec![] })
    };
    let sync = Peer { role: PeerRole::DnsASync, may_map: vec![], may_publish: vec!["glb.test".parse().unwrap()] };
    Config {
        identity: "b1".parse().unwrap(),
        fleet: Fleet::new(fleet).unwrap(),
        referral: vec![],
        fallback: vec![],
        lanes: None,
        settings: Settings::default(),
        default_group: vec![DefaultMember { identity: "lb9".parse().unwrap(), preference: 1, weight: 1 }],
        map: MapConfig { listen: vec![], plain_tcp: PlainTcp::Loopback, lease: LEASE },
        check: CheckConfig { interval: Duration::from_secs(10), timeout: Duration::from_secs(2), fall: 2 },
        stale_after: Duration::from_secs(180),
        peers: (1..=9).map(lb).chain([("sync".parse().unwrap(), sync)]).collect(),
        admin: "127.0.0.1:0".parse().unwrap(),
    }
}

fn zone(generation: u64) -> ZoneCatalogue {
    let site = |n: u8| Site { name: format!("site{n}"), addresses: vec![ip(&format!("203.0.113.{n}"))], cost: 0.0 };
    ZoneCatalogue {
        zone: "glb.test".parse().unwrap(),
        generation,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3600,
        services: vec![Service {
            name: SERVICE.parse().unwrap(),
            host: "www.test".parse().unwrap(),
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Policy::default(),
            probes: vec![Probe {
                kind: ProbeKind::Tcp { port: 80 },
                interval_ms: 1000,
                timeout_ms: 500,
                fall: 2,
                rise: 1,
            }],
            sites: vec![site(1), site(2)],
        }],
        records: vec![],
    }
}

/// Latencies in milliseconds of `site1` and `site2`.
fn ranking(latencies: [u32; 2]) -> Ranking {
    let mut sites: Vec<RankedSite> = (1..=2u8)
        .zip(latencies)
        .map(|(n, ms)| {
            let address = ip(&format!("203.0.113.{n}"));
            let figures = Figures { address, health: Health::Up, latency_us: Some(ms * 1000) };
            RankedSite { site: format!("site{n}"), score: Some(f64::from(ms)), addresses: vec![figures] }
        })
        .collect();
    sites.sort_by(|a, b| a.score.partial_cmp(&b.score).unwrap());
    Ranking { service: SERVICE.parse().unwrap(), catalogue: 1, sites }
}

/// A keeper with its clock; links are numbered like the DNS-LBs, dns-a-sync is link 100.
struct Lab {
    keeper: Keeper,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        Self { keeper: Keeper::new(&config(), BootId([1; 16])), now: Instant::now() }
    }

    fn with_catalogue() -> Self {
        let mut lab = Self::new();
        lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
        lab.say(100, Message::Catalogue(Box::new(zone(1))));
        lab
    }

    fn dial(&mut self, link: u64, identity: &str, role: PeerRole, boot: u8) -> Result<(), RefuseReason> {
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role,
            identity: identity.parse().unwrap(),
            boot: BootId([boot; 16]),
            uptime_ms: 0,
            features: 0,
        };
        let from: SocketAddr = "198.51.100.1:1000".parse().unwrap();
        match self.keeper.hello(LinkId(link), &hello, from, self.now) {
            Verdict::Welcome(welcome) => {
                assert_eq!(welcome.fleet, config().fleet);
                self.keeper.established(LinkId(link));
                Ok(())
            }
            Verdict::Refuse(refuse) => Err(refuse.reason),
        }
    }

    fn say(&mut self, link: u64, message: Message) -> Vec<Message> {
        self.keeper.take_outbox();
        self.keeper.message(LinkId(link), message, self.now);
        self.keeper.take_outbox().into_iter().filter(|(to, _)| *to == LinkId(link)).map(|(_, m)| m).collect()
    }

    fn map(&mut self, n: u8, generation: u64, prefixes: &[&str]) -> Vec<Message> {
        let entry =
            |p: &&str| MapEntry { prefix: p.parse().unwrap(), kind: EntryKind::Resolver, preference: 1, weight: 1 };
        let map = Map {
            generation,
            lease_ms: 60_000,
            addresses: vec![ip(&format!("198.18.0.{n}"))],
            entries: prefixes.iter().map(entry).collect(),
        };
        self.say(u64::from(n), Message::Map(map))
    }

    fn ready(&mut self, n: u8, map_generation: u64) {
        let servers = vec!["b1".parse().unwrap(), "b2".parse().unwrap()];
        self.say(u64::from(n), Message::Ready(Ready { map_generation, servers }));
    }

    fn check(&mut self, n: u8, passed: bool) {
        let outcome = if passed { CheckOutcome::Passed } else { CheckOutcome::Failed("no answer".into()) };
        let lb = self.keeper.directory().lb_of(&format!("lb{n}").parse().unwrap()).unwrap();
        let addresses = vec![ip(&format!("198.18.0.{n}"))];
        self.keeper.checked(Checked { lb, addresses, outcome }, self.now);
    }

    fn report(&mut self, n: u8, generation: u64, base: u64, rankings: Vec<Ranking>) -> Vec<Message> {
        self.say(u64::from(n), Message::Report(Report { generation, base, rankings, removed: vec![] }))
    }

    /// Connects `lb<n>` beside resolver `10.<n>.0.1` and brings it to where it is handed out.
    fn join(&mut self, n: u8, latencies: [u32; 2]) {
        self.dial(u64::from(n), &format!("lb{n}"), PeerRole::DnsLb, 1).unwrap();
        self.map(n, 1, &[&format!("10.{n}.0.1/32")]);
        self.ready(n, 1);
        self.report(n, 1, 0, vec![ranking(latencies)]);
        self.check(n, true);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.keeper.tick(self.now);
    }

    /// How a resolver's question is answered: the way, the TTL, and the last label but two of a
    /// CNAME or the address.
    fn ask(&self, resolver: &str) -> (Decision, u32) {
        let name: Name = SERVICE.parse().unwrap();
        let client = Client::new(self.keeper.directory(), ip(resolver), None);
        let question = Question { name: name.wire(), qtype: 1, client, role: Role::Referral };
        let answer = answer(self.keeper.directory(), &question);
        (answer.decision, answer.answer[0].ttl)
    }

    fn state(&self, n: u8) -> LbState {
        let directory = self.keeper.directory();
        directory.find_lb(directory.lb_of(&format!("lb{n}").parse().unwrap()).unwrap()).unwrap().state
    }
}

#[test]
fn only_configured_peers_in_their_role_come_in() {
    let mut lab = Lab::new();
    assert_eq!(lab.dial(1, "stranger", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(1, "lb1", PeerRole::DnsASync, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.keeper.figures().refused_links, 2);
    assert_eq!(lab.dial(1, "lb1", PeerRole::DnsLb, 1), Ok(()));
    assert_eq!(lab.keeper.figures().links, 1);
}

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
        [("10.2.0.1/32".into(), RefusedReason::NotAllowed), ("10.0.0.0/8".into(), RefusedReason::NotAllowed)]
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
fn a_lost_link_makes_suspect_and_the_lease_end_forgets() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    assert_eq!((lab.ask("10.1.0.1"), lab.state(1)), ((Decision::Mapped, 3600), LbState::Alive));
    lab.keeper.closed(LinkId(1), lab.now);
    assert_eq!((lab.ask("10.1.0.1"), lab.state(1)), ((Decision::Suspect, 60), LbState::Suspect));
    lab.pass(59);
    assert_eq!(lab.ask("10.1.0.1").0, Decision::Suspect);
    lab.pass(1);
    assert_eq!((lab.ask("10.1.0.1").0, lab.state(1)), (Decision::CustomerOrder, LbState::Gone));
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
    assert!(matches!(lab.keeper.take_outbox()[0], (LinkId(1), Message::Bye(_))));
    // The old link's end is no news about the DNS-LB.
    lab.keeper.closed(LinkId(1), lab.now);
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
}

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
    assert_eq!((due(&mut lab), due(&mut lab)), (1, 0));
    lab.pass(1);
    assert_eq!(due(&mut lab), 1);
    lab.check(1, true);
    lab.pass(1);
    assert_eq!(due(&mut lab), 1);
    lab.pass(9);
    assert_eq!(due(&mut lab), 0);
    lab.pass(1);
    assert_eq!(due(&mut lab), 1);
}

#[test]
fn many_failures_at_once_are_presumed_to_be_ones_own() {
    let mut lab = Lab::with_catalogue();
    (1..=8).for_each(|n| lab.join(n, [10, 20]));
    (1..=2).for_each(|n| lab.keeper.closed(LinkId(n), lab.now));
    lab.pass(1);
    assert_eq!((lab.state(1), lab.keeper.figures().own_fault), (LbState::Suspect, false));
    lab.keeper.closed(LinkId(3), lab.now);
    lab.pass(1);
    assert!(lab.keeper.figures().own_fault);
    assert!((1..=8).all(|n| lab.state(n) == LbState::Alive));
    // But a lease that ends, ends.
    lab.pass(60);
    assert_eq!((lab.state(1), lab.state(4)), (LbState::Gone, LbState::Alive));
    assert!(!lab.keeper.figures().own_fault);
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
    lab.say(100, Message::Catalogue(Box::new(zone(1))));
    assert_eq!(lab.ask("10.1.0.1"), (Decision::Mapped, 3600));
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
    assert!(refused(&lab.say(100, Message::Catalogue(Box::new(foreign)))).unwrap().contains("may not publish"));
    let mut empty = zone(1);
    empty.services.clear();
    assert!(refused(&lab.say(100, Message::Catalogue(Box::new(empty)))).unwrap().contains("no service"));
    lab.keeper.message(LinkId(100), Message::Catalogue(Box::new(zone(5))), lab.now);
    let sent = lab.keeper.take_outbox();
    assert!(sent.iter().any(|(to, m)| *to == LinkId(1) && matches!(m, Message::Catalogue(c) if c.generation == 5)));
    let delegation = sent.iter().find_map(|(to, m)| match m {
        Message::Delegation(d) if *to == LinkId(100) => Some(d),
        _ => None,
    });
    let servers: Vec<String> = delegation.unwrap().servers.iter().map(|(n, a)| format!("{n} {a:?}")).collect();
    assert_eq!(servers, ["b1.glb.test. [192.0.2.10]", "b2.glb.test. [192.0.2.20]"]);
    assert!(refused(&lab.say(100, Message::Catalogue(Box::new(zone(4))))).unwrap().contains("older"));
    assert_eq!(refused(&lab.say(100, Message::Catalogue(Box::new(zone(5))))), None);
    let figures = lab.keeper.figures();
    assert_eq!((figures.catalogues_adopted, figures.catalogues_refused, figures.zones), (2, 3, 1));
    // A DNS-LB that comes later gets it, too.
    lab.keeper.take_outbox();
    lab.dial(2, "lb2", PeerRole::DnsLb, 1).unwrap();
    assert!(matches!(&lab.keeper.take_outbox()[..], [(LinkId(2), Message::Catalogue(_))]));
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
