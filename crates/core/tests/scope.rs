//! The scope of a client subnet (RFC 7871 section 7.2.1, design section 4), seen from outside, in
//! whole replies: nobody inside it would have been answered otherwise; it is as wide as entries
//! allow; and where every entry leads somewhere else, no wider one would do.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbIndex, LbState, Settings},
    dns::{Asked, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    net::{Prefix, mask},
    report::{Figures, Health, RankedSite, Ranking},
    table::{Claim, MapTable, Member, Registry, Source},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{
        Name, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};
use proptest::{collection::vec, prelude::*};

const WWW: &str = "www.glb.test";
/// DNS-LBs that there are.
const LBS: u32 = 5;
/// Where questions come from, in both families.
const RESOLVERS: [&str; 2] = ["10.77.1.1:53", "[2001:db8:77::1]:53"];

/// One of the five, as it may be.
#[derive(Clone, Debug)]
struct Lb {
    state: LbState,
    handed_out: bool,
    drained: bool,
    ranked: bool,
}

/// A prefix that somebody has.
#[derive(Clone, Debug)]
struct Entry {
    prefix: Prefix,
    lb: u32,
    preference: u16,
    weight: u16,
}

/// All that a reply may depend on.
#[derive(Clone, Debug)]
struct World {
    lbs: Vec<Lb>,
    resolvers: Vec<Entry>,
    clients: Vec<Entry>,
    default: Vec<(u32, u16, u16)>,
    neighbour_bits: Option<u8>,
    filling: bool,
    direct: bool,
}

/// Prefixes lie close together, so that they nest and touch: 10/8 and 2001:db8::/32, and some bits.
fn prefix(v4: bool) -> impl Strategy<Value = Prefix> {
    (any::<u16>(), 0..14_u8).prop_map(move |(bits, length)| {
        let address: IpAddr = if v4 {
            u32::to_be_bytes(10 << 24 | u32::from(bits) << 10).into()
        } else {
            u128::to_be_bytes(0x2001_0db8 << 96 | u128::from(bits) << 82).into()
        };
        let length = if v4 { 6 + length } else { 30 + length };
        Prefix::containing(address, length).expect("no longer than an address")
    })
}

fn entry(v4: bool) -> impl Strategy<Value = Entry> {
    (prefix(v4), 0..LBS, 0..2_u16, 1..4_u16).prop_map(|(prefix, lb, preference, weight)| Entry {
        prefix,
        lb,
        preference,
        weight,
    })
}

fn lb() -> impl Strategy<Value = Lb> {
    let state = prop_oneof![4 => Just(LbState::Alive), 1 => Just(LbState::Suspect), 1 => Just(LbState::Gone)];
    (state, prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::bool::weighted(0.8))
        .prop_map(|(state, handed_out, drained, ranked)| Lb { state, handed_out, drained, ranked })
}

/// Anything.
fn world(v4: bool) -> impl Strategy<Value = World> {
    let neighbour_bits = prop::option::of(if v4 { 0..20_u8 } else { 24..44_u8 });
    let default = vec((0..LBS, 0..2_u16, 1..4_u16), 0..3);
    let rest = (default, neighbour_bits, any::<bool>(), any::<bool>());
    (vec(lb(), LBS as usize), vec(entry(v4), 0..8), vec(entry(v4), 0..12), rest).prop_map(
        |(lbs, resolvers, clients, (default, neighbour_bits, filling, direct))| World {
            lbs,
            resolvers,
            clients,
            default,
            neighbour_bits,
            filling,
            direct,
        },
    )
}

/// One in which different entries are answered differently, and who is in none differently again:
/// everybody is well, each prefix has one DNS-LB, and nothing stands in.
fn distinct(v4: bool) -> impl Strategy<Value = World> {
    vec(entry(v4), 0..12).prop_map(|mut clients| {
        let mut seen = BTreeSet::new();
        clients.retain(|entry| seen.insert(entry.prefix));
        // The same DNS-LB with another preference is another list, though it leads to the same answer.
        clients.iter_mut().for_each(|entry| (entry.preference, entry.weight) = (0, 1));
        let well = Lb { state: LbState::Alive, handed_out: true, drained: false, ranked: true };
        World {
            lbs: vec![well; LBS as usize],
            resolvers: vec![],
            clients,
            default: vec![],
            neighbour_bits: None,
            filling: false,
            direct: false,
        }
    })
}

fn name(n: u32) -> String {
    format!("lb{n}")
}

fn catalogue(direct: bool) -> ZoneCatalogue {
    let site =
        |n: u32| Site { name: name(n), addresses: vec![[203, 0, 113, n as u8].into()], cost: 0.0, ..Site::default() };
    let service = Service {
        name: WWW.parse().unwrap(),
        host: WWW.parse().unwrap(),
        mode: if direct { Mode::Direct } else { Mode::Referral },
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
        sites: (0..LBS).map(site).collect(),
        https: None,
        probe_ceiling: None,
        least_ttl: None,
    };
    ZoneCatalogue {
        zone: "glb.test".parse().unwrap(),
        generation: 1,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: vec![service],
        records: vec![],
    }
}

fn fleet() -> Fleet {
    let server = FleetServer {
        identity: "b1".parse().unwrap(),
        referral: vec!["192.0.2.1".parse().unwrap()],
        fallback: vec!["192.0.2.2".parse().unwrap()],
    };
    let (operator_zone, hostmaster) = ("ops.test".parse().unwrap(), "hostmaster.ops.test".parse().unwrap());
    let ttl = FleetTtls::default();
    Fleet::new(Fleet { serial: 1, operator_zone, hostmaster, servers: vec![server], labels: vec![], ttl }).unwrap()
}

fn table(entries: &[Entry]) -> MapTable {
    let mut registry = Registry::new();
    for lb in 0..LBS {
        let own = entries.iter().filter(|entry| entry.lb == lb);
        let claim = |entry: &Entry| Claim {
            prefix: entry.prefix,
            preference: entry.preference,
            weight: entry.weight,
            source: Source::Static,
        };
        let mut seen = BTreeSet::new();
        let claims: Vec<_> = own.map(claim).filter(|claim| seen.insert(claim.prefix)).collect();
        registry.set(LbIndex(lb), 1, None, claims).unwrap();
    }
    registry.table().clone()
}

impl World {
    fn directory(&self) -> Directory {
        let mut directory = Directory::new(Settings {
            ecs_from: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            neighbour_bits_v4: self.neighbour_bits,
            neighbour_bits_v6: self.neighbour_bits,
            ..Settings::default()
        });
        directory.set_fleet(fleet());
        directory.set_zone(catalogue(self.direct)).unwrap();
        for (n, lb) in (0..).zip(&self.lbs) {
            let index = directory.upsert_lb(&name(n).parse().unwrap(), &[[198, 18, 0, n as u8].into()]);
            directory.update_lb(index, |own| {
                (own.state, own.handed_out, own.drained) = (lb.state, lb.handed_out, lb.drained);
            });
            if lb.ranked {
                let figures =
                    Figures { address: [203, 0, 113, n as u8].into(), health: Health::Up, latency_us: Some(1) };
                let best = RankedSite { site: name(n), score: Some(f64::from(n)), addresses: vec![figures], share: 0 };
                let ranking =
                    Ranking { service: WWW.parse().unwrap(), catalogue: 1, sites: vec![best], unsettled: false };
                directory.set_ranking(index, &ranking).unwrap();
            }
        }
        directory.set_tables(table(&self.resolvers), table(&self.clients));
        let member = |(lb, preference, weight): &(u32, u16, u16)| Member {
            lb: LbIndex(*lb),
            preference: *preference,
            weight: *weight,
        };
        directory.set_default_group(self.default.iter().map(member));
        directory.set_filling(self.filling);
        directory
    }

    /// Addresses between which alone replies may differ: both ends of every entry, and of every
    /// block beside one, of whatever size, since neighbours may count.
    fn edges(&self) -> BTreeSet<IpAddr> {
        let entries = self.resolvers.iter().chain(&self.clients);
        let blocks = entries.flat_map(|entry| {
            let beside = (1..=entry.prefix.bits()).map(|bits| flipped(entry.prefix.address(), bits));
            beside.chain([(entry.prefix.address(), entry.prefix.bits())])
        });
        blocks.flat_map(|(address, bits)| [mask(address, bits), last(address, bits)]).collect()
    }
}

/// The block of this size beside the one that the address is in.
fn flipped(address: IpAddr, bits: u8) -> (IpAddr, u8) {
    let other: IpAddr = match address {
        IpAddr::V4(v4) => (u32::from(v4) ^ 1 << (32 - bits)).to_be_bytes().into(),
        IpAddr::V6(v6) => (u128::from(v6) ^ 1 << (128 - bits)).to_be_bytes().into(),
    };
    (other, bits)
}

/// The last address of a block.
fn last(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => (u32::from(v4) | u32::MAX.checked_shr(bits.into()).unwrap_or(0)).to_be_bytes().into(),
        IpAddr::V6(v6) => (u128::from(v6) | u128::MAX.checked_shr(bits.into()).unwrap_or(0)).to_be_bytes().into(),
    }
}

