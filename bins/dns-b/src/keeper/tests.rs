mod catalogues;
mod fleets;
mod keep;
mod liveness;
mod operator;
mod proofs;
mod steering;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{LbState, Settings},
    dns::{Asked, Decision, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    identity::Identity,
    name::Name,
    proto::{
        body::{MAX_ELEMENTS, decode},
        message::{
            BootId, ByeReason, EntryKind, FleetStamp, Hello, Map, MapEntry, Message, PeerRole, Ready, RefuseReason,
            RefusedReason, Report, Resync, Unmap,
        },
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use dglb_node::link::{LinkId, LinkSecurity};

use super::{CheckOutcome, Checked, Keeper, Outgoing, Verdict};
use crate::config::{CheckConfig, Config, DefaultMember, DnsLbs, MapConfig, Peer, ProveBounds, ProveConfig};

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
        (
            format!("lb{n}").parse().unwrap(),
            Peer { role: PeerRole::DnsLb, may_map, prove: ProveBounds::default(), may_publish: vec![] },
        )
    };
    let sync = Peer {
        role: PeerRole::DnsASync,
        may_map: vec![],
        prove: ProveBounds::default(),
        may_publish: vec!["glb.test".parse().unwrap()],
    };
    Config {
        identity: "b1".parse().unwrap(),
        fleet: Fleet::new(fleet).unwrap(),
        referral: vec![],
        fallback: vec![],
        serving: dglb_node::config::Dns::default(),
        settings: Settings::default(),
        default_group: vec![DefaultMember { identity: "lb9".parse().unwrap(), preference: 1, weight: 1 }],
        map: MapConfig { listen: vec![], security: LinkSecurity::default(), dns_lbs: DnsLbs::Listed, lease: LEASE },
        check: CheckConfig { interval: Duration::from_secs(10), timeout: Duration::from_secs(2), fall: 2 },
        stale_after: Duration::from_secs(180),
        quorum: super::Quorum::default(),
        prove: ProveConfig::default(),
        peers: (1..=9).map(lb).chain([("sync".parse().unwrap(), sync)]).collect(),
        admin: "127.0.0.1:0".parse().unwrap(),
        state_dir: None,
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
            https: None,
            probe_ceiling: None,
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
        let now = Instant::now();
        let mut keeper = Keeper::new(&config(), BootId([1; 16]), now);
        // Most tests are about a dns-b that has been there for long.
        keeper.directory.set_filling(false);
        Self { keeper, now }
    }

    fn with_catalogue() -> Self {
        let mut lab = Self::new();
        lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
        lab.say(100, Message::snapshot(zone(1)));
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
            fleet: FleetStamp::default(),
        };
        let from: SocketAddr = "198.51.100.1:1000".parse().unwrap();
        match self.keeper.hello(LinkId(link), &hello, from, self.now) {
            Verdict::Welcome(welcome) => {
                assert_eq!(welcome.fleet, Some(config().fleet));
                self.keeper.established(LinkId(link));
                Ok(())
            }
            Verdict::Refuse(refuse) => Err(refuse.reason),
        }
    }

    fn say(&mut self, link: u64, message: Message) -> Vec<Message> {
        self.keeper.take_outbox();
        self.keeper.message(LinkId(link), message, self.now);
        self.sent().into_iter().filter(|(to, _)| *to == LinkId(link)).map(|(_, m)| m).collect()
    }

    /// What is to be sent; what goes to many is read back from its encoding.
    fn sent(&mut self) -> Vec<(LinkId, Message)> {
        let outbox = self.keeper.take_outbox();
        let read = |outgoing| match outgoing {
            Outgoing::One(message) | Outgoing::After(_, message) => message,
            Outgoing::Shared(encoded) => {
                let decoded = decode(encoded.number(), encoded.body().clone(), MAX_ELEMENTS);
                decoded.unwrap().unwrap().message
            }
            Outgoing::Leave(bye) => Message::Bye(bye),
        };
        outbox.into_iter().map(|(to, outgoing)| (to, read(outgoing))).collect()
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
        let boot = self.keeper.lbs[&lb].boot;
        self.keeper.checked(Checked { lb, boot, addresses, outcome }, self.now);
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
        self.keeper.slow_tick(self.now);
    }

    /// How a resolver's question is answered: the way, the TTL, and the last label but two of a
    /// CNAME or the address.
    fn ask(&self, resolver: &str) -> (Decision, u32) {
        let (decision, reply) = self.ask_for(SERVICE, resolver, Role::Referral);
        (decision, reply.answers[0].ttl)
    }

    /// How a question for an address is answered, and by which way.
    fn ask_for(&self, name: &str, resolver: &str, role: Role) -> (Decision, hickory_proto::op::Message) {
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend_from_slice(name.parse::<Name>().unwrap().wire());
        packet.extend_from_slice(&[0, 1, 0, 1]);
        let peer = SocketAddr::new(ip(resolver), 5_353);
        let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role };
        let mut reply = [0; 4_096];
        let handled = Responder::with_defaults(self.keeper.directory()).respond(&asked, &mut reply);
        (handled.decision, hickory_proto::op::Message::from_vec(&reply[..handled.length]).unwrap())
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

