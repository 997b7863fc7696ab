//! What a DNS-LB has reported, in few octets: with 10 000 DNS-LBs and 100 services there are a million
//! rankings. What all DNS-LBs say alike (a service, its sites' names and addresses) exists once, as
//! an [`Outline`]; a ranking is the outline's numbers.
//!
//! Invariant: what comes out is what went in, but for scores, which keep the 24 bits that answers
//! know (`SiteRank`).

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use dglb_core::{
    name::Name,
    report::{Figures, Health, RankedSite, Ranking},
};

/// Outlines of one service that are shared. More come from peers that make them up; each of those
/// is its ranking's own.
const MOST_SHARED: usize = 8;
/// Services that are remembered at least before those that nobody ranks any more are forgotten.
const LEAST_SWEPT: usize = 1_024;

/// A service with its sites as they are reported.
#[derive(Debug)]
struct Outline {
    service: Name,
    /// By name.
    sites: Box<[Place]>,
}

/// A site with its addresses.
#[derive(Debug)]
struct Place {
    name: Box<str>,
    addresses: Box<[IpAddr]>,
}

/// The outlines that rankings share.
#[derive(Debug, Default)]
pub(super) struct Outlines {
    by_service: HashMap<Name, Vec<Arc<Outline>>>,
    sweep_at: usize,
}

/// A site's place and score, or an address's health and latency.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    /// The bits of the score, NaN where there is none; or microseconds.
    number: u32,
    /// The place among the sites; or the health, and whether there is a latency.
    mark: u16,
}

/// Beside the health in an address's mark: it has a latency.
const MEASURED: u16 = 0x100;

/// One ranking: for each site of the outline its place and score, then its addresses.
#[derive(Debug)]
struct Packed {
    outline: Arc<Outline>,
    catalogue: u64,
    cells: Box<[Cell]>,
    /// What few rankings have.
    sharing: Option<Box<Sharing>>,
}

/// How clients are shared out, and whether that may soon be otherwise.
#[derive(Debug)]
struct Sharing {
    /// Each site's share, best site first.
    shares: Box<[u16]>,
    unsettled: bool,
}

impl Sharing {
    fn of(ranking: &Ranking) -> Option<Box<Self>> {
        let plain = !ranking.unsettled && ranking.sites.iter().all(|site| site.share == 0);
        let shares = || ranking.sites.iter().map(|site| site.share).collect();
        (!plain).then(|| Box::new(Self { shares: shares(), unsettled: ranking.unsettled }))
    }
}

/// The rankings of one DNS-LB by service.
#[derive(Debug, Default)]
pub(super) struct Reported {
    rankings: BTreeSet<Packed>,
    /// Their sites.
    sites: usize,
    /// What they take, about; what is shared counts for each.
    octets: usize,
}

/// What a ranking or a site takes beside its texts and addresses, about.
const OBJECT: usize = 48;

/// The sites of a ranking, and the octets that it takes, about.
pub(super) fn size_of(ranking: &Ranking) -> (usize, usize) {
    let site = |site: &RankedSite| OBJECT + site.site.len() + 25 * site.addresses.len();
    let octets = OBJECT + ranking.service.wire().len() + ranking.sites.iter().map(site).sum::<usize>();
    (ranking.sites.len(), octets)
}

impl Reported {
    /// How many services are ranked.
    pub(super) fn len(&self) -> usize {
        self.rankings.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rankings.is_empty()
    }

    pub(super) fn contains(&self, service: &Name) -> bool {
        self.rankings.contains(service)
    }

