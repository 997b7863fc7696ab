//! Everything that an answer depends on, in one value that readers see whole and unchanged.
//!
//! The writer owns a [`Directory`], changes it, and publishes clones: every part is shared, so a
//! clone costs a few pointers and a change copies only the path to what changed.

mod reading;
mod settings;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    aggregate::Aggregate,
    awaited::Awaited,
    catalogue::{CatalogueError, Service, ZoneCatalogue},
    chunked::Chunked,
    coming::Coming,
    dns::qname::QName,
    fleet::Fleet,
    identity::Identity,
    index::{Index, Seed},
    lbs::Lbs,
    name::Name,
    rankings::Rankings,
    report::Ranking,
    residence::ProveZones,
    table::{MapTable, Member},
    zones::Zones,
};
pub use settings::{FirstQuestion, Settings, ZoneChoice};

pub use crate::{
    lbs::{Census, Lb, LbState},
    ranked::RankedSites,
    table::LbIndex,
    zone::{Node, ZoneEntry},
};

/// Number of a service in one version of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(u32);

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

/// What all DNS-LBs say of one service.
#[derive(Clone, Debug, Default)]
struct Reported {
    rankings: Rankings,
    aggregate: Arc<Aggregate>,
    /// At a DNS-LB, of a service that is probed seldom: is raised when somebody asks for it.
    demand: Option<Arc<AtomicBool>>,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Directory {
    seed: Seed,
    settings: Arc<Settings>,
    fleet: Option<Arc<Fleet>>,
    /// The dns-bs of the fleet document by label.
    servers: Index,
    zones: Zones,
    /// By [`ServiceId`].
    services: Chunked<Reported>,
    lbs: Lbs,
    resolvers: MapTable,
    clients: MapTable,
    default_group: Arc<[Member]>,
    own: Option<LbIndex>,
    /// At a dns-b: which it is, and where it is asked for nonces.
    server: Option<Identity>,
    proofs: Arc<ProveZones>,
    filling: bool,
    awaited: Awaited,
    coming: Coming,
    /// Numbers of services that are gone, to be given out again.
    free: Arc<Vec<ServiceId>>,
}

impl Directory {
    /// Nothing but settings: every question is answered "not ready".
    pub fn new(settings: Settings) -> Self {
        Self::seeded(settings, Seed::default())
    }

    /// The same for a server that anybody may ask.
    pub fn seeded(settings: Settings, seed: Seed) -> Self {
        Self {
            seed,
            settings: Arc::new(settings),
            fleet: None,
            servers: Index::default(),
            zones: Zones::new(seed),
            services: Chunked::default(),
            lbs: Lbs::new(seed),
            resolvers: MapTable::default(),
            clients: MapTable::default(),
            default_group: Arc::default(),
            own: None,
            server: None,
            proofs: Arc::default(),
            filling: false,
            awaited: Awaited::default(),
            coming: Coming::default(),
            free: Arc::default(),
        }
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.zones.change(|zone| {
            let of_zone = settings.of(zone.name());
            (*zone.settings() != of_zone).then(|| zone.clone().with_settings(of_zone))
        });
        self.settings = Arc::new(settings);
    }

    /// Replaces the fleet document.
    pub fn set_fleet(&mut self, fleet: Fleet) {
        self.servers = Index::default();
        for (number, server) in (0..).zip(&fleet.servers) {
            self.servers.insert(self.seed.hash(server.label()), number);
        }
        self.lbs.take_fleet(&fleet);
        self.fleet = Some(Arc::new(fleet));
        self.renew_proofs();
    }

    /// At a dns-b: which of the dns-bs it is. From then on it answers in its zones for proofs.
    pub fn set_server(&mut self, server: Identity) {
        self.server = Some(server);
        self.renew_proofs();
    }

    fn renew_proofs(&mut self) {
        let zones = self.fleet.as_ref().zip(self.server.as_ref()).map(|(fleet, own)| ProveZones::new(fleet, own));
        self.proofs = Arc::new(zones.unwrap_or_default());
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
        // Services are numbered in the order in which they are going to stand.
        let catalogue = catalogue.normalised();
        let old = self.zones.get(&catalogue.zone).cloned();
        let ids: Vec<ServiceId> = catalogue
            .services
            .iter()
            .map(|service| match old.as_ref().and_then(|o| o.id_of(&service.name)) {
                Some(id) => id,
                None => match Arc::make_mut(&mut self.free).pop() {
                    Some(id) => id,
                    None => ServiceId(self.services.push(Reported::default()) as u32),
                },
            })
            .collect();
        let settings = self.settings.of(&catalogue.zone);
        let mut entry = ZoneEntry::new(catalogue, &ids, self.seed).with_settings(settings);
        entry.hide(self.lbs().filter(|(_, lb)| entry.occupies(lb.label())).map(|(index, _)| index).collect::<Vec<_>>());
        let entry = Arc::new(entry);
        self.zones.put(Arc::clone(&entry));
        if let Some(old) = old {
            self.carry_over(&old, &entry);
        }
        Ok(())
    }

    /// Forgets a zone.
    pub fn remove_zone(&mut self, zone: &Name) {
        if let Some(old) = self.zones.remove(zone) {
            old.services().for_each(|(_, id)| self.release(id));
        }
    }

    /// Says which zones are served once their catalogues have come. Names outside of them, and of all
    /// zones that are known, are refused.
    pub fn set_awaited(&mut self, zones: impl IntoIterator<Item = Name>) {
        self.awaited = Awaited::zones(zones, self.seed);
    }

