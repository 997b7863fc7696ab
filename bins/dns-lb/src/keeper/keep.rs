//! What of the keeper's knowledge outlives a restart: catalogues, fleet document and rankings, so that
//! this DNS-LB answers at once when it comes back, with no dns-b in reach.
//!
//! Invariant: a ranking of an earlier run stands only until this one has measured for itself, and is
//! never reported: what the dns-bs hold of the earlier run is as good.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use dglb_core::{
    catalogue::{CatalogueUpdate, Withdrawal, ZoneCatalogue},
    fleet::Fleet,
    name::Name,
    proto::{
        Number,
        message::{Message, Report},
    },
    report::Ranking,
};
use dglb_node::store::{
    Batch, Schema, Store, StoreError, StoreFigures,
    record::{RecordError, body, message},
};

use super::{Effects, Keeper};

/// The file's name in the state directory.
pub const FILE: &str = "dns-lb.redb";
/// Catalogues, by zone in wire form: CATALOGUE.
const ZONES: &str = "zones";
/// The fleet document, under an empty key: FLEET.
const FLEET: &str = "fleet";
/// Rankings, by service in wire form: a REPORT of this one.
const RANKINGS: &str = "rankings";

/// What the file holds.
pub static SCHEMA: Schema = Schema { kind: "dns-lb", format: 1, tables: &[ZONES, FLEET, RANKINGS], upgrades: &[] };

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whether there is a store.
    on: bool,
    /// Of the last change.
    number: u64,
    changed: bool,
    fleet: bool,
    zones: BTreeSet<Name>,
    rankings: BTreeSet<Name>,
}

/// What is in the store.
#[derive(Debug, Default)]
pub struct Restored {
    /// The fleet document in use.
    pub fleet: Option<Fleet>,
    /// Catalogues in use.
    pub zones: Vec<ZoneCatalogue>,
    /// Zones that are gone.
    pub withdrawn: Vec<Withdrawal>,
    /// The last rankings.
    pub rankings: Vec<Ranking>,
}

/// Puts what a record holds where it belongs.
type Take = Box<dyn FnMut(&mut Restored, Message)>;

impl Restored {
    /// Reads everything. A record that is none is passed over, logged and counted.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn read(store: &Store, figures: &StoreFigures) -> Result<Self, StoreError> {
        let mut restored = Self::default();
        let mut each = |table: &'static str, number: Number, mut take: Take| {
            store.read(table, |key, value| {
                match message(number, value) {
                    Ok(message) => take(&mut restored, message),
                    Err(error) => pass_over(table, key, &error, figures),
                }
                true
            })
        };
        each(
            FLEET,
            Number::FLEET,
            Box::new(|all, m| {
                if let Message::Fleet(fleet) = m {
                    all.fleet = Some(*fleet)
                }
            }),
        )?;
        each(
            ZONES,
            Number::CATALOGUE,
            Box::new(|all, m| {
                if let Message::Catalogue(update) = m {
                    match *update {
                        CatalogueUpdate::Snapshot(catalogue) => all.zones.push(catalogue),
                        CatalogueUpdate::Withdrawn(gone) => all.withdrawn.push(gone),
                        CatalogueUpdate::Delta(_) => {}
                    }
                }
            }),
        )?;
        let rankings = |all: &mut Self, m| {
            if let Message::Report(report) = m {
                all.rankings.extend(report.rankings)
            }
        };
        each(RANKINGS, Number::REPORT, Box::new(rankings))?;
        Ok(restored)
    }
}

fn pass_over(table: &str, key: &[u8], error: &RecordError, figures: &StoreFigures) {
    figures.unreadable.inc();
    tracing::error!(table, key = %key.escape_ascii(), %error, "a record of the store is passed over");
}

impl Keeper {
    /// From now on everything is kept.
    pub fn keep(&mut self) {
        self.kept.on = true;
    }

