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
}

fn one() -> f64 {
    1.0
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
    };
    /// The site with the least cost; the nearest of those that cost the same. A unit of cost is worth
    /// a second, and is no noise that a margin has to keep out.
    pub const CHEAPEST: Self = Self { margin_percent: 0, latency_scale_ms: 1_000.0, cost: 1.0, ..Self::FASTEST };
    /// Latency and cost: a unit of cost is worth 20 ms.
    pub const BALANCED: Self = Self { latency_scale_ms: 20.0, cost: 1.0, ..Self::FASTEST };

    /// The score of a site so many microseconds away, lower is better.
    pub fn score(&self, latency_us: u32, cost: f64) -> f64 {
        self.latency * f64::from(latency_us) / (1_000.0 * self.latency_scale_ms) + self.cost * cost / self.cost_scale
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

    #[test]
    fn every_term_is_divided_by_its_scale() {
        let policy = Policy { latency: 3.0, latency_scale_ms: 50.0, cost: 2.0, cost_scale: 4.0, ..Policy::default() };
        assert_eq!(policy.score(100_000, 0.0).to_bits(), 6.0_f64.to_bits());
        assert_eq!(policy.score(100_000, 10.0).to_bits(), 11.0_f64.to_bits());
        assert!((policy.margin(0.0) - 0.6).abs() < 1e-9, "10 ms");
        assert!((policy.margin(11.0) - 1.1).abs() < 1e-9, "10 %");
    }

    #[test]
    fn presets_do_what_they_are_called() {
        let near_and_dear = |p: Policy| p.score(20_000, 3.0);
        let far_and_cheap = |p: Policy| p.score(70_000, 1.0);
        assert!(near_and_dear(Policy::FASTEST) < far_and_cheap(Policy::FASTEST));
        assert!(near_and_dear(Policy::CHEAPEST) > far_and_cheap(Policy::CHEAPEST));
        assert!(near_and_dear(Policy::BALANCED) < far_and_cheap(Policy::BALANCED), "50 ms for 2 units");
        assert!(near_and_dear(Policy::BALANCED) > Policy::BALANCED.score(50_000, 1.0), "30 ms for 2 units");
    }
}
