//! A ranking as answers need it: a few octets a site, resolved against one catalogue.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use arrayvec::ArrayVec;

use crate::{
    answer::MAX_ANSWERS,
    catalogue::{AllDown, Service, Site},
    lots::Lots,
    report::{Figures, Health, Ranking},
};

/// The highest score that is taken in: latency in milliseconds and costs add up to less.
const MAX_SCORE: f64 = 1e9;

pub use crate::lots::Turn;

/// How many sites lie in the ranking itself.
const NEAR: usize = 4;

/// A service's sites, best first. Cheap to clone. Most rankings are no more than these 64 octets: a
/// server keeps a million of them.
// In this order, so that what an answer reads lies side by side.
#[repr(C)]
#[derive(Clone, Debug, PartialEq)]
pub struct RankedSites {
    first: First,
    /// How many of `near` there are; none where the sites are more, so that all of them are in `further`.
    near_sites: u8,
    further: Option<Arc<Further>>,
    near: [SiteRank; NEAR],
}

const _: () = assert!(size_of::<RankedSites>() <= 64);

/// What most answers are made of, so that for them nothing else has to be read: the address that is answered
/// where one is wanted and clients are not shared out, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct First {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    /// Those of the following that hold.
    marks: u8,
}

/// No site has a usable address.
const ALL_DOWN: u8 = 1;
/// Not all clients go the same way.
const SHARED: u8 = 2;
/// The choice may soon be another.
const UNSETTLED: u8 = 4;

/// What few rankings have.
#[derive(Clone, Debug, PartialEq)]
struct Further {
    /// How clients are shared out; without that all go to the first site.
    lots: Option<Lots>,
    /// All the sites, where they are too many to lie in the ranking.
    sites: Box<[SiteRank]>,
}

