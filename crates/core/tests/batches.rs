//! A question is answered in the same octets alone, in a batch, whatever else the batch holds, and when it is
//! explained; and an explanation names the DNS-LB that was really taken.

#[path = "../benches/support/mod.rs"]
mod support;

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use dglb_core::{
    catalogue::{Mode, StaticRecord, ZoneStyle},
    directory::{Directory, LbIndex, LbState, Settings},
    dns::{Asked, Exchange, Handled, Names, Responder, Role, Transport, explain::Explanation},
    name::Name,
    table::{Claim, Member, Registry, Source},
};
use proptest::{collection::vec, prelude::*, sample::select};

use support::content::Size;

/// What a directory may be like; all questions of a case go to one.
#[derive(Clone, Debug)]
struct World {
    /// Of each DNS-LB: how it is, whether it is handed out, drained, and what it ranks.
    lbs: Vec<(u8, bool, bool, u8)>,
    /// Third octet of 10.1.x.0/24 and of 2001:db8:x::/48, DNS-LB, preference.
    entries: Vec<(u8, u32, u16)>,
    neighbours: bool,
    default: Option<u32>,
    own: bool,
    filling: bool,
}

/// One packet.
#[derive(Clone, Debug)]
struct Packet {
    name: String,
    rtype: u8,
    class: u8,
    edns: Option<Vec<u8>>,
    /// Where an octet is changed, and how.
    spoiled: Option<(usize, u8)>,
    from: SocketAddr,
    role: Role,
    transport: Transport,
}

const NAMES: [&str; 24] = [
    "www.glb.test",
    "WWW.Glb.Test",
    "direct.glb.test",
    "a.b.glb.test",
    "b.glb.test",
    "text.glb.test",
    "glb.test",
    "www.lb0.glb.test",
    "www.LB1.glb.test",
    "direct.lb2.glb.test",
    "www.nobody.glb.test",
    "lb1.glb.test",
    "ns.lb1.glb.test",
    "f1.lb1.glb.test",
    "f2.lb2.glb.test",
    "0123._dglb.lb0.glb.test",
    "no_.glb.test",
    "b1.glb.test",
    "x.b1.glb.test",
    "host.test",
    "lb1.host.test",
    "elsewhere.test",
    "a.very.long.name.with.many.labels.of.some.length.www.lb3.glb.test",
    ".",
];

