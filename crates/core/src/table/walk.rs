//! Going through a [`Trie`] in order: listings, exact matches, and the nearest neighbour of an
//! address that nothing covers.

use super::{
    group::GroupId,
    key::Key,
    ranges::{self, Decided, Entry},
    trie::{Fork, Found, Node, STRIDE, Trie, WAYS},
};

/// What an `Arc` adds to its content.
pub(super) const COUNTS: usize = 2 * size_of::<usize>();

impl<K: Key> Trie<K> {
    /// Every entry by (key, bits).
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<K>> {
        self.root.entries(0)
    }

    /// Octets of memory in use by these nodes.
    pub(super) fn bytes(&self) -> usize {
        self.root.bytes()
    }

    /// The group of exactly this prefix.
    pub(super) fn exact(&self, key: K, bits: u8) -> Option<GroupId> {
        let (mut node, mut depth) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(ranges) => return ranges::exact(ranges, key, bits),
                Node::Fork(fork) if bits <= depth + STRIDE => return ranges::exact(&fork.own, key, bits),
                Node::Fork(fork) => node = &fork.slots[key.octet(depth)].below,
            }
            depth += STRIDE;
        }
    }

    /// See [`super::MapTable::nearest`].
    pub(super) fn nearest(&self, key: K, least: u8) -> Option<Found> {
        let found = self.lookup(key, K::BITS);
        if found.group.is_some() {
            return Some(found);
        }
        let neighbour = self.neighbour(key)?;
        let common = neighbour.common(key);
        if common < least {
            return None;
        }
        // The neighbour's half of the block in which the two part is all that anybody here can be
        // near to. Wider blocks only get more mixed, so the widest that is not is found by halving.
        let (mut mixed, mut alike) = (least, common + 1);
        while mixed < alike {
            let middle = mixed.midpoint(alike);
            if self.summary(key, middle).is_mixed() { mixed = middle + 1 } else { alike = middle }
        }
        Some(Found { scope: alike, ..self.lookup(neighbour, K::BITS) })
    }

    /// The address with an entry that shares most bits with `key`, which has none; among equals the
    /// numerically nearest one.
    fn neighbour(&self, key: K) -> Option<K> {
        let path = self.path(key, K::BITS);
        let leaf = path.leaf.unwrap_or_default();
        let gap = ranges::find(leaf, key);
        let before = leaf.get(gap).and_then(|r| r.start().previous()).filter(|_| gap > 0);
        let behind = leaf.get(gap + 1).map(|r| r.start());
        let nearer = |before: Option<K>, behind: Option<K>| {
            before.into_iter().chain(behind).max_by_key(|neighbour| neighbour.common(key))
        };
        nearer(before, behind).or_else(|| {
            path.forks.iter().enumerate().rev().find_map(|(level, (fork, slot))| {
                let depth = STRIDE * level as u8;
                let block = key.first(depth);
                let before = (0..*slot).rev().find_map(|s| fork.last(s, block, depth));
                let behind = (slot + 1..WAYS).find_map(|s| fork.first(s, block, depth));
                nearer(before, behind)
            })
        })
    }
}

impl<K: Key> Node<K> {
    /// Every entry by (key, bits); the node's block has `depth` bits.
    pub(super) fn entries(&self, depth: u8) -> Box<dyn Iterator<Item = Entry<K>> + '_> {
        match self {
            Self::Leaf(ranges) => Box::new(ranges::entries(ranges)),
            // A fork's own entries are shorter than those below, and come before these.
            Self::Fork(fork) => Box::new(fork.slots.iter().enumerate().flat_map(move |(octet, slot)| {
                let own = &fork.own[fork.own.partition_point(|r| r.start().octet(depth) < octet)..];
                let own = &own[..own.partition_point(|r| r.start().octet(depth) == octet)];
                ranges::entries(own).chain(slot.below.entries(depth + STRIDE))
            })),
        }
    }

    fn bytes(&self) -> usize {
        COUNTS
            + match self {
                Self::Leaf(ranges) => size_of_val(&**ranges),
                Self::Fork(fork) => {
                    let below = fork.slots.iter().map(|slot| slot.below.bytes());
                    size_of_val(&**fork) + size_of_val(&*fork.own) + COUNTS + below.sum::<usize>()
                }
            }
    }

    /// The first address in the block that has an entry; the block has `depth` bits.
    fn first(&self, block: K, depth: u8) -> Option<K> {
        match self {
            Self::Leaf(ranges) => ranges::entries(ranges).next().map(|e| e.key),
            Self::Fork(fork) => (0..WAYS).find_map(|octet| fork.first(octet, block, depth)),
        }
    }

    /// The last address in the block that has an entry; the block has `depth` bits.
    fn last(&self, block: K, depth: u8) -> Option<K> {
        match self {
            Self::Leaf(ranges) => {
                let range = ranges.last()?;
                let end = || Some(block.last(depth));
                if range.decided() == Decided::NOTHING { range.start().previous() } else { end() }
            }
            Self::Fork(fork) => (0..WAYS).rev().find_map(|octet| fork.last(octet, block, depth)),
        }
    }
}

impl<K: Key> Fork<K> {
    /// The first address in one slot of the fork at `block` that has an entry.
    fn first(&self, octet: usize, block: K, depth: u8) -> Option<K> {
        let (slot, block) = (&self.slots[octet], block.with_octet(depth, octet));
        if slot.decided == Decided::NOTHING { slot.below.first(block, depth + STRIDE) } else { Some(block) }
    }

    /// The last address in one slot of the fork at `block` that has an entry.
    fn last(&self, octet: usize, block: K, depth: u8) -> Option<K> {
        let (slot, block, end) = (&self.slots[octet], block.with_octet(depth, octet), depth + STRIDE);
        if slot.decided == Decided::NOTHING { slot.below.last(block, end) } else { Some(block.last(end)) }
    }
}
