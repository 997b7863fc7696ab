//! A ranking as answers need it: a few octets a site, resolved against one catalogue.

use std::{net::IpAddr, sync::Arc};

use arrayvec::ArrayVec;

use crate::{
    answer::MAX_ANSWERS,
    catalogue::Service,
    report::{Figures, Health, Ranking},
};

/// The highest score that is taken in: latency in milliseconds and costs add up to less.
const MAX_SCORE: f64 = 1e9;

/// A service's sites, best first. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedSites(Arc<[SiteRank]>);

/// One site of a [`RankedSites`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteRank {
    /// Index into the service's sites.
    pub site: u16,
    /// Bit set over the site's addresses: those that are not down, nor draining where others are not.
    pub usable: u16,
    /// Lower is better; NaN while nothing was measured.
    pub score: f32,
}

impl RankedSites {
    /// Resolves a report against the service that it ranks. Sites and addresses that the catalogue
    /// does not have are left out, so nobody can make us answer anything else; `None` when nothing
    /// is left.
    pub fn resolve(service: &Service, ranking: &Ranking) -> Option<Self> {
        let mut sites: Vec<SiteRank> = Vec::with_capacity(ranking.sites.len().min(service.sites.len()));
        // Who wants nobody new is of use only where nobody else is.
        let wanted = |f: &Figures| f.health < Health::Draining;
        let mut spared = false;
        for ranked in &ranking.sites {
            // What stands behind it, though up, is forbidden.
            spared |= ranked.addresses.iter().any(wanted);
            let Some(index) = service.sites.iter().position(|s| s.name == ranked.site) else { continue };
            if sites.iter().any(|s| usize::from(s.site) == index) {
                continue;
            }
            let bits = service.sites[index].addresses.iter().enumerate().map(|(bit, address)| {
                let known = ranked.addresses.iter().find(|f| f.address == *address);
                let usable = known.is_none_or(|f| wanted(f) || (!spared && f.health != Health::Down));
                u16::from(usable && bit < 16) << (bit & 15)
            });
            // A score outside of what any policy yields would let one DNS-LB outweigh all others.
            let score = ranked.score.filter(|s| s.is_finite()).map_or(f32::NAN, |s| s.clamp(0.0, MAX_SCORE) as f32);
            sites.push(SiteRank { site: index as u16, usable: bits.fold(0, |a, b| a | b), score });
        }
        Self::from_order(sites)
    }

    /// All sites in the customer's order, taken as up.
    pub(crate) fn customer_order(service: &Service) -> Self {
        let sites = (0..service.sites.len()).map(|i| SiteRank { site: i as u16, usable: u16::MAX, score: f32::NAN });
        Self(sites.collect())
    }

    /// The same order with another catalogue's numbers; sites that it no longer has are left out,
    /// addresses that the other did not have are taken as usable.
    pub(crate) fn renumbered(&self, before: &Service, after: &Service) -> Option<Self> {
        let sites = self.0.iter().filter_map(|rank| {
            let old = before.sites.get(usize::from(rank.site))?;
            let index = after.sites.iter().position(|s| s.name == old.name)?;
            let bits = after.sites[index].addresses.iter().enumerate().map(|(bit, address)| {
                let was = old.addresses.iter().position(|a| a == address);
                let usable = was.is_none_or(|was| rank.usable & (1 << (was & 15)) != 0);
                u16::from(usable) << (bit & 15)
            });
            Some(SiteRank { site: index as u16, usable: bits.fold(0, |a, b| a | b), score: rank.score })
        });
        Self::from_order(sites.collect())
    }

    pub(crate) fn from_order(sites: Vec<SiteRank>) -> Option<Self> {
        (!sites.is_empty()).then(|| Self(sites.into()))
    }

    /// Best first.
    pub fn sites(&self) -> &[SiteRank] {
        &self.0
    }

    /// Whether no site has a usable address: then the last good ones are answered.
    pub fn all_down(&self) -> bool {
        self.0.iter().all(|s| s.usable == 0)
    }

    /// Reads what [`RankedSites::addresses`] is going to read first.
    pub(crate) fn touch(&self, service: &Service) -> usize {
        let best = self.0.first().and_then(|rank| service.sites.get(usize::from(rank.site)));
        best.and_then(|site| site.addresses.first()).map_or(0, |address| usize::from(address.is_ipv4()))
    }

    /// The addresses to answer with, for IPv4 or IPv6.
    ///
    /// The site is chosen once for both families (design section 5): the best with any usable
    /// address. Where it has IPv6 but none of it is usable, there is no IPv6 answer: whoever has both
    /// families goes there by IPv4. Whoever has IPv4 alone is sent to the best site that has it usable,
    /// or, where none has, to the best site all the same, as when everything is down: nothing else is
    /// left to such a client. A site without any address of a family is passed over for that family.
    /// Further answers, where the service wants more than one, come from sites within the policy's
    /// margin.
    pub fn addresses(&self, service: &Service, ipv4: bool, found: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        let all_down = self.all_down();
        self.add_addresses(service, ipv4, all_down, found);
        if found.is_empty() && ipv4 && !all_down {
            self.add_addresses(service, ipv4, true, found);
        }
    }

    /// With `all_down` those that are not usable, too.
    fn add_addresses(&self, service: &Service, ipv4: bool, all_down: bool, found: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        let wanted = usize::from(service.answers).min(MAX_ANSWERS);
        let mut best: Option<f32> = None;
        for rank in self.0.iter().filter(|r| all_down || r.usable != 0) {
            let Some(site) = service.sites.get(usize::from(rank.site)) else { continue };
            if !site.addresses.iter().any(|a| a.is_ipv4() == ipv4) {
                continue;
            }
            let before = found.len();
            if best.is_some_and(|b| !within_margin(service, b, rank.score)) {
                return;
            }
            let addresses = site.addresses.iter().enumerate();
            for (bit, address) in addresses.filter(|(_, a)| a.is_ipv4() == ipv4) {
                if found.len() >= wanted {
                    return;
                }
                if all_down || rank.usable & (1 << (bit & 15)) != 0 {
                    found.push(*address);
                }
            }
            if found.len() == before && ipv4 {
                continue;
            }
            best = best.or(Some(rank.score));
            if wanted == 1 {
                return;
            }
        }
    }
}

/// Whether a site is so near the best that it may stand beside it in an answer.
fn within_margin(service: &Service, best: f32, score: f32) -> bool {
    // NaN compares false: what was not measured is not near anything.
    f64::from(score) - f64::from(best) <= service.policy.margin(f64::from(best))
}
