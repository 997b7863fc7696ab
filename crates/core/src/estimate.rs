//! What the probes of one address add up to: is it up, and how far away is it.
//!
//! Invariant: an estimate only ever comes from probes that went well, and a failure never changes
//! it: what was last good stays known while an address is down (design section 5). It is a function
//! of the last round trips alone, bounded in number and in time, and never lower for a higher one.
//!
//! Delay is only ever *added* to a round trip, so the figure follows what gets better quickly and
//! what gets worse slowly; but not slower than `FLOOR` round trips, none of which is as good any
//! more. `docs/choosing.md` says what it was held against.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::Probe,
    load::{Stated, Told},
    report::{Figures, Health},
};

/// Good round trips that are kept of one address.
pub const WINDOW: usize = 12;
/// Fewer good round trips than this say nothing about the order of sites.
pub const ENOUGH: usize = 3;
/// When none of so many round trips running is as low as the figure, the figure is wrong.
const FLOOR: usize = 4;
/// The figures of so many round trips running make the range of an estimate. A path that got worse
/// is left after `FLOOR + RUN - 1` round trips at the latest.
const RUN: usize = 4;
/// Of a lower round trip the figure takes this part of the difference at once …
const DOWN: u64 = 2;
/// … and of a higher one this part.
const UP: u64 = 20;
/// Round trips older than this, or than eight of the longest probe interval, are out of date. The
/// interval alone will not do, since a ceiling of probes may make them rarer.
const LEAST_AGE: Duration = Duration::from_secs(900);
/// What a site said of itself longer ago than this, or than three of the longest probe interval, is
/// out of date: load comes and goes sooner than paths do.
const LEAST_TOLD: Duration = Duration::from_secs(60);

/// What one probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It went well; the network round trip (the time to connect).
    Good(Duration),
    /// It failed, in whatever way.
    Failed,
}

/// What is known of one address, ready to be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Health and latency.
    pub figures: Figures,
    /// How many round trips the latency rests on.
    pub samples: usize,
    /// The least and the greatest that the latency was taken for over the last round trips, in
    /// microseconds: where sites are compared with what is in use, doubt is for that.
    pub range_us: Option<(u32, u32)>,
    /// What the site last said of itself there; nothing, if that was long ago.
    #[serde(default)]
    pub told: Told,
    /// Whether it is up and its last probe of some kind failed: it may soon be down.
    #[serde(default)]
    pub suspect: bool,
}

/// Everything that was seen of one (service, site, address).
#[derive(Clone, Debug)]
pub struct AddressEstimate {
    round_trips: RoundTrips,
    /// One per probe of the service, in the catalogue's order.
    streaks: Vec<Streak>,
    /// When a probe last ended, however.
    probed: Option<Instant>,
    told: Option<(Instant, Told)>,
    /// What was told longer ago says nothing.
    told_for: Duration,
}

impl AddressEstimate {
    /// An address that was never probed, by the probes of its service.
    pub fn new(probes: &[Probe]) -> Self {
        let longest = probes.iter().map(|p| p.interval_ms).max().unwrap_or(0);
        let longest = Duration::from_millis(longest.into());
        Self {
            round_trips: RoundTrips::new(LEAST_AGE.max(8 * longest)),
            streaks: probes.iter().map(Streak::new).collect(),
            probed: None,
            told: None,
            told_for: LEAST_TOLD.max(3 * longest),
        }
    }

    /// Takes in what probe number `probe` saw at `now`. A number that the service does not have
    /// is ignored: a probe may end after its service changed.
    pub fn record(&mut self, probe: usize, seen: Observation, now: Instant) {
        let Some(streak) = self.streaks.get_mut(probe) else { return };
        self.probed = Some(now);
        match seen {
            Observation::Good(round_trip) => {
                streak.good();
                self.round_trips.push(round_trip, now);
            }
            Observation::Failed => streak.failed(),
        }
    }

    /// Takes in what the site said of itself at `now`. Most probes hear nothing, which changes nothing.
    pub fn tell(&mut self, told: Told, now: Instant) {
        if told != Told::default() {
            self.told = Some((now, told));
        }
    }

    /// Takes in what state the site gave itself to probe number `probe`, which counts until that says something
    /// else. A probe that was not answered tells nothing.
    pub fn tell_state(&mut self, probe: usize, stated: Option<Stated>) {
        if let Some(streak) = self.streaks.get_mut(probe) {
            streak.stated = stated;
        }
    }

