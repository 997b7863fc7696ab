//! Where a site stands before anything of the past counts: its health, its score, the customer's wish.

use std::cmp::Ordering;

use super::Candidate;
use crate::{
    catalogue::{Form, Policy},
    estimate::{ENOUGH, Measured},
    report::{Health, RankedSite},
};

/// One site with what decides its place.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// What is said of it.
    pub(super) ranked: RankedSite,
    pub(super) health: Health,
    /// The score to be compared, none before enough was measured.
    pub(super) sure: Option<Score>,
    /// Place in the customer's order.
    pub(super) wish: usize,
}

/// A composite that rests on enough round trips, lower is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) now: f64,
    /// The least that it lately was.
    pub(super) least: f64,
    /// The greatest that it lately was.
    pub(super) most: f64,
}

impl Standing {
    /// That of a site with at least one address.
    pub(super) fn new(wish: usize, site: &Candidate, policy: &Policy) -> Self {
        let mut addresses: Vec<&Measured> = site.addresses.iter().collect();
        // Stable: among equals the customer's order, so that one site's addresses do not flap.
        addresses.sort_by_key(|m| m.figures.health);
        let health = addresses.first().map_or(Health::Unknown, |m| m.figures.health);
        let usable = || addresses.iter().filter(|m| m.figures.health == health);
        let composite = |us: u32| policy.score(us, site.cost);
        let score = |sure: bool| {
            let samples = move |m: &&&Measured| (m.samples >= ENOUGH) == sure;
            let latencies = usable().filter(samples).filter_map(|m| m.figures.latency_us.map(|l| (l, m.range_us)));
            // Each is the least of the addresses': the site is as good as its best one.
            let each = latencies.map(|(l, range)| (l, range.unwrap_or((l, l))));
            each.map(|(l, (least, most))| [l, least, most])
                .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].min(b[2])])
        };
        let sure = score(true).map(|us| us.map(composite)).map(|[now, least, most]| Score { now, least, most });
        let score = sure.map(|s| s.now).or_else(|| score(false).map(|us| composite(us[0])));
        // Without a score nobody compares it, here or where reports of many are put together.
        let (sure, score) = if policy.form == Form::Failover { (None, None) } else { (sure, score) };
        let addresses = addresses.iter().map(|m| m.figures).collect();
        Self { ranked: RankedSite { site: site.site.clone(), score, addresses }, health, sure, wish }
    }

    /// Total: two sites of one service never have the same wish.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_score = || match (self.sure, other.sure) {
            (Some(a), Some(b)) => a.now.total_cmp(&b.now),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        self.health.cmp(&other.health).then_with(by_score).then_with(|| self.wish.cmp(&other.wish))
    }

    /// Whether this one, in place, stays before `rival`, of the same health.
    pub(super) fn holds_against(&self, rival: &Self, policy: &Policy) -> bool {
        // What was not measured yet cannot be beaten yet either.
        let (Some(mine), Some(theirs)) = (self.sure, rival.sure) else { return true };
        mine.least - theirs.most <= policy.margin(mine.least)
    }
}
