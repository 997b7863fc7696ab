//! The samples of every site of every service, and the order that follows from them. Pure: time
//! is an argument.
//!
//! Invariant: a service has no ranking before it can have a good one (every address is settled,
//! or the time for that has passed), and from then on always has one.

mod own_fault;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Forced, ForcedState, Service, Site},
    decided::Decided,
    estimate::{AddressEstimate, Measured, Observation},
    name::Name,
    rank::{self, Here, Inputs, differs, rank},
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

impl Watched {
    fn new(service: Service, catalogue: u64, since: Instant) -> Self {
        let addresses = service.sites.iter().flat_map(|s| s.addresses.iter().map(|a| (s.name.clone(), *a)));
        let estimates = addresses.map(|key| (key, AddressEstimate::new(&service.probes))).collect();
        Self {
            service,
            catalogue,
            since,
            sampled: false,
            estimates,
            ranking: None,
            decision: None,
            restored: false,
            ranked: since,
            shared: since,
            outdated: false,
            forced: Vec::new(),
            operator: BTreeMap::new(),
            good: None,
            goods: 0,
        }
    }

    /// Whose word on a site holds, and who it is.
    fn forced_by<'w>(&'w self, site: &'w Site, unix: u64) -> Option<(&'w Forced, &'static str)> {
        let operator = self.operator.get(&site.name).map(|forced| (forced, "operator"));
        let customer = site.forced.as_ref().map(|forced| (forced, "customer"));
        [operator, customer].into_iter().flatten().find(|(forced, _)| forced.holds(unix))
    }

    /// What each site is made to count as; nothing at all where none is.
    fn forced_at(&self, unix: u64) -> Vec<Option<ForcedState>> {
        let forced = |site: &Site| self.forced_by(site, unix).map(|(forced, _)| forced.state);
        let sites = &self.service.sites;
        if sites.iter().any(|site| forced(site).is_some()) { sites.iter().map(forced).collect() } else { Vec::new() }
    }

    /// Keeps what was known of the addresses that are still there.
    fn inherit(&mut self, before: HashMap<(String, IpAddr), AddressEstimate>) {
        for (key, estimate) in before {
            if let Some(mine) = self.estimates.get_mut(&key) {
                *mine = estimate;
            }
        }
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.estimates.values().all(|e| e.is_settled(now))
    }

    fn rank(&mut self, here: &Here, now: Instant, unix: u64) -> Change {
        self.forced = self.forced_at(unix);
        let measured = |site: &Site, address| {
            let estimate = self.estimates.get(&(site.name.clone(), address));
            let mut measured = estimate.map_or_else(|| Measured::unknown(address), |e| e.measured(address, now));
            let forced = self.forced_by(site, unix).map(|(forced, _)| forced.state);
            measured.figures.health = measured.figures.health.by_word(None, forced);
            measured
        };
        let stood = u64::try_from(now.saturating_duration_since(self.shared).as_millis()).unwrap_or(u64::MAX);
        let mut inputs =
            Inputs::new(&self.service, self.catalogue, measured, self.ranking.as_ref()).at(here).stood(stood);
        // Whoever asks why sees whose word it was.
        for candidate in inputs.sites.iter_mut().filter(|_| !self.operator.is_empty()) {
            candidate.site.forced = self.forced_by(&candidate.site, unix).map(|(forced, _)| forced.clone());
        }
        let outcome = rank(&inputs);
        let ranking = outcome.ranking.clone();
        if self.ranking.as_ref().is_none_or(|before| !same_shares(before, &ranking)) {
            self.shared = now;
        }
        self.decision = Some((inputs, outcome));
        (self.ranked, self.outdated) = (now, false);
        let before = self.ranking.replace(ranking.clone());
        let restored = std::mem::take(&mut self.restored);
        match before.filter(|_| !restored) {
            Some(before) if !differs(&before, &ranking) => Change::Figures(ranking),
            _ => Change::Order(ranking),
        }
    }
}

