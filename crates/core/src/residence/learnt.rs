//! What one DNS-LB has proven so far, when each of it lapses, and when it is to be asked again.
//!
//! A resolver may ask from many addresses. One challenge shows one of them, so it is repeated the more
//! often the more are known: then each is seen many times before it would lapse.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::net::Prefix;

/// Most prefixes that one DNS-LB may have proven at a time.
pub const MAX_LEARNT: usize = 256;

/// Least time between two challenges.
const LEAST: Duration = Duration::from_secs(1);
/// Challenges in quick succession after something new, which may be one of many.
const QUICK: u8 = 3;
/// Challenges for each of several prefixes in which one must be seen.
const CHANCES: u32 = 10;
/// Most doublings of [`LEAST`] while nothing is proven.
const MAX_DOUBLINGS: u32 = 12;

/// How often is asked, and how long what was learnt lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two challenges of a DNS-LB whose resolver has one address. Default 60 s.
    pub interval: Duration,
    /// After so many intervals in which it was not seen an address lapses. Default 3.
    pub lapse_after: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), lapse_after: 3 }
    }
}

impl Pace {
    /// Between two challenges while so many prefixes are known.
    fn wait(&self, known: u32) -> Duration {
        let wait = if known < 2 { self.interval } else { self.interval / known.saturating_mul(2) };
        wait.clamp(LEAST.min(self.interval), self.interval)
    }

    /// How long a prefix lasts without being seen while so many are known. One of many is not seen by
    /// every challenge, so it has at least [`CHANCES`] for each.
    fn life(&self, known: u32) -> Duration {
        let life = self.interval.saturating_mul(self.lapse_after);
        if known < 2 { life } else { life.max(self.wait(known).saturating_mul(known.saturating_mul(CHANCES))) }
    }
}

/// See the module's description. By default nothing is known, and a challenge is due.
#[derive(Debug, Default)]
pub struct Learnt {
    /// When each was seen last.
    seen: BTreeMap<Prefix, Instant>,
    /// When the next challenge is due; `None` for at once.
    next: Option<Instant>,
    /// Challenges since something was proven.
    in_vain: u32,
    quick: u8,
}

impl Learnt {
    /// Whether a challenge is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// Lets the next challenge be due at once: something has changed.
    pub fn hurry(&mut self) {
        (self.next, self.in_vain, self.quick) = (None, 0, QUICK);
    }

    /// A challenge has gone out. The next one follows after its time, more or less by a quarter as
    /// `draw`, from 0 to 1, says.
    pub fn challenged(&mut self, now: Instant, pace: &Pace, draw: f64) {
        let wait = match self.known() {
            _ if self.quick > 0 => LEAST.min(pace.interval),
            0 => LEAST.saturating_mul(1 << self.in_vain.min(MAX_DOUBLINGS)).min(pace.interval),
            known => pace.wait(known),
        };
        self.quick = self.quick.saturating_sub(1);
        self.in_vain = self.in_vain.saturating_add(1);
        self.next = now.checked_add(wait.mul_f64(0.75 + 0.5 * draw.clamp(0.0, 1.0)));
    }

    /// A prefix was proven: whether it is new, or `None` if there is no room for one more.
    pub fn prove(&mut self, prefix: Prefix, now: Instant) -> Option<bool> {
        if self.seen.len() >= MAX_LEARNT && !self.seen.contains_key(&prefix) {
            return None;
        }
        let new = self.seen.insert(prefix, now).is_none();
        self.in_vain = 0;
        if new {
            self.quick = QUICK;
            // What was not due for a minute may be one of many.
            self.next = self.next.map(|next| next.min(now + LEAST));
        }
        Some(new)
    }

    /// Forgets what was not seen for so long that it is not there any more, and returns it.
    pub fn lapse(&mut self, now: Instant, pace: &Pace) -> Vec<Prefix> {
        let life = pace.life(self.known());
        let gone = self.seen.extract_if(.., |_, at| now.saturating_duration_since(*at) > life);
        gone.map(|(prefix, _)| prefix).collect()
    }

    /// Forgets those that are not `kept`, and returns them.
    pub fn retain(&mut self, kept: impl Fn(&Prefix) -> bool) -> Vec<Prefix> {
        self.seen.extract_if(.., |prefix, _| !kept(prefix)).map(|(prefix, _)| prefix).collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether all of `prefix` is within something proven.
    pub fn covers(&self, prefix: &Prefix) -> bool {
        self.seen.keys().any(|proven| proven.covers(prefix))
    }

    /// What is proven, and when each was seen last.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, Instant)> {
        self.seen.iter().map(|(prefix, at)| (prefix, *at))
    }