fn zones() -> [dglb_core::catalogue::ZoneCatalogue; 2] {
    let size = Size { prefixes_v4: 0, prefixes_v6: 0, dns_lbs: 0, zones: 1, services: 3, ranked: 1 };
    let mut glb = size.catalogue(0);
    glb.zone = name("glb.test");
    for (service, owner) in glb.services.iter_mut().zip(["www.glb.test", "direct.glb.test", "a.b.glb.test"]) {
        service.name = name(owner);
        service.sites[1].addresses.push("2001:db8:5::1".parse().expect("an address"));
    }
    glb.services[1].mode = Mode::Direct;
    glb.services[1].answers = 4;
    let text =
        |n: u8| StaticRecord { name: name("text.glb.test"), rtype: 16, ttl: 5, rdata: vec![n; usize::from(n) + 1] };
    glb.records = (200..206).map(text).collect();
    let mut host = glb.clone();
    (host.zone, host.style, host.records) = (name("host.test"), ZoneStyle::Host, vec![]);
    host.services.truncate(1);
    host.services[0].name = name("host.test");
    [glb, host]
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

impl World {
    fn directory(&self) -> Directory {
        let bits = self.neighbours.then_some(16);
        let ecs_from = vec!["10.1.0.0/17".parse().expect("a prefix")];
        let (neighbour_bits_v4, neighbour_bits_v6) = (bits, bits);
        let settings = Settings { ecs_from, neighbour_bits_v4, neighbour_bits_v6, ..Settings::default() };
        let mut directory = Directory::new(settings);
        directory.set_fleet(support::content::fleet());
        let size = Size { prefixes_v4: 0, prefixes_v6: 0, dns_lbs: 0, zones: 1, services: 3, ranked: 1 };
        let zones = zones();
        zones.iter().for_each(|zone| directory.set_zone(zone.clone()).expect("a catalogue"));
        for (n, (state, handed_out, drained, ranked)) in (0..).zip(&self.lbs) {
            let addresses: &[IpAddr] = &[[198, 18, 0, n as u8].into(), "2001:db8:18::1".parse().expect("an address")];
            // One in four has no address any more.
            let index =
                directory.upsert_lb(&format!("lb{n}").parse().expect("valid"), &addresses[..usize::from(n != 3) * 2]);
            directory.update_lb(index, |lb| {
                lb.state = [LbState::Alive, LbState::Alive, LbState::Suspect, LbState::Gone][usize::from(state % 4)];
                (lb.handed_out, lb.drained) = (*handed_out, *drained);
                lb.borrows = (state & 4 > 0).then_some(LbIndex(0));
            });
            for (at, service) in zones.iter().flat_map(|zone| &zone.services).enumerate() {
                if ranked & (1 << at) != 0 {
                    let mut ranking = size.ranking(at % 3, n);
                    ranking.service = service.name.clone();
                    directory.set_ranking(index, &ranking).expect("a ranking");
                }
            }
        }
        let mut registry = Registry::new();
        for (octet, lb, preference) in &self.entries {
            for prefix in [format!("10.1.{octet}.0/24"), format!("2001:db8:{octet:x}::/48")] {
                let claim = Claim {
                    prefix: prefix.parse().expect("a prefix"),
                    preference: *preference,
                    weight: 1 + preference % 3,
                    source: Source::Static,
                };
                registry.add(LbIndex(*lb), 1, None, [claim]).expect("there is room");
            }
        }
        directory.set_tables(registry.table().clone(), registry.table().clone());
        directory.set_default_group(self.default.map(|lb| Member { lb: LbIndex(lb), preference: 0, weight: 1 }));
        directory.set_filling(self.filling);
        if self.own {
            directory.set_own(LbIndex(0));
        }
        directory
    }
}

fn world() -> impl Strategy<Value = World> {
    let lbs = vec((any::<u8>(), any::<bool>(), prop::bool::weighted(0.2), any::<u8>()), 4);
    let entries = vec((0..8_u8, 0..4_u32, 0..3_u16), 0..12);
    let rest = (any::<bool>(), prop::option::of(0..4_u32), any::<bool>(), any::<bool>());
    (lbs, entries, rest).prop_map(|(lbs, entries, (neighbours, default, own, filling))| World {
        lbs,
        entries,
        neighbours,
        default,
        own,
        filling,
    })
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..8_u8, 0..=33_u8).prop_map(|(octet, source)| {
            let address = dglb_core::net::mask([10, 1, octet, 255].into(), source);
            let IpAddr::V4(address) = address else { unreachable!("IPv4 was masked") };
            let used = usize::from(source.div_ceil(8)).min(4);
            [&[0, 8, 0, 4 + used as u8, 0, 1, source, 0][..], &address.octets()[..used]].concat()
        }),
        Just(vec![0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        Just(vec![0, 3, 0, 0]),
        vec(any::<u8>(), 0..6),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let types = select(vec![1, 1, 1, 2, 5, 6, 16, 28, 28, 43, 65, 252, 255]);
    let edns = prop::option::weighted(0.8, vec(option(), 0..3).prop_map(|options| options.concat()));
    let spoiled = prop::option::weighted(0.1, (0..80_usize, any::<u8>()));
    let from = (any::<bool>(), 0..10_u8, prop_oneof![20 => 53..54_u16, 1 => 0..1_u16]).prop_map(|(v4, octet, port)| {
        let address = if v4 { format!("10.1.{octet}.7") } else { format!("2001:db8:{octet:x}::7") };
        SocketAddr::new(address.parse().expect("an address"), port)
    });
    let role = select(vec![Role::Referral, Role::Referral, Role::Fallback, Role::DnsLb]);
    let transport = select(vec![Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Tls]);
    let class = prop_oneof![20 => Just(1_u8), 1 => Just(3), 1 => Just(4)];
    ((select(&NAMES[..]), types, class), edns, spoiled, (from, role, transport)).prop_map(
        |((name, rtype, class), edns, spoiled, (from, role, transport))| Packet {
            name: name.to_owned(),
            rtype,
            class,
            edns,
            spoiled,
            from,
            role,
            transport,
        },
    )
}

impl Packet {
    fn octets(&self, id: usize) -> Vec<u8> {
        let mut octets = vec![0, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())];
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            octets.push(label.len() as u8);
            octets.extend_from_slice(label.as_bytes());
        }
        octets.extend_from_slice(&[0, 0, self.rtype, 0, self.class]);
        if let Some(options) = &self.edns {
            octets.extend_from_slice(&[0, 0, 41, 2, 0x58, 0, 0, 0, 0, 0, options.len() as u8]);
            octets.extend_from_slice(options);
        }
        if let Some((at, bits)) = self.spoiled {
            let at = at % octets.len();
            octets[at] ^= bits;
        }
        octets
    }
}

