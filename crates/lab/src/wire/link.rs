//! One direction between two hosts: what it does to packets, and what it has done.

use std::time::{Duration, Instant};

/// How one direction between two hosts treats packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// From the sender's interface to the receiver's.
    pub delay: Duration,
    /// Each packet's delay is drawn evenly from `delay - jitter ..= delay + jitter`, never below 0.
    pub jitter: Duration,
    /// Whether jitter may let a packet overtake another. Queues on the Internet rarely do.
    pub reorder: bool,
    /// The part of all packets that is lost: 0.0 none, 1.0 all.
    pub loss: f64,
    /// Nothing passes, without a word to the sender.
    pub cut: bool,
}

/// What became of the packets of one direction between two hosts. A packet that is still on its
/// way is not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Put into the receiver's interface.
    pub sent: u64,
    /// Octets of these, from the IP header on.
    pub octets: u64,
    /// Lost by [`Link::loss`].
    pub lost: u64,
    /// Came to a cut link or host, or were on their way when it was cut.
    pub cut: u64,
    /// Lost because too much was on its way, or because the receiver's stack would not take them.
    pub overflowed: u64,
}

/// A link with its history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) link: Link,
    pub(crate) counters: Counters,
    last_due: Option<Instant>,
}

/// What happens to a packet that comes to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes out at this moment.
    Due(Instant),
    Lost,
    Cut,
}

impl Pair {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, counters: Counters::default(), last_due: None }
    }

    /// The fate of a packet that arrived at `now`; `chance` yields numbers from 0.0 up to,
    /// but not including, 1.0.
    pub(crate) fn admit(&mut self, now: Instant, mut chance: impl FnMut() -> f64) -> Fate {
        if self.link.cut {
            return Fate::Cut;
        }
        if self.link.loss > 0.0 && chance() < self.link.loss {
            return Fate::Lost;
        }
        let mut due = now + self.link.delay;
        if !self.link.jitter.is_zero() {
            let earliest = now + self.link.delay.saturating_sub(self.link.jitter);
            let latest = due + self.link.jitter;
            due = earliest + (latest - earliest).mul_f64(chance());
        }
        if !self.link.reorder {
            due = self.last_due.map_or(due, |last| last.max(due));
        }
        self.last_due = Some(due);
        Fate::Due(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due(pair: &mut Pair, now: Instant, chance: f64) -> Duration {
        match pair.admit(now, || chance) {
            Fate::Due(due) => due - now,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn delay_and_jitter_stay_in_their_bounds() {
        let start = Instant::now();
        let mut pair = Pair::new(Link { delay: 10 * MS, jitter: 4 * MS, reorder: true, ..Link::default() });
        assert_eq!(due(&mut pair, start, 0.0), 6 * MS);
        assert_eq!(due(&mut pair, start, 0.5), 10 * MS);
        assert!(due(&mut pair, start, 0.999_999) < 14 * MS);
        pair.link.jitter = 40 * MS;
        assert_eq!(due(&mut pair, start, 0.0), Duration::ZERO, "a packet cannot arrive before it was sent");
    }

    #[test]
    fn packets_keep_their_order_unless_the_link_says_otherwise() {
        let start = Instant::now();
        let mut pair = Pair::new(Link { delay: 10 * MS, jitter: 4 * MS, ..Link::default() });
        assert_eq!(due(&mut pair, start, 0.9), Duration::from_micros(13_200));
        assert_eq!(due(&mut pair, start + MS, 0.0), Duration::from_micros(12_200), "waits for the one before");
        pair.link = Link { delay: MS, ..Link::default() };
        assert_eq!(due(&mut pair, start + 2 * MS, 0.0), Duration::from_micros(11_200), "even over a shortened link");
        pair.link.reorder = true;
        assert_eq!(due(&mut pair, start + 3 * MS, 0.0), MS);
    }

    #[test]
    fn loss_and_cut_take_what_they_should() {
        let now = Instant::now();
        let mut pair = Pair::new(Link { loss: 0.25, ..Link::default() });
        assert_eq!(pair.admit(now, || 0.249), Fate::Lost);
        assert_eq!(pair.admit(now, || 0.25), Fate::Due(now));
        pair.link.cut = true;
        assert_eq!(pair.admit(now, || 0.249), Fate::Cut, "a cut comes before a loss");
    }
}
