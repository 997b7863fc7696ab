//! The design's own examples, one by one. Everything else is in [`super::reference`]'s comparison.

mod against_scan;
mod histories;

use std::net::IpAddr;

use super::*;

fn registry(entries: &[(&str, u32)]) -> Registry {
    let mut registry = Registry::new();
    for (prefix, lb) in entries {
        let claim = Claim { prefix: prefix.parse().unwrap(), preference: 0, weight: 1, source: Source::Static };
        registry.add(LbIndex(*lb), 1, None, [claim]).unwrap();
    }
    registry
}

/// (DNS-LB, matched, scope); the DNS-LB is `None` where nothing matched.
fn flat(located: Located<'_>) -> (Option<u32>, Option<u8>, u8) {
    (located.group.map(|g| g.members()[0].lb.0), located.matched, located.scope)
}

fn lookup(entries: &[(&str, u32)], address: &str, source: u8) -> (Option<u32>, Option<u8>, u8) {
    flat(registry(entries).table().lookup(address.parse().unwrap(), source))
}

fn nearest(entries: &[(&str, u32)], address: &str, least: u8) -> Option<(Option<u32>, Option<u8>, u8)> {
    let address: IpAddr = address.parse().unwrap();
    registry(entries).table().nearest(address, least).map(flat)
}

const A: Option<u32> = Some(1);
const B: Option<u32> = Some(2);

#[test]
fn the_scope_ends_where_another_answer_begins() {
    let design = [("10.0.0.0/16", 1), ("10.0.1.0/24", 2)];
    assert_eq!(lookup(&design, "10.0.2.0", 24), (A, Some(16), 23));
    assert_eq!(lookup(&design, "10.0.1.0", 24), (B, Some(24), 24));
    assert_eq!(lookup(&design, "10.0.0.9", 32), (A, Some(16), 24));
    assert_eq!(lookup(&design, "10.0.128.0", 24), (A, Some(16), 17));
    assert_eq!(lookup(&design, "10.1.0.0", 24), (None, None, 16));
    assert_eq!(lookup(&design, "192.0.2.1", 32), (None, None, 1));
    assert_eq!(lookup(&design, "2001:db8::1", 128), (None, None, 0));
    assert_eq!(lookup(&[], "192.0.2.1", 32), (None, None, 0));
    assert_eq!(lookup(&[("0.0.0.0/0", 1)], "192.0.2.1", 32), (A, Some(0), 0));
}

#[test]
fn equal_neighbours_merge_into_a_shorter_scope() {
    let halves = [("10.0.0.0/17", 1), ("10.0.128.0/17", 1)];
    assert_eq!(lookup(&halves, "10.0.1.1", 32), (A, Some(17), 16));
    let redundant = [("10.0.0.0/16", 1), ("10.0.1.0/24", 1), ("10.0.1.7/32", 1)];
    assert_eq!(lookup(&redundant, "10.0.1.7", 32), (A, Some(32), 16));
    assert_eq!(lookup(&redundant, "10.0.1.0", 24), (A, Some(24), 16));
    let everywhere = [("::/1", 1), ("8000::/1", 1)];
    assert_eq!(lookup(&everywhere, "2001:db8::1", 128), (A, Some(1), 0));
    let hidden = [("10.0.0.0/16", 2), ("10.0.0.0/17", 1), ("10.0.128.0/17", 1)];
    assert_eq!(lookup(&hidden, "10.0.1.1", 32), (A, Some(17), 16));
    let hidden_beside = [("10.0.0.0/17", 1), ("10.0.128.0/17", 2), ("10.0.128.0/18", 1), ("10.0.192.0/18", 1)];
    assert_eq!(lookup(&hidden_beside, "10.0.1.1", 32), (A, Some(17), 16), "nobody ever sees B");
    assert_eq!(lookup(&hidden_beside, "10.0.200.1", 32), (A, Some(18), 16), "nobody ever sees B");
}