    /// Says which services known zones will have once their next catalogues have come. Questions for them
    /// are not denied.
    pub fn set_coming(&mut self, services: BTreeSet<Name>) {
        self.coming = Coming::services(services);
    }

    /// Says whether any name may be in a zone that is to come, or, as at first, only until there is a zone.
    pub fn set_awaiting_any(&mut self, any: bool) {
        self.awaited = if any { Awaited::Anything } else { Awaited::UntilFirst };
    }

    /// Makes the number of a service that is gone free for others.
    fn release(&mut self, id: ServiceId) {
        self.services.set(id.0 as usize, Reported::default());
        Arc::make_mut(&mut self.free).push(id);
    }

    /// Says whether peers that were here before this server started may still be on their way.
    pub fn set_filling(&mut self, filling: bool) {
        self.filling = filling;
    }

    /// Lets a DNS-LB's rankings count in the aggregate, or no longer. They do from the start.
    pub fn set_counted(&mut self, index: LbIndex, counted: bool) {
        if self.find_lb(index).is_none_or(|lb| lb.counted == counted) {
            return;
        }
        for zone in self.zones.iter() {
            for (service, id) in zone.services() {
                let Some(ranking) = self.services.get(id.0 as usize).and_then(|s| s.rankings.get(index)).cloned()
                else {
                    continue;
                };
                let (old, new) = if counted { (None, Some(&ranking)) } else { (Some(&ranking), None) };
                self.services.change(id.0 as usize, |s| Arc::make_mut(&mut s.aggregate).exchange(service, old, new));
            }
        }
        self.update_lb(index, |lb| lb.counted = counted);
    }

    /// Renumbers the sites in all rankings of a zone's services after a change of its catalogue.
    fn carry_over(&mut self, old: &ZoneEntry, new: &ZoneEntry) {
        for (after, id) in new.services() {
            let (Some(before), Some(held)) = (old.service_of(id), self.services.get(id.0 as usize)) else { continue };
            if before.sites == after.sites {
                continue;
            }
            let rankings = held.rankings.map(|ranking| ranking.renumbered(before, after));
            let mut aggregate = Aggregate::default();
            let counts = |lb: LbIndex| self.find_lb(lb).is_some_and(|lb| lb.counted);
            for (_, ranking) in rankings.iter().filter(|(lb, _)| counts(*lb)) {
                aggregate.exchange(after, None, Some(ranking));
            }
            let (aggregate, demand) = (Arc::new(aggregate), held.demand.clone());
            self.services.set(id.0 as usize, Reported { rankings, aggregate, demand });
        }
        let gone: Vec<ServiceId> = old.services().map(|(_, id)| id).filter(|id| !new.has_id(*id)).collect();
        gone.into_iter().for_each(|id| self.release(id));
    }

    /// The DNS-LB of this identity, made known with `addresses` if it was not.
    pub fn upsert_lb(&mut self, identity: &Identity, addresses: &[IpAddr]) -> LbIndex {
        if let Some(index) = self.lb_of(identity) {
            return index;
        }
        let index = self.lbs.push(Lb::new(identity.clone(), addresses.to_vec()), self.fleet.as_deref());
        self.zones.change(|zone| {
            zone.occupies(identity.wire_label()).then(|| {
                let mut zone = zone.clone();
                zone.hide([index]);
                zone
            })
        });
        index
    }

    /// Changes a DNS-LB. Its identity must stay.
    pub fn update_lb(&mut self, index: LbIndex, change: impl FnOnce(&mut Lb)) {
        self.lbs.change(index, change, self.fleet.as_deref());
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
        if self.find_lb(index).is_some() {
            self.exchange(service, id, index, Some(&ranked));
        }
        Ok(())
    }

    /// At a DNS-LB: this flag is raised whenever the service is answered from its own ranking.
    pub fn set_demand(&mut self, service: &Name, flag: Option<Arc<AtomicBool>>) {
        if let Some((zone, service)) = self.find_service(service) {
            self.services.change(zone.service_id(service).0 as usize, |held| held.demand = flag);
        }
    }

    /// Forgets a DNS-LB's ranking of one service.
    pub fn remove_ranking(&mut self, index: LbIndex, service: &Name) {
        if let Some((zone, service)) = self.find_service(service) {
            let id = zone.service_id(service);
            self.exchange(&zone.catalogue().services[service], id, index, None);
        }
    }

    /// Forgets all rankings of a DNS-LB.
    pub fn remove_rankings(&mut self, index: LbIndex) {
        let zones: Vec<_> = self.zones.iter().cloned().collect();
        for (service, id) in zones.iter().flat_map(|zone| zone.services()) {
            self.exchange(service, id, index, None);
        }
    }

    fn exchange(&mut self, service: &Service, id: ServiceId, index: LbIndex, new: Option<&RankedSites>) {
        if new.is_none() && self.ranking(index, id).is_none() {
            return;
        }
        let counted = self.find_lb(index).is_some_and(|lb| lb.counted);
        self.services.change(id.0 as usize, |held| {
            let old = held.rankings.set(index, new.cloned());
            if counted {
                Arc::make_mut(&mut held.aggregate).exchange(service, old.as_ref(), new);
            }
        });
    }

    /// Whether a zone has a service of this name.
    pub fn has_service(&self, name: &Name) -> bool {
        self.find_service(name).is_some()
    }

    fn find_service(&self, name: &Name) -> Option<(Arc<ZoneEntry>, usize)> {
        let (zone, labels) = self.zones.of(&name.into())?;
        let relative = &name.wire()[..QName::from(name).start(labels)];
        let service = zone.node(relative)?.service()?;
        Some((Arc::clone(self.zones.get(zone.name())?), service))
    }
}
