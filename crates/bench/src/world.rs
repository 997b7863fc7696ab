//! What is served: 1 000 services in 100 zones, 10 000 DNS-LBs, 100 000 rankings, and a map of
//! 1 000 000 prefixes in which every /24 of loopback has a DNS-LB of its own, so that the source of
//! a question decides the answer. The same in every run and in every process.

use std::net::{IpAddr, Ipv4Addr};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbIndex, LbState, Settings},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    net::Prefix,
    report::{Figures, Health, RankedSite, Ranking},
    table::{Claim, Registry, Source},
};

use crate::random::Random;

/// Prefixes in the map.
pub(crate) const PREFIXES: usize = 1_000_000;
/// DNS-LBs.
pub(crate) const DNS_LBS: u32 = 10_000;
/// Zones.
pub(crate) const ZONES: u32 = 100;
/// Services.
pub(crate) const SERVICES: u32 = 1_000;
/// Services that a DNS-LB ranks: the first, which everybody asks for, and some of the others.
pub(crate) const RANKED: u32 = 10;
/// Sites of a service.
const SITES: u32 = 4;
/// The map's prefixes within loopback.
const LOOPBACKS: u32 = 1 << 16;

/// Lengths of the other prefixes with how many in a thousand have them, after the public IPv4
/// routing tables of 2024 with some resolvers of their own.
const LENGTHS: [(u8, u32); 13] = [
    (24, 600),
    (22, 110),
    (23, 100),
    (21, 50),
    (20, 45),
    (32, 28),
    (19, 26),
    (16, 14),
    (18, 14),
    (17, 8),
    (15, 2),
    (14, 2),
    (12, 1),
];

/// The zone of a service.
pub(crate) fn zone_of(service: u32) -> String {
    zone(service % ZONES)
}

/// A zone by its number.
pub(crate) fn zone(number: u32) -> String {
    format!("glb{number}.foobar.test")
}

/// The label of a service in its zone.
pub(crate) fn label(service: u32) -> String {
    format!("www{service}")
}

/// The name that is asked for.
pub(crate) fn name(service: u32) -> String {
    format!("{}.{}", label(service), zone_of(service))
}

/// The address of a service's site.
pub(crate) fn site_address(service: u32, site: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, (service / 250) as u8, (service % 250) as u8, 1 + site as u8)
}

/// The DNS-LB of a /24 of loopback.
pub(crate) fn lb_of_loopback(client: Ipv4Addr) -> u32 {
    Random(u64::from(client.to_bits() >> 8)).below(DNS_LBS)
}

/// The services that a DNS-LB has ranked, by `nth` below [`RANKED`]; the first is everybody's.
pub(crate) fn ranked(lb: u32, nth: u32) -> u32 {
    match nth {
        0 => 0,
        _ => 1 + (lb * 13 + nth * (SERVICES / (RANKED - 1))) % (SERVICES - 1),
    }
}

/// An entry of the map outside loopback, drawn.
pub(crate) fn drawn_prefix(random: &mut Random) -> (Ipv4Addr, u8) {
    let address = loop {
        let address = Ipv4Addr::from_bits(0x0100_0000 + random.below(0xdf00_0000));
        if !address.is_loopback() {
            break address;
        }
    };
    let mut at = random.below(1_000);
    for (length, share) in LENGTHS {
        if at < share {
            return (address, length);
        }
        at -= share;
    }
    unreachable!("the shares sum up to a thousand")
}

/// Seeds the drawing of prefixes; who starts alike sees the same prefixes in the same order.
pub(crate) fn prefix_seed() -> Random {
    Random(1)
}