/// What is answered for a client: everything but OPT, and the scope.
fn reply(directory: &Directory, from: &str, client: IpAddr, source: u8) -> (String, u8) {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(format!("{WWW}.")).unwrap(), RecordType::A));
    let mut edns = Edns::new();
    edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(mask(client, source), source, 0)));
    message.edns = Some(edns);
    let packet = message.to_vec().unwrap();
    let peer: SocketAddr = from.parse().unwrap();
    let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role: Role::Referral };
    let mut octets = vec![0; 4_096];
    let handled = Responder::with_defaults(directory).respond(&asked, &mut octets);
    let read = Message::from_vec(&octets[..handled.length]).unwrap();
    let scope = match read.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet)) {
        Some(EdnsOption::Subnet(subnet)) => {
            assert_eq!((subnet.source_prefix(), subnet.addr()), (source, mask(client, source)));
            subnet.scope_prefix()
        }
        other => panic!("no client subnet: {other:?}"),
    };
    let text = format!("{} {:?} {:?} {:?}", handled.rcode, read.answers, read.authorities, read.additionals);
    (text, scope)
}

fn family_bits(v4: bool) -> u8 {
    if v4 { 32 } else { 128 }
}

/// A client inside the prefixes' corner of the family, and how much of its address is told.
fn client(v4: bool) -> impl Strategy<Value = (IpAddr, u8)> {
    let source = if v4 { 1..=32_u8 } else { 1..=128_u8 };
    let near = if v4 { 6..=22_u8 } else { 30..=46_u8 };
    (prefix(v4), any::<u32>(), prop_oneof![1 => source, 3 => near]).prop_map(|(prefix, host, source)| {
        let inside = match prefix.address() {
            IpAddr::V4(v4) => (u32::from(v4) | host & 0x3ff).to_be_bytes().into(),
            IpAddr::V6(v6) => (u128::from(v6) | u128::from(host)).to_be_bytes().into(),
        };
        (inside, source)
    })
}

