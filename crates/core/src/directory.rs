//! Everything that an answer depends on, in one value that readers see whole and unchanged.
//!
//! The writer owns a [`Directory`], changes it, and publishes clones: every part is shared, so a
//! clone costs a few pointers and a change copies only the path to what changed.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    aggregate::Aggregate,
    catalogue::{CatalogueError, ZoneCatalogue},
    chunked::Chunked,
    fleet::Fleet,
    identity::Identity,
    name::Name,
    net::Prefix,
    report::Ranking,
    table::{MapTable, Member},
};
pub use crate::{
    ranked::RankedSites,
    table::LbIndex,
    zone::{Node, ZoneEntry},
};

/// Number of a service in one version of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(u32);

/// What the operator sets for answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most seconds for a CNAME that is a guess. Default 60, never more (design section 3).
    pub guess_ttl: u32,
    /// Most seconds for an answer that stands in for a referral. Default 30, never more.
    pub direct_ttl: u32,
    /// Resolvers whose client subnet option counts. Default none.
    pub ecs_from: Vec<Prefix>,
    /// Leading bits that an unmapped IPv4 resolver must share with a mapped one to be taken for
    /// its neighbour; `None`: never.
    pub neighbour_bits_v4: Option<u8>,
    /// The same for IPv6.
    pub neighbour_bits_v6: Option<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { guess_ttl: 60, direct_ttl: 30, ecs_from: Vec::new(), neighbour_bits_v4: None, neighbour_bits_v6: None }
    }
}

/// One DNS-LB.
#[derive(Clone, Debug)]
pub struct Lb {
    /// Also its label.
    pub identity: Identity,
    /// Its DNS addresses.
    pub addresses: Vec<IpAddr>,
    /// As far as this server can tell.
    pub state: LbState,
    /// READY was said and the last checks of its DNS side went well, or it was so before it became
    /// suspect: its name may be given to clients.
    pub handed_out: bool,
    /// The operator wants no new clients sent there.
    pub drained: bool,
    /// Whose rankings stand in for its own, which are too old.
    pub borrows: Option<LbIndex>,
    /// Its rankings are fresh enough to count in the aggregate.
    counted: bool,
    /// By service, sorted.
    rankings: Vec<(ServiceId, Arc<RankedSites>)>,
}

/// Whether a DNS-LB is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LbState {
    /// Link and checks are good.
    Alive,
    /// Link lost or checks failing; its lease still runs.
    Suspect,
    /// Lease over, or never met. The label stays known.
    Gone,
}

impl Lb {
    /// A DNS-LB that was never met.
    pub fn new(identity: Identity, addresses: Vec<IpAddr>) -> Self {
        Self {
            identity,
            addresses,
            state: LbState::Gone,
            handed_out: false,
            drained: false,
            borrows: None,
            counted: true,
            rankings: Vec::new(),
        }
    }

    /// The label in wire form.
    pub fn label(&self) -> &[u8] {
        self.identity.wire_label()
    }

    fn ranking(&self, service: ServiceId) -> Option<&Arc<RankedSites>> {
        let at = self.rankings.binary_search_by_key(&service, |(id, _)| *id).ok()?;
        Some(&self.rankings[at].1)
    }
}

/// Why a ranking was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RankingError {
    /// No zone has the service.
    #[error("the service is in no zone's catalogue")]
    UnknownService,
    /// None of the sites is the service's.
    #[error("the ranking names no site of the service")]
    NoKnownSite,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Directory {
    settings: Arc<Settings>,
    fleet: Option<Arc<Fleet>>,
    zones: Arc<HashMap<Name, Arc<ZoneEntry>>>,
    /// By [`ServiceId`].
    aggregates: Chunked<Aggregate>,
    lbs: Chunked<Lb>,
    labels: Arc<HashMap<Identity, LbIndex>>,
    resolvers: MapTable,
    clients: MapTable,
    default_group: Arc<[Member]>,
    own: Option<LbIndex>,
    filling: bool,
    /// Numbers of services that are gone, to be given out again.
    free: Arc<Vec<ServiceId>>,
}

