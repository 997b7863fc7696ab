//! One zone as answers need it: the catalogue with its names indexed.

use std::{collections::HashMap, ops::Range};

use crate::{
    catalogue::{Service, StaticRecord, ZoneCatalogue},
    directory::ServiceId,
    name::Name,
    ranked::RankedSites,
};

/// A zone that is served.
#[derive(Debug)]
pub struct ZoneEntry {
    catalogue: ZoneCatalogue,
    /// By wire form relative to the zone, without root label; empty for the apex.
    nodes: HashMap<Box<[u8]>, Node>,
    /// One for each of the catalogue's services.
    ids: Box<[ServiceId]>,
    /// Every service's sites in the customer's order, all taken as up.
    customer_orders: Box<[RankedSites]>,
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
    /// Indexes a catalogue that has passed its check; `ids` has one entry for each service.
    pub(crate) fn new(catalogue: ZoneCatalogue, ids: Box<[ServiceId]>) -> Self {
        let catalogue = catalogue.normalised();
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
        let customer_orders = catalogue.services.iter().map(RankedSites::customer_order).collect();
        Self { catalogue, nodes, ids, customer_orders }
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
        self.nodes.contains_key(label)
    }

    /// What is at a name, given in wire form relative to the zone.
    pub fn node(&self, relative: &[u8]) -> Option<&Node> {
        self.nodes.get(relative)
    }

    /// The static records of a type at a node; for ANY those of the first type (RFC 8482).
    pub fn records(&self, node: &Node, qtype: u16) -> &[StaticRecord] {
        let all = &self.catalogue.records[node.records.clone()];
        let wanted = if qtype == crate::dns::rtype::ANY { all.first().map_or(0, |r| r.rtype) } else { qtype };
        let start = all.partition_point(|r| r.rtype < wanted);
        let end = all.partition_point(|r| r.rtype <= wanted);
        &all[start..end]
    }

    /// The directory-wide number of a service.
    pub fn service_id(&self, service: usize) -> ServiceId {
        self.ids[service]
    }

    /// The number of the service of this name.
    pub(crate) fn id_of(&self, name: &Name) -> Option<ServiceId> {
        self.catalogue.services.iter().position(|s| s.name == *name).map(|at| self.ids[at])
    }

    /// Whether one of the zone's services has this number.
    pub(crate) fn has_id(&self, id: ServiceId) -> bool {
        self.ids.contains(&id)
    }

    /// The service of this number.
    pub(crate) fn service_of(&self, id: ServiceId) -> Option<&Service> {
        let at = self.ids.iter().position(|i| *i == id)?;
        self.catalogue.services.get(at)
    }

    /// Every service with its number.
    pub fn services(&self) -> impl Iterator<Item = (&Service, ServiceId)> {
        self.catalogue.services.iter().zip(self.ids.iter().copied())
    }

    /// A service's sites in the customer's order.
    pub fn customer_order(&self, service: usize) -> &RankedSites {
        &self.customer_orders[service]
    }
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
