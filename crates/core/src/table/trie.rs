//! One family's prefixes: forks of 256 ways over short sorted lists of ranges.
//!
//! A block with few entries is a [`Node::Leaf`]; one with many is a [`Fork`], which splits it by
//! the next eight bits and itself holds the entries that end within these. A node is never changed
//! once somebody else can see it, only copied.

use std::{hint::select_unpredictable, iter::Peekable, sync::Arc};

use arrayvec::ArrayVec;
use dglb_prefetch::prefetch;

use super::{
    Located,
    group::{GroupId, Groups},
    key::Key,
    ranges::{self, Decided, Entry, Range},
    summary::Summary,
};

/// Bits that one fork decides.
pub(super) const STRIDE: u8 = 8;

/// Ways out of a fork.
pub(super) const WAYS: usize = 1 << STRIDE;

/// How far from where it is expected a range is looked for first.
const NEAR: usize = 8;

/// Forks on the longest path, 128 bits deep.
const DEEPEST: usize = 16;

/// The entries of one family.
#[derive(Clone, Debug)]
pub(super) struct Trie<K: Key> {
    pub(super) root: Node<K>,
    pub(super) len: usize,
}

/// The entries of one block that are longer than it; at the root, all.
#[derive(Clone, Debug)]
pub(super) enum Node<K: Key> {
    Leaf(Arc<[Range<K>]>),
    Fork(Arc<Fork<K>>),
}

#[derive(Clone, Debug)]
pub(super) struct Fork<K: Key> {
    /// Entries that end within these eight bits.
    pub(super) own: Arc<[Range<K>]>,
    /// How many entries there are, here and below.
    pub(super) len: usize,
    pub(super) slots: [Slot<K>; WAYS],
}

/// One of a fork's blocks; it fills half a cache line.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub(super) struct Slot<K: Key> {
    pub(super) below: Node<K>,
    /// Sum of `below`.
    pub(super) summary: Summary,
    /// The longest of the fork's own entries that covers the block.
    pub(super) decided: Decided,
}

/// What a family has to say of an address; compare with [`super::Located`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) group: Option<GroupId>,
    pub(super) matched: Option<u8>,
    pub(super) scope: u8,
}

/// A lookup on its way: through the forks to a leaf, then to one of its ranges. Each step reads memory that
/// may be far away, so that many of them had better be taken side by side.
pub(super) struct Descent<'t, K: Key> {
    /// The address without the bits behind `source`.
    block: K,
    source: u8,
    /// How deep `node` is.
    depth: u8,
    /// What the forks on the way decided.
    inherited: Decided,
    node: &'t Node<K>,
    /// Empty until all forks are passed.
    leaf: &'t [Range<K>],
    /// The range that holds the address is this one, or one of those that follow it; before
    /// [`Descent::approach`], most likely.
    at: usize,
    /// How many ranges it may still be, on the same condition.
    left: usize,
}

/// The way of an address through the forks, as far as its source bits lead.
pub(super) struct Path<'t, K: Key> {
    /// Each fork with the slot that was taken.
    pub(super) forks: ArrayVec<(&'t Fork<K>, usize), DEEPEST>,
    /// Where the way ends, unless the source bits end within the last fork.
    pub(super) leaf: Option<&'t [Range<K>]>,
}

impl<K: Key> Trie<K> {
    /// See [`super::MapTable::lookup`].
    pub(super) fn lookup(&self, key: K, source: u8) -> Found {
        let mut descent = self.descend(key, source);
        while descent.step() {}
        descent.approach();
        while descent.left() > 1 {
            descent.halve();
        }
        self.finish::<true>(&descent)
    }

