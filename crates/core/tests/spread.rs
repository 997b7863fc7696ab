//! DNS-LBs that share a prefix: who gets whom follows from who they are and what they weigh, whatever
//! the order in which a dns-b met them, and whoever leaves moves only what was its own.

use std::collections::BTreeMap;

use dglb_core::{
    catalogue::{Mode, Policy, Probe, ProbeKind, Service, Site, ZoneCatalogue, ZoneStyle},
    directory::{Directory, LbState, Settings},
    dns::{Asked, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    report::{RankedSite, Ranking},
    table::{Claim, Registry, Source},
};

const WWW: &str = "www.glb.test";
/// Prefixes that all of them share; each is asked for once.
const PREFIXES: u16 = 4_000;

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

fn zone() -> ZoneCatalogue {
    let probe = Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 1_000, timeout_ms: 500, fall: 2, rise: 2 };
    let site = Site { name: "a".to_owned(), addresses: vec![[203, 0, 113, 1].into()], cost: 0.0, ..Site::default() };
    let www = Service {
        name: WWW.parse().unwrap(),
        host: "www.test".parse().unwrap(),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![probe],
        sites: vec![site],
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
        services: vec![www],
        records: vec![],
    }
}

/// Every other /24, so that none is one with its neighbour.
fn octets(n: u16) -> [u8; 2] {
    (n * 2).to_be_bytes()
}

/// A dns-b that meets these DNS-LBs in this order, all of them beside all prefixes.
fn dns_b(lbs: &[(&str, u16)]) -> Directory {
    let mut directory = Directory::new(Settings::default());
    directory.set_fleet(fleet());
    directory.set_zone(zone()).unwrap();
    let mut registry = Registry::new();
    for (label, weight) in lbs {
        let index = directory.upsert_lb(&label.parse().unwrap(), &[[198, 18, 0, 1].into()]);
        directory.update_lb(index, |lb| (lb.state, lb.handed_out) = (LbState::Alive, true));
        let best = RankedSite { site: "a".to_owned(), score: None, addresses: vec![], share: 0 };
        let ranking = Ranking { service: WWW.parse().unwrap(), catalogue: 1, sites: vec![best], unsettled: false };
        directory.set_ranking(index, &ranking).unwrap();
        let claim = |n| {
            let [high, low] = octets(n);
            let prefix = format!("10.{high}.{low}.0/24").parse().unwrap();
            Claim { prefix, preference: 1, weight: *weight, source: Source::Static }
        };
        registry.set(index, 1, None, (0..PREFIXES).map(claim)).unwrap();
    }
    directory.set_tables(registry.table().clone(), directory.clients().clone());
    directory
}

/// To whom a resolver in each prefix is sent: the label, in small letters.
fn choices(directory: &Directory) -> Vec<String> {
    let name: Name = WWW.parse().unwrap();
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&[0, 1, 0, 1]);
    let mut reply = vec![0; 1_232];
    let mut choice = |n| {
        let [high, low] = octets(n);
        let peer = ([10, high, low, 53], 5_353).into();
        let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role: Role::Referral };
        let handled = Responder::with_defaults(directory).respond(&asked, &mut reply);
        assert!(handled.length > packet.len() + 12, "a CNAME");
        // Owner (a pointer), TYPE, CLASS, TTL, RDLENGTH, and then `www` and the label.
        let target = &reply[packet.len() + 12..];
        let label = &target[4..][..=usize::from(target[4])];
        String::from_utf8(label[1..].to_vec()).unwrap()
    };
    (0..PREFIXES).map(&mut choice).collect()
}

#[test]
fn the_order_of_meeting_changes_nothing() {
    let lbs = [("sea1", 1), ("tok1", 3), ("ams1", 1), ("nyc1", 2)];
    let mut reversed = lbs;
    reversed.reverse();
    assert_eq!(choices(&dns_b(&lbs)), choices(&dns_b(&reversed)));
}

#[test]
fn everybody_gets_its_weight() {
    let lbs = [("sea1", 1), ("tok1", 3), ("ams1", 4)];
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for label in choices(&dns_b(&lbs)) {
        *shares.entry(label).or_default() += 1;
    }
    // Four standard deviations of the largest.
    for (label, weight) in lbs {
        let (found, wanted) = (shares[label], usize::from(PREFIXES) * usize::from(weight) / 8);
        assert!(found.abs_diff(wanted) < 130, "{label}: {found}, not {wanted}");
    }
}

#[test]
fn who_leaves_moves_only_its_own() {
    let before = choices(&dns_b(&[("sea1", 1), ("tok1", 3), ("ams1", 4)]));
    let after = choices(&dns_b(&[("sea1", 1), ("ams1", 4)]));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(moved.clone().count() > 0);
    assert!(moved.clone().all(|(before, _)| before == "tok1"));
}
