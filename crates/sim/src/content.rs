//! What the simulated enterprise, operator and ISPs have: configurations, catalogues, claims. All of
//! it follows from small numbers, so an answer says by itself what it was made from.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::IpAddr,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, StaticRecord, ZoneCatalogue, ZoneStyle},
    identity::Identity,
    name::Name,
    net::Prefix,
};
use dns_b::config::Config;
use dns_lb::registration::Claim;

use crate::random::Random;

/// DNS-LB identities that every dns-b has as peers.
pub const LBS: usize = 6;
/// Lease of every entry, and the longest that a dns-b allows.
pub const LEASE: Duration = Duration::from_secs(10);
/// Time to live of the CNAMEs, in seconds.
pub const CNAME_TTL: u32 = 8;
/// Time to live of the label zones' name servers, in seconds.
pub const LABEL_TTL: u32 = 10;
/// The zone.
pub const ZONE: &str = "glb.test";
/// The services; what an answer may hold of each is in the catalogue.
pub const SERVICES: [&str; 3] = ["api", "img", "www"];
/// Most sites of a service.
pub const SITES: u8 = 4;

/// The name of a service, or another one in the zone.
pub fn name(relative: &str) -> Name {
    parse(&format!("{relative}.{ZONE}"))
}

/// The zone.
pub fn zone() -> Name {
    parse(ZONE)
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the world's own texts are sound")
}

/// The `n`th dns-b, from 0.
pub fn b(n: usize) -> Identity {
    parse(&format!("b{}", n + 1))
}

/// The `n`th DNS-LB, from 0.
pub fn lb(n: usize) -> Identity {
    parse(&format!("lb{}", n + 1))
}

/// The enterprise's agent.
pub fn publisher() -> Identity {
    parse("sync")
}

/// The address that a host dials from and, as a DNS-LB, serves at.
pub fn address(host: usize) -> IpAddr {
    IpAddr::from([198, 51, 100, 10 + host as u8])
}

/// The configuration of the `n`th of `count` dns-bs, read from a file as an operator writes it.
pub fn config(n: usize, count: usize) -> Config {
    type Known = Mutex<BTreeMap<(usize, usize), Config>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Known::default).lock().unwrap_or_else(PoisonError::into_inner);
    known.entry((n, count)).or_insert_with(|| read_config(n, count)).clone()
}

fn read_config(n: usize, count: usize) -> Config {
    let mut fleet = format!(
        "serial = 1\noperator-zone = \"ops.test\"\nhostmaster = \"hostmaster.ops.test\"\n\
         [ttl]\napex-ns = 60\nlabel-ns = {LABEL_TTL}\n"
    );
    for i in 1..=count {
        let _ = writeln!(
            fleet,
            "[[dns-b]]\nidentity = \"b{i}\"\nreferral = [\"192.0.2.{i}0\"]\nfallback = [\"192.0.2.{i}1\"]"
        );
    }
    let mut text = format!(
        "identity = \"b{}\"\nfleet = \"fleet.toml\"\nreport-stale-after = \"12s\"\n\
         [map]\nlisten = [\"127.0.0.1:0\"]\nplain-tcp = \"loopback\"\nlease = \"{}s\"\n\
         [check]\ninterval = \"2s\"\ntimeout = \"500ms\"\nfall = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[peer]]\nidentity = \"sync\"\nrole = \"dns-a-sync\"\nmay-publish = [\"{ZONE}\"]\n",
        n + 1,
        LEASE.as_secs()
    );
    for i in 1..=LBS {
        let _ = writeln!(
            text,
            "[[peer]]\nidentity = \"lb{i}\"\nrole = \"dns-lb\"\nmay-map = [\"10.{i}.0.0/16\", \"10.200.0.0/16\"]\n\
             may-prove = false"
        );
    }
    let folder = tempfile::tempdir().expect("a folder for two files");
    std::fs::write(folder.path().join("fleet.toml"), fleet).expect("room for a file");
    let path = folder.path().join("dns-b.toml");
    std::fs::write(&path, text).expect("room for a file");
    dns_b::config::load(&path).expect("the world's own configuration is sound").value
}

