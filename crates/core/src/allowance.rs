//! How much of something a peer may have: so much at once, and so much in a second ever after. One
//! instant is all that is kept of it.
//!
//! Invariant: in any time of `t` seconds no more is taken without a wait than `at_once` and
//! `t × per_second` together.

use std::time::{Duration, Instant};

const SECOND: u128 = 1_000_000_000;

/// What may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second, on average; 0 counts as 1.
    pub per_second: u64,
    /// At once, after a long enough pause.
    pub at_once: u64,
}

/// What was taken of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// When all that was taken will have been earned; nothing for one that is full.
    even_at: Option<Instant>,
}

impl Rate {
    /// How long it takes to earn so much.
    fn time(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * SECOND / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Allowance {
    /// Takes so much, whether or not there is as much. Returns how long the taker has to wait before it
    /// takes more; zero where it stays within.
    pub fn take(&mut self, rate: Rate, amount: u64, now: Instant) -> Duration {
        let owed = self.owed(now).saturating_add(rate.time(amount));
        // Beyond what an instant can say nobody waits.
        self.even_at = now.checked_add(owed);
        owed.saturating_sub(rate.time(rate.at_once))
    }

    /// Takes so much if there is as much.
    ///
    /// # Errors
    /// How long until there is; nothing was taken then.
    pub fn try_take(&mut self, rate: Rate, amount: u64, now: Instant) -> Result<(), Duration> {
        let mut after = *self;
        match after.take(rate, amount, now) {
            Duration::ZERO => {
                *self = after;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Whether at least half of what may be had at once is there.
    pub fn is_half_full(&self, rate: Rate, now: Instant) -> bool {
        self.owed(now) <= rate.time(rate.at_once) / 2
    }

    /// Whether nothing was taken that is not earned again: then it need not be remembered.
    pub fn is_full(&self, now: Instant) -> bool {
        self.owed(now).is_zero()
    }

    fn owed(&self, now: Instant) -> Duration {
        self.even_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an arbitrary instant")]
    fn beginning() -> Instant {
        Instant::now()
    }

    #[test]
    fn so_much_at_once_and_then_as_it_is_earned() {
        let (rate, now) = (Rate { per_second: 10, at_once: 5 }, beginning());
        let mut allowance = Allowance::default();
        assert!(allowance.is_full(now) && allowance.is_half_full(rate, now));
        assert!((0..5).all(|_| allowance.try_take(rate, 1, now).is_ok()));
        assert_eq!(allowance.try_take(rate, 1, now), Err(Duration::from_millis(100)));
        assert_eq!(allowance.try_take(rate, 1, now + Duration::from_millis(100)), Ok(()));
        // What is taken all the same is paid for by waiting.
        assert_eq!(allowance.take(rate, 20, now + Duration::from_millis(100)), Duration::from_secs(2));
        let later = now + Duration::from_millis(100) + Duration::from_secs(2);
        assert_eq!(allowance.take(rate, 0, later), Duration::ZERO);
        assert!(!allowance.is_half_full(rate, later));
        assert!(allowance.is_half_full(rate, later + Duration::from_millis(250)));
        assert!(allowance.is_full(later + Duration::from_millis(500)));
    }

    #[test]
    fn what_no_clock_can_say_harms_nobody() {
        let (rate, now) = (Rate { per_second: 0, at_once: u64::MAX }, beginning());
        let mut allowance = Allowance::default();
        for _ in 0..3 {
            allowance.take(rate, u64::MAX, now);
        }
    }

    proptest! {
        #[test]
        fn never_more_than_at_once_and_what_was_earned(
            rate in (1..50_u64, 1..50_u64),
            steps in vec((0..400_u64, 1..20_u64), 1..100),
        ) {
            let rate = Rate { per_second: rate.0, at_once: rate.1 };
            let begin = beginning();
            let (mut allowance, mut now, mut taken) = (Allowance::default(), begin, Vec::new());
            for (pause, amount) in steps {
                now += Duration::from_millis(pause);
                if allowance.try_take(rate, amount, now).is_ok() {
                    taken.push((now, amount));
                }
            }
            for (at, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (until, amount) in &taken[at..] {
                    sum += amount;
                    let earned = rate.per_second as f64 * until.duration_since(*from).as_secs_f64();
                    prop_assert!(sum as f64 <= rate.at_once as f64 + earned + 1e-3, "{sum} in {:?}", *until - *from);
                }
            }
        }
    }
}
