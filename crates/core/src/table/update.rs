//! Changes to a [`Trie`]: the nodes on the way to what changes are made anew, all others shared.
//!
//! Where a node is seen by nobody else (it was made since the table was last cloned) it is changed
//! in place, so that a table is filled without being copied for every entry.

use std::{array, sync::Arc};

use super::{
    group::GroupId,
    key::Key,
    ranges::{self, Decided, Entry},
    summary::Summary,
    trie::{Fork, Node, STRIDE, Slot, Trie, WAYS},
};

/// A list of more entries than this becomes a fork.
const LEAF_MOST: usize = if cfg!(test) { 6 } else { 128 };

/// A fork of fewer entries than this becomes a list; less than [`LEAF_MOST`], so that one entry
/// that comes and goes does not split and join forever.
const FORK_LEAST: usize = LEAF_MOST / 2;

/// One entry that becomes another (`group`) or ceases to be (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<K> {
    pub(super) key: K,
    pub(super) bits: u8,
    pub(super) group: Option<GroupId>,
}

/// Where a node is: the block and how many bits of it count.
#[derive(Clone, Copy)]
struct Place<K> {
    block: K,
    depth: u8,
}

impl<K: Key> Default for Trie<K> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::new([])), len: 0 }
    }
}

impl<K: Key> Trie<K> {
    /// Makes all changes, which are sorted by (key, bits) and name no prefix twice.
    pub(super) fn apply(&mut self, changes: &[Change<K>]) {
        let place = Place { block: K::ZERO, depth: 0 };
        self.root.apply(place, changes);
        self.len = self.root.len();
    }
}

impl<K: Key> Node<K> {
    fn new(place: Place<K>, entries: &[Entry<K>]) -> Self {
        if entries.len() <= LEAF_MOST {
            return Self::Leaf(ranges::build(place.block, place.depth, entries).into());
        }
        let mut fork = Fork::empty();
        let changes = entries.iter().map(|e| Change { key: e.key, bits: e.bits, group: Some(e.group) });
        fork.apply(place, &changes.collect::<Vec<_>>());
        Self::Fork(Arc::new(fork))
    }

    fn apply(&mut self, place: Place<K>, changes: &[Change<K>]) {
        match self {
            Self::Leaf(ranges) => *self = Self::new(place, &merge(ranges::entries(ranges), changes)),
            Self::Fork(fork) => {
                Arc::make_mut(fork).apply(place, changes);
                if fork.len < FORK_LEAST {
                    *self = Self::new(place, &self.entries(place.depth).collect::<Vec<_>>());
                }
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(ranges) => ranges::entries(ranges).count(),
            Self::Fork(fork) => fork.len,
        }
    }

    fn summary(&self, place: Place<K>) -> Summary {
        match self {
            Self::Leaf(ranges) => ranges::summarize(ranges, place.depth),
            Self::Fork(fork) => fork.summary(place.block, place.depth, place.depth + STRIDE),
        }
    }
}

impl<K: Key> Fork<K> {
    fn empty() -> Self {
        let nothing: Arc<[_]> = Arc::new([]);
        let slot =
            |_| Slot { below: Node::Leaf(Arc::clone(&nothing)), summary: Summary::EMPTY, decided: Decided::NOTHING };
        Self { own: Arc::clone(&nothing), len: 0, slots: array::from_fn(slot) }
    }

    fn apply(&mut self, place: Place<K>, changes: &[Change<K>]) {
        let end = place.depth + STRIDE;
        let (own, deeper): (Vec<_>, Vec<_>) = changes.iter().partition(|c| c.bits <= end);
        if !own.is_empty() {
            self.apply_own(place, &own);
        }
        for changes in deeper.chunk_by(|a, b| a.key.octet(place.depth) == b.key.octet(place.depth)) {
            let octet = changes[0].key.octet(place.depth);
            let place = Place { block: place.block.with_octet(place.depth, octet), depth: end };
            let slot = &mut self.slots[octet];
            self.len -= slot.below.len();
            slot.below.apply(place, changes);
            self.len += slot.below.len();
            slot.summary = slot.below.summary(place);
        }
    }

    fn apply_own(&mut self, place: Place<K>, changes: &[Change<K>]) {
        let entries = merge(ranges::entries(&self.own), changes);
        self.len = self.len - ranges::entries(&self.own).count() + entries.len();
        self.own = ranges::build(place.block, place.depth, &entries).into();
        for octet in 0..WAYS {
            let block = place.block.with_octet(place.depth, octet);
            let at = ranges::find(&self.own, block);
            self.slots[octet].decided = self.own.get(at).map_or(Decided::NOTHING, |r| r.decided());
        }
    }
}

/// The entries after the changes. Both are sorted by (key, bits), and so is the result.
fn merge<K: Key>(entries: impl Iterator<Item = Entry<K>>, changes: &[Change<K>]) -> Vec<Entry<K>> {
    let mut changes = changes.iter().peekable();
    let mut merged = Vec::new();
    let added = |c: &Change<K>| c.group.map(|group| Entry { key: c.key, bits: c.bits, group });
    for entry in entries {
        let place = (entry.key, entry.bits);
        while let Some(earlier) = changes.next_if(|c| (c.key, c.bits) < place) {
            merged.extend(added(earlier));
        }
        match changes.next_if(|c| (c.key, c.bits) == place) {
            Some(change) => merged.extend(added(change)),
            None => merged.push(entry),
        }
    }
    merged.extend(changes.filter_map(added));
    merged
}
