//! `respond()`, packet in and packet out, over a directory of the size that the design asks for:
//! 1 000 000 prefixes, 10 000 DNS-LBs, 1 000 services.
//!
//! By default every DNS-LB ranks 8 of the services, which is ready in seconds. With
//! `DGLB_BENCH_FULL=1` in the environment each ranks all of them: 10 000 000 rankings, 1.4 GiB of
//! memory, and a minute until the first figure.

mod support;

use std::{
    hint::black_box,
    net::{IpAddr, SocketAddr},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbIndex, LbState, Settings},
    dns::{Asked, Decision, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    report::{Figures, Health, RankedSite, Ranking},
};

use support::{DNS_LBS, Random};

const PREFIXES: usize = 1_000_000;
const ZONES: usize = 100;
const SERVICES: usize = 1_000;
/// Services that a DNS-LB ranks by default.
const RANKED: usize = 8;
const SITES: usize = 4;
/// Questions that a thread takes from its socket at once.
const BATCH: usize = 32;
/// Questions in turn: enough that what they need is seldom in a cache when it comes again.
const QUESTIONS: usize = 2_048 * BATCH;
/// Resolvers in this network may send client subnets; it is in nobody's map.
const TRUSTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 0, 53));

/// One packet and who sent it to what.
struct Sent {
    packet: Vec<u8>,
    peer: SocketAddr,
    role: Role,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn zone_of(service: usize) -> String {
    format!("glb{}.foobar.test", service % ZONES)
}

fn service_name(service: usize) -> String {
    format!("www{service}.{}", zone_of(service))
}

fn lb_label(lb: u32) -> String {
    format!("lb{lb}")
}

/// Whether a DNS-LB has ranked a service.
fn ranks(lb: u32, nth: usize) -> usize {
    (lb as usize * 13 + nth * (SERVICES / RANKED + 1)) % SERVICES
}

fn site_address(service: usize, site: usize) -> IpAddr {
    [10, (service / 250) as u8, (service % 250) as u8, site as u8].into()
}

fn catalogue(zone: usize) -> ZoneCatalogue {
    let service = |number: usize| Service {
        name: name(&service_name(number)),
        host: name("www.foobar.test"),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1_000,
            fall: 2,
            rise: 2,
        }],
        https: None,
        sites: (0..SITES)
            .map(|site| Site { name: format!("s{site}"), addresses: vec![site_address(number, site)], cost: 0.0 })
            .collect(),
    };
    ZoneCatalogue {
        zone: name(&zone_of(zone)),
        generation: 1,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: (0..SERVICES).filter(|s| s % ZONES == zone).map(service).collect(),
        records: vec![],
    }
}

/// A ranking whose best site depends on who ranks.
fn ranking(service: usize, lb: u32) -> Ranking {
    let site = |place: usize| {
        let site = (place + lb as usize) % SITES;
        let figures =
            Figures { address: site_address(service, site), health: Health::Up, latency_us: Some(1_000 + site as u32) };
        RankedSite { site: format!("s{site}"), score: Some(10.0 * place as f64), addresses: vec![figures] }
    };
    Ranking { service: name(&service_name(service)), catalogue: 1, sites: (0..SITES).map(site).collect() }
}

