//! What dns-bs hand down, and which of it is taken over: the newest, wherever it comes from.

use std::{sync::Arc, time::Instant};

use dglb_core::{
    catalogue::{CatalogueDelta, CatalogueUpdate, DeltaError, Withdrawal, ZoneCatalogue},
    fleet::Fleet,
    identity::Identity,
    name::Name,
    proto::message::{CatalogueAck, FleetStamp, Message, Resync, ZoneGeneration},
};
use dglb_node::link::not_dialled;
use thiserror::Error;

use super::{Effects, Keeper};
use crate::{measurements::Change, metrics::CatalogueLabels};

/// Longest reason in a CATALOGUE-ACK, in octets.
const MAX_REASON: usize = 1_000;
/// Most zones that are remembered to be gone; beyond that the first by name is forgotten, and a dns-b
/// that is behind might bring it back.
const MAX_WITHDRAWN: usize = 10_000;

/// Why the news of a zone is not taken over; nothing has changed then.
#[derive(Debug, Error)]
pub(super) enum NewsError {
    /// For what it is, for people.
    #[error("{0}")]
    Refused(String),
    /// Everything is needed instead.
    #[error(transparent)]
    Base(#[from] DeltaError),
}

impl Keeper {
    /// Takes over the fleet document of a dns-b, if it is newer than what is in use.
    pub(super) fn adopt_fleet(&mut self, server: &Identity, fleet: Fleet, effects: &mut Effects) {
        let fleet = match Fleet::new(fleet) {
            Ok(fleet) => fleet,
            Err(error) => return tracing::warn!(%server, %error, "fleet document refused"),
        };
        let theirs = fleet.stamp();
        if self.fleet.as_ref().is_none_or(|ours| ours.serial < fleet.serial) {
            self.use_fleet(Arc::new(fleet), effects);
            self.keep_fleet();
        } else if theirs != self.stamp {
            tracing::warn!(%server, theirs = theirs.serial, ours = self.stamp.serial, "fleet documents disagree");
        }
        self.fleets.insert(server.clone(), theirs);
    }

    /// Which fleet document is in use; the default where there is none.
    pub fn fleet_stamp(&self) -> FleetStamp {
        self.stamp
    }

    /// The connected dns-bs that hold another one.
    pub fn fleet_disagrees(&self) -> impl Iterator<Item = &Identity> {
        self.fleets.iter().filter(|(_, theirs)| **theirs != self.stamp).map(|(server, _)| server)
    }

    /// From now on this document holds.
    pub(super) fn use_fleet(&mut self, fleet: Arc<Fleet>, effects: &mut Effects) {
        self.directory.set_fleet(Fleet::clone(&fleet));
        // Where the operator states this DNS-LB's addresses, all servers give those as glue.
        let stated = fleet.labels.iter().find(|l| l.identity == self.settings.identity);
        let addresses = stated.map_or_else(|| self.settings.claim.addresses.clone(), |l| l.addresses.clone());
        self.directory.update_lb(self.own, |lb| lb.addresses = addresses);
        let not_dialled: Vec<_> = not_dialled(&fleet, &self.settings.servers).cloned().collect();
        if self.not_dialled != not_dialled && !not_dialled.is_empty() {
            tracing::warn!(servers = ?not_dialled, "the fleet document names dns-bs that are not in [[dns-b]]");
        }
        self.not_dialled = not_dialled;
        self.stamp = fleet.stamp();
        self.fleet = Some(fleet);
        effects.answers = true;
    }

    /// Says of each zone that a dns-b offers what is held of it, so that it brings it up to date; a
    /// zone that is on referral is left alone until somebody asks for it.
    pub(super) fn compare_zones(&self, server: &Identity, offered: &[ZoneGeneration], effects: &mut Effects) {
        for ZoneGeneration { zone, on_referral, .. } in offered {
            let held = self.held(zone);
            if held > 0 || !on_referral {
                let resync = Resync::Catalogue { zone: zone.clone(), held };
                effects.send.push((server.clone(), Message::Resync(resync)));
            }
        }
    }

    /// The generation of a zone that is held, be it that of its withdrawal; 0 for none.
    fn held(&self, zone: &Name) -> u64 {
        let served = self.catalogues.get(zone).map(|held| held.generation);
        served.or_else(|| self.withdrawn.get(zone).copied()).unwrap_or(0)
    }

    /// A dns-b has news of a zone.
    pub(super) fn news(&mut self, server: Identity, update: CatalogueUpdate, now: Instant, effects: &mut Effects) {
        let (zone, generation) = (update.zone().clone(), update.generation());
        let outcome = match update {
            CatalogueUpdate::Snapshot(catalogue) => self.adopt_catalogue(catalogue.normalised(), now, effects),
            CatalogueUpdate::Delta(delta) => self.adopt_delta(&delta, now, effects),
            CatalogueUpdate::Withdrawn(gone) => self.withdraw(gone, effects),
        };
        let held = self.held(&zone);
        if outcome.is_err() && held > generation {
            self.behind.insert((server.clone(), zone.clone()), generation);
        } else {
            self.behind.remove(&(server.clone(), zone.clone()));
        }
        let label = if outcome.is_err() { "refused" } else { "accepted" };
        self.metrics.catalogues.get_or_create(&CatalogueLabels { outcome: label }).inc();
        let refused = match outcome {
            Ok(()) => None,
            Err(NewsError::Refused(reason)) => {
                tracing::warn!(%server, %zone, generation, reason, "catalogue refused");
                Some(reason)
            }
            // Everything, not from what is held: were a delta refused for what it holds, the same
            // would come for ever.
            Err(NewsError::Base(error)) => {
                let resync = Resync::Catalogue { zone: zone.clone(), held: 0 };
                effects.send.push((server.clone(), Message::Resync(resync)));
                Some(error.to_string())
            }
        };
        let ack = (server, Message::CatalogueAck(CatalogueAck { zone, generation, held, refused }));
        match self.kept_number() {
            Some(number) => effects.after.push((number, ack)),
            None => effects.send.push(ack),
        }
    }

