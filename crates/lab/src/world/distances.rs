//! Who is how far from whom, drawn from a seed.

use super::{ISPS, SITES, rtt, site};
use crate::topology::RoundTrip;

/// Round trips from each ISP, and from the default DNS-LB, to each site, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Distances {
    /// By ISP, then by site.
    pub isp: [[f64; SITES]; ISPS],
    /// Of the DNS-LB that unmapped resolvers get.
    pub default: [f64; SITES],
}

/// Before the sites change places: a row for each ISP, then the default's. The default's best is
/// everybody else's worst, and no ISP's second best is another's third.
const ROWS: [[f64; SITES]; ISPS + 1] = [[12.0, 60.0, 110.0], [65.0, 14.0, 120.0], [80.0, 130.0, 10.0]];
/// All orders of three.
const ORDERS: [[usize; SITES]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

impl Distances {
    /// The distances that a seed draws; six follow each other in turn.
    pub fn new(seed: u64) -> Self {
        let order = ORDERS[(seed % ORDERS.len() as u64) as usize];
        let row = |row: [f64; SITES]| {
            let mut moved = [0.0; SITES];
            order.iter().zip(row).for_each(|(&site, ms)| moved[site] = ms);
            moved
        };
        Self { isp: [row(ROWS[0]), row(ROWS[1])], default: row(ROWS[2]) }
    }

    /// The site nearest to an ISP, of those that `up` says are up.
    pub fn best(&self, isp: usize, up: impl Fn(usize) -> bool) -> usize {
        nearest(&self.isp[isp], up)
    }

    /// The site nearest to the default DNS-LB.
    pub fn default_best(&self) -> usize {
        nearest(&self.default, |_| true)
    }

    /// An ISP whose best site is neither the first in the customer's order nor the default
    /// DNS-LB's: whoever gets that site when the ISP's DNS-LB is gone knows its ranking.
    pub fn telling_isp(&self) -> usize {
        (0..ISPS).find(|&isp| self.best(isp, |_| true) != 0).unwrap_or(0)
    }

    /// As lines of a topology.
    pub(super) fn round_trips(&self) -> Vec<RoundTrip> {
        let mut lines = vec![rtt("root", "*", 30.0), rtt("tld", "*", 30.0), rtt("dnsa", "*", 24.0)];
        lines.extend([rtt("b1", "*", 40.0), rtt("b2", "*", 50.0), rtt("b1", "b2", 10.0)]);
        for isp in 0..ISPS {
            let n = isp + 1;
            for (a, b) in [("client", "isp"), ("client", "lb"), ("isp", "lb")] {
                lines.push(rtt(&format!("{a}{n}"), &format!("{b}{n}"), 4.0));
            }
            for host in ["client", "isp", "lb"] {
                lines.extend(self.isp[isp].iter().enumerate().map(|(s, &ms)| rtt(&format!("{host}{n}"), &site(s), ms)));
            }
        }
        lines.extend(self.default.iter().enumerate().map(|(s, &ms)| rtt("lb3", &site(s), ms)));
        lines
    }
}

fn nearest(row: &[f64; SITES], up: impl Fn(usize) -> bool) -> usize {
    (0..SITES).filter(|&s| up(s)).min_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_world_can_be_passed_by_luck() {
        let mut best_of_first = std::collections::HashSet::new();
        for seed in 0..12 {
            let d = Distances::new(seed);
            let best: Vec<usize> = (0..ISPS).map(|isp| d.best(isp, |_| true)).collect();
            assert_ne!(best[0], best[1]);
            for (isp, &best) in best.iter().enumerate() {
                let worst = (0..SITES).max_by(|&a, &b| d.isp[isp][a].total_cmp(&d.isp[isp][b])).unwrap();
                assert_eq!(d.default_best(), worst);
                // When the best site of one ISP dies, nobody's next best is the default's either.
                let second = d.best(isp, |s| s != best);
                assert_ne!(second, d.default_best());
            }
            let telling = d.best(d.telling_isp(), |_| true);
            assert!(telling != 0 && telling != d.default_best());
            best_of_first.insert(best[0]);
        }
        assert_eq!(best_of_first.len(), SITES, "each site is best for somebody in some run");
    }
}