    /// The services in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &Name> {
        self.rankings.iter().map(|packed| &packed.outline.service)
    }

    /// Keeps a ranking in the place of an older one.
    pub(super) fn insert(&mut self, outlines: &mut Outlines, ranking: &Ranking) {
        let (outline, places) = outlines.of(ranking);
        let (sites, octets) = size_of(ranking);
        (self.sites, self.octets) = (self.sites + sites, self.octets + octets);
        let before = self.rankings.replace(Packed::new(outline, &places, ranking));
        self.count_off(before.as_ref());
    }

    pub(super) fn remove(&mut self, service: &Name) {
        let before = self.rankings.take(service);
        self.count_off(before.as_ref());
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The sites of all rankings.
    pub(super) fn sites(&self) -> usize {
        self.sites
    }

    /// The octets that all rankings take, about.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// The sites and octets of the ranking of one service.
    pub(super) fn size_of(&self, service: &Name) -> (usize, usize) {
        self.rankings.get(service).map_or((0, 0), Packed::size)
    }

    fn count_off(&mut self, packed: Option<&Packed>) {
        let (sites, octets) = packed.map_or((0, 0), Packed::size);
        (self.sites, self.octets) = (self.sites.saturating_sub(sites), self.octets.saturating_sub(octets));
    }

    /// The ranking of a service.
    pub(super) fn get(&self, service: &Name) -> Option<Ranking> {
        self.rankings.get(service).map(Packed::ranking)
    }

    /// All rankings as they were reported, by service.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ranking> {
        self.rankings.iter().map(Packed::ranking)
    }

    /// The mean difference of two DNS-LBs' latencies to the addresses that both have measured, in
    /// microseconds, over at most `services` that both rank; `None` where there is none.
    pub(super) fn distance(&self, other: &Self, services: usize) -> Option<f64> {
        let (mut sum, mut count) = (0_u64, 0_u32);
        let (mut ours, mut theirs) = (self.rankings.iter().peekable(), other.rankings.iter().peekable());
        let mut left = services;
        while left > 0
            && let (Some(a), Some(b)) = (ours.peek(), theirs.peek())
        {
            match a.cmp(b) {
                Ordering::Less => drop(ours.next()),
                Ordering::Greater => drop(theirs.next()),
                Ordering::Equal => {
                    a.compare(b, |difference| {
                        sum += u64::from(difference);
                        count += 1;
                    });
                    ours.next();
                    theirs.next();
                    left -= 1;
                }
            }
        }
        (count > 0).then(|| sum as f64 / f64::from(count))
    }
}

impl Outlines {
    /// The ranking's outline, and each of its sites' place in the ranking.
    fn of(&mut self, ranking: &Ranking) -> (Arc<Outline>, Vec<u16>) {
        if let Some(known) = self.by_service.get(&ranking.service) {
            let found = known.iter().find_map(|outline| Some((Arc::clone(outline), outline.places(ranking)?)));
            if let Some(found) = found {
                return found;
            }
        }
        let (outline, places) = Outline::new(ranking);
        let outline = Arc::new(outline);
        self.sweep();
        let known = self.by_service.entry(ranking.service.clone()).or_default();
        known.retain(|outline| Arc::strong_count(outline) > 1);
        if known.len() < MOST_SHARED {
            known.push(Arc::clone(&outline));
        }
        (outline, places)
    }

    /// Forgets what nobody uses, once there may be as much of it as of the rest.
    fn sweep(&mut self) {
        if self.by_service.len() < self.sweep_at.max(LEAST_SWEPT) {
            return;
        }
        self.by_service.retain(|_, known| {
            known.retain(|outline| Arc::strong_count(outline) > 1);
            !known.is_empty()
        });
        self.sweep_at = 2 * self.by_service.len();
    }
}

impl Outline {
    /// A ranking's outline, and each of its sites' place in the ranking.
    fn new(ranking: &Ranking) -> (Self, Vec<u16>) {
        let mut places: Vec<u16> = (0..ranking.sites.len()).map(|place| place as u16).collect();
        places.sort_by(|a, b| ranking.sites[usize::from(*a)].site.cmp(&ranking.sites[usize::from(*b)].site));
        let site = |place: &u16| {
            let site = &ranking.sites[usize::from(*place)];
            let addresses = site.addresses.iter().map(|figures| figures.address).collect();
            Place { name: site.site.as_str().into(), addresses }
        };
        let sites = places.iter().map(site).collect();
        (Self { service: ranking.service.clone(), sites }, places)
    }

    /// Each site's place in a ranking, if this is its outline.
    fn places(&self, ranking: &Ranking) -> Option<Vec<u16>> {
        if ranking.sites.len() != self.sites.len() {
            return None;
        }
        let mut places = vec![u16::MAX; self.sites.len()];
        for (place, site) in ranking.sites.iter().enumerate() {
            let at = self.sites.binary_search_by(|place| (*place.name).cmp(&site.site)).ok()?;
            let same = self.sites[at].addresses.iter().eq(site.addresses.iter().map(|figures| &figures.address));
            // A site that is named twice has a place already.
            if !same || places[at] != u16::MAX {
                return None;
            }
            places[at] = place as u16;
        }
        Some(places)
    }
}

impl Packed {
    fn new(outline: Arc<Outline>, places: &[u16], ranking: &Ranking) -> Self {
        let mut cells = Vec::with_capacity(outline.sites.iter().map(|site| 1 + site.addresses.len()).sum());
        for place in places {
            let site = &ranking.sites[usize::from(*place)];
            let score = site.score.map_or(f32::NAN, |score| (score as f32).clamp(f32::MIN, f32::MAX));
            cells.push(Cell { number: score.to_bits(), mark: *place });
            cells.extend(site.addresses.iter().map(|figures| Cell {
                number: figures.latency_us.unwrap_or(0),
                mark: health_mark(figures.health) | if figures.latency_us.is_some() { MEASURED } else { 0 },
            }));
        }
        let sharing = Sharing::of(ranking);
        Self { outline, catalogue: ranking.catalogue, cells: cells.into(), sharing }
    }

