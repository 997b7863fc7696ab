//! Catalogues: from a dns-a-sync that may publish them to every DNS-LB; and the delegation that
//! the dns-bs want in return (claim 4).

use dglb_core::{
    catalogue::ZoneCatalogue,
    identity::Identity,
    proto::message::{CatalogueAck, Delegation, Message, PeerRole, Resync},
};

use super::{Keeper, LinkId};
use crate::config::style_warning;

impl Keeper {
    pub(super) fn catalogue(&mut self, link: LinkId, identity: &Identity, catalogue: &ZoneCatalogue) {
        let (zone, generation) = (catalogue.zone.clone(), catalogue.generation);
        let refused = self.adopt(identity, catalogue).err();
        match &refused {
            Some(reason) => {
                self.figures.catalogues_refused += 1;
                tracing::warn!(dns_a_sync = %identity, %zone, generation, %reason, "catalogue refused");
            }
            None => self.figures.catalogues_adopted += 1,
        }
        let adopted = refused.is_none();
        self.outbox.push((link, Message::CatalogueAck(CatalogueAck { zone: zone.clone(), generation, refused })));
        if adopted {
            self.send_delegations(link);
        }
    }

    /// Takes a catalogue in, or says why not. The same generation again is no news and no mistake.
    fn adopt(&mut self, identity: &Identity, catalogue: &ZoneCatalogue) -> Result<(), String> {
        let zone = catalogue.zone.clone();
        let may = self.peers.get(identity).is_some_and(|p| p.may_publish.contains(&zone));
        if !may {
            return Err(format!("\"{identity}\" may not publish {zone}"));
        }
        if let Some(held) = self.directory.zone(&zone).map(|z| z.catalogue()) {
            if catalogue.generation < held.generation {
                return Err(format!(
                    "generation {} is older than {}, which is held",
                    catalogue.generation, held.generation
                ));
            }
            if catalogue.generation == held.generation {
                return Ok(());
            }
        }
        if let Some(warning) = style_warning(catalogue.style) {
            tracing::warn!(%zone, "{warning}");
        }
        let taken =
            self.lbs.keys().filter_map(|i| self.directory.find_lb(*i)).find(|lb| catalogue.occupies(&lb.identity));
        if let Some(lb) = taken {
            tracing::warn!(%zone, dns_lb = %lb.identity, "a name of the zone hides this DNS-LB's label");
        }
        self.directory
            .set_zone(catalogue.clone())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        tracing::info!(%zone, generation = catalogue.generation, services = catalogue.services.len(), "catalogue adopted");
        self.reapply_rankings(&zone);
        let lbs: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.role == PeerRole::DnsLb).map(|(id, _)| *id).collect();
        for lb in lbs {
            self.outbox.push((lb, Message::Catalogue(Box::new(catalogue.clone()))));
        }
        Ok(())
    }

    /// Everything that there is, to a DNS-LB that has just come.
    pub(super) fn send_catalogues(&mut self, link: LinkId) {
        for zone in self.directory.zones() {
            self.outbox.push((link, Message::Catalogue(Box::new(zone.catalogue().clone()))));
        }
    }

    /// To a dns-a-sync: how those of its zones that are served want to be delegated.
    pub(super) fn send_delegations(&mut self, link: LinkId) {
        let Some(peer) = self.links.get(&link).and_then(|l| self.peers.get(&l.identity)) else { return };
        let served = peer.may_publish.iter().filter(|zone| self.directory.zone(zone).is_some());
        let delegations: Vec<Delegation> = served
            .map(|zone| Delegation {
                zone: zone.clone(),
                ttl: self.fleet.ttl.apex_ns,
                servers: self
                    .fleet
                    .servers
                    .iter()
                    .filter_map(|s| Some((zone.child(s.identity.as_str()).ok()?, s.referral.clone())))
                    .collect(),
            })
            .collect();
        self.outbox.extend(delegations.into_iter().map(|d| (link, Message::Delegation(d))));
    }

    /// A DNS-LB wants a catalogue again.
    pub(super) fn resync(&mut self, link: LinkId, resync: &Resync) {
        if let Resync::Catalogue(zone) = resync
            && let Some(zone) = self.directory.zone(zone)
        {
            self.outbox.push((link, Message::Catalogue(Box::new(zone.catalogue().clone()))));
        }
    }
}
