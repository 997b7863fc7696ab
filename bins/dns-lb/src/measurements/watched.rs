//! One service under measurement: what is known of its addresses, whose word on its sites holds, and the order
//! that follows.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Instant,
};

use dglb_core::{
    catalogue::{Forced, ForcedState, Service, Site},
    estimate::{AddressEstimate, Measured},
    rank::{Here, Inputs, differs, rank},
    report::Ranking,
};

use super::{Change, Watched};

impl Watched {
    pub(super) fn new(service: Service, catalogue: u64, since: Instant) -> Self {
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
    pub(super) fn forced_by<'w>(&'w self, site: &'w Site, unix: u64) -> Option<(&'w Forced, &'static str)> {
        let operator = self.operator.get(&site.name).map(|forced| (forced, "operator"));
        let customer = site.forced.as_ref().map(|forced| (forced, "customer"));
        [operator, customer].into_iter().flatten().find(|(forced, _)| forced.holds(unix))
    }

    /// What each site is made to count as; nothing at all where none is.
    pub(super) fn forced_at(&self, unix: u64) -> Vec<Option<ForcedState>> {
        let forced = |site: &Site| self.forced_by(site, unix).map(|(forced, _)| forced.state);
        let sites = &self.service.sites;
        if sites.iter().any(|site| forced(site).is_some()) { sites.iter().map(forced).collect() } else { Vec::new() }
    }

    /// Keeps what was known of the addresses that are still there.
    pub(super) fn inherit(&mut self, before: HashMap<(String, IpAddr), AddressEstimate>) {
        for (key, estimate) in before {
            if let Some(mine) = self.estimates.get_mut(&key) {
                *mine = estimate;
            }
        }
    }

    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.estimates.values().all(|e| e.is_settled(now))
    }

    pub(super) fn rank(&mut self, here: &Here, now: Instant, unix: u64) -> Change {
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