    fn known(&self) -> u32 {
        // At most [`MAX_LEARNT`].
        self.seen.len() as u32
    }

    /// How many prefixes are proven.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is proven.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval: Duration::from_secs(60), lapse_after: 3 };

    #[allow(clippy::disallowed_methods)]
    fn now() -> Instant {
        Instant::now()
    }

    fn prefix(n: u32) -> Prefix {
        Prefix::host(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    /// Seconds until the next challenge after one at `now`, without jitter.
    fn wait(learnt: &mut Learnt, now: Instant) -> u64 {
        learnt.challenged(now, &PACE, 0.5);
        assert!(!learnt.is_due(now));
        learnt.next.unwrap().duration_since(now).as_secs()
    }

    #[test]
    fn what_is_in_vain_is_asked_ever_more_seldom() {
        let (mut learnt, now) = (Learnt::default(), now());
        assert!(learnt.is_due(now));
        let waits: Vec<u64> = (0..9).map(|_| wait(&mut learnt, now)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        learnt.hurry();
        assert!(learnt.is_due(now));
        assert_eq!([0; 4].map(|_| wait(&mut learnt, now)), [1, 1, 1, 8]);
    }

    #[test]
    fn after_something_new_more_is_looked_for_at_once() {
        let (mut learnt, now) = (Learnt::default(), now());
        for _ in 0..9 {
            wait(&mut learnt, now);
        }
        assert_eq!(learnt.prove(prefix(1), now), Some(true));
        assert!(learnt.is_due(now + LEAST) && !learnt.is_due(now));
        assert_eq!([0; 5].map(|_| wait(&mut learnt, now)), [1, 1, 1, 60, 60]);
        assert_eq!(learnt.prove(prefix(1), now), Some(false));
        assert_eq!(wait(&mut learnt, now), 60);
        for n in 2..=10 {
            learnt.prove(prefix(n), now);
        }
        assert_eq!([0; 4].map(|_| wait(&mut learnt, now)), [1, 1, 1, 3], "20 in an interval");
    }

    #[test]
    fn the_next_one_is_jittered_by_a_quarter() {
        let now = now();
        let at = |draw: f64| {
            let mut learnt = Learnt::default();
            learnt.challenged(now, &PACE, draw);
            learnt.next.unwrap().duration_since(now)
        };
        assert_eq!([0.0, 1.0, -7.0, 7.0].map(at), [750, 1_250, 750, 1_250].map(Duration::from_millis));
    }

    #[test]
    fn what_is_not_seen_lapses_and_nothing_else() {
        let (mut learnt, start) = (Learnt::default(), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        learnt.prove(prefix(1), start);
        learnt.prove(prefix(2), at(100));
        assert_eq!(learnt.lapse(at(300), &PACE), [], "one of two has more time");
        assert_eq!(learnt.lapse(at(301), &PACE), [prefix(1), prefix(2)][..1]);
        learnt.prove(prefix(2), at(310));
        assert_eq!(learnt.lapse(at(490), &PACE), []);
        assert_eq!((learnt.len(), learnt.covers(&prefix(2)), learnt.covers(&prefix(1))), (1, true, false));
        assert_eq!(learnt.lapse(at(491), &PACE), [prefix(2)]);
        learnt.prove(prefix(2), at(500));
        assert_eq!(learnt.retain(|_| false), [prefix(2)]);
        assert!(learnt.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (mut learnt, now) = (Learnt::default(), now());
        assert!((0..MAX_LEARNT as u32).all(|n| learnt.prove(prefix(n), now) == Some(true)));
        assert_eq!(learnt.prove(prefix(9_999), now), None);
        assert_eq!(learnt.prove(prefix(7), now), Some(false), "what is there may be seen again");
        assert_eq!(learnt.len(), MAX_LEARNT);
    }

    /// A farm of 30 addresses that are taken in turns at random stays learnt as a whole.
    #[test]
    fn a_farm_of_resolvers_does_not_flap() {
        let (mut learnt, start) = (Learnt::default(), now());
        let (mut state, mut lapsed, mut asked) = (7_u64, 0, 0);
        for millis in (0..3_600_000).step_by(200) {
            let now = start + Duration::from_millis(millis);
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32
            };
            if learnt.is_due(now) {
                asked += 1;
                learnt.prove(prefix(draw() % 30), now);
                learnt.challenged(now, &PACE, f64::from(draw() % 1_000) / 1_000.0);
            }
            lapsed += learnt.lapse(now, &PACE).len();
        }
        assert_eq!(learnt.len(), 30);
        assert!(lapsed <= 2, "{lapsed} lapsed in an hour");
        assert!((2_500..=3_600).contains(&asked), "{asked} challenges in an hour");
    }
}