/// What the enterprise publishes in its `edition`th edition: every address and every record says
/// which edition it is of, but for one service that never changes, so that there is less to say of an
/// edition to who has the one before. Not numbered yet.
pub fn catalogue(edition: u16) -> ZoneCatalogue {
    let mut random = Random::new(u64::from(edition), 0xca7a);
    let service = |relative: &str, sites: Vec<Site>| Service {
        name: name(relative),
        host: parse(&format!("{relative}.test")),
        mode: if relative == "img" { Mode::Direct } else { Mode::Referral },
        ttl: 5,
        probe_ceiling: None,
        least_ttl: None,
        answers: if relative == "api" { 2 } else { 1 },
        policy: Policy { margin_ms: 2, margin_percent: 5, ..Policy::default() },
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 1_000,
            timeout_ms: 500,
            fall: 2,
            rise: 2,
        }],
        sites,
        https: None,
    };
    let of_edition = |(number, relative): (u8, &&str)| {
        let sites = 1..=random.between(2, u64::from(SITES)) as u8;
        service(relative, sites.map(|site| self::site(edition, number, site)).collect())
    };
    let mut services: Vec<Service> = (0..).zip(&SERVICES).map(of_edition).collect();
    let old = Site { name: "site1".to_owned(), addresses: vec![IpAddr::from([198, 18, 0, 1])], ..Site::default() };
    services.push(service("old", vec![old]));
    let [high, low] = edition.to_be_bytes();
    ZoneCatalogue {
        zone: zone(),
        generation: 0,
        soa_serial: 0,
        style: ZoneStyle::SubZone,
        cname_ttl: CNAME_TTL,
        services,
        records: vec![StaticRecord { name: name("edition"), rtype: 1, ttl: 5, rdata: vec![203, high, low, 255] }],
    }
}

fn site(edition: u16, service: u8, site: u8) -> Site {
    let [high, low] = edition.to_be_bytes();
    let address = IpAddr::from([203, high, low, service * 16 + site]);
    Site { name: format!("site{site}"), addresses: vec![address], cost: 0.0, ..Site::default() }
}

/// The edition that an address of a site, or of the edition's own record, is of.
pub fn edition_of(address: IpAddr) -> Option<u16> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 203 => Some(u16::from_be_bytes([v4.octets()[1], v4.octets()[2]])),
        _ => None,
    }
}

/// What the `n`th DNS-LB claims: a network of its own and a few resolvers drawn from `random`, its
/// own, some that it shares with others, and sometimes one that it has no right to.
pub fn claim(n: usize, host: usize, random: &mut Random) -> Claim {
    let i = n + 1;
    let mut resolvers: Vec<IpAddr> =
        (1..=4).filter(|_| random.chance(50)).map(|k| parse(&format!("10.{i}.0.{k}"))).collect();
    resolvers.extend((1..=2).filter(|_| random.chance(40)).map(|k| parse::<IpAddr>(&format!("10.200.0.{k}"))));
    if random.chance(20) {
        resolvers.push(parse("10.250.0.1"));
    }
    let networks: Vec<Prefix> = vec![parse(&format!("10.{i}.128.0/24"))];
    Claim { addresses: vec![address(host)], resolvers, networks, preference: 10, weight: 1, lease: LEASE }
}

/// Whether some DNS-LB may map it.
pub fn is_allowed(prefix: Prefix) -> bool {
    !parse::<Prefix>("10.250.0.0/16").covers(&prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_sound() {
        for edition in [1, 2, 300] {
            let catalogue = catalogue(edition);
            assert_eq!(catalogue.check(), []);
            let of_edition = catalogue.services.iter().filter(|s| s.name != name("old"));
            let addresses = of_edition.flat_map(|s| &s.sites).flat_map(|s| &s.addresses);
            assert!(addresses.into_iter().all(|a| edition_of(*a) == Some(edition)));
        }
        assert_eq!(config(1, 3).identity, b(1));
        assert_eq!(config(1, 3).peers.len(), LBS + 1);
    }
}