    /// The start of a lookup.
    #[inline]
    pub(super) fn descend(&self, key: K, source: u8) -> Descent<'_, K> {
        let source = source.min(K::BITS);
        let (block, inherited, node) = (key.first(source), Decided::NOTHING, &self.root);
        let mut descent = Descent { block, source, depth: 0, inherited, node, leaf: &[], at: 0, left: 0 };
        match node {
            // What so many begin with is at hand.
            Node::Fork(_) => {
                descent.step();
            }
            Node::Leaf(leaf) => descent.land(leaf),
        }
        descent
    }

    /// The end of a lookup; without `SCOPE` that of a whole address with an entry is 0.
    #[inline(always)]
    pub(super) fn finish<const SCOPE: bool>(&self, descent: &Descent<'_, K>) -> Found {
        let Descent { block, source, depth, inherited, leaf, at, .. } = *descent;
        // Most often one range holds the whole block, and always if this is a whole address.
        let divided = || leaf.get(at + 1).is_some_and(|next| next.start() <= block.last(source));
        if depth > source || (source < K::BITS && divided()) {
            return self.lookup_divided(block, source);
        }
        let decided = leaf.get(at).map_or(Decided::NOTHING, |r| r.decided()).or(inherited);
        if !SCOPE && decided.group().is_some() {
            return Found::new(decided, 0);
        }
        Found::new(decided, self.scope(descent, decided))
    }

    /// The least depth at which everybody around the block, all of whom get the same, still does.
    fn scope(&self, descent: &Descent<'_, K>, decided: Decided) -> u8 {
        let Descent { block, source, depth, inherited, leaf, at, .. } = *descent;
        let scope = ranges::scope(leaf, at, block, inherited);
        scope.unwrap_or_else(|| self.path(block, source).widest(depth, decided.group()))
    }

    /// A lookup where entries longer than `source` divide the block: they do not decide, but they
    /// count for the scope.
    fn lookup_divided(&self, block: K, source: u8) -> Found {
        let path = self.path(block, source);
        let inherited = path.inherited(path.above());
        let ranges = path.last();
        let at = ranges::find(ranges, block);
        let decided = ranges::decide(ranges, at, block, source).or(inherited);
        let settled = path.summary(block, source).settled(source, decided.group());
        if settled > source {
            return Found::new(decided, settled);
        }
        let scope = path.leaf.and_then(|leaf| ranges::scope(leaf, at, block, inherited));
        let known = if path.leaf.is_some() { path.depth() } else { source };
        Found::new(decided, scope.unwrap_or_else(|| path.widest(known, decided.group())))
    }

    /// Sums up the entries longer than `depth` in the block of that depth around `key`.
    pub(super) fn summary(&self, key: K, depth: u8) -> Summary {
        let key = key.first(depth);
        self.path(key, depth).summary(key, depth)
    }

    /// The way of `key` as far as `source` bits lead.
    pub(super) fn path(&self, key: K, source: u8) -> Path<'_, K> {
        let mut forks = ArrayVec::new();
        let (mut node, mut depth) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(ranges) => return Path { forks, leaf: Some(ranges) },
                Node::Fork(fork) => {
                    let octet = key.octet(depth);
                    forks.push((&**fork, octet));
                    depth += STRIDE;
                    if depth > source {
                        return Path { forks, leaf: None };
                    }
                    node = &fork.slots[octet].below;
                }
            }
        }
    }
}

impl<'t, K: Key> Descent<'t, K> {
    /// Passes one fork; whether there was one. Asks for what the next step reads.
    #[inline]
    pub(super) fn step(&mut self) -> bool {
        let Node::Fork(fork) = self.node else { return false };
        let slot = &fork.slots[self.block.octet(self.depth)];
        self.inherited = slot.decided.or(self.inherited);
        self.node = &slot.below;
        self.depth += STRIDE;
        match &slot.below {
            Node::Fork(fork) => prefetch(&fork.slots[self.block.octet(self.depth)]),
            Node::Leaf(leaf) => self.land(leaf),
        }
        true
    }

    /// Goes to the leaf behind the last fork, and asks for where the search is going to look.
    #[inline]
    fn land(&mut self, leaf: &'t [Range<K>]) {
        (self.leaf, self.left) = (leaf, leaf.len());
        if !K::EVEN {
            // The first two steps of a search by halves.
            [1, 2, 3].into_iter().filter_map(|quarter| leaf.get(quarter * leaf.len() / 4)).for_each(prefetch);
            return;
        }
        let Some(last) = leaf.len().checked_sub(1) else { return };
        let guess = ((self.block.fraction(self.depth) * leaf.len() as u64) >> u32::BITS) as usize;
        let (low, high) = (guess.saturating_sub(NEAR), (guess + NEAR).min(leaf.len()));
        [low, guess, high.min(last)].into_iter().filter_map(|at| leaf.get(at)).for_each(prefetch);
        (self.at, self.left) = (low, high - low);
    }

    /// Looks whether the address is near where it would be if all ranges were of one length, as it mostly is,
    /// or before or behind. Of a long leaf two or three cache lines are read so, at once, where a search by
    /// halves reads one after the other.
    #[inline]
    pub(super) fn approach(&mut self) {
        let Some(last) = self.leaf.len().checked_sub(1).filter(|_| K::EVEN) else { return };
        let (low, high) = (self.at, self.at + self.left);
        // Nobody could guess any of these.
        let is_before = self.leaf[low].start() > self.block;
        let is_behind = (high <= last) & (self.leaf[high.min(last)].start() <= self.block);
        let (at, end) = (select_unpredictable(is_behind, high, low), select_unpredictable(is_behind, last + 1, high));
        self.at = select_unpredictable(is_before, 0, at);
        self.left = select_unpredictable(is_before, low, end) - self.at;
    }

