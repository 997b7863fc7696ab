//! The network: streams of octets between hosts, in order within one connection and in no order
//! across them, with delay, bandwidth, and ways that can be shut in one direction alone.
//!
//! Invariant: what was written arrives whole and in order, or the connection ends.

use std::collections::{BTreeMap, VecDeque};

use crate::{Ms, random::Random};

/// Octets that one direction of a connection holds before the writer has to wait.
pub const WINDOW: usize = 4 << 10;

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    /// With the time of arrival.
    segments: VecDeque<(Ms, Vec<u8>)>,
    held: usize,
    /// When the last octet that was written has left.
    free: Ms,
    /// The writer has said all.
    finished: bool,
    jitter: Random,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Octets, at least one.
    Some(Vec<u8>),
    /// Nothing yet.
    Wait,
    /// All was read.
    End,
}

impl Pipe {
    /// Nothing in it.
    pub fn new(jitter: Random) -> Self {
        Self { segments: VecDeque::new(), held: 0, free: 0, finished: false, jitter }
    }

    /// Takes as much of `octets` as there is room for. Returns how much, and when it arrives. What is
    /// written into a connection that is broken is lost.
    pub fn write(&mut self, octets: &[u8], now: Ms, way: Way) -> (usize, Ms) {
        if self.finished {
            return (octets.len(), now);
        }
        let count = octets.len().min(WINDOW - self.held);
        let sent = self.free.max(now) + count as u64 / way.rate.max(1);
        self.free = sent;
        // Never before what was written earlier.
        let last = self.segments.back().map_or(0, |(at, _)| *at);
        let at = (sent + way.delay + self.jitter.below(1 + way.delay / 4)).max(last);
        if count > 0 {
            self.held += count;
            self.segments.push_back((at, octets[..count].to_vec()));
        }
        (count, at)
    }

    /// The writer has said all.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether the writer has said all.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// What has arrived by `now`, one segment at a time.
    pub fn read(&mut self, now: Ms) -> Read {
        match self.segments.front() {
            Some((at, _)) if *at > now => Read::Wait,
            Some(_) => {
                let octets = self.segments.pop_front().map(|(_, octets)| octets).unwrap_or_default();
                self.held -= octets.len();
                Read::Some(octets)
            }
            None if self.finished => Read::End,
            None => Read::Wait,
        }
    }

    /// Octets that are under way.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Loses everything from somewhere in the middle on, and ends there.
    pub fn tear(&mut self) {
        let keep = self.jitter.below(1 + self.segments.len() as u64) as usize;
        self.segments.truncate(keep);
        if let Some((_, last)) = self.segments.back_mut() {
            last.truncate(1 + self.jitter.below(last.len() as u64) as usize);
        }
        self.held = self.segments.iter().map(|(_, octets)| octets.len()).sum();
        self.finished = true;
    }
}

/// How it goes from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Milliseconds.
    pub delay: Ms,
    /// Octets a millisecond.
    pub rate: u64,
}

/// All ways between hosts. Faults stack: a way is open when nobody shuts it.
#[derive(Debug, Default)]
pub struct Network {
    base: BTreeMap<(usize, usize), Ms>,
    shut: BTreeMap<(usize, usize), u32>,
    slow: BTreeMap<(usize, usize), Vec<Way>>,
}

/// Octets a millisecond where nothing is slow.
const FAST: u64 = 10_000;

impl Network {
    /// With a delay of its own for each pair of hosts.
    pub fn new(hosts: usize, random: &mut Random) -> Self {
        let mut base = BTreeMap::new();
        for a in 0..hosts {
            for b in a + 1..hosts {
                let delay = random.between(1, 120);
                base.insert((a, b), delay);
                base.insert((b, a), delay);
            }
        }
        Self { base, ..Self::default() }
    }

    /// How it goes; `None` when nothing gets through.
    pub fn way(&self, from: usize, to: usize) -> Option<Way> {
        (!self.is_shut(from, to)).then(|| self.nominal(from, to))
    }

    /// How it goes as soon as it is open.
    pub fn nominal(&self, from: usize, to: usize) -> Way {
        let base = self.base.get(&(from, to)).copied().unwrap_or(1);
        let slow = self.slow.get(&(from, to)).map_or(&[][..], |s| s);
        let rate = slow.iter().map(|w| w.rate).fold(FAST, u64::min);
        Way { delay: base + slow.iter().map(|w| w.delay).sum::<u64>(), rate }
    }

    /// Whether nothing gets through.
    pub fn is_shut(&self, from: usize, to: usize) -> bool {
        self.shut.get(&(from, to)).is_some_and(|n| *n > 0)
    }

    /// Shuts a way once more, or takes one shutting back.
    pub fn set_shut(&mut self, from: usize, to: usize, shut: bool) {
        let count = self.shut.entry((from, to)).or_default();
        *count = if shut { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Makes a way slow, both there and back.
    pub fn slow_down(&mut self, from: usize, to: usize, way: Way) {
        for pair in [(from, to), (to, from)] {
            self.slow.entry(pair).or_default().push(way);
        }
    }

    /// Takes one slowing back.
    pub fn speed_up(&mut self, from: usize, to: usize, way: Way) {
        for pair in [(from, to), (to, from)] {
            let Some(slow) = self.slow.get_mut(&pair) else { continue };
            if let Some(at) = slow.iter().position(|w| *w == way) {
                slow.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way { delay: 10, rate: 1 };

    #[test]
    fn octets_arrive_in_order_and_not_before_their_time() {
        let mut pipe = Pipe::new(Random::new(1, 1));
        let (n, at) = pipe.write(&[1; 100], 0, WAY);
        assert_eq!((n, pipe.held()), (100, 100));
        assert!((110..=112).contains(&at), "{at}");
        assert_eq!(pipe.read(at - 1), Read::Wait);
        assert_eq!(pipe.read(at), Read::Some(vec![1; 100]));
        pipe.finish();
        assert_eq!((pipe.read(at), pipe.held()), (Read::End, 0));
    }

    #[test]
    fn a_window_is_all_that_fits() {
        let mut pipe = Pipe::new(Random::new(1, 1));
        assert_eq!(pipe.write(&vec![0; WINDOW + 1], 0, WAY).0, WINDOW);
        assert_eq!(pipe.write(&[0], 0, WAY).0, 0);
        pipe.tear();
        assert!(pipe.held() <= WINDOW && pipe.is_finished());
    }

    #[test]
    fn ways_are_shut_and_slow_for_as_long_as_anybody_says_so() {
        let mut network = Network::new(2, &mut Random::new(1, 1));
        let open = network.way(0, 1).unwrap();
        network.set_shut(0, 1, true);
        network.set_shut(0, 1, true);
        network.set_shut(0, 1, false);
        assert_eq!((network.way(0, 1), network.way(1, 0)), (None, Some(open)));
        network.set_shut(0, 1, false);
        network.slow_down(0, 1, WAY);
        assert_eq!(network.way(1, 0), Some(Way { delay: open.delay + 10, rate: 1 }));
        network.speed_up(1, 0, WAY);
        assert_eq!(network.way(0, 1), Some(open));
    }
}
