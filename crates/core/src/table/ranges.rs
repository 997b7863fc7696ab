//! The entries of one block as a sorted list of ranges, each with the entry that decides there.
//!
//! Every entry opens a range at its first address, and where a more specific entry ends the less
//! specific one opens another range, or an empty one does where nothing is left. So a list holds
//! its entries (an entry is a range whose start is its own), answers by a binary search, and shows
//! the neighbours on which the scope depends. A range that another one follows at the same start
//! has no addresses; it is there because it is an entry.

use std::hint::select_unpredictable;

use super::{
    group::{GroupId, MOST_GROUPS},
    key::Key,
    summary::Summary,
};

/// Addresses from `start` to the start of the next range, or to the end of the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<K: Key> {
    start: K::Bytes,
    decided: Decided,
}

/// An entry's group and length, or that there is none, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided(u32);

/// A prefix with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) bits: u8,
    pub(super) group: GroupId,
}

impl Decided {
    pub(super) const NOTHING: Self = Self(u32::MAX);

    fn by(group: GroupId, bits: u8) -> Self {
        Self(group.0 << 8 | u32::from(bits))
    }

    /// This one, or else what is inherited. Which of them, nobody could guess.
    #[inline]
    pub(super) fn or(self, inherited: Self) -> Self {
        select_unpredictable(self == Self::NOTHING, inherited, self)
    }

    pub(super) fn group(self) -> Option<GroupId> {
        let group = self.0 >> 8;
        (group < MOST_GROUPS as u32).then_some(GroupId(group))
    }

    /// The length of the entry that decided; meaningless if there is none.
    pub(super) fn bits(self) -> u8 {
        self.0 as u8
    }
}

impl<K: Key> Range<K> {
    fn new(start: K, decided: Decided) -> Self {
        Self { start: start.bytes(), decided }
    }

    pub(super) fn start(&self) -> K {
        K::from_bytes(self.start)
    }

    pub(super) fn decided(&self) -> Decided {
        self.decided
    }

    fn entry(&self) -> Option<Entry<K>> {
        let (key, bits, group) = (self.start(), self.decided.bits(), self.decided.group()?);
        (key.first(bits) == key).then_some(Entry { key, bits, group })
    }
}

/// The ranges of the block of `depth` bits at `block`. `entries` are sorted by (key, bits) and lie
/// in the block.
pub(super) fn build<K: Key>(block: K, depth: u8, entries: &[Entry<K>]) -> Vec<Range<K>> {
    let mut ranges: Vec<Range<K>> = Vec::with_capacity(2 * entries.len() + 1);
    if entries.first().is_some_and(|e| e.key != block) {
        ranges.push(Range::new(block, Decided::NOTHING));
    }
    // Entries that cover the place where we are, the most specific one last.
    let mut open: Vec<Entry<K>> = Vec::new();
    let end = block.last(depth);
    for entry in entries {
        close(&mut ranges, &mut open, |e| e.key.last(e.bits) < entry.key);
        // What resumes exactly where an entry begins has no addresses, and is no entry.
        ranges.pop_if(|r| r.start() == entry.key && r.entry().is_none());
        ranges.push(Range::new(entry.key, Decided::by(entry.group, entry.bits)));
        open.push(*entry);
    }
    close(&mut ranges, &mut open, |e| e.key.last(e.bits) < end);
    ranges
}

/// Closes the innermost open entries as long as they are `over`, and resumes what is below them.
fn close<K: Key>(ranges: &mut Vec<Range<K>>, open: &mut Vec<Entry<K>>, over: impl Fn(&Entry<K>) -> bool) {
    while let Some(closed) = open.pop_if(|e| over(e)) {
        let Some(start) = closed.key.last(closed.bits).next() else { continue };
        let decided = open.last().map_or(Decided::NOTHING, |e| Decided::by(e.group, e.bits));
        ranges.pop_if(|r| r.start() == start);
        ranges.push(Range::new(start, decided));
    }
}

/// The entries by (key, bits).
pub(super) fn entries<K: Key>(ranges: &[Range<K>]) -> impl Iterator<Item = Entry<K>> {
    ranges.iter().filter_map(Range::entry)
}