    fn adopt_delta(&mut self, delta: &CatalogueDelta, now: Instant, effects: &mut Effects) -> Result<(), NewsError> {
        let generation = delta.generation;
        self.check_age(&delta.zone, generation)?;
        match self.catalogues.get(&delta.zone) {
            // Another dns-b was faster.
            Some(held) if held.generation == generation && held.digest() == delta.digest => Ok(()),
            Some(held) if held.generation == generation => Err(self.conflict(generation)),
            Some(held) => {
                let catalogue = delta.apply(held)?;
                self.adopt_catalogue(catalogue, now, effects)
            }
            None => {
                let (zone, base) = (delta.zone.clone(), delta.base);
                Err(DeltaError::Base { zone, base, held: 0 }.into())
            }
        }
    }

    /// Nothing older than what is held, or than a withdrawal, is taken; nor is anything that a
    /// withdrawal of the same generation took away.
    fn check_age(&self, zone: &Name, generation: u64) -> Result<(), NewsError> {
        if let Some(gone) = self.withdrawn.get(zone).filter(|gone| **gone >= generation) {
            return Err(NewsError::Refused(format!("the zone was withdrawn with generation {gone}")));
        }
        match self.catalogues.get(zone) {
            Some(held) if held.generation > generation => {
                let held = held.generation;
                Err(NewsError::Refused(format!("generation {held} is in use, which is newer than {generation}")))
            }
            _ => Ok(()),
        }
    }

    fn conflict(&self, generation: u64) -> NewsError {
        self.metrics.catalogue_conflicts.inc();
        NewsError::Refused(format!("generation {generation} is in use with another content"))
    }

    /// Serves a zone no longer.
    fn withdraw(&mut self, gone: Withdrawal, effects: &mut Effects) -> Result<(), NewsError> {
        let Withdrawal { zone, generation } = gone;
        if self.withdrawn.get(&zone).is_some_and(|held| *held >= generation) {
            return Ok(());
        }
        self.check_age(&zone, generation)?;
        if self.catalogues.get(&zone).is_some_and(|held| held.generation == generation) {
            return Err(self.conflict(generation));
        }
        if self.withdrawn.len() >= MAX_WITHDRAWN && !self.withdrawn.contains_key(&zone) {
            self.withdrawn.pop_first();
        }
        self.withdrawn.insert(zone.clone(), generation);
        self.keep_zone(&zone);
        let Some(held) = self.catalogues.remove(&zone) else { return Ok(()) };
        tracing::warn!(%zone, generation, "zone withdrawn");
        let services: Vec<Name> = held.services.into_iter().map(|service| service.name).collect();
        services.iter().for_each(|service| self.measurements.forget(service));
        self.directory.remove_zone(&zone);
        self.watch_demand();
        self.keep_rankings(&services);
        (effects.targets, effects.answers) = (true, true);
        self.ranked(Vec::new(), services, effects);
        Ok(())
    }

    /// Takes over a catalogue, if it is newer than what is in use.
    pub(super) fn adopt_catalogue(
        &mut self,
        catalogue: ZoneCatalogue,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<(), NewsError> {
        let generation = catalogue.generation;
        self.check_age(&catalogue.zone, generation)?;
        let held = self.catalogues.get(&catalogue.zone);
        match held {
            Some(held) if *held == catalogue => return Ok(()),
            Some(held) if held.generation == generation => return Err(self.conflict(generation)),
            _ => {}
        }
        self.check_owners(&catalogue).map_err(NewsError::Refused)?;
        self.directory.set_zone(catalogue.clone()).map_err(|errors| {
            let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
            NewsError::Refused(cut(reasons.join("; ")))
        })?;
        let gone: Vec<Name> = held.map_or_else(Vec::new, |held| {
            let names = held.services.iter().map(|s| &s.name);
            names.filter(|name| catalogue.service(name).is_none()).cloned().collect()
        });
        for name in &gone {
            self.measurements.forget(name);
        }
        let watch = |s| self.measurements.watch(s, generation, now);
        let changes: Vec<Change> = catalogue.services.iter().filter_map(watch).collect();
        let zone = catalogue.zone.clone();
        self.withdrawn.remove(&zone);
        self.catalogues.insert(zone.clone(), catalogue);
        self.keep_zone(&zone);
        self.keep_rankings(&gone);
        (effects.targets, effects.answers) = (true, true);
        self.renew_ceilings(now, effects);
        self.watch_demand();
        self.ranked(changes, gone, effects);
        Ok(())
    }

    /// A service belongs to one zone: two of its name would be measured as one.
    fn check_owners(&self, catalogue: &ZoneCatalogue) -> Result<(), String> {
        let others = || self.catalogues.values().filter(|other| other.zone != catalogue.zone);
        let taken = catalogue.services.iter().find_map(|service| {
            others().find(|other| other.service(&service.name).is_some()).map(|other| (service, other))
        });
        match taken {
            Some((service, other)) => Err(format!("service {} is in zone {} already", service.name, other.zone)),
            None => Ok(()),
        }
    }
}

/// `reason`, at most [`MAX_REASON`] octets of it.
fn cut(mut reason: String) -> String {
    if reason.len() > MAX_REASON {
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        reason.push('…');
    }
    reason
}
