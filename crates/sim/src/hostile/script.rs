//! What hostile peers say, as octets have it: messages that are well formed and mean harm, or nothing.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use dglb_core::{
    catalogue::{CatalogueDelta, CatalogueUpdate, Service, Withdrawal, ZoneCatalogue, ZoneStyle},
    name::Name,
    net::Prefix,
    proto::{
        Number,
        body::decode,
        message::{
            BudgetAck, CatalogueAck, EntryKind, Map, MapEntry, Message, Nonce, Proof, ProofSecret, Ready, Report,
            Resync, Unmap, Want,
        },
    },
    report::{Figures, Health, RankedSite, Ranking},
};

use super::{LB, SYNC, World};
use crate::content;

/// Octets from which everything is read; when they are at an end all that is read is 0.
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The next one.
    pub(super) fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.octet().unwrap_or(0)) % end.max(1)
    }

    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 1 << 63,
            2 => u64::MAX,
            _ => self.below(64) as u64,
        }
    }

    fn some(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        self.0 = rest;
        some.to_vec()
    }
}

/// One thing happens.
pub(super) fn step(world: &mut World, script: &mut Script<'_>, what: u8) -> Result<(), String> {
    let peer = 2 + script.below(3);
    match what % 16 {
        0 => {
            let time = Duration::from_millis(10 << script.below(14));
            world.pass(time);
        }
        1 => _ = world.dial(peer, (script.below(3) as u8, script.number())),
        2 => world.hang_up(peer),
        3 => {
            let passes = script.below(2) == 0;
            world.honest_check(passes);
        }
        4 => honest(world, script)?,
        5 => {
            // The same again and again.
            let message = message(script);
            for _ in 0..script.below(40) {
                world.say(peer, message.clone());
                world.bounded()?;
            }
        }
        6 => {
            let (number, octets) = (Number(script.below(0x70) as u16), script.some(60));
            if let Ok(Some(decoded)) = decode(number, Bytes::from(octets), 1_000) {
                world.say(peer, decoded.message);
            }
        }
        _ => {
            let message = message(script);
            world.say(peer, message);
        }
    }
    Ok(())
}

/// The honest ones go on with their lives.
fn honest(world: &mut World, script: &mut Script<'_>) -> Result<(), String> {
    match script.below(6) {
        0 => world.honest_report(),
        1 => world.honest_map(),
        2 if world.links.contains_key(&SYNC) => world.honest_publish(),
        3 => world.hang_up(LB),
        4 if !world.links.contains_key(&LB) => world.honest_return()?,
        _ if world.links.contains_key(&LB) => {
            // If it was silent for long, its neighbours spoke for it until now.
            world.honest_report();
            world.pass(Duration::from_millis(200));
            world.honest_found()?;
        }
        _ => {}
    }
    Ok(())
}

fn message(script: &mut Script<'_>) -> Message {
    match script.below(13) {
        0 | 1 => Message::Map(map(script)),
        2 => Message::Unmap(Unmap { generation: script.number(), prefixes: prefixes(script) }),
        3 | 4 => Message::Report(report(script)),
        5 => Message::Ready(Ready { map_generation: script.number(), servers: vec![content::b(script.below(3))] }),
        6 => Message::Catalogue(Box::new(CatalogueUpdate::Snapshot(catalogue(script)))),
        7 => Message::Catalogue(Box::new(update(script))),
        8 => Message::Resync(Resync::Catalogue { zone: zone(script), held: script.number() }),
        9 => Message::Want(Want { service: service_name(script) }),
        10 => {
            let (generation, held) = (script.number(), script.number());
            let refused = (script.below(2) == 0).then(|| "no".to_owned());
            Message::CatalogueAck(CatalogueAck { zone: zone(script), generation, held, refused })
        }
        11 => {
            let nonce = Nonce([script.below(256) as u8; 16]);
            Message::Proof(Proof { nonce, secret: ProofSecret(vec![7; 1 + script.below(64)]) })
        }
        _ => Message::BudgetAck(BudgetAck { generation: script.number() }),
    }
}

fn zone(script: &mut Script<'_>) -> Name {
    let zones = ["evil.test", content::ZONE, "sub.glb.test", "test", "."];
    zones[script.below(zones.len())].parse().expect("a sound name")
}

