//! What the probes of one address add up to: is it up, and how far away is it.
//!
//! Invariant: an estimate only ever comes from probes that went well, and a failure never changes
//! it: what was last good stays known while an address is down (design section 5). Delay is only
//! ever *added* to a round trip, so the figure is a low quantile, not a mean.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;

use crate::{
    catalogue::Probe,
    report::{Figures, Health},
};

/// Good round trips that are kept of one address.
pub const WINDOW: usize = 9;
/// Fewer good round trips than this say nothing about the order of sites.
pub const ENOUGH: usize = 3;
/// Round trips older than this, or than four of the longest probe interval, are out of date.
const LEAST_AGE: Duration = Duration::from_secs(300);

/// What one probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It went well; the network round trip (the time to connect).
    Good(Duration),
    /// It failed, in whatever way.
    Failed,
}

/// What is known of one address, ready to be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Health and latency.
    pub figures: Figures,
    /// How many round trips the latency rests on.
    pub samples: usize,
}

/// Everything that was seen of one (service, site, address).
#[derive(Clone, Debug)]
pub struct AddressEstimate {
    round_trips: RoundTrips,
    /// One per probe of the service, in the catalogue's order.
    streaks: Vec<Streak>,
}

impl AddressEstimate {
    /// An address that was never probed, by the probes of its service.
    pub fn new(probes: &[Probe]) -> Self {
        let longest = probes.iter().map(|p| p.interval_ms).max().unwrap_or(0);
        let max_age = LEAST_AGE.max(4 * Duration::from_millis(longest.into()));
        Self { round_trips: RoundTrips::new(max_age), streaks: probes.iter().map(Streak::new).collect() }
    }

    /// Takes in what probe number `probe` saw at `now`. A number that the service does not have
    /// is ignored: a probe may end after its service changed.
    pub fn record(&mut self, probe: usize, seen: Observation, now: Instant) {
        let Some(streak) = self.streaks.get_mut(probe) else { return };
        match seen {
            Observation::Good(round_trip) => {
                streak.good();
                self.round_trips.push(round_trip, now);
            }
            Observation::Failed => streak.failed(),
        }
    }

    /// Up when all probes are up, down when any is down.
    pub fn health(&self) -> Health {
        let worst = self.streaks.iter().map(|s| s.state).max_by_key(|state| match state {
            Health::Up => 0,
            Health::Unknown => 1,
            Health::Down => 2,
        });
        worst.unwrap_or(Health::Unknown)
    }

    /// Health, latency and what the latency rests on, as of `now`.
    pub fn measured(&self, address: IpAddr, now: Instant) -> Measured {
        let (latency, samples) = self.round_trips.estimate(now);
        let latency_us = latency.map(|l| u32::try_from(l.as_micros()).unwrap_or(u32::MAX));
        Measured { figures: Figures { address, health: self.health(), latency_us }, samples }
    }

    /// Whether nothing more is to be waited for before a first ranking: it is down, or up with
    /// [`ENOUGH`] round trips.
    pub fn is_settled(&self, now: Instant) -> bool {
        match self.health() {
            Health::Down => true,
            Health::Unknown => false,
            Health::Up => self.round_trips.estimate(now).1 >= ENOUGH,
        }
    }
}

impl Measured {
    /// An address of which nothing is known.
    pub fn unknown(address: IpAddr) -> Self {
        Self { figures: Figures { address, health: Health::Unknown, latency_us: None }, samples: 0 }
    }
}

/// The last good round trips of one address, bounded in number and in time.
#[derive(Clone, Debug)]
struct RoundTrips {
    /// Oldest first.
    kept: ArrayVec<(Instant, Duration), WINDOW>,
    max_age: Duration,
}

impl RoundTrips {
    fn new(max_age: Duration) -> Self {
        Self { kept: ArrayVec::new(), max_age }
    }

    fn push(&mut self, round_trip: Duration, now: Instant) {
        if self.kept.is_full() {
            self.kept.remove(0);
        }
        self.kept.push((now, round_trip));
    }

    /// The 25th percentile of the round trips that are not out of date, and how many those are.
    /// Where all are out of date, the last good ones stand in.
    fn estimate(&self, now: Instant) -> (Option<Duration>, usize) {
        let recent = |(at, _): &&(Instant, Duration)| now.saturating_duration_since(*at) <= self.max_age;
        let mut sorted: ArrayVec<Duration, WINDOW> = self.kept.iter().filter(recent).map(|(_, r)| *r).collect();
        if sorted.is_empty() {
            sorted = self.kept.iter().map(|(_, r)| *r).collect();
        }
        sorted.sort_unstable();
        // The lower neighbour of the quantile: of nine the third, of three the least.
        let quantile = sorted.get(sorted.len().saturating_sub(1) / 4).copied();
        (quantile, sorted.len())
    }
}

/// The verdict of one probe kind on one address: it takes `fall` failures or `rise` successes in
/// a row to reach one.
#[derive(Clone, Copy, Debug)]
struct Streak {
    state: Health,
    fall: u8,
    rise: u8,
    goods: u8,
    failures: u8,
}

impl Streak {
    fn new(probe: &Probe) -> Self {
        Self { state: Health::Unknown, fall: probe.fall, rise: probe.rise, goods: 0, failures: 0 }
    }

    fn good(&mut self) {
        self.failures = 0;
        self.goods = self.goods.saturating_add(1);
        if self.goods >= self.rise {
            self.state = Health::Up;
        }
    }

