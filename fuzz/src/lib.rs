//! A small world that the targets ask questions in: zones of both styles, DNS-LBs in every state,
//! maps and rankings; and questions whose names are mostly put together from labels that mean
//! something there.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use arbitrary::Arbitrary;
use dglb_core::{
    catalogue::{HttpsRecord, Mode, Policy, Probe, ProbeKind, Service, Site, StaticRecord, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbState, Settings},
    dns::{
        Conduct, Responder, Role,
        cookie::{Cookies, Secret},
        rcode,
    },
    fleet::{Fleet, FleetServer, FleetTtls},
    identity::Identity,
    report::{Figures, Health, RankedSite, Ranking},
    table::{Claim, LbIndex, Member, Registry, Source},
};

/// Labels with a meaning: services, DNS-LBs, dns-bs, name servers, checks, and some without.
const LABELS: [&str; 18] = [
    "www", "direct", "a", "b", "lb0", "lb1", "lb2", "lb3", "lb9", "b1", "b2", "ns", "f1", "f2", "_dglb", "x-y", "-x",
    "x_y",
];
const ZONES: [&str; 4] = ["glb.foobar.test", "www.host.test", "foobar.test", ""];
const TYPES: [u16; 20] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 43, 46, 47, 48, 59, 60, 63, 65, 255, 257];
const PEERS: [&str; 5] = ["198.51.100.1", "198.51.100.2", "203.0.113.9", "2001:db8::1", "::ffff:198.51.100.1"];

/// A question that mostly makes sense.
#[derive(Arbitrary, Debug)]
pub struct Input {
    labels: Vec<u8>,
    other: Option<Vec<u8>>,
    zone: u8,
    rtype: Result<u8, u16>,
    /// QCLASS; `None` for IN.
    pub class: Option<u16>,
    edns: Option<(u16, u8, Vec<u8>)>,
    peer: u8,
    role: u8,
    lb: bool,
    upper: bool,
}

impl Input {
    fn name(&self) -> Vec<u8> {
        let mut name = Vec::new();
        let mut push = |label: &[u8]| {
            if (1..=63).contains(&label.len()) && name.len() + label.len() < 250 {
                name.push(label.len() as u8);
                name.extend_from_slice(label);
            }
        };
        self.other.iter().for_each(|label| push(label));
        self.labels.iter().take(4).for_each(|at| push(LABELS[usize::from(*at) % LABELS.len()].as_bytes()));
        ZONES[usize::from(self.zone) % ZONES.len()].split('.').for_each(|label| push(label.as_bytes()));
        name.push(0);
        if self.upper {
            name.make_ascii_uppercase();
        }
        name
    }

    /// QTYPE.
    pub fn rtype(&self) -> u16 {
        match self.rtype {
            Ok(at) => TYPES[usize::from(at) % TYPES.len()],
            Err(any) => any,
        }
    }

    /// The message.
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())];
        packet.extend_from_slice(&self.name());
        packet.extend_from_slice(&self.rtype().to_be_bytes());
        packet.extend_from_slice(&self.class.unwrap_or(1).to_be_bytes());
        if let Some((payload, version, options)) = &self.edns {
            let options = &options[..options.len().min(500)];
            packet.extend_from_slice(&[0, 0, 41]);
            packet.extend_from_slice(&payload.to_be_bytes());
            packet.extend_from_slice(&[0, version & 1, 0, 0]);
            packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
            packet.extend_from_slice(options);
        }
        packet
    }

    /// Who asks.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(ip(PEERS[usize::from(self.peer) % PEERS.len()]), 4_242)
    }

    /// Who is asked, at which of its addresses.
    pub fn server(&self) -> (&'static Directory, Role) {
        match (self.lb, self.role & 1) {
            (true, _) => (&DNS_LB, Role::DnsLb),
            (false, 0) => (&DNS_B, Role::Referral),
            (false, _) => (&DNS_B, Role::Fallback),
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn site(n: u8) -> Site {
    let mut addresses = vec![IpAddr::from([203, 0, 113, n])];
    if n != 2 {
        addresses.push(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 5, u16::from(n)]));
    }
    Site { name: format!("s{n}"), addresses, cost: 0.0, ..Site::default() }
}

/// Two protocols, a port and hints: every key that there is.
fn https() -> HttpsRecord {
    let alpn = vec!["h2".to_owned(), "h3".to_owned()];
    HttpsRecord { alpn, no_default_alpn: false, port: Some(8_443), hints: true }
}

fn service(name: &str, mode: Mode, answers: u8) -> Service {
    let kind = ProbeKind::Tcp { port: 80 };
    Service {
        name: name.parse().expect("a name"),
        host: "www.foobar.test".parse().expect("a name"),
        mode,
        ttl: 300,
        answers,
        policy: Policy::default(),
        probes: vec![Probe { kind, interval_ms: 1_000, timeout_ms: 1_000, fall: 1, rise: 1 }],
        https: (mode == Mode::Direct).then(https),
        probe_ceiling: None,
        least_ttl: None,
        sites: (1..=12).map(site).collect(),
    }
}

