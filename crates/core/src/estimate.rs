//! What the probes of one address add up to: is it up, and how far away is it.
//!
//! Invariant: an estimate only ever comes from probes that went well, and a failure never changes
//! it: what was last good stays known while an address is down (design section 5). It is a function
//! of the last round trips alone, bounded in number and in time, and never lower for a higher one.

mod round_trips;
mod streak;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::Probe,
    load::{Stated, Told},
    report::{Figures, Health},
};
use round_trips::RoundTrips;
use streak::Streak;

/// Good round trips that are kept of one address.
pub const WINDOW: usize = 12;
/// Fewer good round trips than this say nothing about the order of sites.
pub const ENOUGH: usize = 3;
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
            streak.forget();
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests;
