//! One zone as answers need it: the catalogue with its names indexed.

use std::{collections::HashMap, ops::Range};

use crate::{
    catalogue::{Mode, Service, StaticRecord, ZoneCatalogue},
    directory::{LbIndex, ServiceId},
    index::{Index, Seed, same},
    name::Name,
    ranked::RankedSites,
};

/// A zone that is served.
#[derive(Clone, Debug)]
pub struct ZoneEntry {
    catalogue: ZoneCatalogue,
    seed: Seed,
    index: Index,
    /// By wire form relative to the zone, without root label; the apex, which is empty, comes first.
    nodes: Box<[(Box<[u8]>, Node)]>,
    /// One for each of the catalogue's services.
    facts: Box<[ServiceFacts]>,
    /// Every service's sites in the customer's order, all taken as up.
    customer_orders: Box<[RankedSites]>,
    /// DNS-LBs that cannot be handed out here, since their label is something else's name.
    hidden: Box<[LbIndex]>,
    settings: ZoneSettings,
}

/// What the operator set for a zone, kept with it so that it costs a question nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZoneSettings {
    /// Whether client subnets count, if they come from who is trusted with them.
    pub(crate) takes_subnets: bool,
    /// Whether a DNS-LB is handed out before it has ranked the service, since it gets the zone only
    /// once it is asked.
    pub(crate) on_referral: bool,
}

/// What every question for a service needs of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceFacts {
    /// Its directory-wide number.
    pub(crate) id: ServiceId,
    /// Seconds that an address may be cached.
    pub(crate) ttl: u32,
    /// The same while it may soon be another address.
    pub(crate) least_ttl: u32,
    /// Who answers.
    pub(crate) mode: Mode,
    /// Whether an answer has one address at most.
    pub(crate) one_answer: bool,
}

impl ServiceFacts {
    fn new(service: &Service, id: ServiceId) -> Self {
        let ttl = service.ttl;
        let least_ttl = service.least_ttl.unwrap_or(ttl).min(ttl);
        Self { id, ttl, least_ttl, mode: service.mode, one_answer: service.answers == 1 }
    }
}

/// What is at a name: a service, static records, or only something further down.
#[derive(Clone, Debug, Default)]
pub struct Node {
    service: Option<usize>,
    records: Range<usize>,
    leads_to_service: bool,
}

impl Node {
    /// Index of the service of this name.
    pub fn service(&self) -> Option<usize> {
        self.service
    }

    /// Whether a service is here or below: such a name exists in label zones, too.
    pub fn leads_to_service(&self) -> bool {
        self.leads_to_service
    }
}

impl ZoneEntry {
    /// Indexes a catalogue that has passed its check and is [normalised](ZoneCatalogue::normalised);
    /// `ids` has one entry for each service.
    pub(crate) fn new(catalogue: ZoneCatalogue, ids: &[ServiceId], seed: Seed) -> Self {
        let mut nodes: Vec<_> = nodes(&catalogue).into_iter().collect();
        nodes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut index = Index::default();
        for (number, (name, _)) in (0..).zip(&nodes) {
            index.insert(seed.hash(name), number);
        }
        let facts = catalogue.services.iter().zip(ids).map(|(s, id)| ServiceFacts::new(s, *id)).collect();
        let customer_orders = catalogue.services.iter().map(RankedSites::customer_order).collect();
        Self {
            catalogue,
            seed,
            index,
            nodes: nodes.into(),
            facts,
            customer_orders,
            hidden: Box::default(),
            settings: ZoneSettings { takes_subnets: true, on_referral: false },
        }
    }

    /// Whether client subnets count in this zone, if they come from who is trusted with them.
    pub fn takes_subnets(&self) -> bool {
        self.settings.takes_subnets
    }

    /// Whether a DNS-LB gets this zone only once somebody asks it for a service of it.
    pub fn is_on_referral(&self) -> bool {
        self.settings.on_referral
    }

    pub(crate) fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    pub(crate) fn with_settings(self, settings: ZoneSettings) -> Self {
        Self { settings, ..self }
    }

    /// The zone's name.
    pub fn name(&self) -> &Name {
        &self.catalogue.zone
    }

    /// As it was published, [normalised](ZoneCatalogue::normalised).
    pub fn catalogue(&self) -> &ZoneCatalogue {
        &self.catalogue
    }

    /// Whether a label in wire form already means something else directly below the zone, so that
    /// no DNS-LB of this name may be handed out in it.
    pub fn occupies(&self, label: &[u8]) -> bool {
        self.node(label).is_some()
    }

