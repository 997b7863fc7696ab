//! The table against a linear scan of the same entries, in universes so small that every bit
//! matters: addresses differ only in a few bits on both sides of the places where the trie forks.

use proptest::prelude::*;

use super::super::{
    group::GroupId,
    key::Key,
    reference::{self, Scan},
    trie::{Found, Trie},
    update::Change,
};
use crate::net::Prefix;

/// Bits of the address that vary; everything else is fixed.
trait Universe: Key {
    const VARYING: [u8; 8];
    const FIXED: Self;

    /// One of the addresses.
    fn nth(n: u8) -> Self {
        let set = |a: Self, (i, bit): (usize, &u8)| if n >> i & 1 == 1 { a.with_bit(*bit) } else { a };
        Self::VARYING.iter().enumerate().fold(Self::FIXED, set)
    }

    /// Lengths that end before and behind a varying bit, of those that `mask` names.
    fn lengths(mask: u8) -> Vec<u8> {
        let varying = Self::VARYING.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        varying.flat_map(|(_, bit)| [*bit, bit + 1]).chain([0, Self::BITS]).collect()
    }
}

impl Universe for u32 {
    const VARYING: [u8; 8] = [0, 7, 8, 15, 16, 23, 24, 31];
    const FIXED: Self = 0x0a00_0200;
}

impl Universe for u128 {
    const VARYING: [u8; 8] = [1, 39, 40, 55, 56, 63, 64, 127];
    const FIXED: Self = 0x2001_0db8_0000_0000_0000_0000_0000_0006;
}

/// (which address, which length, group); group 0 removes.
type Step = (u8, prop::sample::Index, u32);

/// Batches of changes, mostly additions of few different groups, so that neighbours often agree.
fn history() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let group = prop_oneof![1 => Just(0), 4 => 1..4_u32];
    let step = (any::<u8>(), any::<prop::sample::Index>(), group);
    prop::collection::vec(prop::collection::vec(step, 1..12), 1..8)
}

fn questions() -> impl Strategy<Value = Vec<(u8, prop::sample::Index)>> {
    prop::collection::vec((any::<u8>(), any::<prop::sample::Index>()), 48)
}

fn apply<K: Universe>(mask: u8, trie: &mut Trie<K>, scan: &mut Scan<GroupId>, batch: &[Step]) {
    let lengths = K::lengths(mask);
    let change = |(n, length, group): &Step| {
        let bits = *length.get(&lengths);
        Change { key: K::nth(*n & mask).first(bits), bits, group: (*group > 0).then_some(GroupId(*group)) }
    };
    let mut changes: Vec<_> = batch.iter().map(change).collect();
    changes.sort_by_key(|c| (c.key, c.bits));
    changes.dedup_by_key(|c| (c.key, c.bits));
    for c in &changes {
        scan.set(Prefix::strict(c.key.address(), c.bits).unwrap(), c.group);
    }
    trie.apply(&changes);
}

fn same(found: Found, expected: reference::Found<'_, GroupId>) -> bool {
    (found.group.as_ref(), found.matched, found.scope) == (expected.value, expected.matched, expected.scope)
}

/// `mask` names the varying bits that do vary.
fn agree<K: Universe>(
    mask: u8,
    batches: &[Vec<Step>],
    asked: &[(u8, prop::sample::Index)],
) -> Result<(), TestCaseError> {
    let (mut trie, mut scan) = (Trie::<K>::default(), Scan::default());
    let mut versions = Vec::new();
    for batch in batches {
        apply(mask, &mut trie, &mut scan, batch);
        versions.push((trie.clone(), scan.clone()));
    }
    // Every version answers as it did when it was the newest.
    for (trie, scan) in &versions {
        check_listing(trie, scan)?;
    }
    let lengths = K::lengths(mask);
    for (i, (n, length)) in asked.iter().enumerate() {
        let (trie, scan) = &versions[i % versions.len()];
        let (key, bits) = (K::nth(*n & mask), *length.get(&lengths));
        for source in [bits, K::BITS] {
            let (found, expected) = (trie.lookup(key, source), scan.lookup(key.address(), source));
            prop_assert!(same(found, expected), "{key:?}/{source} in {:?}: {found:?} {expected:?}", scan.sorted());
        }
        let (found, expected) = (trie.nearest(key, bits), scan.nearest(key.address(), bits));
        let equal = match (found, expected) {
            (Some(found), Some(expected)) => same(found, expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        prop_assert!(equal, "nearest {key:?}, {bits} in {:?}: {found:?} {expected:?}", scan.sorted());
    }
    Ok(())
}

fn check_listing<K: Universe>(trie: &Trie<K>, scan: &Scan<GroupId>) -> Result<(), TestCaseError> {
    let listed: Vec<_> = trie.entries().map(|e| (Prefix::strict(e.key.address(), e.bits).unwrap(), e.group)).collect();
    let expected: Vec<_> = scan.sorted().into_iter().map(|(p, g)| (p, *g)).collect();
    prop_assert_eq!(trie.len, expected.len());
    for entry in trie.entries() {
        prop_assert_eq!(trie.exact(entry.key, entry.bits), Some(entry.group));
    }
    prop_assert_eq!(listed, expected);
    Ok(())
}

/// All eight bits vary: deep tries of many shapes.
const SPARSE: u8 = 0b1111_1111;

/// Four bits vary: entries hide, cover and complete each other all the time.
const DENSE: u8 = 0b0011_0110;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sparse_ipv4_agrees_with_a_linear_scan(batches in history(), asked in questions()) {
        agree::<u32>(SPARSE, &batches, &asked)?;
    }

    #[test]
    fn sparse_ipv6_agrees_with_a_linear_scan(batches in history(), asked in questions()) {
        agree::<u128>(SPARSE, &batches, &asked)?;
    }

    #[test]
    fn dense_ipv6_agrees_with_a_linear_scan(batches in history(), asked in questions()) {
        agree::<u128>(DENSE, &batches, &asked)?;
    }
}

proptest! {
    // What three or four entries do together shows seldom, and these cases are cheap.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 8 * ProptestConfig::default().cases,
        ..ProptestConfig::default()
    })]

    #[test]
    fn dense_ipv4_agrees_with_a_linear_scan(batches in history(), asked in questions()) {
        agree::<u32>(DENSE, &batches, &asked)?;
    }
}
