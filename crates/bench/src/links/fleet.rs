//! Ten thousand DNS-LBs and what each of them says: the same in every run.
//!
//! Everything lies in loopback, so that a question's source decides the answer: DNS-LB n answers at
//! 127.16.0.1 + n × 256 and sits beside the resolvers of a /24 in 127.64.0.0/10 and of 24 other prefixes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    name::Name,
    net::Prefix,
    peer_name::PeerName,
    proto::message::{EntryKind, Map, MapEntry, PeerRole, Report},
    report::{Figures, Health, RankedSite, Ranking},
};

/// The most DNS-LBs that loopback has room for.
pub(super) const MOST: u32 = 12_000;
/// Services, all in one zone.
pub(super) const SERVICES: u32 = 100;
/// Sites of a service.
const SITES: u32 = 4;
/// Entries of one MAP.
pub(super) const ENTRIES: u32 = 25;
/// Of the entries outside loopback every so many-th is a network of clients.
const CLIENTS: u32 = 6;

/// The dns-b.
pub(super) const DNS_B: &str = "b1";
/// The dns-a-sync.
pub(super) const SYNC: &str = "sync";
/// The zone.
pub(super) const ZONE: &str = "glb.load.test";

/// The identity of a DNS-LB.
pub(super) fn identity(lb: u32) -> String {
    format!("lb{lb}")
}

/// As certificates name somebody.
///
/// # Errors
/// When the identity is none.
pub(super) fn name(role: PeerRole, identity: &str) -> io::Result<PeerName> {
    Ok(PeerName::new(role, identity.parse().map_err(io::Error::other)?))
}

/// Where a DNS-LB answers and dials from.
pub(super) fn address(lb: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f10_0001 + (lb << 8))
}

/// A resolver that a DNS-LB sits beside.
pub(super) fn resolver(lb: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f40_0001 + (lb << 8))
}

/// A resolver beside which nobody sits until a DNS-LB comes to it.
pub(super) fn wanted(place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f80_0001 + ((place & 0x3fff) << 8))
}

/// A service's name.
pub(super) fn service(number: u32) -> String {
    format!("www{number}.{ZONE}")
}

/// The same, read once: thousands of reports name it.
fn service_name(number: u32) -> Name {
    static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| (0..SERVICES).map(|n| domain(&service(n))).collect());
    NAMES[number as usize].clone()
}

/// What DNS-LB `lb` sits beside; `wanted` is one of [`wanted`] in the place of another prefix.
pub(super) fn map(lb: u32, generation: u64, beside: Option<u32>) -> Map {
    let entry = |address: Ipv4Addr, bits, kind| {
        let prefix = Prefix::containing(address.into(), bits).expect("the lengths are the family's");
        MapEntry { prefix, kind, preference: 10, weight: 1 }
    };
    let mut entries = vec![entry(resolver(lb), 24, EntryKind::Resolver)];
    for n in 1..ENTRIES {
        let number = lb * ENTRIES + n;
        let kind = if n.is_multiple_of(CLIENTS) { EntryKind::Client } else { EntryKind::Resolver };
        entries.push(entry(Ipv4Addr::from_bits(0x0a00_0000 + (number << 4)), 28, kind));
    }
    if let Some(place) = beside {
        entries[1] = entry(wanted(place), 24, EntryKind::Resolver);
    }
    Map { generation, lease_ms: 60_000, addresses: vec![address(lb).into()], entries }
}

/// A DNS-LB's ranking of one service. `turn` counts the changes of its order.
pub(super) fn ranking(lb: u32, number: u32, turn: u32, catalogue: u64) -> Ranking {
    let site = |place: u32| {
        let site = (place + lb + turn) % SITES;
        let latency_us = 1_000 * (1 + place) + (lb + number) % 1_000;
        let figures = Figures { address: site_address(number, site), health: Health::Up, latency_us: Some(latency_us) };
        let score = Some(f64::from(latency_us) / 1e3);
        RankedSite { site: format!("s{site}"), score, addresses: vec![figures], share: 0 }
    };
    Ranking { service: service_name(number), catalogue, sites: (0..SITES).map(site).collect(), unsettled: false }
}

/// Everything that a DNS-LB has ranked; `turns` has a count for each service.
pub(super) fn whole_report(lb: u32, generation: u64, turns: &[u8], catalogue: u64) -> Report {
    let rankings = (0..SERVICES).zip(turns).map(|(number, turn)| ranking(lb, number, u32::from(*turn), catalogue));
    Report { generation, base: 0, rankings: rankings.collect(), removed: vec![] }
}

/// The zone in its `generation`; every one has other times to live.
pub(super) fn catalogue(generation: u64) -> ZoneCatalogue {
    let site = |number, site| Site {
        name: format!("s{site}"),
        addresses: vec![site_address(number, site)],
        cost: 0.0,
        ..Site::default()
    };
    let service = |number| Service {
        name: service_name(number),
        host: domain("www.load.test"),
        mode: Mode::Referral,
        ttl: 300 + generation as u32 % 100,
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
        sites: (0..SITES).map(|s| site(number, s)).collect(),
    };
    ZoneCatalogue {
        zone: domain(ZONE),
        generation,
        soa_serial: generation as u32,
        style: ZoneStyle::SubZone,
        cname_ttl: 3_600,
        services: (0..SERVICES).map(service).collect(),
        records: vec![],
    }
}

fn site_address(service: u32, site: u32) -> IpAddr {
    Ipv4Addr::new(198, 18, service as u8, 1 + site as u8).into()
}

fn domain(text: &str) -> Name {
    text.parse().expect("a name")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nobody_sits_where_somebody_else_does() {
        let prefixes = (0..MOST).flat_map(|lb| map(lb, 1, None).entries).map(|entry| entry.prefix);
        assert_eq!(prefixes.collect::<HashSet<_>>().len(), (MOST * ENTRIES) as usize);
        let last = resolver(MOST - 1).to_bits().max(address(MOST - 1).to_bits());
        assert!(last < wanted(0).to_bits() && address(MOST - 1) < resolver(0), "{last:x}");
        assert!(wanted(u32::MAX) < Ipv4Addr::new(127, 255, 255, 255));
    }

    #[test]
    fn a_turn_changes_the_best_site() {
        let best = |turn| ranking(7, 3, turn, 1).sites[0].site.clone();
        assert_eq!((0..4).map(best).collect::<HashSet<_>>().len(), 4);
        assert_eq!(catalogue(2).check(), vec![]);
    }
}
