//! Names that may be in a zone whose catalogue has not come. Whoever asks for one hears that this server
//! is not ready, for to refuse it would say that the delegation is lame.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    dns::qname::QName,
    index::{Index, Seed},
    name::Name,
};

/// Which names those are; they matter only outside of all zones that are known.
#[derive(Clone, Debug, Default)]
pub(crate) enum Awaited {
    /// All, until a zone is known.
    #[default]
    UntilFirst,
    /// All.
    Anything,
    /// Those in these zones.
    Zones(Arc<AwaitedZones>),
}

/// Zones, found by the suffix of a name.
#[derive(Debug)]
pub(crate) struct AwaitedZones {
    seed: Seed,
    index: Index,
    names: Box<[Name]>,
    /// The numbers of labels that they have: others need not be tried.
    depths: BTreeSet<usize>,
}

impl Awaited {
    /// These zones and no others.
    pub(crate) fn zones(zones: impl IntoIterator<Item = Name>, seed: Seed) -> Self {
        let names: BTreeSet<Name> = zones.into_iter().collect();
        let depths = names.iter().map(Name::label_count).collect();
        let mut index = Index::default();
        for (number, name) in (0..).zip(&names) {
            index.insert(seed.hash(name.wire()), number);
        }
        Self::Zones(Arc::new(AwaitedZones { seed, index, names: names.into_iter().collect(), depths }))
    }

    /// Whether a name outside of all known zones may be in one that is to come.
    pub(crate) fn holds(&self, name: &QName, has_zones: bool) -> bool {
        match self {
            Self::UntilFirst => !has_zones,
            Self::Anything => true,
            Self::Zones(zones) => zones.hold(name),
        }
    }
}

impl AwaitedZones {
    fn hold(&self, name: &QName) -> bool {
        let labels = name.labels();
        let is_zone = |wire: &[u8]| {
            let is = |number: u32| self.names.get(number as usize).is_some_and(|zone| zone.wire() == wire);
            self.index.find(self.seed.hash(wire), is).is_some()
        };
        let depths = self.depths.iter().filter(|depth| **depth <= labels);
        depths.into_iter().any(|depth| is_zone(&name[name.start(labels - depth)..]))
    }
}
