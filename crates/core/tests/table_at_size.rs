//! The map table with as many prefixes as make it fork and join in earnest, against runs of equal
//! answers that are found by hashing alone.

#[path = "../benches/support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use dglb_core::{
    net::{Prefix, family_bits, mask},
    table::{Claim, GroupId, LbIndex, MapTable, Registry, Source},
};

use support::Random;

/// One family of a table as hash maps per length, and as runs of equal answers.
struct Oracle {
    bits: u8,
    lengths: BTreeMap<u8, HashMap<IpAddr, GroupId>>,
    /// The first address of each run with its answer.
    runs: BTreeMap<u128, Option<GroupId>>,
}

/// An address as the leading bits of a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn address(number: u128, bits: u8) -> IpAddr {
    if bits == 32 { IpAddr::V4(((number >> 96) as u32).into()) } else { IpAddr::V6(number.into()) }
}

impl Oracle {
    fn new(table: &MapTable, bits: u8) -> Self {
        let mut oracle = Self { bits, lengths: BTreeMap::new(), runs: BTreeMap::new() };
        let mut changes = vec![0];
        for (prefix, group) in table.iter().filter(|(p, _)| family_bits(p.address()) == bits) {
            oracle.lengths.entry(prefix.bits()).or_default().insert(prefix.address(), group.id());
            let first = number(prefix.address());
            let size = 1_u128.checked_shl(128 - u32::from(prefix.bits()));
            changes.extend([Some(first), size.and_then(|s| first.checked_add(s))].into_iter().flatten());
        }
        changes.sort_unstable();
        let mut last = None;
        for change in changes {
            let answer = oracle.decide(address(change, bits)).map(|d| d.1);
            if last != Some(answer) {
                oracle.runs.insert(change, answer);
                last = Some(answer);
            }
        }
        oracle
    }

    fn decide(&self, address: IpAddr) -> Option<(u8, GroupId)> {
        let mut longest = self.lengths.iter().rev();
        longest.find_map(|(bits, entries)| Some((*bits, *entries.get(&mask(address, *bits))?)))
    }

    fn scope(&self, address: IpAddr) -> u8 {
        let key = number(address);
        let begin = *self.runs.range(..=key).next_back().expect("the first run begins at 0").0;
        let end = self.runs.range(key..).find(|(start, _)| **start > key).map(|(start, _)| *start);
        let neighbours = [begin.checked_sub(1), end].into_iter().flatten();
        neighbours.map(|n| (n ^ key).leading_zeros() as u8 + 1).max().unwrap_or(0)
    }

    fn check(&self, table: &MapTable, asked: IpAddr) {
        let located = table.lookup(asked, self.bits);
        let expected = self.decide(asked);
        assert_eq!(located.group.map(|g| g.id()), expected.map(|e| e.1), "{asked}");
        assert_eq!(located.matched, expected.map(|e| e.0), "{asked}");
        assert_eq!(located.scope, self.scope(asked), "{asked}");
    }
}

/// Addresses anywhere, inside entries, and on both sides of where answers change.
fn check(table: &MapTable, seed: u64) {
    for (bits, v6) in [(32, false), (128, true)] {
        let oracle = Oracle::new(table, bits);
        let mut random = Random(seed);
        let anywhere = (0..2000).map(|_| if v6 { random.v6() } else { random.v4() }).collect::<Vec<_>>();
        let edges = oracle.runs.keys().flat_map(|k| [Some(*k), k.checked_sub(1)]).flatten().step_by(7);
        let edges = edges.map(|k| address(k, bits));
        for asked in anywhere.into_iter().chain(support::mapped(table, v6, 2000)).chain(edges) {
            oracle.check(table, asked);
        }
    }
}

/// Few DNS-LBs, so that neighbours often agree, all in one /16 and one /32: deep forks.
fn crowd(registry: &mut Registry, random: &mut Random, count: usize) {
    for _ in 0..count {
        let corner: IpAddr =
            if random.below(2) == 0 { [10, 9, 0, 0].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into() };
        let bits = if corner.is_ipv4() { 17 + random.below(16) } else { 33 + random.below(96) };
        let inside = random.inside(Prefix::containing(corner, if corner.is_ipv4() { 16 } else { 32 }).unwrap());
        let prefix = Prefix::containing(inside, bits as u8).unwrap();
        let claim = Claim { prefix, preference: 0, weight: 1, source: Source::Proven };
        registry.add(LbIndex(random.below(3) as u32), 1, None, [claim]).unwrap();
    }
}

#[test]
fn a_large_table_answers_like_its_runs() {
    let mut registry = support::registry(20_000, 8_000);
    let mut random = Random(5);
    crowd(&mut registry, &mut random, 3_000);
    let full = registry.table().clone();
    let bytes = full.bytes();
    check(&full, 6);

    // Nine entries of ten go, so forks become lists again; the clone does not notice.
    let kept = |i: usize| i.is_multiple_of(10);
    let all: Vec<_> = registry.iter().map(|held| (held.lb, held.claim.prefix)).collect();
    for (_, (lb, prefix)) in all.iter().enumerate().filter(|(i, _)| !kept(*i)) {
        assert_eq!(registry.remove(*lb, [*prefix]), 1);
    }
    assert_eq!(registry.len(), all.len().div_ceil(10));
    check(registry.table(), 7);
    check(&full, 8);
    assert_eq!(full.bytes(), bytes);

    let few: Vec<_> = registry.iter().map(|held| held.lb).collect();
    for lb in few {
        registry.remove_all(lb);
    }
    assert!(registry.is_empty() && registry.table().is_empty());
    assert!(registry.table().bytes() < bytes, "{} {bytes}", registry.table().bytes());
    assert_eq!(registry.table().lookup([10, 9, 8, 7].into(), 32).scope, 0);
}