    /// In how many ranges the address may still be.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// One step of a binary search; where nothing is left to be searched, it stays where it is.
    #[inline]
    pub(super) fn halve(&mut self) {
        let half = self.left / 2;
        let middle = self.at + half;
        let Some(range) = self.leaf.get(middle) else { return };
        // Nobody could guess it, and a wrong guess costs more than all else here.
        self.at = select_unpredictable(range.start() <= self.block, middle, self.at);
        self.left -= half;
    }
}

impl Found {
    fn new(decided: Decided, scope: u8) -> Self {
        let group = decided.group();
        Self { group, matched: group.map(|_| decided.bits()), scope }
    }

    /// With the group itself.
    #[inline]
    pub(super) fn located(self, groups: &Groups) -> Located<'_> {
        let Self { group, matched, scope } = self;
        Located { group: group.and_then(|id| groups.at(id)), matched, scope }
    }
}

impl<'t, K: Key> Path<'t, K> {
    /// How deep the block is in which the way ends.
    pub(super) fn depth(&self) -> u8 {
        STRIDE * self.above() as u8
    }

    /// How many forks lie wholly above the place where the way ends.
    fn above(&self) -> usize {
        self.forks.len() - usize::from(self.leaf.is_none())
    }

    /// The ranges of the block in which the way ends.
    fn last(&self) -> &'t [Range<K>] {
        self.leaf.or(self.forks.last().map(|(fork, _)| &*fork.own)).unwrap_or_default()
    }

    /// What the first `count` forks decide.
    fn inherited(&self, count: usize) -> Decided {
        let mut decided = self.forks[..count].iter().rev().map(|(fork, slot)| fork.slots[*slot].decided);
        decided.find(|d| *d != Decided::NOTHING).unwrap_or(Decided::NOTHING)
    }

    /// Sums up the entries longer than `depth` in the block of that depth at `block`, which is
    /// within the one where the way ends.
    fn summary(&self, block: K, depth: u8) -> Summary {
        match (self.leaf, self.forks.last()) {
            (Some(leaf), _) => ranges::summarize(ranges::inside(leaf, block, depth), depth),
            (None, Some((fork, _))) => fork.summary(block, depth, self.depth() + STRIDE),
            (None, None) => Summary::EMPTY,
        }
    }

    /// The least depth at which everybody around the block of `depth` bits, all of whom get this
    /// answer, still does.
    fn widest(&self, mut depth: u8, answer: Option<GroupId>) -> u8 {
        while depth > 0 {
            let level = usize::from((depth - 1) / STRIDE);
            let base = STRIDE * level as u8;
            // Where a whole fork agrees, its parent knows. So one fork at most is searched.
            if level > 0 && self.agree(level - 1, self.forks[level - 1].1, 1, answer) {
                depth = base;
                continue;
            }
            let width = 1 << (base + STRIDE - depth);
            let sibling = (self.forks[level].1 & !(width - 1)) ^ width;
            if !self.agree(level, sibling, width, answer) {
                return depth;
            }
            depth -= 1;
        }
        depth
    }

    /// Whether everybody in `count` blocks of the fork at `level` gets this answer.
    fn agree(&self, level: usize, first: usize, count: usize, answer: Option<GroupId>) -> bool {
        let inherited = self.inherited(level);
        let mut slots = self.forks[level].0.slots[first..first + count].iter();
        slots.all(|slot| slot.summary.answer(slot.decided.or(inherited).group()) == Some(answer))
    }
}

impl<K: Key> Fork<K> {
    /// Sums up the entries longer than `depth` in the block of that depth at `block`. The slots of
    /// this fork are blocks of `end` bits, which is not less than `depth`.
    pub(super) fn summary(&self, block: K, depth: u8, end: u8) -> Summary {
        self.sum(block, depth, end, &mut ranges::entries(ranges::inside(&self.own, block, depth)).peekable())
    }

    /// `own` has yet to yield the own entries within the block, which come in the order in which
    /// this visits the blocks.
    fn sum(&self, block: K, depth: u8, end: u8, own: &mut Peekable<impl Iterator<Item = Entry<K>>>) -> Summary {
        if depth == end {
            return self.slots[block.octet(end - STRIDE)].summary;
        }
        let mut half = |block: K| {
            let entry = own.next_if(|e| e.key == block && e.bits == depth + 1);
            let inner = self.sum(block, depth + 1, end, own);
            entry.map_or(inner, |e| inner.under(depth + 1, e.group))
        };
        let (left, right) = (half(block), half(block.with_bit(depth)));
        Summary::join(depth, left, right)
    }
}