#[test]
fn entries_beyond_the_source_lengthen_the_scope_and_decide_nothing() {
    let resolver = [("192.0.2.0/24", 1), ("192.0.2.77/32", 2)];
    assert_eq!(lookup(&resolver, "192.0.2.0", 24), (A, Some(24), 32));
    assert_eq!(lookup(&resolver, "192.0.2.77", 24), (A, Some(24), 32), "bits beyond the source play no part");
    assert_eq!(lookup(&resolver, "192.0.2.64", 26), (A, Some(24), 32));
    assert_eq!(lookup(&resolver, "192.0.2.0", 26), (A, Some(24), 26));
    assert_eq!(lookup(&resolver, "192.0.0.0", 16), (None, None, 32));
    assert_eq!(lookup(&resolver, "0.0.0.0", 0), (None, None, 32));
    let hidden = [("10.0.0.0/16", 2), ("10.0.0.0/17", 1), ("10.0.128.0/17", 1)];
    assert_eq!(lookup(&hidden, "10.0.0.0", 16), (B, Some(16), 17), "everybody gets A, but only if asked for /17");
}

#[test]
fn an_entry_that_nobody_sees_does_not_lengthen_the_scope() {
    let hidden = [("138.128.0.0/15", 2), ("138.128.0.0/16", 1), ("138.129.0.0/16", 1)];
    let beside = [("0.0.0.0/0", 1), ("139.0.0.0/8", 2)];
    let entries: Vec<_> = hidden.into_iter().chain(beside).collect();
    assert_eq!(lookup(&entries, "0.0.0.0", 0), (A, Some(0), 8));
    assert_eq!(lookup(&entries, "138.0.0.0", 8), (A, Some(0), 8));
    assert_eq!(lookup(&entries, "138.128.0.0", 15), (B, Some(15), 16), "asked for 15 bits it is seen");
}

#[test]
fn the_nearest_entry_is_the_one_that_shares_most_bits() {
    let two = [("10.0.1.0/24", 1), ("10.0.64.0/24", 2)];
    assert_eq!(nearest(&two, "10.0.3.1", 8), Some((A, Some(24), 18)));
    assert_eq!(nearest(&two, "10.0.65.1", 8), Some((B, Some(24), 18)));
    assert_eq!(nearest(&two, "10.0.200.1", 8), Some((B, Some(24), 17)), "equal bits, but numerically nearer");
    assert_eq!(nearest(&two, "10.0.200.1", 17), None);
    assert_eq!(nearest(&two, "10.0.64.1", 8), Some((B, Some(24), 24)));
    assert_eq!(nearest(&two[..1], "10.0.200.1", 8), Some((A, Some(24), 8)));
    assert_eq!(nearest(&two, "2001:db8::1", 0), None);
    assert_eq!(nearest(&[], "10.0.0.1", 0), None);
}

#[test]
fn a_year_of_changes_takes_no_more_room_than_the_first_day() {
    // Every change makes a group that never was before, so every id is given out again and again.
    let claim = |i: u32| Claim {
        prefix: Prefix::containing([10, 0, i as u8, 0].into(), 24).unwrap(),
        preference: (i >> 8) as u16,
        weight: (i % 7) as u16,
        source: Source::Proven,
    };
    let mut registry = Registry::new();
    let mut change = |range: std::ops::Range<u32>| {
        for i in range {
            registry.add(LbIndex(i % 3), 1, None, [claim(i)]).unwrap();
        }
        assert!(registry.groups() <= registry.table().len());
        (registry.table().len(), registry.table().bytes())
    };
    let first = change(0..1000);
    assert_eq!(first.0, 256);
    let later = change(1000..10_000);
    assert_eq!(later.0, 256);
    assert!(later.1 <= first.1 * 11 / 10, "{first:?} {later:?}");
    assert!(registry.table().v4.bytes() > 8 * MapTable::default().v4.bytes());
    for lb in 0..3 {
        registry.remove_all(LbIndex(lb));
    }
    assert_eq!(registry.table().v4.bytes(), MapTable::default().v4.bytes(), "every fork is gone");
}

#[test]
fn what_the_readers_touch_keeps_its_size() {
    assert_eq!(size_of::<ranges::Range<u32>>(), 8);
    assert_eq!(size_of::<ranges::Range<u128>>(), 20);
    assert_eq!((size_of::<trie::Slot<u32>>(), size_of::<trie::Slot<u128>>()), (32, 32));
    assert_eq!((size_of::<Group>(), align_of::<Group>()), (64, 64));
}
