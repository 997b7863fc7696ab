//! One service's rankings by DNS-LB: whether there is one is a bit, so choosing among the DNS-LBs of
//! an entry reads a word for each of them and no ranking at all.

use std::sync::Arc;

use dglb_prefetch::prefetch;

use crate::{ranked::RankedSites, table::LbIndex};

/// DNS-LBs in one block.
const BLOCK: usize = u64::BITS as usize;

/// A persistent map: a change copies the list of blocks and one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rankings {
    blocks: Arc<[Block]>,
}

/// The rankings of 64 DNS-LBs.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Which of them there are.
    present: u64,
    /// Those, in order.
    list: Option<Arc<[RankedSites]>>,
}

#[inline]
fn place(lb: LbIndex) -> (usize, u64) {
    (lb.0 as usize / BLOCK, 1 << (lb.0 as usize % BLOCK))
}

impl Rankings {
    /// Whether there is a ranking of this DNS-LB.
    #[inline]
    pub(crate) fn has(&self, lb: LbIndex) -> bool {
        let (block, bit) = place(lb);
        self.blocks.get(block).is_some_and(|b| b.present & bit != 0)
    }

    /// Asks for what [`Rankings::has`] reads, and [`Rankings::get`] first.
    #[inline]
    pub(crate) fn fetch(&self, lb: LbIndex) {
        if let Some(block) = self.blocks.get(place(lb).0) {
            prefetch(block);
        }
    }

    /// The ranking of this DNS-LB.
    #[inline]
    pub(crate) fn get(&self, lb: LbIndex) -> Option<&RankedSites> {
        let (block, bit) = place(lb);
        let block = self.blocks.get(block)?;
        if block.present & bit == 0 {
            return None;
        }
        block.list.as_ref()?.get((block.present & (bit - 1)).count_ones() as usize)
    }

    /// Puts a ranking in or takes it away; returns the one that was there.
    pub(crate) fn set(&mut self, lb: LbIndex, new: Option<RankedSites>) -> Option<RankedSites> {
        let (at, bit) = place(lb);
        if at >= self.blocks.len() {
            new.as_ref()?;
            let more = std::iter::repeat_n(Block::default(), at + 1 - self.blocks.len());
            self.blocks = self.blocks.iter().cloned().chain(more).collect();
        }
        let block = &mut Arc::make_mut(&mut self.blocks)[at];
        let index = (block.present & (bit - 1)).count_ones() as usize;
        let is_there = block.present & bit != 0;
        // As long as nobody else has the block, one ranking takes the other's place.
        if is_there
            && new.is_some()
            && let Some(list) = block.list.as_mut().and_then(Arc::get_mut)
        {
            return new.map(|new| std::mem::replace(&mut list[index], new));
        }
        let (before, rest) = block.list.as_deref().unwrap_or_default().split_at(index);
        let (old, after) = rest.split_at(usize::from(is_there));
        let old = old.first().cloned();
        block.present = if new.is_some() { block.present | bit } else { block.present & !bit };
        let list: Arc<[RankedSites]> = before.iter().chain(&new).chain(after).cloned().collect();
        block.list = Some(list).filter(|list| !list.is_empty());
        old
    }

    /// The same DNS-LBs with what `change` makes of their rankings, if anything.
    pub(crate) fn map(&self, change: impl Fn(&RankedSites) -> Option<RankedSites>) -> Self {
        let blocks = self.blocks.iter().map(|block| {
            let bits = (0..BLOCK).map(|bit| 1 << bit).filter(|bit| block.present & bit != 0);
            let changed = bits.zip(block.list.as_deref().unwrap_or_default());
            let kept: Vec<(u64, RankedSites)> = changed.filter_map(|(bit, old)| Some((bit, change(old)?))).collect();
            let present = kept.iter().fold(0, |bits, (bit, _)| bits | bit);
            let list: Arc<[RankedSites]> = kept.into_iter().map(|(_, ranking)| ranking).collect();
            Block { present, list: Some(list).filter(|list| !list.is_empty()) }
        });
        Self { blocks: blocks.collect() }
    }

    /// Every ranking with its DNS-LB, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LbIndex, &RankedSites)> {
        self.blocks.iter().enumerate().flat_map(|(at, block)| {
            let numbers = (0..BLOCK).filter(move |bit| block.present & (1 << bit) != 0);
            let list = block.list.as_deref().unwrap_or_default();
            numbers.map(move |bit| LbIndex((at * BLOCK + bit) as u32)).zip(list)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::Form, lots::tests::service, ranked::SiteRank};

    #[test]
    fn rankings_come_and_go() {
        let service = service(Form::Best, &[1]);
        let of = |site| Some(RankedSites::from_order(&service, &[SiteRank { site, usable: 1, score: 0.0 }]));
        let mut rankings = Rankings::default();
        let mut numbers: Vec<u32> = (0..300).map(|n| n * 7_919 % 1_000).collect();
        for n in &numbers {
            assert_eq!(rankings.set(LbIndex(*n), of(*n as u16)), None);
        }
        assert_eq!(rankings.set(LbIndex(0), of(9)), of(0));
        let old = rankings.clone();
        assert_eq!(rankings.set(LbIndex(0), None), of(9));
        assert_eq!((rankings.set(LbIndex(0), None), rankings.set(LbIndex(5_000), None)), (None, None));
        assert_eq!((old.get(LbIndex(0)), rankings.get(LbIndex(0))), (of(9).as_ref(), None));
        assert!(old.has(LbIndex(0)) && !rankings.has(LbIndex(0)) && !rankings.has(LbIndex(64_000)));
        numbers.sort_unstable();
        assert!(old.iter().map(|(lb, _)| lb.0).eq(numbers.iter().copied()));
        assert!(numbers[1..].iter().all(|n| rankings.get(LbIndex(*n)) == of(*n as u16).as_ref()));
    }
}