    /// When a probe last ended, however it went.
    pub fn probed(&self) -> Option<Instant> {
        self.probed
    }

    /// Forgets how the last probes went, but not what was measured.
    pub fn judge_anew(&mut self) {
        for streak in &mut self.streaks {
            (streak.state, streak.goods, streak.failures) = (Health::Unknown, 0, 0);
        }
    }

    /// Up when all probes are up, down when any is down; and never better than the site itself says.
    pub fn health(&self) -> Health {
        let worst = self.streaks.iter().map(|s| s.state).max().unwrap_or(Health::Unknown);
        worst.by_word(self.streaks.iter().filter_map(|s| s.stated).max(), None)
    }

    /// Health, latency and what the latency rests on, as of `now`.
    pub fn measured(&self, address: IpAddr, now: Instant) -> Measured {
        let (estimate, samples) = self.round_trips.estimate(now);
        let latency_us = estimate.map(|e| e.figure);
        let range_us = estimate.map(|e| (e.least, e.most));
        let health = self.health();
        let told = self.told.filter(|(at, _)| now.saturating_duration_since(*at) <= self.told_for);
        Measured {
            figures: Figures { address, health, latency_us },
            samples,
            range_us,
            told: told.map(|(_, told)| told).unwrap_or_default(),
            suspect: health == Health::Up && self.streaks.iter().any(|s| s.failures > 0),
        }
    }

    /// Whether nothing more is to be waited for before a first ranking: it is down, or up with
    /// [`ENOUGH`] round trips.
    pub fn is_settled(&self, now: Instant) -> bool {
        match self.health() {
            Health::Down => true,
            Health::Unknown => false,
            Health::Up | Health::Draining => self.round_trips.estimate(now).1 >= ENOUGH,
        }
    }
}

impl Measured {
    /// An address of which nothing is known.
    pub fn unknown(address: IpAddr) -> Self {
        let figures = Figures { address, health: Health::Unknown, latency_us: None };
        Self { figures, samples: 0, range_us: None, told: Told::default(), suspect: false }
    }
}

/// What round trips add up to, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    figure: u32,
    /// The least figure of the last [`RUN`] round trips.
    least: u32,
    /// The greatest of them.
    most: u32,
}

