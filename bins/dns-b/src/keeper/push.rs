//! Who gets which zone: every DNS-LB every zone, or only those that somebody asked it for (`push`).
//! A DNS-LB always gets the zone in which it is checked, or it could never be handed out.

use dglb_core::{
    catalogue::ZoneCatalogue,
    directory::ZoneEntry,
    dns::qname::QName,
    identity::Identity,
    name::Name,
    proto::message::{CatalogueAck, PeerRole, ZoneGeneration},
};

use super::{Keeper, Link, LinkId, Outgoing, distribution::Distributed};

impl Keeper {
    /// What WELCOME says of zones: to a dns-a-sync of its own, to a DNS-LB of all.
    pub(super) fn offers(&self, identity: &Identity, role: PeerRole) -> Vec<ZoneGeneration> {
        let offer = |zone: &Name, held: &Distributed, on_referral| ZoneGeneration {
            zone: zone.clone(),
            generation: held.generation(),
            on_referral,
        };
        if role != PeerRole::DnsLb {
            let held = |zone: &Name| Some(offer(zone, self.distribution.zone(zone)?, false));
            let own = self.peers.get(identity).into_iter().flat_map(|peer| &peer.may_publish);
            return own.filter_map(held).collect();
        }
        let check_zone = self.check_zone(identity);
        // Of a zone that is gone only those hear who may still have it.
        let offers = self.distribution.zones().map(|(zone, held)| {
            offer(zone, held, held.is_withdrawn() || self.is_on_referral(zone) && check_zone != Some(zone))
        });
        offers.collect()
    }

    fn is_on_referral(&self, zone: &Name) -> bool {
        self.directory.settings().on_referral.contains(zone)
    }

    /// The zone in whose label zone a DNS-LB is checked: the shortest in which its label is not
    /// something else's name.
    fn check_zone(&self, identity: &Identity) -> Option<&Name> {
        if self.directory.settings().on_referral.is_empty() {
            return None;
        }
        let zones = self.directory.zones().filter(|zone| !zone.occupies(identity.wire_label()));
        zones.map(ZoneEntry::name).min_by_key(|name| (name.wire().len(), *name))
    }

    /// Whether a zone goes to the DNS-LB at the end of a link without being asked for.
    fn owes(&self, link: &Link, zone: &Name) -> bool {
        let Some(held) = self.distribution.zone(zone) else { return false };
        link.followed.has(held)
            || !held.is_withdrawn() && (!self.is_on_referral(zone) || self.check_zone(&link.identity) == Some(zone))
    }

    /// Sends the newest of a zone to whom it is owed.
    pub(super) fn push(&mut self, zone: &Name) {
        let owed = |(_, link): &(&LinkId, &Link)| link.role == PeerRole::DnsLb && self.owes(link, zone);
        let owed: Vec<LinkId> = self.links.iter().filter(owed).map(|(id, _)| *id).collect();
        owed.into_iter().for_each(|link| self.bring(link, zone));
    }

    /// Sees to it that every DNS-LB has the zone in which it is checked.
    pub(super) fn push_check_zones(&mut self) {
        let lbs = self.links.iter().filter(|(_, link)| link.role == PeerRole::DnsLb);
        let wanted: Vec<(LinkId, Name)> =
            lbs.filter_map(|(id, link)| Some((*id, self.check_zone(&link.identity)?.clone()))).collect();
        wanted.into_iter().for_each(|(link, zone)| self.bring(link, &zone));
    }

    /// To a DNS-LB whose link is up: what changed since its WELCOME. The rest it asks for.
    pub(super) fn send_news(&mut self, link: LinkId) {
        let Some(peer) = self.links.get_mut(&link) else { return };
        let changed = self.distribution.establish(&mut peer.followed);
        for zone in changed {
            if self.links.get(&link).is_some_and(|peer| self.owes(peer, &zone)) {
                self.bring(link, &zone);
            }
        }
    }

    /// Brings a DNS-LB up to date with a zone, from now on.
    pub(super) fn bring(&mut self, link: LinkId, zone: &Name) {
        let (Some(peer), Some(held)) = (self.links.get_mut(&link), self.distribution.zone(zone)) else { return };
        let sent = peer.followed.bring(held);
        self.figures.catalogues_sent += sent.len() as u64;
        self.outbox.extend(sent.into_iter().map(|encoded| (link, Outgoing::Shared(encoded))));
    }

    /// A DNS-LB says what it holds of a zone, and wants the newest.
    pub(super) fn resync(&mut self, link: LinkId, zone: &Name, held: u64) {
        let (Some(peer), Some(served)) = (self.links.get_mut(&link), self.distribution.zone(zone)) else { return };
        peer.followed.says(served, held);
        self.bring_asked(link, zone);
    }

    /// A DNS-LB was asked for a service that it does not know: it gets the zone that the name lies in.
    pub(super) fn want(&mut self, link: LinkId, service: &Name) {
        self.figures.wants += 1;
        let zone = self.directory.zone_of(&QName::from(service)).map(|(zone, _)| zone.name().clone());
        match zone {
            Some(zone) => self.bring_asked(link, &zone),
            None => self.figures.wants_unknown += 1,
        }
    }

    /// A DNS-LB took a catalogue, or did not.
    pub(super) fn catalogue_ack(&mut self, link: LinkId, identity: &Identity, ack: &CatalogueAck) {
        let CatalogueAck { zone, held, refused, .. } = ack;
        if let (Some(peer), Some(served)) = (self.links.get_mut(&link), self.distribution.zone(zone)) {
            peer.followed.answers(served, *held, refused.is_some());
        }
        if let Some(reason) = refused {
            if self.may_log(link, self.latest) {
                tracing::warn!(dns_lb = %identity, %zone, held, %reason, "catalogue refused");
            }
            self.figures.catalogues_refused_by_lb += 1;
        }
    }

    /// What is served of a zone.
    pub fn catalogue_of(&self, zone: &Name) -> Option<&ZoneCatalogue> {
        self.directory.zone(zone).map(ZoneEntry::catalogue)
    }
}