    /// Takes back what was kept.
    pub fn restore(&mut self, restored: Restored, now: Instant) -> Effects {
        let mut effects = Effects::default();
        if let Some(fleet) = restored.fleet {
            match Fleet::new(fleet) {
                Ok(fleet) => self.use_fleet(Arc::new(fleet), &mut effects),
                Err(error) => tracing::error!(%error, "the fleet document that was kept cannot be used"),
            }
        }
        for catalogue in restored.zones {
            let zone = catalogue.zone.clone();
            if let Err(reason) = self.adopt_catalogue(catalogue, now, &mut effects) {
                tracing::error!(%zone, %reason, "the catalogue that was kept cannot be used");
            }
        }
        self.withdrawn.extend(restored.withdrawn.into_iter().map(|gone| (gone.zone, gone.generation)));
        let mut stand_ins = Vec::new();
        for ranking in restored.rankings {
            if self.measurements.restore(&ranking) {
                stand_ins.push(ranking);
            }
        }
        self.answer_with(&stand_ins);
        self.gauge();
        effects
    }

    /// The number that the next [`Keeper::take_writes`] has, at least.
    pub(super) fn kept_number(&self) -> Option<u64> {
        self.kept.on.then_some(self.kept.number)
    }

    /// What has to be written, with the number under which that is acknowledged.
    pub fn take_writes(&mut self) -> Option<(u64, Batch)> {
        if !std::mem::take(&mut self.kept.changed) {
            return None;
        }
        let mut batch = Batch::default();
        if std::mem::take(&mut self.kept.fleet)
            && let Some(fleet) = &self.fleet
        {
            put(&mut batch, FLEET, &[], &Message::Fleet(Box::new(Fleet::clone(fleet))));
        }
        for zone in std::mem::take(&mut self.kept.zones) {
            let gone =
                self.withdrawn.get(&zone).map(|generation| Withdrawal { zone: zone.clone(), generation: *generation });
            let served = self.catalogues.get(&zone).cloned().map(CatalogueUpdate::Snapshot);
            match served.or(gone.map(CatalogueUpdate::Withdrawn)) {
                Some(update) => put(&mut batch, ZONES, zone.wire(), &Message::Catalogue(Box::new(update))),
                None => batch.remove(ZONES, zone.wire()),
            }
        }
        let names = std::mem::take(&mut self.kept.rankings);
        let rankings: BTreeMap<&Name, Option<&Ranking>> = self.measurements.rankings().collect();
        for name in names {
            match rankings.get(&name).copied().flatten() {
                Some(ranking) => {
                    let rankings = vec![ranking.clone()];
                    let report = Report { generation: 1, base: 0, rankings, removed: Vec::new() };
                    put(&mut batch, RANKINGS, name.wire(), &Message::Report(report));
                }
                None => batch.remove(RANKINGS, name.wire()),
            }
        }
        Some((self.kept.number, batch))
    }

    pub(super) fn keep_fleet(&mut self) {
        self.kept.fleet = true;
        self.kept_anew();
    }

    pub(super) fn keep_zone(&mut self, zone: &Name) {
        self.kept.zones.insert(zone.clone());
        self.kept_anew();
    }

    pub(super) fn keep_rankings<'a>(&mut self, services: impl IntoIterator<Item = &'a Name>) {
        let before = self.kept.rankings.len();
        self.kept.rankings.extend(services.into_iter().cloned());
        if self.kept.rankings.len() > before {
            self.kept_anew();
        }
    }

    fn kept_anew(&mut self) {
        if self.kept.on {
            self.kept.changed = true;
            self.kept.number += 1;
        } else {
            // What is not kept is not collected either.
            self.kept = Kept::default();
        }
    }
}

fn put(batch: &mut Batch, table: &'static str, key: &[u8], message: &Message) {
    match message.encode() {
        Ok(encoded) => batch.put(table, key, body(encoded.body())),
        Err(error) => tracing::error!(table, key = %key.escape_ascii(), %error, "a record cannot be kept"),
    }
}