/// Room for any reply, made once.
const ROOM: usize = 4_096;
static EMPTY: LazyLock<Directory> = LazyLock::new(|| Directory::new(Settings::default()));

/// Whoever was taken is the one among the candidates that is said to be, and lacks nothing that counts.
fn names_whom_was_taken(why: &Explanation) -> Result<(), TestCaseError> {
    let chosen: Vec<_> = why.candidates.iter().filter(|candidate| candidate.chosen).collect();
    match why.decision {
        "mapped" | "suspect" | "neighbour" | "default-group" | "direct" => {
            prop_assert_eq!(chosen.len(), 1, "{:?}", why);
            prop_assert_eq!(Some(&chosen[0].dns_lb), why.dns_lb.as_ref(), "{:?}", why);
            prop_assert_eq!(chosen[0].worth == "ready", chosen[0].lacks.is_empty(), "{:?}", why);
            prop_assert!(
                why.candidates
                    .iter()
                    .all(|other| other.worth == "none" || rank_of(other.worth) >= rank_of(chosen[0].worth)),
                "{:?}",
                why
            );
        }
        _ => prop_assert!(chosen.is_empty(), "{:?}", why),
    }
    Ok(())
}

fn rank_of(worth: &str) -> usize {
    ["ready", "joining", "suspect"].iter().position(|known| *known == worth).expect("one of three")
}

fn agree(directory: &Directory, packets: &[Packet]) -> Result<(), TestCaseError> {
    let responder = Responder::with_defaults(directory);
    let octets: Vec<Vec<u8>> = packets.iter().enumerate().map(|(id, packet)| packet.octets(id)).collect();
    let asked: Vec<Asked<'_>> = packets
        .iter()
        .zip(&octets)
        .map(|(p, packet)| Asked { packet, peer: p.from, transport: p.transport, role: p.role })
        .collect();
    let mut replies = vec![vec![0xff; ROOM]; packets.len()];
    let mut exchanges: Vec<Exchange<'_>> = asked
        .iter()
        .zip(&mut replies)
        .map(|(asked, reply)| Exchange { asked: *asked, reply, handled: Handled::DROPPED })
        .collect();
    responder.respond_batch(&mut exchanges, &mut Names::default());
    for (Exchange { asked, reply, handled }, packet) in exchanges.iter().zip(packets) {
        let mut alone = vec![0; ROOM];
        prop_assert_eq!(responder.respond(asked, &mut alone), *handled, "{:?}", packet);
        prop_assert_eq!(&alone[..handled.length], &reply[..handled.length], "{:?}", packet);
        let (explained, why) = responder.explain(asked, &mut alone);
        prop_assert_eq!(explained, *handled, "{:?}", packet);
        prop_assert_eq!(&alone[..handled.length], &reply[..handled.length], "{:?}", packet);
        names_whom_was_taken(&why)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn alone_and_in_a_batch_the_octets_are_the_same(world in world(), packets in vec(packet(), 0..70)) {
        agree(&world.directory(), &packets)?;
        agree(&EMPTY, &packets)?;
    }
}
