//! Many lookups at once. A lookup waits for memory three times, for its leaf, in it and for its
//! group; a batch does each step for all addresses before the next one, so that they wait together.

use std::{hint::black_box, net::IpAddr};

use arrayvec::ArrayVec;

use super::{
    Located, MapTable,
    key::Key,
    trie::{Found, Landing},
};

/// Lookups under way at a time; more of them would only push each other out of the cache.
const BATCH: usize = 32;

/// A lookup that knows its leaf: block, source, leaf.
enum Begun<'t> {
    V4(u32, u8, Landing<'t, u32>),
    V6(u128, u8, Landing<'t, u128>),
}

impl MapTable {
    /// Puts into `located` what [`MapTable::lookup`] says for each of `asked`, an address with its
    /// source. Goes as far as the shorter of the two. Where the table is larger than the caches this
    /// takes about half of the time that as many single lookups take.
    pub fn lookup_batch<'t>(&'t self, asked: &[(IpAddr, u8)], located: &mut [Located<'t>]) {
        for (asked, located) in asked.chunks(BATCH).zip(located.chunks_mut(BATCH)) {
            let begun: ArrayVec<_, BATCH> =
                asked.iter().map(|(address, source)| self.begin(*address, *source)).collect();
            // Nobody wants these sums; what they are made of is to be read.
            black_box(begun.iter().fold(0, |sum, begun| sum ^ begun.touch()));
            let found: ArrayVec<_, BATCH> = begun.iter().map(|begun| self.finish(begun)).collect();
            let groups = found.into_iter().zip(located).map(|(found, located)| {
                *located = self.located(found);
                located.group.map_or(0, |group| group.id().0)
            });
            black_box(groups.fold(0, |sum, id| sum ^ id));
        }
    }

    fn begin(&self, address: IpAddr, source: u8) -> Begun<'_> {
        match address {
            IpAddr::V4(a) => {
                let source = source.min(u32::BITS as u8);
                let block = a.to_bits().first(source);
                Begun::V4(block, source, self.v4.descend(block))
            }
            IpAddr::V6(a) => {
                let source = source.min(u128::BITS as u8);
                let block = a.to_bits().first(source);
                Begun::V6(block, source, self.v6.descend(block))
            }
        }
    }

    fn finish(&self, begun: &Begun<'_>) -> Found {
        match *begun {
            Begun::V4(block, source, landing) => self.v4.finish(block, source, landing),
            Begun::V6(block, source, landing) => self.v6.finish(block, source, landing),
        }
    }
}

impl Begun<'_> {
    fn touch(&self) -> u8 {
        match self {
            Begun::V4(_, _, landing) => landing.touch(),
            Begun::V6(_, _, landing) => landing.touch(),
        }
    }
}