#[test]
fn with_certified_a_dns_lb_that_is_no_peer_comes_in_without_authority() {
    let mut lab = Lab::with_catalogue();
    let mut new = config();
    new.map.dns_lbs = DnsLbs::Certified;
    assert_eq!(super::refusal(&config(), &new), Ok(()));
    lab.keeper.reconfigure(&new, lab.now);
    // No other role, nobody in the place of a dns-b, and nobody in another role than its [[peer]]'s.
    assert_eq!(lab.dial(7, "stranger", PeerRole::DnsASync, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(7, "b2", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(7, "sync", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.keeper.figures().refused_links, 3);
    assert_eq!(lab.dial(7, "stranger", PeerRole::DnsLb, 1), Ok(()));
    let said = lab.map(7, 1, &["10.1.0.1/32"]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 0 && ack.refused.len() == 1), "{said:?}");
    // Back to the list: it leaves, whoever stands on the list stays.
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.keeper.take_outbox();
    lab.keeper.reconfigure(&config(), lab.now);
    let left: Vec<_> = lab.sent().into_iter().filter(|(_, m)| matches!(m, Message::Bye(_))).collect();
    let [(LinkId(7), Message::Bye(bye))] = &left[..] else { panic!("{left:?}") };
    assert_eq!((bye.reason, lab.keeper.figures().links), (ByeReason::Identity, 2));
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
        let identity = "lb1".parse().unwrap();
        let (boot, role) = (BootId([1; 16]), PeerRole::DnsLb);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role,
            identity,
            boot,
            uptime_ms: 90_000,
            features: 0,
            fleet: FleetStamp::default(),
        };
        match lab.keeper.hello(link, &hello, from, lab.now) {
            Verdict::Welcome(welcome) => (welcome.map_generation, welcome.report_generation),
            Verdict::Refuse(refuse) => panic!("{refuse:?}"),
        }
    };
    assert_eq!(hello(&mut lab), (0, 1), "its ranking is kept for the fall-back, its map is not");
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

#[test]
fn of_two_processes_with_one_identity_the_newer_stays() {
    let mut lab = Lab::with_catalogue();
    let dial = |lab: &mut Lab, link, boot, uptime_ms| {
        let identity = "lb1".parse().unwrap();
        let (boot, role) = (BootId([boot; 16]), PeerRole::DnsLb);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role,
            identity,
            boot,
            uptime_ms,
            features: 0,
            fleet: FleetStamp::default(),
        };
        lab.keeper.hello(LinkId(link), &hello, "198.51.100.1:1000".parse().unwrap(), lab.now)
    };
    assert!(matches!(dial(&mut lab, 1, 1, 5_000), Verdict::Welcome(_)));
    assert!(matches!(dial(&mut lab, 2, 2, 19_000), Verdict::Refuse(r) if r.reason == RefuseReason::Duplicate));
    assert!(lab.keeper.knows(LinkId(1)));
    assert!(matches!(dial(&mut lab, 3, 3, 1_000), Verdict::Welcome(_)));
    assert!(!lab.keeper.knows(LinkId(1)) && lab.keeper.knows(LinkId(3)));
}

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
fn what_the_operator_states_stands() {
    let mut config = config();
    config.fleet.labels =
        vec![dglb_core::fleet::FleetLabel { identity: "lb1".parse().unwrap(), addresses: vec![ip("203.0.113.53")] }];
    let mut lab = Lab { keeper: Keeper::new(&config, BootId([1; 16]), Instant::now()), now: Instant::now() };
    let lb = lab.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
    let from = "198.51.100.1:1000".parse().unwrap();
    let (identity, role, boot) = ("lb1".parse().unwrap(), PeerRole::DnsLb, BootId([1; 16]));
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        role,
        identity,
        boot,
        uptime_ms: 0,
        features: 0,
        fleet: FleetStamp::default(),
    };
    assert!(matches!(lab.keeper.hello(LinkId(1), &hello, from, lab.now), Verdict::Welcome(_)));
    lab.map(1, 1, &[]);
    assert_eq!(lab.keeper.directory().find_lb(lb).unwrap().addresses, [ip("203.0.113.53")]);
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
    lab.say(100, Message::snapshot(zone(1)));
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

