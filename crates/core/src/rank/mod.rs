//! The order of a service's sites, best first, for the clients of one DNS-LB.
//!
//! Invariant: a site that is up stands before one that is not known, that before one that is draining, and
//! that before one that is down; the present order is only ever kept among sites of one such class, and never among dead
//! ones. The outcome is a function of its [`Inputs`] alone: that another site was better several times
//! running shows in the ranges of what was [measured](crate::estimate::Measured::range_us), not in a state.

mod inputs;
mod keep;
#[cfg(test)]
mod properties;
mod standing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::inputs::{Candidate, Inputs};
use self::{keep::keep_present, standing::Standing};
use crate::{
    catalogue::Form,
    report::{Figures, Health, RankedSite, Ranking},
};

/// What follows from [`Inputs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The sites, best first.
    pub ranking: Ranking,
    /// Why the first one is the first.
    pub rule: Rule,
}

/// What gave the first place to the site that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// There is no other site, or none at all.
    Alone,
    /// Every other site is less healthy.
    Health,
    /// It is the foremost in the customer's order, by [`Form::Failover`] or for want of round trips.
    Order,
    /// It has the lowest score.
    Score,
    /// Another one has a lower score, but not by the margin beyond doubt.
    Margin,
    /// All are down: it was the best when it was last measured.
    LastGood,
}

impl Rule {
    /// The same for people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Alone => "there is no other site",
            Self::Health => "every other site is less healthy",
            Self::Order => "it is the foremost in the customer's order, and nothing that was measured says otherwise",
            Self::Score => "it has the lowest score",
            Self::Margin => "it was in place, and no other has a lower score by the margin beyond doubt",
            Self::LastGood => "all are down, and it was the best when it was last measured",
        }
    }
}

/// Orders the sites of a service.
///
/// Sites are compared by health, then by the policy's composite of latency and cost, or where it says
/// [`Form::Failover`] by the customer's order alone, and nothing of what follows applies. A site whose
/// latency rests on fewer than [`ENOUGH`](crate::estimate::ENOUGH) round trips comes after those that
/// were measured, in the customer's order. A site's figure is that of its best usable address, since A
/// and AAAA are chosen jointly. At every place the site that was foremost before is kept unless another
/// one is better by more than the policy's margin: the worst that this one was lately taken for than
/// the best that the present one was.
pub fn rank(inputs: &Inputs) -> Outcome {
    let policy = &inputs.policy;
    let sites = inputs.sites.iter().enumerate().filter(|(_, site)| !site.addresses.is_empty());
    let mut standings: Vec<_> = sites.map(|(at, site)| Standing::new(at, site, policy)).collect();
    standings.sort_by(Standing::compare);
    let mut rule = rule_of(&standings);
    if !inputs.previous.is_empty() && policy.form == Form::Best {
        let best = standings.first().map(|s| s.wish);
        standings = keep_present(standings, &inputs.previous, policy);
        if standings.first().map(|s| s.wish) != best {
            rule = Rule::Margin;
        }
    }
    let sites = standings.into_iter().map(|s| s.ranked).collect();
    Outcome { ranking: Ranking { service: inputs.service.clone(), catalogue: inputs.catalogue, sites }, rule }
}

/// Why the first of these is the first, before anything of the past is kept.
fn rule_of(sorted: &[Standing]) -> Rule {
    let [first, second, ..] = sorted else { return Rule::Alone };
    let better = match (first.sure, second.sure) {
        (Some(first), Some(second)) => first.now < second.now,
        (first, second) => first.is_some() && second.is_none(),
    };
    match first.health {
        health if health < second.health => Rule::Health,
        _ if !better => Rule::Order,
        Health::Down => Rule::LastGood,
        Health::Up | Health::Unknown | Health::Draining => Rule::Score,
    }
}

/// Whether two rankings of a service lead to different answers: another order of sites or
/// addresses, or another verdict on one. Other figures alone do not.
pub fn differs(a: &Ranking, b: &Ranking) -> bool {
    let verdict = |f: &Figures| (f.address, f.health);
    let same = |(x, y): (&RankedSite, &RankedSite)| {
        x.site == y.site && x.addresses.iter().map(verdict).eq(y.addresses.iter().map(verdict))
    };
    a.service != b.service
        || a.catalogue != b.catalogue
        || a.sites.len() != b.sites.len()
        || !a.sites.iter().zip(&b.sites).all(same)
}
