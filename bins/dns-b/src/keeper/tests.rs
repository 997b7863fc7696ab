mod admission;
mod catalogues;
mod checks;
mod fleets;
mod keep;
mod liveness;
mod maps;
mod operator;
mod proofs;
mod quotas;
mod reports;
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
use crate::config::{
    CheckConfig, Config, DefaultMember, DnsLbs, HeldOf, MapConfig, Peer, ProveBounds, ProveConfig, Quotas,
};

const SERVICE: &str = "www.glb.test";
const LEASE: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
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
            Peer {
                role: PeerRole::DnsLb,
                may_map,
                prove: ProveBounds::default(),
                may_publish: vec![],
                held: HeldOf::default(),
            },
        )
    };
    let sync = Peer {
        role: PeerRole::DnsASync,
        may_map: vec![],
        prove: ProveBounds::default(),
        may_publish: vec!["glb.test".parse().unwrap()],
        held: HeldOf::default(),
    };
    Config {
        identity: "b1".parse().unwrap(),
        fleet: Fleet::new(fleet).unwrap(),
        referral: vec![],
        fallback: vec![],
        serving: dglb_node::config::Dns::default(),
        settings: Settings::default(),
        default_group: vec![DefaultMember { identity: "lb9".parse().unwrap(), preference: 1, weight: 1 }],
        map: MapConfig {
            listen: vec![],
            security: LinkSecurity::default(),
            dns_lbs: DnsLbs::Listed,
            lease: LEASE,
            quotas: Quotas::default(),
        },
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
    let site = |n: u8| Site {
        name: format!("site{n}"),
        addresses: vec![ip(&format!("203.0.113.{n}"))],
        cost: 0.0,
        ..Site::default()
    };
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
            least_ttl: None,
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
            RankedSite { site: format!("site{n}"), score: Some(f64::from(ms)), addresses: vec![figures], share: 0 }
        })
        .collect();
    sites.sort_by(|a, b| a.score.partial_cmp(&b.score).unwrap());
    Ranking { service: SERVICE.parse().unwrap(), catalogue: 1, sites, unsettled: false }
}

/// A keeper with its clock; links are numbered like the DNS-LBs, dns-a-sync is link 100.
struct Lab {
    keeper: Keeper,
    now: Instant,
}

/// What a process says first that has just started.
fn hello(identity: &str, role: PeerRole, boot: u8, fleet: FleetStamp) -> Hello {
    let (identity, boot) = (identity.parse().unwrap(), BootId([boot; 16]));
    Hello { version_min: 1, version_max: 1, role, identity, boot, uptime_ms: 0, features: 0, fleet }
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
        let hello = hello(identity, role, boot, FleetStamp::default());
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
