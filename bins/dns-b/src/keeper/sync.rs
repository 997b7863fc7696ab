//! Catalogues: from a dns-a-sync that may publish them to every DNS-LB; and the delegation that
//! the dns-bs want in return (claim 4).

use std::{cmp::Ordering, collections::HashMap, time::Duration};

use dglb_core::{
    catalogue::{CatalogueError, CatalogueUpdate, Service, Withdrawal, ZoneCatalogue},
    directory::ZoneEntry,
    fleet::FleetServer,
    identity::Identity,
    name::{Name, labels},
    proto::message::{CatalogueAck, Delegation, Message},
};

use super::{Keeper, LinkId, distribution::Distributed};
use crate::config::style_warning;

impl Keeper {
    pub(super) fn catalogue(&mut self, link: LinkId, identity: &Identity, update: CatalogueUpdate) {
        let (zone, generation) = (update.zone().clone(), update.generation());
        let refused = self.adopt(link, identity, update).err();
        match &refused {
            Some(reason) => {
                self.figures.catalogues_refused += 1;
                if self.may_log(link, self.latest) {
                    tracing::warn!(dns_a_sync = %identity, %zone, generation, %reason, "catalogue refused");
                }
            }
            None => self.figures.catalogues_adopted += 1,
        }
        let adopted = refused.is_none();
        let held = self.distribution.zone(&zone).map_or(0, Distributed::generation);
        let ack = CatalogueAck { zone: zone.clone(), generation, held, refused };
        self.send_kept(link, Message::CatalogueAck(ack));
        if adopted {
            self.send_delegations(link, |served| *served == zone);
        }
    }

    /// Takes the news of a zone in, or says why not. The same once more is no news and no mistake.
    fn adopt(&mut self, link: LinkId, identity: &Identity, update: CatalogueUpdate) -> Result<(), String> {
        let zone = update.zone().clone();
        let may = self.peers.get(identity).is_some_and(|p| p.may_publish.contains(&zone));
        if !may {
            return Err(format!("\"{identity}\" may not publish {zone}"));
        }
        let held = self.directory.zone(&zone).map(ZoneEntry::catalogue);
        let catalogue = match update {
            CatalogueUpdate::Withdrawn(gone) => {
                self.withdraw(gone)?;
                self.keep_zone(&zone);
                return Ok(());
            }
            CatalogueUpdate::Snapshot(catalogue) => catalogue.normalised(),
            CatalogueUpdate::Delta(delta) => {
                let held = held.ok_or_else(|| format!("nothing is held of {zone} that a delta could change"))?;
                delta.apply(held).map_err(|error| error.to_string())?
            }
        };
        if held == Some(&catalogue) {
            return Ok(());
        }
        self.check_generation(&zone, catalogue.generation)?;
        self.too_much(link, identity, &catalogue)?;
        self.serve_zone(catalogue)?;
        self.keep_zone(&zone);
        Ok(())
    }

    /// Serves a catalogue, whoever it came from.
    pub(super) fn serve_zone(&mut self, catalogue: ZoneCatalogue) -> Result<(), String> {
        let zone = catalogue.zone.clone();
        self.check_neighbourhood(&catalogue)?;
        if let Some(warning) = style_warning(catalogue.style) {
            tracing::warn!(%zone, "{warning}");
        }
        let tell = |errors: Vec<CatalogueError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let errors = catalogue.check();
        if !errors.is_empty() {
            return Err(tell(errors));
        }
        let held = self.directory.zone(&zone).map(ZoneEntry::catalogue);
        // What cannot be sent on is not served either.
        self.distribution.publish(held, &catalogue).map_err(|error| error.to_string())?;
        let changed = self.with_other_sites(&catalogue);
        self.directory.set_zone(catalogue).map_err(tell)?;
        self.came(&zone);
        self.adopted(&zone);
        self.reapply_rankings(&changed);
        Ok(())
    }

    /// A zone that is no longer served: it leaves the directory at once. Its generation stays known,
    /// so that nothing older brings it back.
    pub(super) fn withdraw(&mut self, gone: Withdrawal) -> Result<(), String> {
        let Withdrawal { zone, generation } = gone;
        if self.distribution.withdrawn(&zone) == Some(generation) {
            return Ok(());
        }
        self.check_generation(&zone, generation)?;
        self.distribution.withdraw(&zone, generation).map_err(|error| error.to_string())?;
        self.directory.remove_zone(&zone);
        self.came(&zone);
        self.await_zones();
        self.changed = true;
        tracing::warn!(%zone, generation, "zone withdrawn");
        self.pass_on(&zone);
        // Somebody may be checked in another zone now, which it has to have.
        self.push_check_zones();
        Ok(())
    }