fn zones() -> [ZoneCatalogue; 2] {
    let text = |owner: &str, length: u8| StaticRecord {
        name: owner.parse().expect("a name"),
        rtype: 16,
        ttl: 60,
        rdata: std::iter::once(length).chain(std::iter::repeat_n(b'x', length.into())).collect(),
    };
    let sub = ZoneCatalogue {
        zone: ZONES[0].parse().expect("a name"),
        generation: 1,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: vec![
            service("www.glb.foobar.test", Mode::Referral, 1),
            service("direct.glb.foobar.test", Mode::Direct, 16),
            service("a.b.glb.foobar.test", Mode::Referral, 3),
        ],
        records: (200..=210).map(|n| text("x-y.a.glb.foobar.test", n)).collect(),
    };
    let host = ZoneCatalogue {
        zone: ZONES[1].parse().expect("a name"),
        style: ZoneStyle::Host,
        services: vec![service(ZONES[1], Mode::Referral, 1)],
        records: vec![],
        ..sub.clone()
    };
    [sub, host]
}

/// `lb0` alive and ready, `lb1` suspect, `lb2` gone, `lb3` alive and not ready; `b1` and `b2`.
fn directory(as_lb: bool) -> Directory {
    let settings = Settings { ecs_from: vec!["203.0.113.0/24".parse().expect("a prefix")], ..Settings::default() };
    let mut directory = Directory::new(settings);
    let server = |n: u8| FleetServer {
        identity: format!("b{n}").parse().expect("an identity"),
        referral: vec![IpAddr::from([192, 0, 2, n]), ip("2001:db8:b::1")].into_iter().take(n.into()).collect(),
        fallback: vec![IpAddr::from([192, 0, 2, 100 + n])],
    };
    let fleet = Fleet {
        serial: 1,
        operator_zone: "ops.test".parse().expect("a name"),
        hostmaster: "hostmaster.ops.test".parse().expect("a name"),
        servers: vec![server(1), server(2)],
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    directory.set_fleet(Fleet::new(fleet).expect("a fleet"));
    let zones = zones();
    for zone in &zones {
        directory.set_zone(zone.clone()).expect("a zone");
    }
    let states = [(LbState::Alive, true), (LbState::Suspect, true), (LbState::Gone, false), (LbState::Alive, false)];
    let mut registry = Registry::new();
    for (n, (state, handed_out)) in (0..).zip(states) {
        let identity: Identity = format!("lb{n}").parse().expect("an identity");
        let lb = directory.upsert_lb(&identity, &[IpAddr::from([198, 18, 0, n]), ip("2001:db8:18::1")]);
        directory.update_lb(lb, |lb| (lb.state, lb.handed_out) = (state, handed_out));
        for service in zones.iter().flat_map(|z| &z.services).filter(|_| n != 3) {
            directory.set_ranking(lb, &ranking(service, n)).expect("a ranking");
        }
        let prefix = format!("198.51.100.{}/30", 4 * n).parse().expect("a prefix");
        let claim = Claim { prefix, preference: 1, weight: 1, source: Source::Static };
        registry.add(lb, 1, None, [claim]).expect("there is room");
    }
    directory.set_tables(registry.table().clone(), registry.table().clone());
    directory.set_default_group([Member { lb: LbIndex(0), preference: 1, weight: 1 }]);
    if as_lb {
        directory.set_own(LbIndex(0));
    }
    directory
}

/// The sites turned by `n`; of the suspect one's all are down.
fn ranking(service: &Service, n: u8) -> Ranking {
    let health = if n == 1 { Health::Down } else { Health::Up };
    let mut sites: Vec<RankedSite> = service
        .sites
        .iter()
        .map(|site| {
            let figures = |address: &IpAddr| Figures { address: *address, health, latency_us: Some(1_000) };
            RankedSite {
                site: site.name.clone(),
                score: Some(1.0),
                addresses: site.addresses.iter().map(figures).collect(),
                share: 0,
            }
        })
        .collect();
    sites.rotate_left(n.into());
    Ranking { service: service.name.clone(), catalogue: 1, sites, unsettled: false }
}

/// What a dns-b knows.
pub static DNS_B: LazyLock<Directory> = LazyLock::new(|| directory(false));
/// What the DNS-LB `lb0` knows.
pub static DNS_LB: LazyLock<Directory> = LazyLock::new(|| directory(true));

/// A conduct with everything that there is: all options are answered.
static CONDUCT: LazyLock<Conduct> = LazyLock::new(|| Conduct {
    nsid: "pop 7".parse().ok(),
    identity: "lb0".parse().ok(),
    version: "dglb".parse().ok(),
    cookies: Some(Cookies { current: Secret::new([1; 16]), next: Some(Secret::new([2; 16])), require: false }),
    keepalive: Some(100),
    ..Conduct::DEFAULT
});

/// What answers from `directory`.
pub fn responder(directory: &Directory) -> Responder<'_> {
    Responder { directory, conduct: &CONDUCT, unix_seconds: 1_800_000_000 }
}

/// Whether two transports may well differ: an edns-tcp-keepalive option that is not empty is
/// malformed over connections (RFC 7828 section 3.2.1), and is not looked at over UDP.
pub fn only_malformed_over_connections(udp: u16, other: u16) -> bool {
    udp != rcode::FORMERR && other == rcode::FORMERR
}
