//! Every zone by its name: found by the suffix of a question's name, innermost first.

use std::sync::Arc;

use crate::{
    chunked::Chunked,
    dns::qname::QName,
    index::{Index, Seed},
    name::Name,
    zone::ZoneEntry,
};

/// A persistent set of zones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    seed: Seed,
    index: Index,
    list: Chunked<Arc<ZoneEntry>>,
    /// A bit for each number of labels that some zone has: others need not be tried.
    depths: u128,
}

impl Zones {
    /// None yet.
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The innermost zone that a name is in, and how many labels precede the zone in it.
    pub(crate) fn of(&self, name: &QName) -> Option<(&ZoneEntry, usize)> {
        let labels = name.labels();
        // A zone of more labels than the name has cannot hold it; a name has at most 127.
        let mut depths = self.depths & (u128::MAX >> (127 - labels.min(127)));
        while depths != 0 {
            let depth = 127 - depths.leading_zeros() as usize;
            depths &= !(1 << depth);
            if let Some(zone) = self.at(&name[name.start(labels - depth)..]) {
                return Some((self.list.get(zone as usize)?, labels - depth));
            }
        }
        None
    }

    fn at(&self, wire: &[u8]) -> Option<u32> {
        let is = |number: u32| self.list.get(number as usize).is_some_and(|zone| zone.name().wire() == wire);
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
                self.depths |= 1 << zone.name().label_count();
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