    /// Generations of one zone strictly increase, withdrawals included.
    fn check_generation(&self, zone: &Name, offered: u64) -> Result<(), String> {
        let Some(held) = self.distribution.zone(zone) else { return Ok(()) };
        let (withdrawn, held) = (held.is_withdrawn(), held.generation());
        match offered.cmp(&held) {
            Ordering::Greater => Ok(()),
            _ if withdrawn => Err(format!("generation {offered} is not above {held}, with which it was withdrawn")),
            Ordering::Less => Err(format!("generation {offered} is older than {held}, which is held")),
            Ordering::Equal => Err(format!("generation {held} is held already with another content")),
        }
    }

    /// The services of a catalogue whose sites are not those that are held; new ones are among them.
    fn with_other_sites(&self, catalogue: &ZoneCatalogue) -> Vec<Name> {
        let held = self.directory.zone(&catalogue.zone).map_or(&[][..], |zone| &zone.catalogue().services);
        let held: HashMap<&Name, &Service> = held.iter().map(|service| (&service.name, service)).collect();
        let other = |new: &&Service| held.get(&new.name).is_none_or(|old| old.sites != new.sites);
        catalogue.services.iter().filter(other).map(|service| service.name.clone()).collect()
    }

    /// What a catalogue alone cannot know: other zones and the dns-bs' own names.
    fn check_neighbourhood(&self, catalogue: &ZoneCatalogue) -> Result<(), String> {
        let zone = &catalogue.zone;
        let others = || self.directory.zones().map(ZoneEntry::name).filter(|other| *other != zone);
        if let Some(other) = others().find(|other| other.is_within(zone) || zone.is_within(other)) {
            // A label of the outer zone would lead into the inner one.
            return Err(format!("{zone} and {other}, which is served already, lie within one another"));
        }
        let mut proofs = self.directory.prove_zones().iter().map(|proofs| &proofs.name);
        if let Some(proofs) = proofs.find(|proofs| proofs.is_within(zone) || zone.is_within(proofs)) {
            // Questions for nonces would be answered from the catalogue.
            return Err(format!(
                "{zone} and {proofs}, in which this dns-b is asked for proofs, lie within one another"
            ));
        }
        let names = catalogue.services.iter().map(|s| &s.name).chain(catalogue.records.iter().map(|r| &r.name));
        let servers = || self.fleet.servers.iter();
        for name in names {
            let first = name.strip(zone).and_then(|relative| labels(relative).last());
            if let Some(server) = first.and_then(|first| servers().find(|s| s.identity.as_str().as_bytes() == first)) {
                return Err(format!("{name} is at or below the name of the dns-b \"{}\"", server.identity));
            }
        }
        Ok(())
    }

    fn adopted(&mut self, zone: &Name) {
        let Some(entry) = self.directory.zone(zone) else { return };
        let (generation, services) = (entry.catalogue().generation, entry.catalogue().services.len());
        tracing::info!(%zone, generation, services, "catalogue adopted");
        // Every CNAME that was ever handed out, and the delegation behind it, may still be cached.
        let cached = u64::from(entry.catalogue().cname_ttl) + u64::from(self.fleet.ttl.label_ns);
        self.tombstone = self.tombstone.max(Duration::from_secs(cached));
        let hidden = self.directory.lbs().find(|(_, lb)| entry.occupies(lb.label()));
        if let Some((_, lb)) = hidden {
            tracing::warn!(%zone, dns_lb = %lb.identity, "a name of the zone hides this DNS-LB's label");
        }
        self.pass_on(zone);
    }

    /// To a dns-a-sync: how those of its zones that are served want to be delegated.
    pub(super) fn send_delegations(&mut self, link: LinkId, which: impl Fn(&Name) -> bool) {
        let Some(peer) = self.links.get(&link).and_then(|l| self.peers.get(&l.identity)) else { return };
        let served = peer.may_publish.iter().filter(|zone| which(zone) && self.directory.zone(zone).is_some());
        let server = |zone: &Name, s: &FleetServer| Some((zone.child(s.identity.as_str()).ok()?, s.referral.clone()));
        let delegations: Vec<Delegation> = served
            .map(|zone| Delegation {
                zone: zone.clone(),
                ttl: self.fleet.ttl.apex_ns,
                servers: self.fleet.servers.iter().filter_map(|s| server(zone, s)).collect(),
            })
            .collect();
        delegations.into_iter().for_each(|d| self.send(link, Message::Delegation(d)));
    }
}