    /// The same as [`size_of`] of the ranking.
    fn size(&self) -> (usize, usize) {
        let site = |site: &Place| OBJECT + site.name.len() + 25 * site.addresses.len();
        let Outline { service, sites } = &*self.outline;
        (sites.len(), OBJECT + service.wire().len() + sites.iter().map(site).sum::<usize>())
    }

    /// The ranking as it was reported.
    fn ranking(&self) -> Ranking {
        let mut cells = self.cells.iter();
        let mut sites: Vec<(u16, RankedSite)> = Vec::with_capacity(self.outline.sites.len());
        for Place { name, addresses } in &self.outline.sites {
            let Some(own) = cells.next() else { break };
            let score = Some(f32::from_bits(own.number)).filter(|score| !score.is_nan()).map(f64::from);
            let addresses = addresses.iter().zip(&mut cells).map(|(address, cell)| cell.figures(*address)).collect();
            sites.push((own.mark, RankedSite { site: name.to_string(), score, addresses, share: 0 }));
        }
        sites.sort_by_key(|(place, _)| *place);
        let mut sites: Vec<_> = sites.into_iter().map(|(_, site)| site).collect();
        if let Some(sharing) = &self.sharing {
            sites.iter_mut().zip(&sharing.shares).for_each(|(site, share)| site.share = *share);
        }
        let unsettled = self.sharing.as_ref().is_some_and(|sharing| sharing.unsettled);
        Ranking { service: self.outline.service.clone(), catalogue: self.catalogue, sites, unsettled }
    }

    /// Hands over the differences of latencies to the same addresses.
    fn compare(&self, other: &Self, mut found: impl FnMut(u32)) {
        if Arc::ptr_eq(&self.outline, &other.outline) {
            let mut both = self.cells.iter().zip(&*other.cells);
            for site in &self.outline.sites {
                both.next();
                for (a, b) in both.by_ref().take(site.addresses.len()) {
                    if a.mark & b.mark & MEASURED != 0 {
                        found(a.number.abs_diff(b.number));
                    }
                }
            }
            return;
        }
        let (ours, theirs) = (self.ranking(), other.ranking());
        let figures = |ranking: &Ranking| {
            let all = ranking.sites.iter().flat_map(|site| &site.addresses);
            all.filter_map(|figures| Some((figures.address, figures.latency_us?))).collect::<Vec<_>>()
        };
        let theirs = figures(&theirs);
        for (address, latency) in figures(&ours) {
            if let Some((_, their)) = theirs.iter().find(|(their, _)| *their == address) {
                found(latency.abs_diff(*their));
            }
        }
    }
}

fn health_mark(health: Health) -> u16 {
    match health {
        Health::Up => 0,
        Health::Unknown => 1,
        Health::Down => 2,
        Health::Draining => 3,
    }
}

impl Cell {
    /// What it says of an address.
    fn figures(&self, address: IpAddr) -> Figures {
        let health = match self.mark & !MEASURED {
            0 => Health::Up,
            2 => Health::Down,
            3 => Health::Draining,
            _ => Health::Unknown,
        };
        Figures { address, health, latency_us: (self.mark & MEASURED != 0).then_some(self.number) }
    }
}

// In a set, a ranking is its service.
impl Borrow<Name> for Packed {
    fn borrow(&self) -> &Name {
        &self.outline.service
    }
}

impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.outline, &other.outline) {
            return Ordering::Equal;
        }
        self.outline.service.cmp(&other.outline.service)
    }
}

impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Packed {}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn rankings() -> impl Strategy<Value = Vec<Ranking>> {
        let health = prop_oneof![Just(Health::Up), Just(Health::Unknown), Just(Health::Draining), Just(Health::Down)];
        let figures = (0..3_u8, health, option::of(any::<u32>())).prop_map(|(n, health, latency_us)| Figures {
            address: [203, 0, 113, n].into(),
            health,
            latency_us,
        });
        let share = prop_oneof![3 => Just(0_u16), 1 => 1..1_000_u16];
        let site =
            (0..4_u8, option::of(-1e9_f32..1e9), vec(figures, 0..3), share).prop_map(|(n, score, addresses, share)| {
                RankedSite { site: format!("s{n}"), score: score.map(f64::from), addresses, share }
            });
        let ranking =
            (0..5_u8, any::<u64>(), vec(site, 0..4), any::<bool>()).prop_map(|(n, catalogue, sites, unsettled)| {
                Ranking { service: format!("www{n}.glb.test").parse().unwrap(), catalogue, sites, unsettled }
            });
        vec(ranking, 0..40)
    }

    /// The mean difference by looking at everything.
    fn plain_distance(a: &Reported, b: &Reported) -> Option<f64> {
        let figures = |r: &Ranking| {
            let all = r.sites.iter().flat_map(|s| &s.addresses).filter_map(|f| Some((f.address, f.latency_us?)));
            all.collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        for ours in a.iter() {
            let Some(theirs) = b.get(&ours.service) else { continue };
            let theirs = figures(&theirs);
            for (address, latency) in figures(&ours) {
                let other = theirs.iter().find(|(theirs, _)| *theirs == address);
                all.extend(other.map(|(_, other)| f64::from(latency.abs_diff(*other))));
            }
        }
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(said in rankings()) {
            let (mut outlines, mut kept) = (Outlines::default(), Reported::default());
            let mut oracle = std::collections::BTreeMap::new();
            for ranking in said {
                kept.insert(&mut outlines, &ranking);
                oracle.insert(ranking.service.clone(), ranking);
            }
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), oracle.values().cloned().collect::<Vec<_>>());
            prop_assert!(kept.services().eq(oracle.keys()));
            let sizes: Vec<_> = oracle.values().map(size_of).collect();
            prop_assert_eq!(kept.sites(), sizes.iter().map(|(sites, _)| sites).sum::<usize>());
            prop_assert_eq!(kept.octets(), sizes.iter().map(|(_, octets)| octets).sum::<usize>());
            for (service, ranking) in &oracle {
                prop_assert_eq!(kept.get(service), Some(ranking.clone()));
            }
            if let Some(service) = oracle.keys().next().cloned() {
                kept.remove(&service);
                prop_assert_eq!((kept.contains(&service), kept.len()), (false, oracle.len() - 1));
            }
        }

        #[test]
        fn distances_are_those_of_the_figures(a in rankings(), b in rankings()) {
            let mut outlines = Outlines::default();
            let [a, b] = [a, b].map(|said| {
                let mut kept = Reported::default();
                // An address that stands twice has no one latency.
                let once = said.iter().filter(|r| {
                    let mut addresses: Vec<_> = r.sites.iter().flat_map(|s| &s.addresses).map(|f| f.address).collect();
                    let all = addresses.len();
                    addresses.sort();
                    addresses.dedup();
                    addresses.len() == all
                });
                once.for_each(|ranking| kept.insert(&mut outlines, ranking));
                kept
            });
            let (found, plain) = (a.distance(&b, usize::MAX), plain_distance(&a, &b));
            prop_assert_eq!(found.is_some(), plain.is_some());
            prop_assert!((found.unwrap_or(0.0) - plain.unwrap_or(0.0)).abs() <= plain.unwrap_or(0.0) * 1e-9);
        }
    }

    #[test]
    fn outlines_are_shared_and_forgotten() {
        let ranking = |service: u32, site: u32| Ranking {
            service: format!("www{service}.glb.test").parse().unwrap(),
            catalogue: 1,
            sites: vec![RankedSite { site: format!("s{site}"), score: None, addresses: vec![], share: 0 }],
            unsettled: false,
        };
        let mut outlines = Outlines::default();
        let mut many: Vec<Reported> = (0..100).map(|_| Reported::default()).collect();
        many.iter_mut().for_each(|kept| kept.insert(&mut outlines, &ranking(1, 1)));
        let service = ranking(1, 1).service;
        assert_eq!(outlines.by_service[&service].len(), 1, "what is alike exists once");
        // Somebody makes sites up, and then services.
        (0..100).for_each(|site| many[0].insert(&mut outlines, &ranking(1, site)));
        // Those of the others, the last, and the one before it, which was in use until then.
        assert!(outlines.by_service[&service].len() <= 3, "only what is in use is kept");
        (0..50_000).for_each(|service| {
            many[0].clear();
            many[0].insert(&mut outlines, &ranking(service, 1));
        });
        assert!(outlines.by_service.len() <= 2 * LEAST_SWEPT, "{}", outlines.by_service.len());
        for (at, kept) in many.iter_mut().enumerate() {
            kept.insert(&mut outlines, &ranking(1, at as u32));
        }
        assert!(outlines.by_service[&service].len() <= MOST_SHARED);
        let alone = many[99].get(&service).unwrap();
        assert_eq!(alone.sites[0].site, "s99", "what is not shared is kept all the same");
    }
}
