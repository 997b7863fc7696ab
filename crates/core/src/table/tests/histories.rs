//! Random histories of a whole registry, against a list of claims and a linear scan of it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::super::{reference::Scan, *};

/// What happens to a registry; prefixes and DNS-LBs by number.
#[derive(Clone, Debug)]
enum Event {
    Set(u32, Vec<(u8, u16)>),
    Add(u32, Vec<(u8, u16)>),
    Remove(u32, Vec<u8>),
    RemoveAll(u32),
    Renew(u32),
    Pass(u64),
}

/// Seconds.
const LEASE: u64 = 20;

fn event() -> impl Strategy<Value = Event> {
    let lb = || 0..4_u32;
    let claims = || prop::collection::vec((any::<u8>(), 0..3_u16), 0..8);
    prop_oneof![
        3 => (lb(), claims()).prop_map(|(lb, c)| Event::Set(lb, c)),
        4 => (lb(), claims()).prop_map(|(lb, c)| Event::Add(lb, c)),
        2 => (lb(), prop::collection::vec(any::<u8>(), 0..8)).prop_map(|(lb, p)| Event::Remove(lb, p)),
        1 => lb().prop_map(Event::RemoveAll),
        2 => lb().prop_map(Event::Renew),
        2 => (1..LEASE).prop_map(Event::Pass),
    ]
}

/// One of 64 prefixes of each family, from /0 to hosts, many inside others.
fn prefix(n: u8) -> Prefix {
    let (v4, v6) = ([0, 8, 16, 24, 26, 28, 31, 32], [0, 16, 32, 47, 48, 64, 96, 128]);
    let (address, length) = (n >> 3 & 7, usize::from(n & 7));
    let (address, bits): (IpAddr, u8) = if n < 128 {
        ([10, address & 1, address, address << 5].into(), v4[length])
    } else {
        let last = u16::from(address);
        ([0x2001, last & 1, last << 13, 0, 0, 0, 0, last].into(), v6[length])
    };
    Prefix::containing(address, bits).unwrap()
}

/// The registry as it should be: claims by holder, and leases in seconds.
#[derive(Default)]
struct Model {
    claims: BTreeMap<(Prefix, u32), u16>,
    leases: BTreeMap<u32, u64>,
    now: u64,
}

impl Model {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Set(lb, claims) | Event::Add(lb, claims) => {
                if matches!(event, Event::Set(..)) {
                    self.claims.retain(|(_, holder), _| holder != lb);
                }
                self.claims.extend(claims.iter().map(|(n, preference)| ((prefix(*n), *lb), *preference)));
                self.leases.insert(*lb, self.now + LEASE);
            }
            Event::Remove(lb, prefixes) => {
                self.claims.retain(|(p, holder), _| holder != lb || !prefixes.iter().any(|n| prefix(*n) == *p));
            }
            Event::RemoveAll(lb) => self.forget(*lb),
            Event::Renew(lb) => {
                let now = self.now;
                self.leases.entry(*lb).and_modify(|lease| *lease = now + LEASE);
            }
            Event::Pass(seconds) => {
                self.now += seconds;
                for lb in self.expired() {
                    self.forget(lb);
                }
            }
        }
    }

    fn forget(&mut self, lb: u32) {
        self.claims.retain(|(_, holder), _| *holder != lb);
        self.leases.remove(&lb);
    }

    fn expired(&self) -> Vec<u32> {
        self.leases.iter().filter(|(_, lease)| **lease <= self.now).map(|(lb, _)| *lb).collect()
    }

    fn scan(&self) -> Scan<Vec<Member>> {
        let mut groups: BTreeMap<Prefix, Vec<Member>> = BTreeMap::new();
        for ((prefix, lb), preference) in &self.claims {
            let member = Member { lb: LbIndex(*lb), preference: *preference, weight: 1 };
            groups.entry(*prefix).or_default().push(member);
        }
        let mut scan = Scan::default();
        for (prefix, mut members) in groups {
            members.sort_by_key(|m| (m.preference, m.lb));
            scan.set(prefix, Some(members));
        }
        scan
    }
}