/// Nobody inside the scope would have been answered otherwise, had all of their address been known.
fn nobody_inside_is_answered_otherwise(world: &World, v4: bool, (address, source): (IpAddr, u8)) {
    let directory = world.directory();
    for from in RESOLVERS {
        let (text, scope) = reply(&directory, from, address, source);
        if scope > source {
            // Decided at SOURCE, and the resolver is told that more of the address would help.
            continue;
        }
        let inside = |other: &IpAddr| mask(*other, scope) == mask(address, scope);
        for other in world.edges().into_iter().filter(inside).chain([address]) {
            let theirs = reply(&directory, from, other, family_bits(v4));
            assert_eq!(theirs, (text.clone(), scope), "{other} beside {address}/{source}");
        }
    }
}

/// The scope is the least depth at which everybody inside is answered alike; or, where that is more
/// than was told, more than was told.
fn no_wider_scope_would_do(world: &World, v4: bool, (address, source): (IpAddr, u8)) {
    let directory = world.directory();
    let (text, scope) = reply(&directory, RESOLVERS[0], address, source);
    let answers: Vec<_> = world
        .edges()
        .into_iter()
        .map(|other| (other, reply(&directory, RESOLVERS[0], other, family_bits(v4)).0))
        .collect();
    let alike = |depth: u8| {
        let inside = answers.iter().filter(|(other, _)| mask(*other, depth) == mask(mask(address, source), depth));
        inside.into_iter().all(|(_, theirs)| *theirs == text)
    };
    match (0..=source).find(|depth| alike(*depth)) {
        Some(least) => assert_eq!(scope, least, "{address}/{source}"),
        None => assert!(scope > source, "{address}/{source}: scope {scope}, though others are inside"),
    }
}

