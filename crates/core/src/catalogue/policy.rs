//! How the sites of a service are compared: data that the customer wrote, never code.
//!
//! Invariant: a site's score depends on that site and the policy alone. What each term is divided by
//! stands in the policy and does not follow from the other sites, so a third one never swaps two.

use serde::{Deserialize, Serialize};

/// How sites are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What makes one site better than another. Default: the score.
    #[serde(default)]
    pub form: Form,
    /// A new winner must be better by at least this many milliseconds. Default 10.
    pub margin_ms: u32,
    /// … and by at least this share of the present one's figure, in percent. Default 10.
    pub margin_percent: u32,
    /// Score per `latency_scale_ms` of latency. Default 1.
    pub latency: f64,
    /// Milliseconds, more than 0. Default 1.
    #[serde(default = "one")]
    pub latency_scale_ms: f64,
    /// Score per `cost_scale` of the site's `cost`. Default 0.
    pub cost: f64,
    /// Units of the site's `cost`, more than 0. Default 1.
    #[serde(default = "one")]
    pub cost_scale: f64,
    /// Score per `load_scale` of the load that the site tells. Default 0.
    #[serde(default)]
    pub load: f64,
    /// A part of what the site can do, more than 0. Default 1: all of it.
    #[serde(default = "one")]
    pub load_scale: f64,
    /// Score per `distance_scale_km` between the DNS-LB and the site. Default 0.
    #[serde(default)]
    pub distance: f64,
    /// Kilometres, more than 0. Default 100, which light in a fibre goes to and fro in a millisecond.
    #[serde(default = "hundred")]
    pub distance_scale_km: f64,
    /// Load above which a site gives clients up, in thousandths of what it can do; 0 for no such
    /// ceiling. Default 0.
    #[serde(default)]
    pub target_load: u32,
    /// Constraints are loosened rather than leave fewer sites than this; 1 or more. Default 1.
    #[serde(default = "one_site")]
    pub least_sites: u32,
    /// What is answered while all sites are down. Default: the last good order.
    #[serde(default)]
    pub all_down: AllDown,
}

/// What makes one site better than another, of the same health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The lower score; who is in place is kept within the margin.
    #[default]
    Best,
    /// The customer's order alone: the first site that is up gets everybody.
    Failover,
    /// Client networks are shared out by the sites' weights.
    Weighted,
    /// They are shared out evenly, and further addresses follow in the customer's order.
    RoundRobin,
    /// They are shared out by the sites' weights, and whatever a site has to do, each stays where it is.
    Sticky,
}

/// What is answered while all sites of a service are down, each time with the extended error that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllDown {
    /// The sites all the same, by their last good figures: some client may still reach them.
    #[default]
    LastGood,
    /// The sites in the customer's order, whose first one may have a page for such days.
    CustomerOrder,
    /// SERVFAIL: resolvers may go on with what they have (RFC 8767).
    Fail,
}

impl Form {
    /// Whether every client network goes its own way, whatever the score.
    pub fn is_spread(self) -> bool {
        matches!(self, Self::Weighted | Self::RoundRobin | Self::Sticky)
    }
}

/// What a score is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Microseconds.
    pub latency_us: u32,
    /// What the customer pays for traffic there, in units of the policy's choosing.
    pub cost: f64,
    /// In thousandths of what the site can do; 0 where it does not tell.
    pub load: u32,
    /// Kilometres; 0 where the DNS-LB does not know where it is.
    pub distance_km: f64,
}

fn one() -> f64 {
    1.0
}

fn hundred() -> f64 {
    100.0
}

fn one_site() -> u32 {
    1
}

impl Default for Policy {
    fn default() -> Self {
        Self::FASTEST
    }
}

impl Policy {
    /// The nearest site, whatever it costs.
    pub const FASTEST: Self = Self {
        form: Form::Best,
        margin_ms: 10,
        margin_percent: 10,
        latency: 1.0,
        latency_scale_ms: 1.0,
        cost: 0.0,
        cost_scale: 1.0,
        load: 0.0,
        load_scale: 1.0,
        distance: 0.0,
        distance_scale_km: 100.0,
        target_load: 0,
        least_sites: 1,
        all_down: AllDown::LastGood,
    };
    /// The site with the least cost; the nearest of those that cost the same. A unit of cost is worth
    /// a second, and is no noise that a margin has to keep out.
    pub const CHEAPEST: Self = Self { margin_percent: 0, latency_scale_ms: 1_000.0, cost: 1.0, ..Self::FASTEST };
    /// Latency and cost: a unit of cost is worth 20 ms.
    pub const BALANCED: Self = Self { latency_scale_ms: 20.0, cost: 1.0, ..Self::FASTEST };