impl Directory {
    /// Nothing but settings: every question is answered "not ready".
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            fleet: None,
            zones: Arc::default(),
            aggregates: Chunked::default(),
            lbs: Chunked::default(),
            labels: Arc::default(),
            resolvers: MapTable::default(),
            clients: MapTable::default(),
            default_group: Arc::default(),
            own: None,
            filling: false,
            free: Arc::default(),
        }
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
    }

    /// Replaces the fleet document.
    pub fn set_fleet(&mut self, fleet: Fleet) {
        self.fleet = Some(Arc::new(fleet));
    }

    /// Replaces the map tables: everything by source address, and client networks alone.
    pub fn set_tables(&mut self, resolvers: MapTable, clients: MapTable) {
        (self.resolvers, self.clients) = (resolvers, clients);
    }

    /// Replaces the DNS-LBs that unmapped resolvers get.
    pub fn set_default_group(&mut self, members: impl IntoIterator<Item = Member>) {
        self.default_group = members.into_iter().collect();
    }

    /// At a DNS-LB: which of the DNS-LBs it is.
    pub fn set_own(&mut self, own: LbIndex) {
        self.own = Some(own);
    }

    /// Takes a zone in, or its newer catalogue; rankings of its services are carried over.
    ///
    /// # Errors
    /// Every mistake of the catalogue; then nothing has changed.
    pub fn set_zone(&mut self, catalogue: ZoneCatalogue) -> Result<(), Vec<CatalogueError>> {
        let errors = catalogue.check();
        if !errors.is_empty() {
            return Err(errors);
        }
        let old = self.zones.get(&catalogue.zone).cloned();
        let ids: Box<[ServiceId]> = catalogue
            .services
            .iter()
            .map(|service| match old.as_ref().and_then(|o| o.id_of(&service.name)) {
                Some(id) => id,
                None => match Arc::make_mut(&mut self.free).pop() {
                    Some(id) => id,
                    None => ServiceId(self.aggregates.push(Aggregate::default()) as u32),
                },
            })
            .collect();
        let entry = Arc::new(ZoneEntry::new(catalogue, ids));
        Arc::make_mut(&mut self.zones).insert(entry.name().clone(), Arc::clone(&entry));
        if let Some(old) = old {
            self.carry_over(&old, &entry);
        }
        Ok(())
    }

    /// Forgets a zone.
    pub fn remove_zone(&mut self, zone: &Name) {
        if let Some(old) = Arc::make_mut(&mut self.zones).remove(zone) {
            for index in 0..self.lbs.len() {
                self.change_rankings(index, |rankings| rankings.retain(|(id, _)| !old.has_id(*id)));
            }
            old.services().for_each(|(_, id)| self.release(id));
        }
    }

    /// Makes the number of a service that is gone, and that no ranking has any more, free for others.
    fn release(&mut self, id: ServiceId) {
        self.aggregates.set(id.0 as usize, Aggregate::default());
        Arc::make_mut(&mut self.free).push(id);
    }

    /// Says whether peers that were here before this server started may still be on their way.
    pub fn set_filling(&mut self, filling: bool) {
        self.filling = filling;
    }

    /// Lets a DNS-LB's rankings count in the aggregate, or no longer. They do from the start.
    pub fn set_counted(&mut self, index: LbIndex, counted: bool) {
        let Some(lb) = self.find_lb(index).filter(|lb| lb.counted != counted) else { return };
        let rankings = lb.rankings.clone();
        for (id, ranking) in &rankings {
            let zone = self.zones.values().find(|z| z.has_id(*id)).cloned();
            if let (Some(zone), Some(aggregate)) = (zone, self.aggregates.get(id.0 as usize))
                && let Some(service) = zone.service_of(*id)
            {
                let mut aggregate = aggregate.clone();
                let (old, new) = if counted { (None, Some(&**ranking)) } else { (Some(&**ranking), None) };
                aggregate.exchange(service, old, new);
                self.aggregates.set(id.0 as usize, aggregate);
            }
        }
        self.update_lb(index, |lb| lb.counted = counted);
    }

    /// Renumbers the sites in all rankings of a zone's services after a change of its catalogue.
    fn carry_over(&mut self, old: &ZoneEntry, new: &ZoneEntry) {
        for index in 0..self.lbs.len() {
            self.change_rankings(index, |rankings| {
                rankings.retain_mut(|(id, ranking)| match (old.service_of(*id), new.service_of(*id)) {
                    (Some(before), Some(after)) => match ranking.renumbered(before, after) {
                        Some(renumbered) => {
                            *ranking = Arc::new(renumbered);
                            true
                        }
                        None => false,
                    },
                    (Some(_), None) => false,
                    (None, _) => true,
                });
            });
        }
        for (service, id) in new.services() {
            let mut aggregate = Aggregate::default();
            for ranking in self.lbs.iter().filter(|lb| lb.counted).filter_map(|lb| lb.ranking(id)) {
                aggregate.exchange(service, None, Some(ranking));
            }
            self.aggregates.set(id.0 as usize, aggregate);
        }
        let gone: Vec<ServiceId> = old.services().map(|(_, id)| id).filter(|id| !new.has_id(*id)).collect();
        gone.into_iter().for_each(|id| self.release(id));
    }

    fn change_rankings(&mut self, index: usize, change: impl FnOnce(&mut Vec<(ServiceId, Arc<RankedSites>)>)) {
        if let Some(lb) = self.lbs.get(index).filter(|lb| !lb.rankings.is_empty()) {
            let mut lb = lb.clone();
            change(&mut lb.rankings);
            self.lbs.set(index, lb);
        }
    }

    /// The DNS-LB of this identity, made known with `addresses` if it was not.
    pub fn upsert_lb(&mut self, identity: &Identity, addresses: &[IpAddr]) -> LbIndex {
        if let Some(index) = self.labels.get(identity) {
            return *index;
        }
        let index = LbIndex(self.lbs.push(Lb::new(identity.clone(), addresses.to_vec())) as u32);
        Arc::make_mut(&mut self.labels).insert(identity.clone(), index);
        index
    }

    /// Changes a DNS-LB. Its identity must stay.
    pub fn update_lb(&mut self, index: LbIndex, change: impl FnOnce(&mut Lb)) {
        if let Some(lb) = self.find_lb(index) {
            let mut lb = lb.clone();
            change(&mut lb);
            self.lbs.set(index.0 as usize, lb);
        }
    }

    /// Takes a DNS-LB's ranking of one service in.
    ///
    /// # Errors
    /// [`RankingError`]; then nothing has changed.
    pub fn set_ranking(&mut self, index: LbIndex, ranking: &Ranking) -> Result<(), RankingError> {
        let (zone, service) = self.find_service(&ranking.service).ok_or(RankingError::UnknownService)?;
        let id = zone.service_id(service);
        let service = &zone.catalogue().services[service];
        let ranked = RankedSites::resolve(service, ranking).ok_or(RankingError::NoKnownSite)?;
        self.exchange(&zone, id, index, Some(&Arc::new(ranked)));
        Ok(())
    }

    /// Forgets a DNS-LB's ranking of one service.
    pub fn remove_ranking(&mut self, index: LbIndex, service: &Name) {
        if let Some((zone, service)) = self.find_service(service) {
            let id = zone.service_id(service);
            self.exchange(&zone, id, index, None);
        }
    }

    /// Forgets all rankings of a DNS-LB.
    pub fn remove_rankings(&mut self, index: LbIndex) {
        let ids: Vec<ServiceId> =
            self.find_lb(index).map_or(Vec::new(), |lb| lb.rankings.iter().map(|r| r.0).collect());
        let zones: Vec<_> = self.zones.values().cloned().collect();
        for id in ids {
            if let Some(zone) = zones.iter().find(|z| z.has_id(id)) {
                self.exchange(zone, id, index, None);
            }
        }
    }

    fn exchange(&mut self, zone: &ZoneEntry, id: ServiceId, index: LbIndex, new: Option<&Arc<RankedSites>>) {
        let (Some(lb), Some(service)) = (self.find_lb(index), zone.service_of(id)) else {
            return;
        };
        let mut lb = lb.clone();
        let old = match (lb.rankings.binary_search_by_key(&id, |(id, _)| *id), new) {
            (Ok(at), Some(new)) => Some(std::mem::replace(&mut lb.rankings[at].1, Arc::clone(new))),
            (Ok(at), None) => Some(lb.rankings.remove(at).1),
            (Err(at), Some(new)) => {
                lb.rankings.insert(at, (id, Arc::clone(new)));
                None
            }
            (Err(_), None) => return,
        };
        if let Some(aggregate) = self.aggregates.get(id.0 as usize).filter(|_| lb.counted) {
            let mut aggregate = aggregate.clone();
            aggregate.exchange(service, old.as_deref(), new.map(Arc::as_ref));
            self.aggregates.set(id.0 as usize, aggregate);
        }
        self.lbs.set(index.0 as usize, lb);
    }

    /// Whether a zone has a service of this name.
    pub fn has_service(&self, name: &Name) -> bool {
        self.find_service(name).is_some()
    }

    fn find_service(&self, name: &Name) -> Option<(Arc<ZoneEntry>, usize)> {
        let (zone, relative) = self.zone_of(name.wire())?;
        let service = zone.node(relative)?.service()?;
        Some((Arc::clone(self.zones.get(zone.name())?), service))
    }

    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The fleet document.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Whether any zone is known.
    pub fn has_zones(&self) -> bool {
        !self.zones.is_empty()
    }

    /// Every zone, in no order.
    pub fn zones(&self) -> impl Iterator<Item = &ZoneEntry> {
        self.zones.values().map(Arc::as_ref)
    }

    /// The zone of this name.
    pub fn zone(&self, name: &Name) -> Option<&ZoneEntry> {
        self.zones.get(name).map(Arc::as_ref)
    }

    /// The innermost zone that a wire-form name is in, and what precedes the zone in it.
    pub fn zone_of<'n>(&self, name: &'n [u8]) -> Option<(&ZoneEntry, &'n [u8])> {
        let mut at = 0;
        loop {
            if let Some(zone) = self.zones.get(&name[at..]) {
                return Some((zone, &name[..at]));
            }
            match name.get(at) {
                Some(&length @ 1..=63) => at += 1 + usize::from(length),
                _ => return None,
            }
        }
    }

    /// Every DNS-LB ever met.
    pub fn lbs(&self) -> impl Iterator<Item = (LbIndex, &Lb)> {
        self.lbs.iter().enumerate().map(|(i, lb)| (LbIndex(i as u32), lb))
    }

    /// A DNS-LB by its number.
    pub fn find_lb(&self, index: LbIndex) -> Option<&Lb> {
        self.lbs.get(index.0 as usize)
    }

    /// A DNS-LB by its identity.
    pub fn lb_of(&self, identity: &Identity) -> Option<LbIndex> {
        self.labels.get(identity).copied()
    }

    /// A DNS-LB by its label in wire form.
    pub fn lb_by_label(&self, label: &[u8]) -> Option<(LbIndex, &Lb)> {
        let index = *self.labels.get(label)?;
        self.find_lb(index).map(|lb| (index, lb))
    }

    /// At a DNS-LB: itself.
    pub fn own(&self) -> Option<(LbIndex, &Lb)> {
        let own = self.own?;
        self.find_lb(own).map(|lb| (own, lb))
    }

    /// A DNS-LB's ranking of a service.
    pub fn ranking(&self, lb: LbIndex, service: ServiceId) -> Option<&RankedSites> {
        self.find_lb(lb)?.ranking(service).map(Arc::as_ref)
    }

    /// All rankings of a service together.
    pub fn aggregate(&self, service: ServiceId) -> Option<&RankedSites> {
        self.aggregates.get(service.0 as usize)?.order()
    }

    /// Whether peers that were here before this server started may still be on their way.
    pub fn is_filling(&self) -> bool {
        self.filling
    }

    /// Prefixes by the source address of a question.
    pub fn resolvers(&self) -> &MapTable {
        &self.resolvers
    }

    /// Prefixes by client subnet.
    pub fn clients(&self) -> &MapTable {
        &self.clients
    }

    /// The DNS-LBs that unmapped resolvers get.
    pub fn default_group(&self) -> &[Member] {
        &self.default_group
    }
}