/// What an address finds among the clients' networks: the DNS-LBs of the longest prefix that it is in, with
/// preferences and weights; found by looking at all of them.
fn found(entries: &[Entry], address: IpAddr) -> BTreeSet<(u32, u16, u16)> {
    let around = || entries.iter().filter(|entry| entry.prefix.contains(address));
    let longest = around().map(|entry| entry.prefix.bits()).max();
    let mut seen = BTreeSet::new();
    // Of two entries of one DNS-LB for one prefix the first was taken.
    let own = around().filter(|entry| Some(entry.prefix.bits()) == longest && seen.insert(entry.lb));
    own.map(|entry| (entry.lb, entry.preference, entry.weight)).collect()
}

/// Where different entries lead to the same answer, the scope keeps them apart all the same: it is the least
/// depth at which everybody inside has the same *entry*, whatever the world is like. Which of an entry's
/// DNS-LBs is handed out depends on the scope itself, on the service and on who is well at the moment.
fn no_wider_scope_has_one_entry(world: &World, v4: bool, (address, source): (IpAddr, u8)) {
    let (_, scope) = reply(&world.directory(), RESOLVERS[0], address, source);
    let told = mask(address, source);
    let ends = world.clients.iter().flat_map(|entry| {
        let beside = (1..=entry.prefix.bits()).map(|bits| flipped(entry.prefix.address(), bits));
        beside.chain([(entry.prefix.address(), entry.prefix.bits())])
    });
    let ends = ends.flat_map(|(address, bits)| [mask(address, bits), last(address, bits)]);
    let edges: BTreeSet<IpAddr> = ends.filter(|end| end.is_ipv4() == v4).chain([told]).collect();
    // At SOURCE: what is longer than that is not looked at.
    let at_source: Vec<Entry> = world.clients.iter().filter(|e| e.prefix.bits() <= source).cloned().collect();
    let own = found(&at_source, told);
    let alike = |depth: u8| {
        let inside = edges.iter().filter(|other| mask(**other, depth) == mask(told, depth));
        inside.into_iter().all(|other| found(&world.clients, *other) == own)
    };
    match (0..=source).find(|depth| alike(*depth)) {
        Some(least) => assert_eq!(scope, least, "{address}/{source}"),
        None => assert!(scope > source, "{address}/{source}: scope {scope}, though others are inside"),
    }
}

/// A network whose own DNS-LB has left is served by whoever is near the resolver, not near each
/// client: entries of resolvers may cut through it.
#[test]
fn who_stands_in_is_the_same_for_the_whole_network() {
    let entry = |prefix: &str, lb| Entry { prefix: prefix.parse().unwrap(), lb, preference: 0, weight: 1 };
    let well = Lb { state: LbState::Alive, handed_out: true, drained: false, ranked: true };
    let mut world = World {
        lbs: vec![well; LBS as usize],
        resolvers: vec![entry("10.0.0.0/10", 1), entry("10.64.0.0/11", 2), entry("10.77.0.0/16", 3)],
        clients: vec![entry("10.0.0.0/8", 0)],
        default: vec![],
        neighbour_bits: Some(8),
        filling: false,
        direct: false,
    };
    world.lbs[0].state = LbState::Gone;
    nobody_inside_is_answered_otherwise(&world, true, ("10.1.2.3".parse().unwrap(), 24));
    assert!(reply(&world.directory(), RESOLVERS[0], "10.1.2.3".parse().unwrap(), 24).0.contains("www.lb3."));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ipv4_nobody_inside_is_answered_otherwise(world in world(true), client in client(true)) {
        nobody_inside_is_answered_otherwise(&world, true, client);
    }

    #[test]
    fn ipv6_nobody_inside_is_answered_otherwise(world in world(false), client in client(false)) {
        nobody_inside_is_answered_otherwise(&world, false, client);
    }

    #[test]
    fn ipv4_no_wider_scope_has_one_entry(world in world(true), client in client(true)) {
        no_wider_scope_has_one_entry(&world, true, client);
    }

    #[test]
    fn ipv6_no_wider_scope_has_one_entry(world in world(false), client in client(false)) {
        no_wider_scope_has_one_entry(&world, false, client);
    }

    #[test]
    fn ipv4_no_wider_scope_would_do(world in distinct(true), client in client(true)) {
        no_wider_scope_would_do(&world, true, client);
    }

    #[test]
    fn ipv6_no_wider_scope_would_do(world in distinct(false), client in client(false)) {
        no_wider_scope_would_do(&world, false, client);
    }
}
