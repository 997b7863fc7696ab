//! Who speaks for a DNS-LB that has not reported for long: the one with a fresh report to which the
//! same addresses are about as far (design section 3).
//!
//! Invariant: however many fall silent at once, a call does a bounded amount of work. The others wait
//! for the next calls with the neighbour that they have, or with their own old ranking.

use std::time::Instant;

use dglb_core::directory::LbIndex;

use super::Keeper;

/// Most services that two DNS-LBs are compared by: the first that both rank.
const SERVICES: usize = 16;
/// Most DNS-LBs with fresh reports that one is compared with. Where there are more, it is every so
/// many-th of them, others for each.
const CANDIDATES: usize = 2_048;
/// Most comparisons in one call; each costs less than a microsecond.
const COMPARISONS: usize = 16_384;

impl Keeper {
    /// Finds neighbours for those that are silent. What is so old does not count in the aggregate
    /// either.
    pub(super) fn borrow_rankings(&mut self, now: Instant) {
        let (mut silent, mut fresh) = (Vec::new(), Vec::new());
        for (index, truth) in &self.lbs {
            let stale = truth.last_report.is_none_or(|at| now.duration_since(at) > self.stale_after);
            if stale { silent.push(*index) } else { fresh.push(*index) }
        }
        for index in &fresh {
            self.lend(*index, None);
        }
        if silent.is_empty() {
            return;
        }
        fresh.sort_unstable();
        silent.sort_unstable();
        for index in &silent {
            self.directory.set_counted(*index, false);
            // Where nobody is near, its own are all there is, and still too old.
            let lender = self.directory.find_lb(*index).and_then(|lb| lb.borrows);
            if lender.is_none_or(|lender| fresh.binary_search(&lender).is_err()) {
                self.lend(*index, Some(*index));
            }
        }
        silent.retain(|index| self.lbs.get(index).is_some_and(|truth| !truth.rankings.is_empty()));
        // Those come first that come after who was first last time.
        let start = silent.partition_point(|index| Some(*index) <= self.compared_last);
        silent.rotate_left(start);
        let calls = (COMPARISONS / fresh.len().clamp(1, CANDIDATES)).max(1);
        for index in silent.into_iter().take(calls) {
            let nearest = self.nearest(index, &fresh);
            self.lend(index, Some(nearest.unwrap_or(index)));
            self.compared_last = Some(index);
        }
    }

    /// The one of `fresh` that is nearest.
    fn nearest(&self, index: LbIndex, fresh: &[LbIndex]) -> Option<LbIndex> {
        let own = &self.lbs.get(&index)?.rankings;
        let step = fresh.len().div_ceil(CANDIDATES).max(1);
        let candidates = fresh.iter().skip(index.0 as usize % step).step_by(step).filter(|other| **other != index);
        let near = candidates.filter_map(|other| {
            let distance = own.distance(&self.lbs.get(other)?.rankings, SERVICES)?;
            Some((distance, *other))
        });
        near.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, other)| other)
    }

    fn lend(&mut self, index: LbIndex, lender: Option<LbIndex>) {
        if self.directory.find_lb(index).is_some_and(|lb| lb.borrows != lender) {
            self.directory.update_lb(index, |lb| lb.borrows = lender);
            self.changed = true;
        }
    }
}