/// Whether every site has the share that it had.
fn same_shares(a: &Ranking, b: &Ranking) -> bool {
    let share = |r: &Ranking, site: &str| r.sites.iter().find(|s| s.site == site).map_or(0, |s| s.share);
    a.sites.iter().chain(&b.sites).all(|s| share(a, &s.site) == share(b, &s.site))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use dglb_core::{
        catalogue::{Mode, Policy, Probe, ProbeKind},
        load::{Stated, Told},
        report::Health,
    };

    use dglb_probe::probe::{Failure, Times};

    use super::*;

    pub(crate) const SETTLE: Duration = Duration::from_secs(5);

    /// A service with one IPv4 address for each site `s1`, `s2`, …
    pub(crate) fn service(name: &str, sites: u8) -> Service {
        Service {
            name: name.parse().unwrap(),
            host: "www.foobar.com".parse().unwrap(),
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Policy::default(),
            probes: vec![Probe {
                kind: ProbeKind::Tcp { port: 80 },
                interval_ms: 10_000,
                timeout_ms: 1_000,
                fall: 2,
                rise: 2,
            }],
            https: None,
            probe_ceiling: None,
            least_ttl: None,
            sites: (1..=sites)
                .map(|n| Site {
                    name: format!("s{n}"),
                    addresses: vec![[192, 0, 2, n].into()],
                    cost: 0.0,
                    ..Site::default()
                })
                .collect(),
        }
    }

    /// A round trip of so many milliseconds to site `s<n>`, or a failure.
    pub(crate) fn sample(service: &Service, n: usize, ms: Option<u64>, at: Instant) -> Sample {
        let target = targets(service).find(|t| t.site == format!("s{n}")).unwrap();
        let outcome = match ms {
            Some(ms) => Outcome::Good(Times { connect: Duration::from_millis(ms), ..Times::default() }),
            None => Outcome::Failed(Failure::Refused),
        };
        Sample { target: Arc::new(target), outcome, told: Told::default(), at }
    }

    pub(crate) fn order(ranking: &Ranking) -> Vec<&str> {
        ranking.sites.iter().map(|s| s.site.as_str()).collect()
    }

    #[test]
    fn the_first_ranking_waits_for_the_last_address() {
        let now = Instant::now();
        let www = service("www.glb.test", 3);
        let mut m = Measurements::new(SETTLE);
        assert!(!m.is_complete());
        assert_eq!(m.watch(&www, 4, now), None);
        for _ in 0..3 {
            assert_eq!(m.record(&sample(&www, 1, Some(50), now)), None);
            assert_eq!(m.record(&sample(&www, 2, Some(20), now)), None);
        }
        assert_eq!(m.record(&sample(&www, 3, None, now)), None);
        assert!(!m.is_complete());
        let Some(Change::Order(ranking)) = m.record(&sample(&www, 3, None, now)) else { panic!() };
        assert_eq!(order(&ranking), ["s2", "s1", "s3"]);
        assert_eq!((ranking.catalogue, ranking.sites[2].health()), (4, Health::Down));
        assert!(m.is_complete());
        // The same again is only a fresher figure.
        let now = now + PAUSE;
        let change = m.record(&sample(&www, 1, Some(51), now));
        assert!(matches!(change, Some(Change::Figures(_))), "{change:?}");
        let now = now + PAUSE;
        let change = m.record(&sample(&www, 2, None, now));
        assert!(matches!(change, Some(Change::Figures(_))), "one failure is no verdict: {change:?}");
        let Some(Change::Order(ranking)) = m.record(&sample(&www, 2, None, now)) else { panic!() };
        assert_eq!(order(&ranking), ["s1", "s2", "s3"]);
    }

    #[test]
    fn a_slow_address_is_not_waited_for_for_ever() {
        let start = Instant::now();
        let www = service("www.glb.test", 2);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, start);
        let late = start + SETTLE;
        assert!(m.due(late).is_empty(), "nothing at all was measured");
        for _ in 0..3 {
            m.record(&sample(&www, 2, Some(20), start));
        }
        assert!(m.due(late - Duration::from_millis(1)).is_empty());
        let rankings = m.due(late);
        let [Change::Order(ranking)] = &rankings[..] else { panic!("{rankings:?}") };
        assert_eq!(order(ranking), ["s2", "s1"]);
        assert_eq!(ranking.sites[1].health(), Health::Unknown);
        assert!(m.due(late).is_empty(), "once");
    }

    #[test]
    fn figures_wait_for_each_other_and_verdicts_for_nothing() {
        let start = Instant::now();
        let www = service("www.glb.test", 2);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, start);
        for n in [1, 1, 1, 2, 2, 2] {
            m.record(&sample(&www, n, Some(20), start));
        }
        assert!(m.is_complete());
        for _ in 0..9 {
            assert_eq!(m.record(&sample(&www, 1, Some(90), start)), None, "just ranked");
        }
        assert!(m.due(start + PAUSE - Duration::from_millis(1)).is_empty());
        // No further sample is needed for what came last to count.
        let changes = m.due(start + PAUSE);
        let [Change::Order(ranking)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(order(ranking), ["s2", "s1"]);
        assert!(m.due(start + 2 * PAUSE).is_empty(), "nothing new");
        let later = start + PAUSE;
        assert_eq!(m.record(&sample(&www, 2, None, later)), None);
        let Some(Change::Order(ranking)) = m.record(&sample(&www, 2, None, later)) else { panic!("a dead site stays") };
        assert_eq!(order(&ranking), ["s1", "s2"]);
    }

    #[test]
    fn who_calls_itself_draining_or_down_gives_its_place_up_at_once() {
        let now = Instant::now();
        let www = service("www.glb.test", 2);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, now);
        let says = |n, ms, state| Sample { told: Told { state, ..Told::default() }, ..sample(&www, n, ms, now) };
        for n in [1, 1, 1, 2, 2, 2] {
            m.record(&sample(&www, n, Some(10 * n as u64), now));
        }
        for (word, health) in [(Stated::Draining, Health::Draining), (Stated::Down, Health::Down)] {
            let Some(Change::Order(ranking)) = m.record(&says(1, Some(10), Some(word))) else { panic!("{word:?}") };
            assert_eq!((order(&ranking), ranking.sites[1].health()), (vec!["s2", "s1"], health));
        }
        assert_eq!(m.record(&says(1, None, None)), None, "silence takes nothing back");
        let Some(Change::Order(ranking)) = m.record(&says(1, Some(10), None)) else { panic!() };
        assert_eq!((order(&ranking)[1], ranking.sites[1].health()), ("s1", Health::Up), "by the margin only");
        // A page that says so may be one with a bad status.
        assert!(m.record(&says(1, None, Some(Stated::Down))).is_some());
    }

    #[test]
    fn a_forced_site_is_what_it_is_forced_to_be_until_that_expires() {
        let now = Instant::now();
        let mut www = service("www.glb.test", 3);
        let force = |state, until| Some(Forced { state, until, reason: "test".to_owned() });
        www.sites[0].forced = force(ForcedState::Down, 2_000);
        www.sites[1].forced = force(ForcedState::Up, 3_000);
        let mut m = Measurements::new(SETTLE);
        m.set_clock(1_000);
        m.watch(&www, 1, now);
        for n in [1, 2, 3] {
            for _ in 0..3 {
                m.record(&sample(&www, n, (n != 2).then_some(10 * n as u64), now));
            }
        }
        let health = |m: &Measurements| {
            let ranking = m.rankings().next().unwrap().1.unwrap().clone();
            ranking.sites.iter().map(|s| (s.site.clone(), s.health())).collect::<Vec<_>>()
        };
        let of = |n: u8, health| (format!("s{n}"), health);
        assert_eq!(health(&m), [of(3, Health::Up), of(2, Health::Up), of(1, Health::Down)]);
        assert!(m.due(now).is_empty());
        m.set_clock(2_000);
        assert!(matches!(&m.due(now)[..], [Change::Order(_)]));
        assert_eq!(health(&m), [of(1, Health::Up), of(3, Health::Up), of(2, Health::Up)]);
        m.set_clock(3_000);
        assert!(matches!(&m.due(now)[..], [Change::Order(_)]));
        assert_eq!(health(&m)[2], of(2, Health::Down));
        assert!(m.due(now).is_empty());
        // This DNS-LB's operator has the last word, over a new catalogue, too.
        let draining = Forced { state: ForcedState::Draining, until: 4_000, reason: "test".to_owned() };
        assert!(m.force(&www.name, "s1".to_owned(), Some(draining), now).is_some());
        www.sites[0].forced = force(ForcedState::Up, 9_000);
        m.watch(&www, 2, now);
        assert_eq!(health(&m), [of(3, Health::Up), of(1, Health::Draining), of(2, Health::Down)]);
        assert_eq!(m.forced().map(|(_, site, _, by)| (site, by)).collect::<Vec<_>>(), [("s1", "operator")]);
        m.force(&www.name, "s1".to_owned(), None, now);
        assert_eq!(m.forced().map(|(_, site, _, by)| (site, by)).collect::<Vec<_>>(), [("s1", "customer")]);
        assert_eq!(health(&m)[2], of(2, Health::Down));
    }

    #[test]
    fn what_this_host_could_not_do_says_nothing() {
        let now = Instant::now();
        let www = service("www.glb.test", 1);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, now);
        let local = Sample { outcome: Outcome::Local, ..sample(&www, 1, None, now) };
        for _ in 0..5 {
            assert_eq!(m.record(&local), None);
        }
        assert!(m.due(now + SETTLE).is_empty());
    }

    #[test]
    fn a_new_catalogue_keeps_what_was_measured() {
        let now = Instant::now();
        let mut www = service("www.glb.test", 2);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, now);
        for _ in 0..3 {
            m.record(&sample(&www, 1, Some(50), now));
            m.record(&sample(&www, 2, Some(20), now));
        }
        www.sites.push(Site {
            name: "s3".to_owned(),
            addresses: vec![[192, 0, 2, 3].into()],
            cost: 0.0,
            ..Site::default()
        });
        www.sites.remove(0);
        let Some(Change::Order(ranking)) = m.watch(&www, 2, now) else { panic!() };
        assert_eq!((order(&ranking), ranking.catalogue), (vec!["s2", "s3"], 2));
        assert_eq!(ranking.sites[0].addresses[0].latency_us, Some(20_000));
        assert_eq!(m.targets().len(), 2);
        // Another way of measuring starts anew, but what was found stands until it has its own.
        let old = sample(&www, 2, Some(1), now);
        www.probes[0].kind = ProbeKind::Tcp { port: 81 };
        let Some(Change::Order(ranking)) = m.watch(&www, 3, now) else { panic!() };
        assert_eq!(ranking.sites[0].health(), Health::Unknown);
        assert_eq!(order(&ranking), ["s2", "s3"]);
        assert_eq!(m.record(&old), None, "a probe of the old kind");
        m.forget(&www.name);
        assert_eq!(m.record(&sample(&www, 2, Some(1), now)), None);
        assert!(m.targets().is_empty());
    }
}
