//! The order of a service's sites, best first, for the clients of one DNS-LB.
//!
//! Invariant: what is down stands behind all others, before that what the customer forbids this DNS-LB to hand
//! out, and of the rest a site that is up before one that is not known, and that before one that is draining;
//! the present order is only ever kept among sites of one such class, and never among dead ones. The outcome
//! is a function of its [`Inputs`] alone: that another site was better several times
//! running shows in the ranges of what was [measured](crate::estimate::Measured::range_us), not in a state.

mod constrain;
mod inputs;
mod keep;
#[cfg(test)]
mod properties;
mod share;
#[cfg(test)]
mod share_tests;
mod standing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    inputs::{Candidate, Here, Inputs, Placed},
    share::Step,
};
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
    /// The sites that a constraint speaks against, best first.
    #[serde(default)]
    pub barred: Vec<Barred>,
    /// What became of the shares of clients.
    #[serde(default)]
    pub step: Step,
}

/// A constraint that speaks against a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// Its name.
    pub site: String,
    /// Which one; of both, the harder.
    pub by: Bar,
    /// Whether it is overlooked, since fewer sites would be left than the policy's least.
    pub loosened: bool,
}

/// What can stand against a site that is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bar {
    /// It has more to do than the policy's target: it is given nobody more.
    Load,
    /// DNS-LBs of this one's groups may not hand it out: it is for when all others are down.
    Group,
}

/// What gave the first place to the site that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// There is no other site, or none at all.
    Alone,
    /// Every other site is less healthy.
    Health,
    /// Better ones are not for this DNS-LB's groups.
    Group,
    /// It is the foremost in the customer's order, by [`Form::Failover`] or for want of round trips.
    Order,
    /// It has the lowest score.
    Score,
    /// Another one has a lower score, but not by the margin beyond doubt.
    Margin,
    /// All are down: it was the best when it was last measured.
    LastGood,
}

impl Bar {
    /// The same for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Group => "group",
        }
    }
}

impl Rule {
    /// The same for people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Alone => "there is no other site",
            Self::Health => "every other site is less healthy",
            Self::Group => "better ones are not for the groups of this DNS-LB",
            Self::Order => "it is the foremost in the customer's order, and nothing that was measured says otherwise",
            Self::Score => "it has the lowest score",
            Self::Margin => "it was in place, and no other has a lower score by the margin beyond doubt",
            Self::LastGood => "all are down, and it was the best when it was last measured",
        }
    }
}

/// Orders the sites of a service.
///
/// Sites are compared by health and by whether this DNS-LB may hand them out, then by the policy's composite
/// of latency, cost, load and distance, or where its form is not [`Form::Best`] by the customer's order
/// alone, and nothing of what follows applies. A site whose
/// latency rests on fewer than [`ENOUGH`](crate::estimate::ENOUGH) round trips comes after those that
/// were measured, in the customer's order. A site's figure is that of its best usable address, since A
/// and AAAA are chosen jointly. At every place the site that was foremost before is kept unless another
/// one is better by more than the policy's margin: the worst that this one was lately taken for than
/// the best that the present one was.
pub fn rank(inputs: &Inputs) -> Outcome {
    let policy = &inputs.policy;
    let sites = inputs.sites.iter().enumerate().filter(|(_, site)| !site.addresses.is_empty());
    let mut standings: Vec<_> = sites.map(|(at, site)| Standing::new(at, site, policy, &inputs.here)).collect();
    standings.sort_by(Standing::compare);
    let mut rule = rule_of(&standings);
    if !inputs.previous.is_empty() && policy.form == Form::Best {
        let best = standings.first().map(|s| s.wish);
        standings = keep_present(standings, &inputs.previous, policy);
        if standings.first().map(|s| s.wish) != best {
            rule = Rule::Margin;
        }
    }
    constrain::loosen(&mut standings, inputs);
    let barred = constrain::barred(&standings);
    let step = share::share(&mut standings, inputs);
    let unsettled = is_unsettled(&standings, step, inputs);
    let sites = standings.into_iter().map(Standing::into_ranked).collect();
    let (service, catalogue) = (inputs.service.clone(), inputs.catalogue);
    Outcome { ranking: Ranking { service, catalogue, sites, unsettled }, rule, barred, step }
}

/// Why the first of these is the first, before anything of the past is kept.
fn rule_of(sorted: &[Standing]) -> Rule {
    let [first, second, ..] = sorted else { return Rule::Alone };
    let forbidden = || sorted.iter().any(|other| other.denied && other.compare_allowed(first).is_lt());
    let better = match (first.sure, second.sure) {
        (Some(first), Some(second)) => first.now < second.now,
        (first, second) => first.is_some() && second.is_none(),
    };
    match first.health {
        _ if !first.denied && forbidden() => Rule::Group,
        health if health < second.health => Rule::Health,
        _ if !better => Rule::Order,
        Health::Down => Rule::LastGood,
        Health::Up | Health::Unknown | Health::Draining => Rule::Score,
    }
}

/// How many margins another site must be behind before the choice is settled again, so that figures at the
/// edge of the margin are not news each time.
const SETTLED: f64 = 2.0;

/// Whether another site may soon be the first: one is within the margin, the first is suspected of being
/// down, or clients are on their way from one to another.
fn is_unsettled(standings: &[Standing], step: Step, inputs: &Inputs) -> bool {
    let [first, others @ ..] = standings else { return false };
    let margins = if inputs.was_unsettled { SETTLED } else { 1.0 };
    let near = |other: &Standing| match (first.sure, other.sure) {
        (Some(a), Some(b)) => other.is_fit() && b.now - a.now <= margins * inputs.policy.margin(a.now),
        _ => false,
    };
    let shifting = step != Step::Wanted;
    inputs.may_be_unsettled && (shifting || first.suspect || (first.health != Health::Down && others.iter().any(near)))
}

/// Whether two rankings of a service lead to different answers: another order of sites or
/// addresses, another share or verdict, or another time to live. Other figures alone do not.
pub fn differs(a: &Ranking, b: &Ranking) -> bool {
    let verdict = |f: &Figures| (f.address, f.health);
    let same = |(x, y): (&RankedSite, &RankedSite)| {
        x.site == y.site && x.share == y.share && x.addresses.iter().map(verdict).eq(y.addresses.iter().map(verdict))
    };
    a.service != b.service
        || a.catalogue != b.catalogue
        || a.unsettled != b.unsettled
        || a.sites.len() != b.sites.len()
        || !a.sites.iter().zip(&b.sites).all(same)
}