    /// What is at a name, given in wire form relative to the zone.
    pub fn node(&self, relative: &[u8]) -> Option<&Node> {
        // The apex is first in the order of names.
        if relative.is_empty() { Some(self.apex()) } else { self.node_of(self.seed.hash(relative), relative) }
    }

    /// The same, with the hash of the name.
    #[inline]
    pub(crate) fn node_of(&self, hash: u32, relative: &[u8]) -> Option<&Node> {
        let is = |number: u32| self.nodes.get(number as usize).is_some_and(|(name, _)| same(name, relative));
        self.index.find(hash, is).map(|number| &self.nodes[number as usize].1)
    }

    /// What is at the zone's own name.
    pub fn apex(&self) -> &Node {
        &self.nodes[0].1
    }

    /// Whether a DNS-LB cannot be handed out here, since its label is something else's name.
    #[inline]
    pub(crate) fn hides(&self, lb: LbIndex) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&lb)
    }

    pub(crate) fn hide(&mut self, lbs: impl IntoIterator<Item = LbIndex>) {
        self.hidden = self.hidden.iter().copied().chain(lbs).collect();
    }

    /// The static records of a type at a node; for ANY those of the first type (RFC 8482).
    #[inline]
    pub fn records(&self, node: &Node, qtype: u16) -> &[StaticRecord] {
        let all = &self.catalogue.records[node.records.clone()];
        let wanted = if qtype == crate::dns::rtype::ANY { all.first().map_or(0, |r| r.rtype) } else { qtype };
        let start = all.partition_point(|r| r.rtype < wanted);
        let end = all.partition_point(|r| r.rtype <= wanted);
        &all[start..end]
    }

    /// The directory-wide number of a service.
    pub fn service_id(&self, service: usize) -> ServiceId {
        self.facts[service].id
    }

    #[inline]
    pub(crate) fn facts(&self, service: usize) -> &ServiceFacts {
        &self.facts[service]
    }

    /// The number of the service of this name.
    pub(crate) fn id_of(&self, name: &Name) -> Option<ServiceId> {
        self.catalogue.services.iter().position(|s| s.name == *name).map(|at| self.facts[at].id)
    }

    /// Whether one of the zone's services has this number.
    pub(crate) fn has_id(&self, id: ServiceId) -> bool {
        self.facts.iter().any(|facts| facts.id == id)
    }

    /// The service of this number.
    pub(crate) fn service_of(&self, id: ServiceId) -> Option<&Service> {
        let at = self.facts.iter().position(|facts| facts.id == id)?;
        self.catalogue.services.get(at)
    }

    /// Every service with its number.
    pub fn services(&self) -> impl Iterator<Item = (&Service, ServiceId)> {
        self.catalogue.services.iter().zip(self.facts.iter().map(|facts| facts.id))
    }

    /// A service's sites in the customer's order.
    pub fn customer_order(&self, service: usize) -> &RankedSites {
        &self.customer_orders[service]
    }
}

/// Everything that a catalogue has names for, by the name relative to the zone.
fn nodes(catalogue: &ZoneCatalogue) -> HashMap<Box<[u8]>, Node> {
    let mut nodes: HashMap<Box<[u8]>, Node> = HashMap::new();
    nodes.entry(Box::default()).or_default();
    let relative = |name: &Name| name.strip(&catalogue.zone).map(<[u8]>::to_vec);
    for (index, service) in catalogue.services.iter().enumerate() {
        let Some(owner) = relative(&service.name) else { continue };
        for name in with_parents(&owner) {
            nodes.entry(name.into()).or_default().leads_to_service = true;
        }
        nodes.entry(owner.into()).or_default().service = Some(index);
    }
    let mut start = 0;
    for run in catalogue.records.chunk_by(|a, b| a.name == b.name) {
        let range = start..start + run.len();
        start = range.end;
        let Some(owner) = relative(&run[0].name) else { continue };
        for name in with_parents(&owner) {
            nodes.entry(name.into()).or_default();
        }
        nodes.entry(owner.into()).or_default().records = range;
    }
    nodes
}

/// A relative name and everything between it and the zone: those names exist, too (RFC 4592
/// section 2.2.2, empty non-terminals).
fn with_parents(relative: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = relative;
    std::iter::from_fn(move || {
        let here = rest;
        let (&length, _) = here.split_first()?;
        rest = &here[1 + usize::from(length)..];
        Some(here)
    })
}