/// One site of a [`RankedSites`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
        let mut shares: Vec<(u16, u16)> = Vec::with_capacity(sites.capacity());
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
            shares.push((index as u16, ranked.share));
        }
        let lives = |(rank, share): (&SiteRank, &(u16, u16))| (rank.usable != 0).then_some(*share);
        let said = Lots::new(service, sites.iter().zip(&shares).filter_map(lives));
        // Who says nothing of shares does not know of them.
        let lots = said.or_else(|| Lots::by_form(service, usable(&sites)));
        (!sites.is_empty()).then(|| Self::new(service, &sites, lots, ranking.unsettled))
    }

    /// All sites in the customer's order, taken as up.
    pub(crate) fn customer_order(service: &Service) -> Self {
        let sites = (0..service.sites.len()).map(|i| SiteRank { site: i as u16, usable: u16::MAX, score: f32::NAN });
        Self::from_order(service, &sites.collect::<Vec<_>>())
    }

    /// Sites in this order, shared out as the policy's form says.
    pub(crate) fn from_order(service: &Service, sites: &[SiteRank]) -> Self {
        Self::new(service, sites, Lots::by_form(service, usable(sites)), false)
    }

    /// The same order with another catalogue's numbers; sites that it no longer has are left out,
    /// addresses that the other did not have are taken as usable.
    pub(crate) fn renumbered(&self, before: &Service, after: &Service) -> Option<Self> {
        let new_place = |site: u16| {
            let old = before.sites.get(usize::from(site))?;
            Some((old, after.sites.iter().position(|s| s.name == old.name)?))
        };
        let sites = self.sites().iter().filter_map(|rank| {
            let (old, index) = new_place(rank.site)?;
            let bits = after.sites[index].addresses.iter().enumerate().map(|(bit, address)| {
                let was = old.addresses.iter().position(|a| a == address);
                let usable = was.is_none_or(|was| rank.usable & (1 << (was & 15)) != 0);
                u16::from(usable) << (bit & 15)
            });
            Some(SiteRank { site: index as u16, usable: bits.fold(0, |a, b| a | b), score: rank.score })
        });
        let sites: Vec<SiteRank> = sites.collect();
        let shares = self.lots().into_iter().flat_map(Lots::shares);
        let shares = shares.filter_map(|(site, share)| Some((new_place(site)?.1 as u16, share)));
        let lots = Lots::new(after, shares.filter(|(site, _)| usable(&sites).any(|usable| usable == *site)));
        (!sites.is_empty()).then(|| Self::new(after, &sites, lots, self.is_unsettled()))
    }

    fn new(service: &Service, sites: &[SiteRank], lots: Option<Lots>, unsettled: bool) -> Self {
        let mut near = [SiteRank::default(); NEAR];
        let (near_sites, too_many) = match near.get_mut(..sites.len()) {
            Some(place) => {
                place.copy_from_slice(sites);
                (sites.len() as u8, &[][..])
            }
            None => (0, sites),
        };
        let all_down = sites.iter().all(|s| s.usable == 0);
        let shared = lots.is_some();
        let marks = u8::from(all_down) * ALL_DOWN + u8::from(shared) * SHARED + u8::from(unsettled) * UNSETTLED;
        let further = (shared || !too_many.is_empty()).then(|| Arc::new(Further { lots, sites: too_many.into() }));
        let mut ranked = Self { first: First { marks, ..First::default() }, near_sites, further, near };
        let one = |ipv4| {
            let mut found = ArrayVec::new();
            ranked.add_best(service, ipv4, 1, &mut found);
            found.first().copied()
        };
        let (v4, v6) = (one(true), one(false));
        ranked.first.v4 = v4.and_then(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None });
        ranked.first.v6 = v6.and_then(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None });
        ranked
    }

    /// Best first.
    pub fn sites(&self) -> &[SiteRank] {
        match &self.further {
            Some(further) if !further.sites.is_empty() => &further.sites,
            // Never more than there are places, which the compiler cannot know.
            _ => &self.near[..usize::from(self.near_sites).min(NEAR)],
        }
    }

    /// Whether the choice may soon be another, so that nobody should keep it for long.
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        self.first.marks & UNSETTLED != 0
    }

    /// Whether not all clients go the same way.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.first.marks & SHARED != 0
    }

    /// What part of the client networks goes to a site by index, in thousandths; none where all go to the
    /// first.
    pub fn share(&self, site: u16) -> Option<u16> {
        let lots = self.lots()?;
        let all: u64 = lots.shares().map(|(_, share)| u64::from(share)).sum();
        let mine = lots.shares().find(|(of, _)| *of == site).map_or(0, |(_, share)| u64::from(share));
        Some((mine * 1_000).checked_div(all).unwrap_or(0) as u16)
    }

    #[inline]
    fn lots(&self) -> Option<&Lots> {
        self.further.as_ref()?.lots.as_ref()
    }

    /// Whether no site has a usable address: then the last good ones are answered.
    #[inline]
    pub fn all_down(&self) -> bool {
        self.first.marks & ALL_DOWN != 0
    }

    /// What is answered for it: itself, or while all sites are down what the policy says, which may be
    /// `order`, the customer's, or nothing but a failure.
    #[inline]
    pub(crate) fn answered<'r>(&'r self, service: &Service, order: &'r Self) -> Option<&'r Self> {
        if !self.all_down() {
            return Some(self);
        }
        match service.policy.all_down {
            AllDown::CustomerOrder => Some(order),
            AllDown::Fail => None,
            AllDown::LastGood => Some(self),
        }
    }

    /// The only address that [`RankedSites::addresses`] finds for a service that wants one, where
    /// clients are not shared out.
    #[inline]
    pub(crate) fn first(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.first.v4.map(IpAddr::V4) } else { self.first.v6.map(IpAddr::V6) }
    }

    /// The addresses to answer with, for IPv4 or IPv6.
    ///
    /// The site is chosen once for both families (design section 5): the best with any usable
    /// address, or where clients are shared out the one that `turn` draws. Where it has IPv6 but none of it
    /// is usable, there is no IPv6 answer: whoever has both families goes there by IPv4. Whoever has IPv4
    /// alone is sent to the best site that has it usable, or, where none has, to the best site all the same,
    /// as when everything is down: nothing else is left to such a client. A site without any address of a
    /// family is passed over for that family. Further answers, where the service wants more than one, come from
    /// sites within the policy's margin, or in the order in which they are drawn.
    pub fn addresses(&self, service: &Service, ipv4: bool, turn: Turn, found: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        if let Some(lots) = self.lots() {
            let is_known = self.add_drawn(service, ipv4, (lots, turn), found);
            if !found.is_empty() || (is_known && !ipv4) {
                return;
            }
        }
        self.add_best(service, ipv4, wanted(service), found);
    }

    /// As many addresses as are wanted, of the best sites.
    fn add_best(&self, service: &Service, ipv4: bool, wanted: usize, found: &mut ArrayVec<IpAddr, MAX_ANSWERS>) {
        let all_down = self.all_down();
        let near = |best, score| within_margin(service, best, score);
        let living = self.sites().iter().filter(|r| all_down || r.usable != 0);
        add_sites(service, ipv4, (living, all_down), (near, wanted), found);
        if found.is_empty() && ipv4 && !all_down {
            add_sites(service, ipv4, (self.sites().iter(), true), (near, wanted), found);
        }
    }

    /// Those of the sites that are drawn, as far as they are usable. Whether any of them has the family.
    fn add_drawn(
        &self,
        service: &Service,
        ipv4: bool,
        (lots, turn): (&Lots, Turn),
        found: &mut ArrayVec<IpAddr, MAX_ANSWERS>,
    ) -> bool {
        let rank = |site: u16| self.sites().iter().find(|rank| rank.site == site);
        let of_family = |site: u16| service.sites.get(usize::from(site)).is_some_and(|s| has_family(s, ipv4));
        let ranks = lots.order(turn, of_family).filter(|site| of_family(*site)).filter_map(rank);
        let scored = !service.policy.form.is_spread();
        let near = |best: f32, score: f32| !scored || score.is_nan() || within_margin(service, best, score);
        add_sites(service, ipv4, (ranks, false), (near, wanted(service)), found);
        lots.shares().any(|(site, _)| of_family(site))
    }
}