fn fleet() -> Fleet {
    let server = |n: u8| FleetServer {
        identity: format!("b{n}").parse().expect("an identity"),
        referral: vec![[192, 0, 2, n].into()],
        fallback: vec![[192, 0, 2, 100 + n].into()],
    };
    let fleet = Fleet {
        serial: 1,
        operator_zone: name("ops.test"),
        hostmaster: name("hostmaster.ops.test"),
        servers: (1..=8).map(server).collect(),
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    Fleet::new(fleet).expect("a fleet")
}

fn directory() -> Directory {
    let ecs_from = vec![dglb_core::net::Prefix::host(TRUSTED)];
    let mut directory = Directory::new(Settings { ecs_from, ..Settings::default() });
    directory.set_fleet(fleet());
    for zone in 0..ZONES {
        directory.set_zone(catalogue(zone)).expect("a catalogue");
    }
    let full = std::env::var_os("DGLB_BENCH_FULL").is_some_and(|v| v == "1");
    for lb in 0..DNS_LBS {
        let address = [198, 18, (lb / 250) as u8, (lb % 250) as u8].into();
        let index = directory.upsert_lb(&lb_label(lb).parse().expect("an identity"), &[address]);
        assert_eq!(index, LbIndex(lb), "the table's numbers are the directory's");
        directory.update_lb(index, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        let services: Vec<usize> =
            if full { (0..SERVICES).collect() } else { (0..RANKED).map(|n| ranks(lb, n)).collect() };
        for service in services {
            directory.set_ranking(index, &ranking(service, lb)).expect("a ranking");
        }
    }
    let registry = support::registry(PREFIXES, 0);
    directory.set_tables(registry.table().clone(), registry.table().clone());
    directory
}

/// A question for an address over UDP, with EDNS as every resolver has it, and these options in it.
fn packet(owner: &str, id: usize, options: &[u8]) -> Vec<u8> {
    let id = (id as u16).to_be_bytes();
    let mut packet = vec![id[0], id[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name(owner).wire());
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

/// A client subnet option with 24 bits of the address.
fn subnet(client: IpAddr) -> Vec<u8> {
    let IpAddr::V4(v4) = client else { unreachable!("the table is of IPv4") };
    let [a, b, c, _] = v4.octets();
    vec![0, 8, 0, 7, 0, 1, 24, 0, a, b, c]
}

fn sent(packet: Vec<u8>, from: IpAddr, role: Role) -> Sent {
    Sent { packet, peer: SocketAddr::new(from, 4_242), role }
}

/// Questions of which each is answered in this way; what chance has made otherwise is left out.
fn questions(directory: &Directory, wanted: Decision, make: impl Fn(usize, IpAddr) -> Sent) -> Vec<Sent> {
    let clients = support::mapped(directory.resolvers(), false, 2 * QUESTIONS);
    let mut reply = [0; 1_232];
    let fits = |sent: &Sent| ask(directory, sent, &mut reply).decision == wanted;
    let found: Vec<Sent> = clients.into_iter().enumerate().map(|(n, client)| make(n, client)).filter(fits).collect();
    assert!(found.len() >= QUESTIONS / 2, "only {} of {} are {}", found.len(), 2 * QUESTIONS, wanted.as_str());
    found
}

fn ask(directory: &Directory, sent: &Sent, reply: &mut [u8]) -> dglb_core::dns::Handled {
    let asked = Asked { packet: &sent.packet, peer: sent.peer, transport: Transport::Udp, role: sent.role };
    Responder::with_defaults(directory).respond(&asked, reply)
}

/// The service to ask for, so that whoever is found has ranked it.
fn of_its_lb(directory: &Directory, n: usize, client: IpAddr) -> String {
    let located = directory.resolvers().lookup(client, 32);
    let best = located.group.and_then(|group| group.members().iter().min_by_key(|m| m.preference));
    service_name(ranks(best.map_or(0, |member| member.lb.0), n % RANKED))
}

fn in_label(n: usize) -> String {
    let lb = (n * 7_919) as u32 % DNS_LBS;
    let service = ranks(lb, n % RANKED);
    format!("www{service}.{}.{}", lb_label(lb), zone_of(service))
}

fn answers(c: &mut Criterion) {
    let directory = directory();
    let mut random = Random(5);
    let strangers: Vec<IpAddr> = (0..QUESTIONS).map(|_| random.v4()).collect();
    let from = |n: usize| strangers[n % strangers.len()];
    let asked = |owner: &str, n, client| sent(packet(owner, n, &[]), client, Role::Referral);
    let sets = [
        (
            "mapped, CNAME",
            questions(&directory, Decision::Mapped, |n, client| asked(&of_its_lb(&directory, n, client), n, client)),
        ),
        (
            "mapped by client subnet, CNAME",
            questions(&directory, Decision::Mapped, |n, client| {
                sent(packet(&of_its_lb(&directory, n, client), n, &subnet(client)), TRUSTED, Role::Referral)
            }),
        ),
        ("referral", questions(&directory, Decision::Referral, |n, _| asked(&in_label(n), n, from(n)))),
        (
            "label, address",
            questions(&directory, Decision::Label, |n, _| sent(packet(&in_label(n), n, &[]), from(n), Role::Fallback)),
        ),
        (
            "NXDOMAIN",
            questions(&directory, Decision::Authority, |n, _| asked(&format!("no_{n}.{}", zone_of(n)), n, from(n))),
        ),
    ];
    let mut group = c.benchmark_group("answer");
    for (name, questions) in &sets {
        single(&mut group, name, &directory, questions);
        batch(&mut group, name, &directory, questions);
    }
    group.finish();
}

/// Which question comes next depends on the last answer, so nothing overlaps.
fn single(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}, single"), |b| {
        let (mut at, mut length, mut reply) = (0, 0, [0; 1_232]);
        b.iter(|| {
            at = (at + 1 + (length & 1)) % questions.len();
            length = ask(directory, &questions[at], &mut reply).length;
            length
        });
    });
}

/// As a serving thread does it: one question after the other, each answer into its own place.
fn batch(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("{name}, batch of {BATCH}"), |b| {
        let mut batches = questions.chunks_exact(BATCH).cycle();
        let mut replies = vec![[0; 1_232]; BATCH];
        b.iter(|| {
            let batch = batches.next().unwrap_or_default();
            let each = batch.iter().zip(&mut replies);
            let octets = each.fold(0, |sum, (sent, reply)| sum + ask(directory, sent, reply).length);
            black_box(&replies);
            octets
        });
    });
}

criterion_group!(benches, answers);
criterion_main!(benches);
