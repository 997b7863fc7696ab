//! Services that DNS-LBs rank by a newer catalogue than the one that is held here. Some dns-b has that
//! catalogue, and sends clients to those services; until it has come here as well nobody is to hear from
//! here that there is no such name.
//!
//! Invariant: a name is one of these only while a DNS-LB's report has it, by a generation above the one
//! that is served. So whoever makes names up keeps them from being denied, and changes nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dglb_core::{
    directory::{Directory, LbIndex},
    name::Name,
    report::Ranking,
};

use super::Keeper;

/// Most such services that are remembered; of more the names are denied, as they would be without this.
const MOST: usize = 1_000;

/// By service, who ranks it, and by which generation of its zone's catalogue.
#[derive(Debug, Default)]
pub(super) struct Coming {
    services: BTreeMap<Name, HashMap<LbIndex, u64>>,
    /// The directory does not know of the last change.
    changed: bool,
}

impl Coming {
    /// A DNS-LB ranks a service that no catalogue here has.
    pub(super) fn unknown(&mut self, lb: LbIndex, ranking: &Ranking, directory: &Directory) {
        let held = generation_of(directory, &ranking.service);
        let is_ahead = held.is_some_and(|held| ranking.catalogue > held);
        if !is_ahead {
            return self.known(lb, &ranking.service);
        }
        if self.services.len() < MOST || self.services.contains_key(&ranking.service) {
            let ranked = self.services.entry(ranking.service.clone()).or_default();
            self.changed |= ranked.is_empty();
            ranked.insert(lb, ranking.catalogue);
        }
    }

    /// A DNS-LB does not rank such a service, or not any more.
    pub(super) fn known(&mut self, lb: LbIndex, service: &Name) {
        let Some(ranked) = self.services.get_mut(service) else { return };
        ranked.remove(&lb);
        if ranked.is_empty() {
            self.services.remove(service);
            self.changed = true;
        }
    }

    /// Nothing that a DNS-LB says counts any more.
    pub(super) fn silence(&mut self, lb: LbIndex) {
        self.keep(|_, ranked| {
            ranked.remove(&lb);
        });
    }

    /// A zone has another catalogue, or is gone.
    fn adopted(&mut self, zone: &Name, directory: &Directory) {
        let held = directory.zone(zone).map_or(u64::MAX, |zone| zone.catalogue().generation);
        self.keep(|service, ranked| {
            if service.is_within(zone) {
                ranked.retain(|_, generation| *generation > held && !directory.has_service(service));
            }
        });
    }

    fn keep(&mut self, change: impl Fn(&Name, &mut HashMap<LbIndex, u64>)) {
        let before = self.services.len();
        self.services.retain(|service, ranked| {
            change(service, ranked);
            !ranked.is_empty()
        });
        self.changed |= self.services.len() != before;
    }
}

/// The generation of the catalogue of the zone that a name is in.
fn generation_of(directory: &Directory, name: &Name) -> Option<u64> {
    let names = std::iter::successors(Some(name.clone()), Name::parent);
    names.filter_map(|name| directory.zone(&name)).map(|zone| zone.catalogue().generation).next()
}

impl Keeper {
    /// A zone has another catalogue, or is gone: what was to come may have.
    pub(super) fn came(&mut self, zone: &Name) {
        self.coming.adopted(zone, &self.directory);
        self.tell_of_coming();
    }

    /// Brings what has changed into the directory.
    pub(super) fn tell_of_coming(&mut self) {
        if std::mem::take(&mut self.coming.changed) {
            let services: BTreeSet<Name> = self.coming.services.keys().cloned().collect();
            if !services.is_empty() {
                tracing::warn!(count = services.len(), "DNS-LBs rank services of a newer catalogue than the one here");
            }
            self.directory.set_coming(services);
            self.changed = true;
        }
    }
}
