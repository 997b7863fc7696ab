//! All DNS-LBs' rankings of one service together: what is answered where nobody was located.

use crate::{
    catalogue::{MAX_ADDRESSES, Service},
    ranked::{RankedSites, SiteRank},
};

/// Sums over all rankings of a service, and the order that follows.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    sums: Vec<Sum>,
    rankings: u32,
    order: Option<RankedSites>,
}

/// What all DNS-LBs say of one site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    /// Rankings that have each of the site's addresses usable.
    usable: [u32; MAX_ADDRESSES],
    /// Rankings that have a score for it.
    scored: u32,
    /// Sum of the scores in thousandths: integers, so that what is added can be taken away again.
    milli: i64,
}

impl Aggregate {
    /// The order by mean score: usable anywhere first, unscored last, ties in the customer's order.
    pub fn order(&self) -> Option<&RankedSites> {
        self.order.as_ref()
    }

    /// Takes a ranking away and puts another in its place.
    pub(crate) fn exchange(&mut self, service: &Service, old: Option<&RankedSites>, new: Option<&RankedSites>) {
        self.sums.resize(service.sites.len(), Sum::default());
        for (ranking, sign) in [(old, -1), (new, 1)] {
            let Some(ranking) = ranking else { continue };
            self.rankings = self.rankings.saturating_add_signed(sign);
            for rank in ranking.sites() {
                let Some(sum) = self.sums.get_mut(usize::from(rank.site)) else { continue };
                for (bit, usable) in sum.usable.iter_mut().enumerate() {
                    *usable = usable.saturating_add_signed(if rank.usable & (1 << bit) != 0 { sign } else { 0 });
                }
                if rank.score.is_finite() {
                    sum.scored = sum.scored.saturating_add_signed(sign);
                    sum.milli = sum.milli.saturating_add(i64::from(sign) * milli(rank.score));
                }
            }
        }
        self.order = (self.rankings > 0).then(|| self.sorted(service));
    }

    fn sorted(&self, service: &Service) -> RankedSites {
        let mut sites: Vec<SiteRank> = self
            .sums
            .iter()
            .enumerate()
            .map(|(index, sum)| SiteRank {
                site: index as u16,
                usable: (0..MAX_ADDRESSES).filter(|&bit| sum.usable[bit] > 0).fold(0, |bits, bit| bits | 1 << bit),
                score: if sum.scored > 0 { (sum.milli / i64::from(sum.scored)) as f32 / 1e3 } else { f32::NAN },
            })
            .collect();
        // NaN sorts behind every number in `total_cmp`; the sort is stable.
        sites.sort_by(|a, b| (a.usable == 0).cmp(&(b.usable == 0)).then(a.score.total_cmp(&b.score)));
        RankedSites::from_order(service, &sites)
    }
}

/// Scores are bounded when they are taken in, and `as` saturates.
fn milli(score: f32) -> i64 {
    (f64::from(score) * 1e3) as i64
}
