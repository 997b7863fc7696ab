//! Every zone by its name: found by the suffix of a question's name, innermost first.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    chunked::Chunked,
    dns::qname::QName,
    index::{Index, Seed, same},
    name::Name,
    zone::ZoneEntry,
};

/// A persistent set of zones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    seed: Seed,
    index: Index,
    list: Chunked<Arc<ZoneEntry>>,
    /// The numbers of labels that zones have, the largest first: others need not be tried.
    depths: Arc<[u8]>,
}

impl Zones {
    /// None yet.
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The innermost zone that a name is in, and how many labels precede the zone in it.
    #[inline]
    pub(crate) fn of(&self, name: &QName) -> Option<(&ZoneEntry, usize)> {
        let labels = name.labels();
        // A zone of more labels than the name has cannot hold it.
        for depth in self.depths.iter().map(|depth| usize::from(*depth)).filter(|depth| *depth <= labels) {
            if let Some(zone) = self.at(&name[name.start(labels - depth)..]) {
                return Some((self.list.get(zone as usize)?, labels - depth));
            }
        }
        None
    }

    #[inline]
    fn at(&self, wire: &[u8]) -> Option<u32> {
        let is = |number: u32| self.list.get(number as usize).is_some_and(|zone| same(zone.name().wire(), wire));
        self.index.find(self.seed.hash(wire), is)
    }

    /// The zone of this name.
    pub(crate) fn get(&self, name: &Name) -> Option<&Arc<ZoneEntry>> {
        self.list.get(self.at(name.wire())? as usize)
    }

    /// Puts a zone in, in place of the one of the same name.
    pub(crate) fn put(&mut self, zone: Arc<ZoneEntry>) {
        let wire = zone.name().wire();
        match self.at(wire) {
            Some(number) => self.list.set(number as usize, zone),
            None => {
                let hash = self.seed.hash(wire);
                // A name has at most 127 labels.
                let depths: BTreeSet<u8> =
                    self.depths.iter().copied().chain([zone.name().label_count() as u8]).collect();
                self.depths = depths.into_iter().rev().collect();
                self.index.insert(hash, self.list.push(zone) as u32);
            }
        }
    }

    /// Takes a zone away, which is rare: the others are put in anew.
    pub(crate) fn remove(&mut self, name: &Name) -> Option<Arc<ZoneEntry>> {
        let removed = Arc::clone(self.get(name)?);
        let old = std::mem::replace(self, Self::new(self.seed));
        old.iter().filter(|zone| zone.name() != name).for_each(|zone| self.put(Arc::clone(zone)));
        Some(removed)
    }

    /// Changes those zones of which `change` makes another value.
    pub(crate) fn change(&mut self, change: impl Fn(&ZoneEntry) -> Option<ZoneEntry>) {
        let changed: Vec<_> = self.iter().filter_map(|zone| change(zone)).collect();
        changed.into_iter().for_each(|zone| self.put(Arc::new(zone)));
    }

    /// Every zone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ZoneEntry>> {
        self.list.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