fn service_name(script: &mut Script<'_>) -> Name {
    let n = script.below(40);
    match script.below(4) {
        0 => content::name(content::SERVICES[n % 3]),
        1 => content::name("www.lb1"),
        2 => format!("s{n}.nowhere.test").parse().expect("a sound name"),
        _ => format!("s{n}.evil.test").parse().expect("a sound name"),
    }
}

fn prefixes(script: &mut Script<'_>) -> Vec<Prefix> {
    let count = script.below(20);
    let prefix = |script: &mut Script<'_>| {
        let (place, n) = (script.below(5), script.below(256) as u8);
        let address: IpAddr = match place {
            0 => [10, 1, 0, 1].into(),
            1 => [10, 2, 0, n].into(),
            2 => [10, 3, n, 1].into(),
            3 => [10, 200, 0, n].into(),
            _ => [0, 0, 0, 0].into(),
        };
        let bits = [0, 8, 16, 24, 32][script.below(5)];
        Prefix::containing(address, bits).unwrap_or_else(|_| Prefix::host(address))
    };
    (0..count).map(|_| prefix(script)).collect()
}

fn map(script: &mut Script<'_>) -> Map {
    let (generation, lease_ms) = (script.number(), script.number() as u32);
    let addresses = (0..script.below(4)).map(|n| content::address(n + script.below(9))).collect();
    let kind = if script.below(2) == 0 { EntryKind::Resolver } else { EntryKind::Client };
    let (preference, weight) = (script.below(3) as u16, script.below(3) as u16);
    let entries = prefixes(script).into_iter().map(|prefix| MapEntry { prefix, kind, preference, weight }).collect();
    Map { generation, lease_ms, addresses, entries }
}

fn report(script: &mut Script<'_>) -> Report {
    let (generation, base) = (script.number(), script.number());
    let rankings = (0..script.below(12)).map(|_| ranking(script)).collect();
    let removed = (0..script.below(3)).map(|_| service_name(script)).collect();
    Report { generation, base, rankings, removed }
}

fn ranking(script: &mut Script<'_>) -> Ranking {
    let service = service_name(script);
    let health = [Health::Up, Health::Down, Health::Unknown][script.below(3)];
    let score = [None, Some(0.0), Some(-1e300), Some(f64::MAX)][script.below(4)];
    let site = |n: usize| {
        let address = IpAddr::from([203, 0, 1, n as u8]);
        let figures = Figures { address, health, latency_us: Some(n as u32) };
        RankedSite { site: format!("site{n}"), score, addresses: vec![figures], share: 0 }
    };
    Ranking { service, catalogue: 1, sites: (0..script.below(8)).map(site).collect(), unsettled: false }
}

fn catalogue(script: &mut Script<'_>) -> ZoneCatalogue {
    let zone = zone(script);
    let (generation, cname_ttl) = (script.number(), script.below(256) as u32);
    let pattern = content::catalogue(1).services.remove(0);
    let services = (0..script.below(9)).map(|_| {
        let (name, copies) = (service_name(script), script.below(5));
        let sites = (0..copies).map(|n| pattern.sites[n % pattern.sites.len()].clone()).collect();
        Service { name, sites, ..pattern.clone() }
    });
    let services = services.collect();
    let style = if script.below(2) == 0 { ZoneStyle::SubZone } else { ZoneStyle::Host };
    ZoneCatalogue { zone, generation, soa_serial: 1, style, cname_ttl, services, records: vec![] }
}

/// A delta, or the end of a zone.
fn update(script: &mut Script<'_>) -> CatalogueUpdate {
    if script.below(3) == 0 {
        return CatalogueUpdate::Withdrawn(Withdrawal { zone: zone(script), generation: script.number() });
    }
    let new = catalogue(script);
    let old = ZoneCatalogue { generation: script.number(), services: vec![], ..new.clone() };
    match new.delta_from(&old) {
        Some(delta) => CatalogueUpdate::Delta(CatalogueDelta { base: script.number(), ..delta }),
        None => CatalogueUpdate::Snapshot(new),
    }
}