#[test]
fn a_reload_takes_rights_away_and_gives_new_ones() {
    let mut lab = Lab::with_catalogue();
    (1..=2).for_each(|n| lab.join(n, [10, 20]));
    lab.keeper.take_outbox();
    let mut new = config();
    new.peers.remove(&"lb1".parse::<Identity>().unwrap());
    new.peers.get_mut(&"lb2".parse::<Identity>().unwrap()).unwrap().may_map = vec!["10.9.0.0/16".parse().unwrap()];
    new.fleet.serial = 2;
    new.settings.direct_ttl = 7;
    // How questions are answered may change, whatever it is.
    (new.serving.conduct.nsid, new.serving.conduct.limits) = ("new".parse().ok(), None);
    new.serving.cookies.require = true;
    assert_eq!(super::refusal(&config(), &new), Ok(()));
    lab.keeper.reconfigure(&new, lab.now);
    let sent = lab.sent();
    let to = |link| sent.iter().filter(move |(to, _)| *to == LinkId(link)).map(|(_, m)| m).collect::<Vec<_>>();
    assert!(matches!(to(1)[..], [Message::Bye(_)]));
    assert!(matches!(to(2)[..], [Message::Resync(Resync::Map), Message::Fleet(_)]));
    assert!(matches!(to(100)[..], [Message::Fleet(_), Message::Delegation(_)]));
    assert_eq!((lab.state(1), lab.keeper.figures().prefixes), (LbState::Gone, 1));
    // Asked again, lb2 says the same, and is bounded otherwise now.
    let said = lab.map(2, 1, &["10.2.0.1/32"]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 0 && ack.refused.len() == 1));
    assert_eq!(lab.ask("10.2.0.1"), (Decision::Aggregate, 7));
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name() {
    let refused = |change: fn(&mut Config)| {
        let mut new = config();
        change(&mut new);
        super::refusal(&config(), &new).unwrap_err()
    };
    assert!(refused(|c| c.identity = "b2".parse().unwrap()).starts_with("identity "));
    assert!(refused(|c| c.map.listen = vec!["127.0.0.1:1".parse().unwrap()]).starts_with("map.listen "));
    assert!(refused(|c| c.admin = "127.0.0.1:1".parse().unwrap()).starts_with("admin.listen "));
    let table_size = refused(|c| c.serving.settings.rate_table += 64);
    assert!(table_size.starts_with("dns.rate-limit.table-size "), "{table_size}");
    assert!(refused(|c| c.fleet.hostmaster = "other.test".parse().unwrap()).contains("serial 1 is not higher than 1"));
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
    let peer = Peer { role: PeerRole::DnsLb, may_map: vec![], prove: ProveBounds::default(), may_publish: vec![] };
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
