//! When the next probe of an address may start under a share that changes. Pure: time and chance are
//! arguments.
//!
//! Invariant: from the start of one probe to the next the share adds up to one probe, whatever it was
//! meanwhile. So when all shares change at once, as they do when many DNS-LBs come or go, nobody starts
//! at once for that reason, and what all of them start in a second is what the shares say.

use std::time::{Duration, Instant};

/// How much of the wait for the next probe is left.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// In intervals, from 0 to 1.
    left: f64,
    /// Up to when it was reckoned.
    as_of: Instant,
    /// The interval of the share since then; `None` while there may be no probe.
    interval: Option<Duration>,
}

impl Rhythm {
    /// There was no probe yet: all that wait for the same word would start together, so its place in the
    /// interval is drawn. `chance` is from 0 to 1.
    pub fn new(chance: f64, now: Instant) -> Self {
        Self { left: chance.clamp(0.0, 1.0), as_of: now, interval: None }
    }

    /// From when on the next probe may start if the interval is this from now on; `None`: not as things
    /// are.
    pub fn next(&mut self, interval: Option<Duration>, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.as_of);
        if let Some(held) = self.interval.filter(|held| !held.is_zero()) {
            // What was not used is not saved up.
            self.left = (self.left - passed.as_secs_f64() / held.as_secs_f64()).max(0.0);
        }
        (self.as_of, self.interval) = (now, interval);
        // A share of nearly nothing, whose time no clock can tell, is none.
        interval.and_then(|interval| now.checked_add(interval.mul_f64(self.left)))
    }

    /// A probe starts now.
    pub fn started(&mut self, now: Instant) {
        (self.left, self.as_of) = (1.0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_place_is_drawn_and_waits_for_a_share() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(0.25, now);
        assert_eq!(rhythm.next(None, now), None);
        let later = now + 100 * SECOND;
        assert_eq!(rhythm.next(Some(8 * SECOND), later), Some(later + 2 * SECOND));
        assert_eq!(rhythm.next(Some(8 * SECOND), later + SECOND), Some(later + 2 * SECOND), "drawn once");
    }

    #[test]
    fn what_is_left_changes_with_the_share() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(0.0, now);
        rhythm.started(now);
        assert_eq!(rhythm.next(Some(10 * SECOND), now), Some(now + 10 * SECOND));
        // Half of it has passed: half of the other is left.
        let now = now + 5 * SECOND;
        assert_eq!(rhythm.next(Some(2 * SECOND), now), Some(now + SECOND));
        assert_eq!(rhythm.next(Some(40 * SECOND), now), Some(now + 20 * SECOND));
        assert_eq!(rhythm.next(None, now), None);
        let now = now + 1_000 * SECOND;
        assert_eq!(rhythm.next(Some(4 * SECOND), now), Some(now + 2 * SECOND), "without a share nothing passes");
        let now = now + 1_000 * SECOND;
        assert_eq!(rhythm.next(Some(4 * SECOND), now), Some(now), "and nothing is saved up");
    }
}
