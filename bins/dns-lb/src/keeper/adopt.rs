//! What dns-bs hand down, and which of it is taken over: the newest, wherever it comes from.

use std::{sync::Arc, time::Instant};

use dglb_core::{catalogue::ZoneCatalogue, fleet::Fleet, identity::Identity, name::Name};
use dglb_node::link::not_dialled;

use super::{Effects, Keeper};
use crate::measurements::Change;

/// Longest reason in a CATALOGUE-ACK, in octets.
const MAX_REASON: usize = 1_000;

impl Keeper {
    /// Takes over the fleet document of a dns-b, if it is newer than what is in use.
    pub(super) fn adopt_fleet(&mut self, server: &Identity, fleet: Fleet, effects: &mut Effects) {
        let fleet = match Fleet::new(fleet) {
            Ok(fleet) => Arc::new(fleet),
            Err(error) => return tracing::warn!(%server, %error, "fleet document refused"),
        };
        if let Some(ours) = self.fleet.as_ref().filter(|ours| ours.serial >= fleet.serial) {
            if *ours != fleet {
                tracing::warn!(%server, theirs = fleet.serial, ours = ours.serial, "fleet documents disagree");
            }
        } else {
            self.use_fleet(Arc::clone(&fleet), effects);
            self.keep_fleet();
        }
        self.fleets.insert(server.clone(), fleet);
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
        self.fleet = Some(fleet);
        effects.answers = true;
    }

    /// Takes over a catalogue, if it is newer than what is in use.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) fn adopt_catalogue(
        &mut self,
        catalogue: ZoneCatalogue,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<(), String> {
        let held = self.catalogues.get(&catalogue.zone);
        let generation = catalogue.generation;
        match held {
            Some(held) if *held == catalogue => return Ok(()),
            Some(held) if held.generation == generation => {
                self.metrics.catalogue_conflicts.inc();
                return Err(format!("generation {generation} is in use with another content"));
            }
            Some(held) if held.generation > generation => {
                return Err(format!("generation {} is in use, which is newer than {generation}", held.generation));
            }
            _ => {}
        }
        self.check_owners(&catalogue)?;
        self.directory.set_zone(catalogue.clone()).map_err(|errors| {
            let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
            cut(reasons.join("; "))
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
        self.catalogues.insert(zone.clone(), catalogue);
        self.keep_zone(&zone);
        self.keep_rankings(&gone);
        (effects.targets, effects.answers) = (true, true);
        self.renew_ceilings(now, effects);
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