/// How many addresses an answer of the service has at most.
fn wanted(service: &Service) -> usize {
    usize::from(service.answers).min(MAX_ANSWERS)
}

/// The addresses of these sites, as many as are wanted, down to the first that is not near the best. With
/// `all_down` those that are not usable, too.
#[inline]
fn add_sites<'r>(
    service: &Service,
    ipv4: bool,
    (ranks, all_down): (impl Iterator<Item = &'r SiteRank>, bool),
    (near, wanted): (impl Fn(f32, f32) -> bool, usize),
    found: &mut ArrayVec<IpAddr, MAX_ANSWERS>,
) {
    let mut best: Option<f32> = None;
    for rank in ranks {
        let Some(site) = service.sites.get(usize::from(rank.site)) else { continue };
        if !has_family(site, ipv4) {
            continue;
        }
        let before = found.len();
        if best.is_some_and(|b| !near(b, rank.score)) {
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

#[inline]
fn has_family(site: &Site, ipv4: bool) -> bool {
    site.addresses.iter().any(|a| a.is_ipv4() == ipv4)
}

/// The sites of which something is usable.
fn usable(sites: &[SiteRank]) -> impl Iterator<Item = u16> {
    sites.iter().filter(|rank| rank.usable != 0).map(|rank| rank.site)
}

/// Whether a site is so near the best that it may stand beside it in an answer.
fn within_margin(service: &Service, best: f32, score: f32) -> bool {
    // NaN compares false: what was not measured is not near anything.
    f64::from(score) - f64::from(best) <= service.policy.margin(f64::from(best))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{catalogue::Form, lots::tests::service};

    proptest! {
        /// However many sites there are, and whatever becomes of them in another catalogue, they stay in order, and
        /// what is said of all of them together stays beside them.
        #[test]
        fn any_number_of_sites_is_kept(count in 1..2 * NEAR, kept in 0..2 * NEAR, even: bool, unsettled: bool) {
            let mut before = service(if even { Form::RoundRobin } else { Form::Best }, &vec![1; count]);
            before.sites.iter_mut().for_each(|site| site.addresses = vec![IpAddr::from([192, 0, 2, 1])]);
            let rank = |site: usize| SiteRank { site: site as u16, usable: 1, score: 7.0 };
            let order: Vec<SiteRank> = (0..count).map(rank).collect();
            let ranked = RankedSites::new(&before, &order, Lots::by_form(&before, usable(&order)), unsettled);
            prop_assert_eq!((ranked.sites(), ranked.is_shared(), ranked.is_unsettled()), (&*order, even, unsettled));
            let kept = kept.min(count);
            let sites = before.sites.iter().take(kept).rev().cloned().collect();
            let Some(after) = ranked.renumbered(&before, &Service { sites, ..before.clone() }) else {
                prop_assert_eq!(kept, 0);
                return Ok(());
            };
            let order: Vec<SiteRank> = (0..kept).rev().map(rank).collect();
            prop_assert_eq!((after.sites(), after.is_shared(), after.is_unsettled()), (&*order, even, unsettled));
        }

        /// What is kept for most answers is what would be found for them.
        #[test]
        fn the_first_address_is_the_one_that_is_found(
            sites in prop::collection::vec((prop::collection::vec(any::<bool>(), 0..4), any::<u16>()), 1..2 * NEAR),
        ) {
            let mut service = service(Form::Best, &vec![1; sites.len()]);
            let mut number = 0;
            for (site, (families, _)) in service.sites.iter_mut().zip(&sites) {
                site.addresses = families.iter().map(|ipv4| {
                    number += 1;
                    if *ipv4 { IpAddr::from([192, 0, 2, number]) } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()]) }
                }).collect();
            }
            let usable = |bits: u16, addresses: usize| bits & !(u16::MAX << addresses);
            let order = (0..).zip(&sites).map(|(site, (families, bits))| SiteRank {
                site,
                usable: usable(*bits, families.len()),
                score: f32::from(site),
            });
            let order: Vec<SiteRank> = order.collect();
            let ranked = RankedSites::from_order(&service, &order);
            prop_assert_eq!(ranked.sites(), &order);
            prop_assert_eq!(ranked.all_down(), ranked.sites().iter().all(|site| site.usable == 0));
            for ipv4 in [true, false] {
                let mut found = ArrayVec::new();
                ranked.addresses(&service, ipv4, Turn::default(), &mut found);
                prop_assert!(found.len() <= 1);
                prop_assert_eq!(ranked.first(ipv4), found.first().copied());
            }
        }
    }
}
