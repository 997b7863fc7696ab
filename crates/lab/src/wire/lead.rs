//! How long before a packet is due the wire must ask to be woken, so as to be awake when it is.
//!
//! A sleeping core takes some 10 to 200 µs to wake, longer the deeper it slept. The lead follows
//! the quicker wake-ups seen lately: three of four come a little late, one comes early and waits.

use std::time::{Duration, Instant};

/// The lead, learnt from each wake-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead(Duration);

impl Lead {
    /// The longest lead, and so the longest that the wire ever waits actively.
    pub(crate) const MOST: Duration = Duration::from_micros(250);
    /// How far one wake-up moves the lead; three times as far down as up, which makes it settle at
    /// the first quartile of the time that waking takes.
    const UP: Duration = Duration::from_micros(5);
    const DOWN: Duration = Duration::from_micros(15);

    /// Close to what an idle machine needs, so that little is left to learn.
    pub(crate) fn new() -> Self {
        Self(Duration::from_micros(50))
    }

    /// The time to be taken off what the timer is set to.
    pub(crate) fn get(self) -> Duration {
        self.0
    }

    /// Learns from a wake-up at `now` that was asked for the lead's time before `due`.
    pub(crate) fn woke(&mut self, now: Instant, due: Instant) {
        self.0 = if now > due { (self.0 + Self::UP).min(Self::MOST) } else { self.0.saturating_sub(Self::DOWN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_settles_at_the_quicker_wake_ups() {
        let mut lead = Lead::new();
        let due = Instant::now() + Duration::from_secs(1);
        for round in 0..4_000u64 {
            // Waking takes 80 µs, 90 µs, ... 150 µs in turn.
            let took = Duration::from_micros(80 + round % 8 * 10);
            lead.woke(due - lead.get() + took, due);
        }
        let settled = lead.get().as_micros();
        assert!((60..=120).contains(&settled), "{settled}");
        for _ in 0..1_000 {
            lead.woke(due + Duration::from_secs(1), due);
        }
        assert_eq!(lead.get(), Lead::MOST, "a machine that stood still teaches nothing more");
    }
}
