//! Where a site stands before anything of the past counts: its health, its score, the customer's wish.

use std::cmp::Ordering;

use super::{Candidate, Here};
use crate::{
    catalogue::{Form, Policy, Terms},
    estimate::{ENOUGH, Measured},
    report::{Health, RankedSite},
};

/// One site with what decides its place.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// What is said of it.
    pub(super) ranked: RankedSite,
    pub(super) health: Health,
    /// Whether it is suspected of being down soon: its best address is.
    pub(super) suspect: bool,
    /// Whether this DNS-LB may not hand it out.
    pub(super) denied: bool,
    /// Whether it has more to do than it should.
    pub(super) full: bool,
    /// Whether that is overlooked, since too few sites would be left.
    pub(super) loosened: bool,
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
    pub(super) fn new(wish: usize, site: &Candidate, policy: &Policy, here: &Here) -> Self {
        let mut addresses: Vec<&Measured> = site.addresses.iter().collect();
        // Stable: among equals the customer's order, so that one site's addresses do not flap.
        addresses.sort_by_key(|m| m.figures.health);
        let health = addresses.first().map_or(Health::Unknown, |m| m.figures.health);
        let usable = || addresses.iter().filter(|m| m.figures.health == health);
        let load = site.load();
        let (cost, distance_km) = (site.site.cost, site.distance_km(here));
        let composite =
            |latency_us: u32| policy.score(&Terms { latency_us, cost, load: load.unwrap_or(0), distance_km });
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
        let (sure, score) = if policy.form == Form::Best { (sure, score) } else { (None, None) };
        let suspect = addresses.first().is_some_and(|m| m.suspect);
        let addresses = addresses.iter().map(|m| m.figures).collect();
        Self {
            ranked: RankedSite { site: site.site.name.clone(), score, addresses, share: 0 },
            health,
            suspect,
            denied: !site.site.admits(&here.groups),
            full: policy.target_load > 0 && load.is_some_and(|load| load > policy.target_load),
            loosened: false,
            sure,
            wish,
        }
    }

    /// What is compared before any score: only within a class is the present order kept.
    pub(super) fn class(&self) -> (bool, bool, Health) {
        (self.health == Health::Down, self.denied, self.health)
    }

    /// Whether it may have new clients: it is alive, wants them, and no constraint speaks against it.
    pub(super) fn is_fit(&self) -> bool {
        self.health < Health::Draining && (self.loosened || !(self.denied || self.full))
    }

    /// Total: two sites of one service never have the same wish.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| self.compare_allowed(other))
    }

    /// The same if this DNS-LB might hand out both.
    pub(super) fn compare_allowed(&self, other: &Self) -> Ordering {
        let by_score = || match (self.sure, other.sure) {
            (Some(a), Some(b)) => a.now.total_cmp(&b.now),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        self.health.cmp(&other.health).then_with(by_score).then_with(|| self.wish.cmp(&other.wish))
    }

    /// What is said of it: without a score where it is not to be handed out, so that it is not put beside the
    /// best in an answer, nor raised where reports of many are put together.
    pub(super) fn into_ranked(self) -> RankedSite {
        let score = self.ranked.score.filter(|_| self.loosened || !self.denied);
        RankedSite { score, ..self.ranked }
    }

    /// Whether this one, in place, stays before `rival`, of the same class.
    pub(super) fn holds_against(&self, rival: &Self, policy: &Policy) -> bool {
        // What was not measured yet cannot be beaten yet either.
        let (Some(mine), Some(theirs)) = (self.sure, rival.sure) else { return true };
        mine.least - theirs.most <= policy.margin(mine.least)
    }
}