/// Does to `registry` what `event` says, and returns whom it reports as expired.
fn happen(registry: &mut Registry, event: &Event, start: Instant, now: u64) -> Vec<u32> {
    let at = |seconds| start + Duration::from_secs(seconds);
    let lease = Some(at(now + LEASE));
    let claims = |claims: &[(u8, u16)]| {
        let claim = |(n, preference): &(u8, u16)| Claim {
            prefix: prefix(*n),
            preference: *preference,
            weight: 1,
            source: Source::Proven,
        };
        claims.iter().map(claim).collect::<Vec<_>>()
    };
    match event {
        Event::Set(lb, list) => drop(registry.set(LbIndex(*lb), 1, lease, claims(list)).unwrap()),
        Event::Add(lb, list) => drop(registry.add(LbIndex(*lb), 1, lease, claims(list)).unwrap()),
        Event::Remove(lb, list) => drop(registry.remove(LbIndex(*lb), list.iter().map(|n| prefix(*n)))),
        Event::RemoveAll(lb) => drop(registry.remove_all(LbIndex(*lb))),
        Event::Renew(lb) => drop(registry.renew(LbIndex(*lb), lease)),
        Event::Pass(seconds) => {
            let mut expired: Vec<u32> = registry.expire(at(now + seconds)).iter().map(|lb| lb.0).collect();
            expired.sort_unstable();
            return expired;
        }
    }
    Vec::new()
}

fn check(table: &MapTable, scan: &Scan<Vec<Member>>) -> Result<(), TestCaseError> {
    let listed: Vec<_> = table.iter().map(|(p, g)| (p, g.members())).collect();
    prop_assert_eq!(listed, scan.sorted().into_iter().map(|(p, m)| (p, &**m)).collect::<Vec<_>>());
    let asked: Vec<_> = (0..=u8::MAX).step_by(5).map(|n| (prefix(n | 7).address(), prefix(n).bits())).collect();
    let mut located = vec![Located::default(); asked.len()];
    table.lookup_batch(&asked, &mut located);
    for ((address, source), batched) in asked.into_iter().zip(located) {
        let (single, expected) = (table.lookup(address, source), scan.lookup(address, source));
        for located in [single, batched] {
            prop_assert_eq!(located.group.map(|g| g.members()), expected.value.map(|m| &**m));
            prop_assert_eq!((located.matched, located.scope), (expected.matched, expected.scope));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_registry_is_what_its_claims_say_and_old_tables_stay_as_they_were(
        events in prop::collection::vec(event(), 1..24)
    ) {
        let (mut registry, mut model) = (Registry::new(), Model::default());
        let start = registry::tests::now();
        let mut versions = Vec::new();
        for event in &events {
            let expired = happen(&mut registry, event, start, model.now);
            let before: Vec<u32> = model.leases.keys().copied().collect();
            model.happen(event);
            if matches!(event, Event::Pass(_)) {
                let gone: Vec<u32> = before.into_iter().filter(|lb| !model.leases.contains_key(lb)).collect();
                prop_assert_eq!(expired, gone);
            }
            let next = model.leases.values().min().map(|seconds| start + Duration::from_secs(*seconds));
            prop_assert_eq!(registry.next_expiry(), next);
            prop_assert_eq!(registry.len(), model.claims.len());
            let held = registry.iter().map(|h| ((h.claim.prefix, h.lb.0), h.claim.preference));
            prop_assert_eq!(held.collect::<BTreeMap<_, _>>(), model.claims.clone());
            versions.push((registry.table().clone(), model.scan()));
        }
        // Ids of groups that went out of use were given to others since; no old table may notice.
        for (table, scan) in versions.iter().step_by(versions.len().div_ceil(4)) {
            check(table, scan)?;
        }
        for lb in 0..4 {
            registry.remove_all(LbIndex(lb));
        }
        prop_assert_eq!((registry.len(), registry.groups(), registry.table().len()), (0, 0, 0));
    }
}