/// Everything, ready to be published, and the map's writer.
pub(crate) fn build() -> (Directory, Registry) {
    let loopback = Prefix::containing([127, 0, 0, 0].into(), 8).expect("a prefix");
    // The client's own subnets count.
    let mut directory = Directory::new(Settings { ecs_from: vec![loopback], ..Settings::default() });
    directory.set_fleet(fleet());
    for number in 0..ZONES {
        directory.set_zone(catalogue(number)).expect("a catalogue without mistakes");
    }
    for lb in 0..DNS_LBS {
        let address = [198, 18, (lb / 250) as u8, (lb % 250) as u8].into();
        let index = directory.upsert_lb(&format!("lb{lb}").parse().expect("an identity"), &[address]);
        assert_eq!(index, LbIndex(lb), "the table's numbers are the directory's");
        directory.update_lb(index, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        for nth in 0..RANKED {
            directory.set_ranking(index, &ranking(ranked(lb, nth), lb)).expect("a service of ours");
        }
    }
    let registry = registry();
    directory.set_tables(registry.table().clone(), registry.table().clone());
    (directory, registry)
}

fn registry() -> Registry {
    let mut claims: Vec<Vec<Claim>> = vec![Vec::new(); DNS_LBS as usize];
    let claim = |address: Ipv4Addr, bits: u8, preference: u16| {
        let prefix = Prefix::containing(address.into(), bits).expect("the lengths are the family's");
        Claim { prefix, preference, weight: 10, source: Source::Static }
    };
    for net in 0..LOOPBACKS {
        let address = Ipv4Addr::from_bits(0x7f00_0000 + (net << 8));
        claims[lb_of_loopback(address) as usize].push(claim(address, 24, 0));
    }
    let (mut drawn, mut random) = (prefix_seed(), Random(2));
    let mut registry = Registry::new();
    while registry.table().len() < PREFIXES {
        // What is drawn twice counts once, so there are some rounds of this.
        for _ in registry.table().len() + claims.iter().map(Vec::len).sum::<usize>()..PREFIXES {
            let (address, bits) = drawn_prefix(&mut drawn);
            claims[random.below(DNS_LBS) as usize].push(claim(address, bits, random.below(3) as u16));
        }
        for (lb, claims) in claims.iter_mut().enumerate().filter(|(_, claims)| !claims.is_empty()) {
            registry.add(LbIndex(lb as u32), 1, None, claims.drain(..)).expect("far within the bound");
        }
    }
    registry
}

fn fleet() -> Fleet {
    let server = |n: u8| FleetServer {
        identity: format!("b{n}").parse().expect("an identity"),
        referral: vec![[192, 0, 2, n].into()],
        fallback: vec![[192, 0, 2, 100 + n].into()],
    };
    let fleet = Fleet {
        serial: 1,
        operator_zone: domain("ops.test"),
        hostmaster: domain("hostmaster.ops.test"),
        servers: (1..=8).map(server).collect(),
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    Fleet::new(fleet).expect("a fleet")
}

fn domain(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The catalogue of a zone.
pub(crate) fn catalogue(number: u32) -> ZoneCatalogue {
    ZoneCatalogue {
        zone: domain(&zone(number)),
        generation: 1,
        soa_serial: 1,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: (0..SERVICES).filter(|service| service % ZONES == number).map(service).collect(),
        records: vec![],
    }
}

/// Half of the services refer, half answer directly.
fn service(number: u32) -> Service {
    let site = |site| Site {
        name: format!("s{site}"),
        addresses: vec![site_address(number, site).into()],
        cost: 0.0,
        ..Site::default()
    };
    Service {
        name: domain(&name(number)),
        host: domain("www.foobar.test"),
        mode: if refers(number) { Mode::Referral } else { Mode::Direct },
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        https: None,
        probe_ceiling: None,
        least_ttl: None,
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1_000,
            fall: 2,
            rise: 2,
        }],
        sites: (0..SITES).map(site).collect(),
    }
}

/// Whether a service is answered with a DNS-LB's name rather than with an address.
pub(crate) fn refers(service: u32) -> bool {
    (service / ZONES).is_multiple_of(2)
}

/// A ranking whose best site depends on who ranks.
fn ranking(service: u32, lb: u32) -> Ranking {
    let site = |place: u32| {
        let site = (place + lb) % SITES;
        let address = IpAddr::V4(site_address(service, site));
        let figures = Figures { address, health: Health::Up, latency_us: Some(1_000 + site) };
        RankedSite {
            site: format!("s{site}"),
            score: Some(10.0 * f64::from(place)),
            addresses: vec![figures],
            share: 0,
        }
    };
    Ranking { service: domain(&name(service)), catalogue: 1, sites: (0..SITES).map(site).collect(), unsettled: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_is_ranked_by_somebody_and_no_dns_lb_ranks_one_twice() {
        let of = |lb| (0..RANKED).map(|nth| ranked(lb, nth)).collect::<BTreeSet<_>>();
        assert!((0..DNS_LBS).all(|lb| of(lb).len() == RANKED as usize));
        assert_eq!((0..DNS_LBS).flat_map(of).collect::<BTreeSet<_>>(), (0..SERVICES).collect());
    }

    #[test]
    fn shares_of_lengths_sum_up() {
        assert_eq!(LENGTHS.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
    }

    #[test]
    fn zones_hold_services_of_both_modes() {
        let modes: BTreeSet<_> = catalogue(7).services.iter().map(|service| service.mode == Mode::Direct).collect();
        assert_eq!((catalogue(7).services.len(), modes.len()), (10, 2));
    }
}
