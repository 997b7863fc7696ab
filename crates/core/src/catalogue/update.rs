//! What goes from hop to hop when a zone changes: all of it, what changed since a generation that
//! the receiver holds, or that it is gone.
//!
//! Invariant: [`CatalogueDelta::apply`] either yields the very catalogue that the delta was made
//! for, found out by its digest, or nothing at all.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Service, StaticRecord, ZoneCatalogue, ZoneStyle};
use crate::name::Name;

/// The news of one zone.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogueUpdate {
    /// Everything; replaces what was there.
    Snapshot(ZoneCatalogue),
    /// What changed.
    Delta(CatalogueDelta),
    /// The zone is no longer served.
    Withdrawn(Withdrawal),
}

/// A zone that is gone. The generation stays known: only a greater one brings the zone back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The zone.
    pub zone: Name,
    /// Of the origin, as a catalogue's.
    pub generation: u64,
}

/// What changed in one zone between two generations.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueDelta {
    /// The zone.
    pub zone: Name,
    /// The generation that it leads to.
    pub generation: u64,
    /// The generation that it starts from, above 0 and below `generation`.
    pub base: u64,
    /// See [`ZoneCatalogue::soa_serial`].
    pub soa_serial: u32,
    /// See [`ZoneCatalogue::style`].
    pub style: ZoneStyle,
    /// See [`ZoneCatalogue::cname_ttl`].
    pub cname_ttl: u32,
    /// New and changed services, whole.
    pub services: Vec<Service>,
    /// Services that are gone.
    pub removed: Vec<Name>,
    /// All static records, where any of them changed.
    pub records: Option<Vec<StaticRecord>>,
    /// [`ZoneCatalogue::digest`] of what it leads to.
    pub digest: u64,
}

/// Why a [`CatalogueDelta`] does not fit what is held. The receiver asks for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeltaError {
    /// It is of another zone, or starts from another generation.
    #[error("the delta changes generation {base} of {zone}, held is {held}")]
    Base {
        /// The delta's zone.
        zone: Name,
        /// Where it starts.
        base: u64,
        /// What is held.
        held: u64,
    },
    /// It removes what is not there, or what it brings at the same time.
    #[error("the delta of {zone} removes {service}, which is not there or new in it")]
    Removed {
        /// The delta's zone.
        zone: Name,
        /// The service.
        service: Name,
    },
    /// What it yields is not what it was made for, so what is held was another content.
    #[error("generation {generation} of {zone} has another content here than where the delta was made")]
    Digest {
        /// The delta's zone.
        zone: Name,
        /// Where it leads.
        generation: u64,
    },
}

impl CatalogueUpdate {
    /// Which zone.
    pub fn zone(&self) -> &Name {
        match self {
            Self::Snapshot(zone) => &zone.zone,
            Self::Delta(delta) => &delta.zone,
            Self::Withdrawn(gone) => &gone.zone,
        }
    }

    /// The generation that the receiver has afterwards.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Snapshot(zone) => zone.generation,
            Self::Delta(delta) => delta.generation,
            Self::Withdrawn(gone) => gone.generation,
        }
    }
}

impl ZoneCatalogue {
    /// What changed since `old`; both are [normalised](Self::normalised). `None` where there is no
    /// such delta: another zone, a generation that is not older, or none.
    pub fn delta_from(&self, old: &Self) -> Option<CatalogueDelta> {
        if old.zone != self.zone || old.generation == 0 || old.generation >= self.generation {
            return None;
        }
        let before = by_name(&old.services);
        let after = by_name(&self.services);
        let changed = self.services.iter().filter(|s| before.get(&s.name) != Some(s));
        let removed = old.services.iter().map(|s| &s.name).filter(|name| !after.contains_key(name));
        Some(CatalogueDelta {
            zone: self.zone.clone(),
            generation: self.generation,
            base: old.generation,
            soa_serial: self.soa_serial,
            style: self.style,
            cname_ttl: self.cname_ttl,
            services: changed.cloned().collect(),
            removed: removed.cloned().collect(),
            records: (self.records != old.records).then(|| self.records.clone()),
            digest: self.digest(),
        })
    }
}

impl CatalogueDelta {
    /// The catalogue that the delta makes of `held`, [normalised](ZoneCatalogue::normalised).
    ///
    /// # Errors
    /// [`DeltaError`], the first that applies.
    pub fn apply(&self, held: &ZoneCatalogue) -> Result<ZoneCatalogue, DeltaError> {
        if held.zone != self.zone || held.generation != self.base {
            return Err(DeltaError::Base { zone: self.zone.clone(), base: self.base, held: held.generation });
        }
        let mut services = by_name(&held.services);
        for name in &self.removed {
            if services.remove(name).is_none() || self.services.iter().any(|s| s.name == *name) {
                return Err(DeltaError::Removed { zone: self.zone.clone(), service: name.clone() });
            }
        }
        services.extend(by_name(&self.services));
        let catalogue = ZoneCatalogue {
            zone: self.zone.clone(),
            generation: self.generation,
            soa_serial: self.soa_serial,
            style: self.style,
            cname_ttl: self.cname_ttl,
            services: services.into_values().cloned().collect(),
            records: self.records.as_ref().unwrap_or(&held.records).clone(),
        };
        let catalogue = catalogue.normalised();
        if catalogue.digest() != self.digest {
            return Err(DeltaError::Digest { zone: self.zone.clone(), generation: self.generation });
        }
        Ok(catalogue)
    }
}

fn by_name(services: &[Service]) -> BTreeMap<&Name, &Service> {
    services.iter().map(|s| (&s.name, s)).collect()
}