    fn failed(&mut self) {
        self.goods = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.fall {
            self.state = Health::Down;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::ProbeKind;

    fn probe(fall: u8, rise: u8) -> Probe {
        Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 10_000, timeout_ms: 1_000, fall, rise }
    }

    fn ms(n: u64) -> Observation {
        Observation::Good(Duration::from_millis(n))
    }

    fn figure(e: &AddressEstimate, now: Instant) -> (Option<u32>, usize) {
        let m = e.measured(IpAddr::from([192, 0, 2, 1]), now);
        (m.figures.latency_us, m.samples)
    }

    #[test]
    fn the_estimate_is_the_third_least_of_the_last_nine() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        assert_eq!(figure(&e, now), (None, 0));
        // Two early and very good ones leave the window again.
        for n in [1, 1, 50, 90, 20, 30, 80, 70, 60, 40, 500] {
            e.record(0, ms(n), now);
        }
        assert_eq!(figure(&e, now), (Some(40_000), 9));
    }

    #[test]
    fn one_spike_changes_nothing() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        for n in [20, 21, 22] {
            e.record(0, ms(n), now);
        }
        assert_eq!(figure(&e, now), (Some(20_000), 3));
        e.record(0, ms(900), now);
        assert_eq!(figure(&e, now), (Some(20_000), 4));
    }

    #[test]
    fn old_round_trips_give_way_to_one_new_but_not_to_none() {
        let start = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        for _ in 0..9 {
            e.record(0, ms(20), start);
        }
        let later = start + LEAST_AGE + Duration::from_secs(1);
        assert_eq!(figure(&e, later), (Some(20_000), 9), "the last good ones stand in");
        e.record(0, ms(70), later);
        assert_eq!(figure(&e, later), (Some(70_000), 1));
    }

    #[test]
    fn a_slow_probe_still_gathers_enough() {
        let day = Probe { interval_ms: 86_400_000, ..probe(2, 2) };
        let mut now = Instant::now();
        let mut e = AddressEstimate::new(std::slice::from_ref(&day));
        for _ in 0..5 {
            now += Duration::from_millis(day.interval_ms.into());
            e.record(0, ms(5), now);
        }
        assert!(e.is_settled(now));
    }

    #[test]
    fn falling_and_rising_need_their_own_number_in_a_row() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(3, 2)]);
        let mut feed = |text: &str| {
            for c in text.chars() {
                e.record(0, if c == '+' { ms(1) } else { Observation::Failed }, now);
            }
            e.health()
        };
        assert_eq!(feed(""), Health::Unknown);
        assert_eq!(feed("+-+-+"), Health::Unknown, "never two in a row");
        assert_eq!(feed("+"), Health::Up);
        assert_eq!(feed("--+--"), Health::Up, "never three in a row");
        assert_eq!(feed("-"), Health::Down);
        assert_eq!(feed("+"), Health::Down);
        assert_eq!(feed("-+"), Health::Down);
        assert_eq!(feed("+"), Health::Up);
    }

    #[test]
    fn down_right_after_the_start() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        e.record(0, Observation::Failed, now);
        assert_eq!((e.health(), e.is_settled(now)), (Health::Unknown, false));
        e.record(0, Observation::Failed, now);
        assert_eq!((e.health(), e.is_settled(now)), (Health::Down, true));
    }

    #[test]
    fn every_probe_kind_must_be_up() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 1), probe(2, 1)]);
        e.record(0, ms(8), now);
        assert_eq!(e.health(), Health::Unknown, "the second kind has not spoken");
        e.record(1, ms(9), now);
        assert_eq!(e.health(), Health::Up);
        e.record(1, Observation::Failed, now);
        e.record(1, Observation::Failed, now);
        e.record(0, ms(8), now);
        assert_eq!(e.health(), Health::Down);
        assert_eq!(figure(&e, now), (Some(8_000), 3), "both kinds feed one window, failures none");
        e.record(2, ms(1), now);
        assert_eq!(figure(&e, now).1, 3, "there is no third kind");
    }

    proptest! {
        /// Raising any round trip never lowers the estimate, and it lies within what was seen.
        #[test]
        fn the_estimate_is_monotone(
            trips in prop::collection::vec((1_u64..1_000, 0_u64..500), 1..20),
        ) {
            let now = Instant::now();
            let (mut low, mut high) = (AddressEstimate::new(&[probe(2, 2)]), AddressEstimate::new(&[probe(2, 2)]));
            for (base, extra) in &trips {
                low.record(0, ms(*base), now);
                high.record(0, ms(base + extra), now);
            }
            let (l, h) = (figure(&low, now).0.unwrap(), figure(&high, now).0.unwrap());
            prop_assert!(l <= h);
            let seen: Vec<u64> = trips.iter().rev().take(WINDOW).map(|t| t.0 * 1_000).collect();
            prop_assert!(seen.contains(&u64::from(l)));
        }

        /// The verdict follows from the longest run at the end, whatever came before.
        #[test]
        fn the_verdict_is_the_last_decisive_run(
            fall in 1_u8..5, rise in 1_u8..5, seen in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let now = Instant::now();
            let mut e = AddressEstimate::new(&[probe(fall, rise)]);
            let mut expected = Health::Unknown;
            for (i, good) in seen.iter().enumerate() {
                e.record(0, if *good { ms(1) } else { Observation::Failed }, now);
                let run = seen[..=i].iter().rev().take_while(|g| *g == good).count();
                if *good && run >= rise.into() {
                    expected = Health::Up;
                } else if !good && run >= fall.into() {
                    expected = Health::Down;
                }
                prop_assert_eq!(e.health(), expected);
            }
        }
    }
}
