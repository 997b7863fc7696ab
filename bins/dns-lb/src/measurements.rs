//! The samples of every site of every service, and the order that follows from them. Pure: time
//! is an argument.
//!
//! Invariant: a service has no ranking before it can have a good one (every address is settled,
//! or the time for that has passed), and from then on always has one.

mod own_fault;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Forced, ForcedState, Service},
    decided::Decided,
    estimate::{AddressEstimate, Observation},
    name::Name,
    rank::{self, Here, Inputs},
    report::Ranking,
};
use dglb_probe::{
    probe::Outcome,
    prober::{Sample, Target, targets},
};

/// A new figure alone waits for others until a service was not ranked for this long, so that the
/// cost of many sites is not paid once for each of their probes.
const PAUSE: Duration = Duration::from_millis(100);

/// All services that are measured, by name.
#[derive(Debug)]
pub struct Measurements {
    /// How long the first ranking of a service waits for its slowest address.
    settle: Duration,
    here: Here,
    /// Seconds since 1970, which say what is forced no longer.
    unix: u64,
    /// Probes that went well, ever.
    goods: u64,
    /// Nothing can be reached, so failures say nothing.
    cut_off: bool,
    services: BTreeMap<Name, Watched>,
}

/// What a new sample did to a ranking.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Answers are other than before, or there were none.
    Order(Ranking),
    /// Newer figures behind the same order.
    Figures(Ranking),
}

/// One service under measurement.
#[derive(Debug)]
struct Watched {
    service: Service,
    catalogue: u64,
    /// When it was first heard of.
    since: Instant,
    /// Whether any probe has ended yet.
    sampled: bool,
    estimates: HashMap<(String, IpAddr), AddressEstimate>,
    ranking: Option<Ranking>,
    /// What this run has made it of, and why it is as it is.
    decision: Option<(Inputs, rank::Outcome)>,
    /// Whether that is of an earlier run, and stands until this one has its own.
    restored: bool,
    /// When that was made.
    ranked: Instant,
    /// When its shares last changed.
    shared: Instant,
    /// Whether there are samples that it does not know of.
    outdated: bool,
    /// What each site was made to count as then, of a service that has such sites.
    forced: Vec<Option<ForcedState>>,
    /// What this DNS-LB's operator says of sites.
    operator: BTreeMap<String, Forced>,
    /// What was answered when of all services' probes so many had gone well.
    good: Option<Ranking>,
    goods: u64,
}

impl Measurements {
    /// No services yet; `settle` is how long a first ranking waits for slow addresses.
    pub fn new(settle: Duration) -> Self {
        Self { settle, here: Here::default(), unix: 0, goods: 0, cut_off: false, services: BTreeMap::new() }
    }

    /// This is somewhere else, or in other groups; the rankings that there are follow.
    pub fn move_to(&mut self, here: Here, now: Instant) -> Vec<Change> {
        self.here = here;
        let ranked = |w: &&mut Watched| w.ranking.is_some() && !w.restored;
        self.services.values_mut().filter(ranked).map(|w| w.rank(&self.here, now, self.unix)).collect()
    }

    /// It is so many seconds since 1970 now. Before this is said, nothing that is forced has expired.
    pub fn set_clock(&mut self, unix: u64) {
        self.unix = unix;
    }

    /// Measures `service` of catalogue generation `catalogue` from now on. What was measured of
    /// it before counts on, as long as its probes are the same.
    pub fn watch(&mut self, service: &Service, catalogue: u64, now: Instant) -> Option<Change> {
        let before = self.services.remove(&service.name);
        let mut watched = Watched::new(service.clone(), catalogue, now);
        if let Some(before) = before {
            watched.since = before.since;
            watched.ranking = before.ranking;
            watched.shared = before.shared;
            watched.restored = before.restored;
            (watched.good, watched.goods) = (before.good, before.goods);
            watched.operator = before.operator;
            if before.service.probes == watched.service.probes {
                watched.sampled = before.sampled;
                watched.inherit(before.estimates);
            }
        }
        let ranked = watched.ranking.is_some() && !watched.restored;
        let change = ranked.then(|| watched.rank(&self.here, now, self.unix));
        self.services.insert(service.name.clone(), watched);
        change
    }

    /// Takes back the ranking of an earlier run. It stands for as long as a first ranking of this one
    /// would have been waited for. False if the service is not measured, or has a ranking already.
    pub fn restore(&mut self, ranking: &Ranking) -> bool {
        let watched = self.services.get_mut(&ranking.service).filter(|w| w.ranking.is_none());
        let Some(watched) = watched else { return false };
        (watched.ranking, watched.restored) = (Some(ranking.clone()), true);
        true
    }

    /// Measures it no longer.
    pub fn forget(&mut self, service: &Name) {
        self.services.remove(service);
    }