/// The ranges that start within the block of `depth` bits at `block`, without entries that cover
/// the whole of it.
pub(super) fn inside<K: Key>(ranges: &[Range<K>], block: K, depth: u8) -> &[Range<K>] {
    let end = block.last(depth);
    let ranges = &ranges[..ranges.partition_point(|r| r.start() <= end)];
    let ranges = &ranges[ranges.partition_point(|r| r.start() < block)..];
    let covers = |r: &Range<K>| r.start() == block && r.entry().is_none_or(|e| e.bits <= depth);
    &ranges[ranges.iter().take_while(|r| covers(r)).count()..]
}

/// The entry of exactly this prefix.
pub(super) fn exact<K: Key>(ranges: &[Range<K>], key: K, bits: u8) -> Option<GroupId> {
    let ranges = &ranges[ranges.partition_point(|r| r.start() < key)..];
    let here = entries(ranges).take_while(|e| e.key == key);
    here.filter(|e| e.bits == bits).map(|e| e.group).next()
}

/// The index of the range that holds `key`, which lies in the block; 0 if there are no ranges.
pub(super) fn find<K: Key>(ranges: &[Range<K>], key: K) -> usize {
    ranges.partition_point(|r| r.start() <= key).saturating_sub(1)
}

/// The longest entry of at most `most` bits that covers `key`. `at` is where `key` was found.
pub(super) fn decide<K: Key>(ranges: &[Range<K>], at: usize, key: K, most: u8) -> Decided {
    for range in ranges.iter().take(at + 1).rev() {
        let bits = range.decided.bits();
        // An entry that begins before a gap also ends before it.
        if range.decided == Decided::NOTHING {
            break;
        }
        if bits <= most && range.start().first(bits) == key.first(bits) {
            return range.decided;
        }
    }
    Decided::NOTHING
}

/// The least depth at which everybody around `key` gets the answer that the range at `at` gives,
/// in a block that inherits `inherited`; `None` if the whole block does.
pub(super) fn scope<K: Key>(ranges: &[Range<K>], at: usize, key: K, inherited: Decided) -> Option<u8> {
    // It is one bit more than `key` shares with the next address on either side that differs.
    let answer = ranges.get(at)?.decided.or(inherited).group();
    let differs = |i: usize| ranges[i].decided.or(inherited).group() != answer;
    let has_addresses = |i: usize| ranges.get(i + 1).is_none_or(|next| next.start() != ranges[i].start());
    let before = (0..at).rev().find(|i| has_addresses(*i) && differs(*i));
    let behind = (at + 1..ranges.len()).find(|i| has_addresses(*i) && differs(*i));
    let before = before.and_then(|i| ranges[i + 1].start().previous());
    let behind = behind.map(|i| ranges[i].start());
    before.into_iter().chain(behind).map(|edge| edge.common(key) + 1).max()
}

/// Sums up the entries among `ranges`, all of which lie within one block of `depth` bits and are
/// longer than `depth`.
pub(super) fn summarize<K: Key>(ranges: &[Range<K>], depth: u8) -> Summary {
    let Some(begin) = ranges.iter().position(|r| r.entry().is_some()) else { return Summary::EMPTY };
    let end = ranges.iter().rposition(|r| r.entry().is_some()).unwrap_or(begin);
    let (first, last) = (&ranges[begin], &ranges[end]);
    let common = first.start().common(last.start());
    // The shortest prefix that covers all of them: the first entry itself, or where they part.
    let is_entry = first.decided.bits() <= common;
    let top = if is_entry { first.decided.bits() } else { common };
    let rest = &ranges[begin + usize::from(is_entry)..=end];
    let mut summary = Summary::EMPTY;
    if !rest.is_empty() {
        let middle = first.start().first(top).with_bit(top);
        let (left, right) = rest.split_at(rest.partition_point(|r| r.start() < middle));
        summary = Summary::join(top, summarize(left, top + 1), summarize(right, top + 1));
    }
    if let (true, Some(group)) = (is_entry, first.decided.group()) {
        summary = summary.under(top, group);
    }
    summary.within(top, depth)
}
