//! What the last good round trips of one address add up to.
//!
//! Invariant: the estimate is a function of those alone, never lower for a higher one, and within what was seen.
//!
//! Delay is only ever *added* to a round trip, so the figure follows what gets better quickly and
//! what gets worse slowly; but not slower than `FLOOR` round trips, none of which is as good any
//! more. `docs/choosing.md` says what it was held against.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::WINDOW;

/// When none of so many round trips running is as low as the figure, the figure is wrong.
const FLOOR: usize = 4;
/// The figures of so many round trips running make the range of an estimate. A path that got worse
/// is left after `FLOOR + RUN - 1` round trips at the latest.
const RUN: usize = 4;
/// Of a lower round trip the figure takes this part of the difference at once …
const DOWN: u64 = 2;
/// … and of a higher one this part.
const UP: u64 = 20;

/// What round trips add up to, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) figure: u32,
    /// The least figure of the last [`RUN`] round trips.
    pub(super) least: u32,
    /// The greatest of them.
    pub(super) most: u32,
}

/// The last good round trips of one address, bounded in number and in time.
#[derive(Clone, Debug)]
pub(super) struct RoundTrips {
    /// Oldest first, in microseconds.
    kept: ArrayVec<(Instant, u32), WINDOW>,
    max_age: Duration,
}

impl RoundTrips {
    pub(super) fn new(max_age: Duration) -> Self {
        Self { kept: ArrayVec::new(), max_age }
    }

    pub(super) fn push(&mut self, round_trip: Duration, now: Instant) {
        if self.kept.is_full() {
            self.kept.remove(0);
        }
        self.kept.push((now, u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX)));
    }

    /// The estimate from the round trips that are not out of date, and how many those are. Where
    /// all are out of date, the last good ones stand in.
    pub(super) fn estimate(&self, now: Instant) -> (Option<Estimate>, usize) {
        let recent = |(at, _): &&(Instant, u32)| now.saturating_duration_since(*at) <= self.max_age;
        let mut kept: ArrayVec<u32, WINDOW> = self.kept.iter().filter(recent).map(|(_, r)| *r).collect();
        if kept.is_empty() {
            kept = self.kept.iter().map(|(_, r)| *r).collect();
        }
        (estimate(&kept), kept.len())
    }
}

/// The estimate from round trips, oldest first.
fn estimate(round_trips: &[u32]) -> Option<Estimate> {
    let mut average = *round_trips.first()?;
    let mut figures = ArrayVec::<u32, WINDOW>::new();
    for (at, round_trip) in round_trips.iter().take(WINDOW).enumerate() {
        average = follow(average, *round_trip);
        // Fewer than that say nothing about a change.
        let floor = (at + 1).checked_sub(FLOOR).and_then(|from| round_trips[from..=at].iter().min());
        figures.push(average.max(floor.copied().unwrap_or(0)));
    }
    let run = &figures[figures.len().saturating_sub(RUN)..];
    Some(Estimate { figure: *run.last()?, least: *run.iter().min()?, most: *run.iter().max()? })
}

/// The average after one more round trip. Rounded so that it is monotone in both.
fn follow(average: u32, round_trip: u32) -> u32 {
    let (part, a, r) = (if round_trip < average { DOWN } else { UP }, u64::from(average), u64::from(round_trip));
    u32::try_from((a * (part - 1) + r) / part).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Raising any round trip never lowers anything, and all lies within what was seen.
        #[test]
        fn the_estimate_is_monotone(trips in prop::collection::vec((0_u32..1_000, 0_u32..500), 1..=WINDOW)) {
            let low: Vec<u32> = trips.iter().map(|(base, _)| *base).collect();
            let high: Vec<u32> = trips.iter().map(|(base, extra)| base + extra).collect();
            let (l, h) = (estimate(&low).unwrap(), estimate(&high).unwrap());
            prop_assert!(l.figure <= h.figure && l.least <= h.least && l.most <= h.most);
            prop_assert!(l.least <= l.figure && l.figure <= l.most);
            prop_assert!(low.iter().min() <= Some(&l.least) && Some(&l.most) <= low.iter().max());
        }

        /// Whatever was before: after seven round trips at one place, that is where it is.
        #[test]
        fn a_change_for_the_worse_is_beyond_doubt_in_time(
            before in prop::collection::vec(0_u32..100_000, 0..=WINDOW), now in 100_000_u32..1_000_000,
        ) {
            let mut trips = before;
            trips.extend([now; FLOOR + RUN - 1]);
            let window = &trips[trips.len().saturating_sub(WINDOW)..];
            prop_assert_eq!(estimate(window), Some(Estimate { figure: now, least: now, most: now }));
        }
    }
}