/// The last good round trips of one address, bounded in number and in time.
#[derive(Clone, Debug)]
struct RoundTrips {
    /// Oldest first, in microseconds.
    kept: ArrayVec<(Instant, u32), WINDOW>,
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
        self.kept.push((now, u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX)));
    }

    /// The estimate from the round trips that are not out of date, and how many those are. Where
    /// all are out of date, the last good ones stand in.
    fn estimate(&self, now: Instant) -> (Option<Estimate>, usize) {
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

/// The verdict of one probe kind on one address: it takes `fall` failures or `rise` successes in
/// a row to reach one.
#[derive(Clone, Copy, Debug)]
struct Streak {
    state: Health,
    fall: u8,
    rise: u8,
    goods: u8,
    failures: u8,
    /// What the site said of itself last.
    stated: Option<Stated>,
}

impl Streak {
    fn new(probe: &Probe) -> Self {
        Self { state: Health::Unknown, fall: probe.fall, rise: probe.rise, goods: 0, failures: 0, stated: None }
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

    /// The figure and its range after each of these round trips, in ms.
    fn after_each(trips: &[u64]) -> Vec<(f64, f64, f64)> {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        let in_ms = |us: u32| f64::from(us) / 1e3;
        let each = trips.iter().map(|n| {
            e.record(0, ms(*n), now);
            let m = e.measured(IpAddr::from([192, 0, 2, 1]), now);
            let (least, most) = m.range_us.unwrap();
            (in_ms(m.figures.latency_us.unwrap()), in_ms(least), in_ms(most))
        });
        each.collect()
    }

    #[test]
    fn what_gets_better_is_followed_quickly() {
        let each = after_each(&[80, 80, 80, 80, 40, 40, 40, 40]);
        assert_eq!(each[3], (80.0, 80.0, 80.0));
        assert_eq!(each[4], (60.0, 60.0, 80.0));
        assert_eq!(each[7], (42.5, 42.5, 60.0), "half of the difference with each");
    }

    #[test]
    fn what_gets_worse_is_believed_when_nothing_contradicts() {
        let each = after_each(&[20, 20, 20, 20, 100, 100, 100, 100, 100, 100, 100]);
        assert_eq!(each[4], (24.0, 20.0, 24.0), "a twentieth");
        assert_eq!(each[7].0, 100.0, "none of four is as good as that any more");
        assert!(each[9].1 < 40.0, "but before that it was: {:?}", each[9]);
        assert_eq!(each[10], (100.0, 100.0, 100.0), "beyond doubt after seven");
        // One that is as good as ever contradicts.
        let each = after_each(&[20, 20, 20, 20, 100, 100, 100, 20, 100, 100, 100]);
        assert!(each.iter().all(|(figure, ..)| *figure < 40.0), "{each:?}");
    }

    #[test]
    fn early_round_trips_leave_the_window_again() {
        let mut trips = vec![1; 5];
        trips.extend([50; WINDOW]);
        assert_eq!(after_each(&trips).last(), Some(&(50.0, 50.0, 50.0)));
    }

    #[test]
    fn one_spike_changes_little() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        for n in [20, 21, 22] {
            e.record(0, ms(n), now);
        }
        assert_eq!(figure(&e, now), (Some(20_147), 3));
        e.record(0, ms(220), now);
        assert_eq!(figure(&e, now), (Some(30_139), 4), "a twentieth of it");
        e.record(0, ms(20), now);
        e.record(0, ms(20), now);
        assert_eq!(figure(&e, now), (Some(22_534), 6), "and not for long");
    }

    #[test]
    fn old_round_trips_give_way_to_one_new_but_not_to_none() {
        let start = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        for _ in 0..20 {
            e.record(0, ms(20), start);
        }
        assert_eq!(figure(&e, start + LEAST_AGE), (Some(20_000), WINDOW));
        let later = start + LEAST_AGE + Duration::from_secs(1);
        assert_eq!(figure(&e, later), (Some(20_000), WINDOW), "the last good ones stand in");
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
    fn a_site_may_call_itself_worse_and_never_better() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 1), probe(2, 1)]);
        for number in [0, 1] {
            e.record(number, ms(8), now);
        }
        let mut said = |number, stated| {
            e.tell_state(number, stated);
            e.health()
        };
        assert_eq!(said(0, Some(Stated::Draining)), Health::Draining);
        assert_eq!(said(1, Some(Stated::Down)), Health::Down, "the worse of two words");
        assert_eq!(said(1, None), Health::Draining, "the other probe's word stands");
        assert_eq!(said(0, None), Health::Up);
        e.tell_state(0, Some(Stated::Draining));
        e.record(1, Observation::Failed, now);
        e.record(1, Observation::Failed, now);
        assert_eq!(e.health(), Health::Down, "draining is no excuse");
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
        assert_eq!(figure(&e, now), (Some(8_025), 3), "both kinds feed one window, failures none");
        e.record(2, ms(1), now);
        assert_eq!(figure(&e, now).1, 3, "there is no third kind");
    }

    #[test]
    fn what_a_site_said_is_known_for_a_while() {
        let start = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 2)]);
        let told = |e: &AddressEstimate, at| e.measured(IpAddr::from([192, 0, 2, 1]), at).told;
        let busy = Told { utilization: Some(800), ..Told::default() };
        assert_eq!(told(&e, start), Told::default());
        e.tell(busy, start);
        e.tell(Told::default(), start + LEAST_TOLD);
        assert_eq!(told(&e, start + LEAST_TOLD), busy, "a probe that hears nothing takes nothing back");
        assert_eq!(told(&e, start + LEAST_TOLD + Duration::from_millis(1)), Told::default());
    }

    #[test]
    fn one_failure_is_a_suspicion() {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(2, 1)]);
        let suspect = |e: &AddressEstimate| e.measured(IpAddr::from([192, 0, 2, 1]), now).suspect;
        e.record(0, Observation::Failed, now);
        assert!(!suspect(&e), "it is not up");
        e.record(0, ms(9), now);
        assert!(!suspect(&e));
        e.record(0, Observation::Failed, now);
        assert!(suspect(&e));
        e.record(0, Observation::Failed, now);
        assert!(!suspect(&e), "it is down");
    }

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