    /// Takes in what a probe saw.
    pub fn record(&mut self, sample: &Sample) -> Option<Change> {
        let target = &sample.target;
        let seen = match sample.outcome {
            Outcome::Good(times) => Observation::Good(times.connect),
            Outcome::Failed(_) if !self.cut_off => Observation::Failed,
            Outcome::Failed(_) | Outcome::Local => return None,
        };
        let is_good = matches!(seen, Observation::Good(_));
        if is_good {
            self.goods += 1;
            self.judge_anew(sample.at);
        }
        let watched = self.services.get_mut(&target.service)?;
        // A probe of before a change of the catalogue says nothing of what is probed now.
        if watched.service.probes.get(target.number) != Some(&target.probe) {
            return None;
        }
        let estimate = watched.estimates.get_mut(&(target.site.clone(), target.address))?;
        let verdict = |e: &AddressEstimate| (e.health(), e.is_settled(sample.at));
        let before = verdict(estimate);
        estimate.record(target.number, seen, sample.at);
        estimate.tell(sample.told, sample.at);
        // Who did not answer has not taken back what it said.
        if is_good || sample.told.state.is_some() {
            estimate.tell_state(target.number, sample.told.state);
        }
        let after = verdict(estimate);
        watched.sampled = true;
        watched.outdated = true;
        let now = match watched.ranking {
            Some(_) if !watched.restored => {
                before.0 != after.0 || sample.at.saturating_duration_since(watched.ranked) >= PAUSE
            }
            _ => before != after && watched.is_settled(sample.at),
        };
        if !now {
            return None;
        }
        if !is_good {
            watched.keep_good(self.goods);
        }
        let change = watched.rank(&self.here, sample.at, self.unix);
        if is_good {
            watched.keep_good(self.goods);
        }
        Some(change)
    }

    /// Rankings that are due at `now`: those with new figures, those of which something is forced no longer,
    /// and the first ones of services that have waited long enough for their slowest addresses.
    pub fn due(&mut self, now: Instant) -> Vec<Change> {
        if self.cut_off {
            return Vec::new();
        }
        let (settle, unix, goods) = (self.settle, self.unix, self.goods);
        let due = |w: &&mut Watched| match w.ranking {
            Some(_) if !w.restored => {
                w.outdated && now.saturating_duration_since(w.ranked) >= PAUSE || w.forced != w.forced_at(unix)
            }
            _ => w.sampled && now.saturating_duration_since(w.since) >= settle,
        };
        let here = &self.here;
        let rank = |w: &mut Watched| {
            w.keep_good(goods);
            w.rank(here, now, unix)
        };
        self.services.values_mut().filter(due).map(rank).collect()
    }

    /// Everything that must be probed.
    pub fn targets(&self) -> Vec<Target> {
        self.services.values().flat_map(|w| targets(&w.service)).collect()
    }

    /// The rankings of now, by service; `None` for one that is not settled.
    pub fn rankings(&self) -> impl Iterator<Item = (&Name, Option<&Ranking>)> {
        self.services.iter().map(|(name, w)| (name, w.ranking.as_ref()))
    }

    /// The sites of a service with an address that no probe was made of for so long.
    pub fn old_sites(&self, service: &Name, after: Duration, now: Instant) -> BTreeSet<String> {
        let is_old = |e: &AddressEstimate| e.probed().is_some_and(|at| now.saturating_duration_since(at) > after);
        let estimates = self.services.get(service).into_iter().flat_map(|w| &w.estimates);
        estimates.filter(|(_, e)| is_old(e)).map(|((site, _), _)| site.clone()).collect()
    }

    /// The sites that count as what somebody says, now, and who: `operator` or `customer`.
    pub fn forced(&self) -> impl Iterator<Item = (&Name, &str, &Forced, &'static str)> {
        let sites = self.services.iter().flat_map(|(name, w)| w.service.sites.iter().map(move |s| (name, w, s)));
        sites.filter_map(|(name, watched, site)| {
            let (forced, by) = watched.forced_by(site, self.unix)?;
            Some((name, site.name.as_str(), forced, by))
        })
    }

    /// The operator's word on a site, which stands over its customer's, or that it stands no longer.
    pub fn force(&mut self, service: &Name, site: String, forced: Option<Forced>, now: Instant) -> Option<Change> {
        let watched = self.services.get_mut(service)?;
        match forced {
            Some(forced) => drop(watched.operator.insert(site, forced)),
            None => drop(watched.operator.remove(&site)),
        }
        let change = watched.ranking.is_some() && !watched.restored;
        change.then(|| watched.rank(&self.here, now, self.unix))
    }

    /// The decision behind a service's ranking of now, if this run has made it.
    pub fn decided(&self, service: &Name) -> Option<Decided> {
        let watched = self.services.get(service)?;
        let (inputs, outcome) = watched.decision.clone()?;
        Some(Decided::of(&watched.service, inputs, outcome))
    }

    /// Whether there is a service, and a ranking for each that this run has made.
    pub fn is_complete(&self) -> bool {
        self.can_answer() && self.services.values().all(|w| !w.restored)
    }

    /// Whether there is a service, and a ranking for each.
    pub fn can_answer(&self) -> bool {
        !self.services.is_empty() && self.services.values().all(|w| w.ranking.is_some())
    }
}

#[cfg(test)]
pub(crate) mod tests;