    /// Hands over each figure: what it is, its range, itself, and whether it lies within.
    pub(super) fn check(&self, range: &mut impl FnMut(&'static str, &'static str, String, bool)) {
        let weights = [
            ("policy latency", self.latency),
            ("policy cost", self.cost),
            ("policy load", self.load),
            ("policy distance", self.distance),
        ];
        for (what, weight) in weights {
            range(what, "0 to 1e9", weight.to_string(), weight.is_finite() && (0.0..=1e9).contains(&weight));
        }
        let scales = [
            ("policy latency-scale", "0.001 ms to 1e9 ms", self.latency_scale_ms),
            ("policy cost-scale", "0.001 to 1e9", self.cost_scale),
            ("policy load-scale", "0.001 to 1e9", self.load_scale),
            ("policy distance-scale", "0.001 km to 1e9 km", self.distance_scale_km),
        ];
        for (what, wanted, scale) in scales {
            range(what, wanted, scale.to_string(), scale.is_finite() && (0.001..=1e9).contains(&scale));
        }
        let (target, least) = (self.target_load, self.least_sites);
        range("policy target-load", "at most 10 times what a site can do", target.to_string(), target <= 10_000);
        range("policy least-sites", "1 to 1000", least.to_string(), (1..=1_000).contains(&least));
    }

    /// The score of a site, lower is better.
    pub fn score(&self, of: &Terms) -> f64 {
        self.latency * f64::from(of.latency_us) / (1_000.0 * self.latency_scale_ms)
            + self.cost * of.cost / self.cost_scale
            + self.load * f64::from(of.load) / (1_000.0 * self.load_scale)
            + self.distance * of.distance_km / self.distance_scale_km
    }

    /// By how much another's score must be lower than `score` to take its place.
    pub fn margin(&self, score: f64) -> f64 {
        let least = self.latency * f64::from(self.margin_ms) / self.latency_scale_ms;
        least.max(score * f64::from(self.margin_percent) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(latency_us: u32, cost: f64) -> Terms {
        Terms { latency_us, cost, ..Terms::default() }
    }

    #[test]
    fn every_term_is_divided_by_its_scale() {
        let policy = Policy {
            latency: 3.0,
            latency_scale_ms: 50.0,
            cost: 2.0,
            cost_scale: 4.0,
            load: 8.0,
            load_scale: 0.5,
            distance: 1.5,
            distance_scale_km: 1_000.0,
            ..Policy::default()
        };
        assert_eq!(policy.score(&terms(100_000, 0.0)).to_bits(), 6.0_f64.to_bits());
        assert_eq!(policy.score(&terms(100_000, 10.0)).to_bits(), 11.0_f64.to_bits());
        assert_eq!(policy.score(&Terms { load: 750, ..Terms::default() }).to_bits(), 12.0_f64.to_bits());
        assert_eq!(policy.score(&Terms { distance_km: 4_000.0, ..Terms::default() }).to_bits(), 6.0_f64.to_bits());
        assert!((policy.margin(0.0) - 0.6).abs() < 1e-9, "10 ms");
        assert!((policy.margin(11.0) - 1.1).abs() < 1e-9, "10 %");
    }

    #[test]
    fn presets_do_what_they_are_called() {
        let near_and_dear = |p: Policy| p.score(&terms(20_000, 3.0));
        let far_and_cheap = |p: Policy| p.score(&terms(70_000, 1.0));
        assert!(near_and_dear(Policy::FASTEST) < far_and_cheap(Policy::FASTEST));
        assert!(near_and_dear(Policy::CHEAPEST) > far_and_cheap(Policy::CHEAPEST));
        assert!(near_and_dear(Policy::BALANCED) < far_and_cheap(Policy::BALANCED), "50 ms for 2 units");
        assert!(near_and_dear(Policy::BALANCED) > Policy::BALANCED.score(&terms(50_000, 1.0)), "30 ms for 2 units");
    }
}
