//! Exponential backoff with full jitter: after a dns-b restart ten thousand diallers do not come
//! back in one instant, nor in step.

use std::time::Duration;

/// First ceiling.
const FIRST: Duration = Duration::from_millis(200);
/// Highest ceiling.
const LAST: Duration = Duration::from_secs(10);

/// How long to wait before the next attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// The next wait, between nothing and a ceiling that doubles from 0.2 s to 10 s. `share` is
    /// drawn evenly from 0 to 1.
    pub fn next(&mut self, share: f64) -> Duration {
        let wait = self.ceiling.mul_f64(share.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(LAST);
        wait
    }

    /// Starts over: the peer is well.
    pub fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_to_ten_seconds_and_start_over() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff.next(0.25).as_millis(), 2_500);
        assert_eq!(backoff.next(0.0).as_millis(), 0);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST);
    }
}
