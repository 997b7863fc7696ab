//! What is asked of a directory: by the answering side for each question, by others now and then. The
//! functions `fetch_…` ask for what others here read soon after, so that a batch of questions waits for memory
//! together.

use std::sync::{Arc, atomic::Ordering};

use super::{Census, Directory, Lb, LbIndex, RankedSites, ServiceId, Settings, ZoneEntry};
use crate::{
    dns::qname::QName,
    fleet::Fleet,
    identity::Identity,
    index::same,
    lbs::LbFacts,
    name::Name,
    residence::{ProveZone, ProveZones},
    table::{MapTable, Member},
};

impl Directory {
    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The fleet document.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Whether any zone is known.
    pub fn has_zones(&self) -> bool {
        !self.zones.is_empty()
    }

    /// Whether a name outside of all zones may be in one whose catalogue has not come.
    pub(crate) fn awaits(&self, name: &QName) -> bool {
        self.awaited.holds(name, self.has_zones())
    }

    /// Whether the name of these labels in front of a zone is a service that is to come.
    #[inline]
    pub(crate) fn is_coming(&self, relative: &[u8], zone: &Name) -> bool {
        self.coming.holds(relative, zone)
    }

    /// Every zone, in no order.
    pub fn zones(&self) -> impl Iterator<Item = &ZoneEntry> {
        self.zones.iter().map(Arc::as_ref)
    }

    /// The zone of this name.
    pub fn zone(&self, name: &Name) -> Option<&ZoneEntry> {
        self.zones.get(name).map(Arc::as_ref)
    }

    /// The innermost zone that a name is in, and how many labels precede the zone in it.
    #[inline]
    pub fn zone_of(&self, name: &QName) -> Option<(&ZoneEntry, usize)> {
        self.zones.of(name)
    }

    /// The zone for proofs of residence that a name is in, and how many labels precede the zone in it.
    pub fn prove_zone_of(&self, name: &QName) -> Option<(&ProveZone, usize)> {
        self.proofs.of(name)
    }

    /// At a dns-b: its zones for proofs of residence.
    pub fn prove_zones(&self) -> &ProveZones {
        &self.proofs
    }

    /// Every DNS-LB ever met.
    pub fn lbs(&self) -> impl Iterator<Item = (LbIndex, &Lb)> {
        self.lbs.iter()
    }

    /// How many DNS-LBs were ever met. Their numbers are those below.
    pub fn lb_count(&self) -> usize {
        self.lbs.len()
    }

    /// How many of them are in which state. Cheap enough to be asked several times a second.
    pub fn census(&self) -> Census {
        self.lbs.census()
    }

    /// A DNS-LB by its number.
    pub fn find_lb(&self, index: LbIndex) -> Option<&Lb> {
        self.lbs.get(index)
    }

    /// A DNS-LB by its identity.
    pub fn lb_of(&self, identity: &Identity) -> Option<LbIndex> {
        self.lbs.of_identity(identity)
    }

    /// What questions need of a DNS-LB.
    #[inline]
    pub(crate) fn facts(&self, index: LbIndex) -> Option<&LbFacts> {
        self.lbs.facts(index)
    }

    /// A DNS-LB by its label in wire form, which has this hash.
    #[inline]
    pub(crate) fn lb_of_label(&self, hash: u32, label: &[u8]) -> Option<LbIndex> {
        self.lbs.of_label(hash, label)
    }

    /// Asks for what [`Directory::lb_of_label`] is going to compare.
    #[inline]
    pub(crate) fn fetch_label(&self, hash: u32) {
        self.lbs.fetch_label(hash);
    }

    /// Asks for what is known of a DNS-LB, and whether it has ranked a service.
    #[inline]
    pub(crate) fn fetch_lb(&self, lb: LbIndex, service: ServiceId) {
        self.lbs.fetch(lb);
        self.fetch_place_of_ranking(lb, service);
    }

    /// Asks for what says where a DNS-LB's ranking of a service is.
    #[inline]
    pub(crate) fn fetch_place_of_ranking(&self, lb: LbIndex, service: ServiceId) {
        if let Some(held) = self.services.get(service.0 as usize) {
            held.rankings.fetch(lb);
        }
    }

    /// The dns-b of a label in wire form, which has this hash.
    #[inline]
    pub(crate) fn server_of_label(&self, hash: u32, label: &[u8]) -> Option<usize> {
        let servers = &self.fleet.as_ref()?.servers;
        let is = |number: u32| servers.get(number as usize).is_some_and(|server| same(server.label(), label));
        self.servers.find(hash, is).map(|number| number as usize)
    }

    /// A hash of a name or a part of one, as all of the directory's indexes want it.
    #[inline]
    pub(crate) fn hash(&self, octets: &[u8]) -> u32 {
        self.seed.hash(octets)
    }

    /// At a DNS-LB: itself.
    pub fn own(&self) -> Option<(LbIndex, &Lb)> {
        let own = self.own?;
        self.find_lb(own).map(|lb| (own, lb))
    }

    /// At a DNS-LB: how many labels of a name precede the first that is its own, if more follow it.
    pub fn own_label(&self, name: &QName) -> Option<usize> {
        let (_, own) = self.own()?;
        let label = |n: usize| &name[name.start(n)..name.start(n + 1)];
        (0..name.labels().saturating_sub(1)).find(|n| label(*n) == own.label())
    }

    /// A DNS-LB's ranking of a service.
    #[inline]
    pub fn ranking(&self, lb: LbIndex, service: ServiceId) -> Option<&RankedSites> {
        self.services.get(service.0 as usize)?.rankings.get(lb)
    }

    /// A DNS-LB's ranking of a service that it is asked for.
    #[inline]
    pub(crate) fn asked_ranking(&self, lb: LbIndex, service: ServiceId) -> Option<&RankedSites> {
        let held = self.services.get(service.0 as usize)?;
        if let Some(demand) = &held.demand
            && !demand.load(Ordering::Relaxed)
        {
            demand.store(true, Ordering::Relaxed);
        }
        held.rankings.get(lb)
    }

    /// Whether a DNS-LB has ranked a service.
    #[inline]
    pub(crate) fn has_ranking(&self, lb: LbIndex, service: ServiceId) -> bool {
        self.services.get(service.0 as usize).is_some_and(|held| held.rankings.has(lb))
    }

    /// All rankings of a service together.
    pub fn aggregate(&self, service: ServiceId) -> Option<&RankedSites> {
        self.services.get(service.0 as usize)?.aggregate.order()
    }

    /// Whether peers that were here before this server started may still be on their way.
    pub fn is_filling(&self) -> bool {
        self.filling
    }

    /// Prefixes by the source address of a question.
    pub fn resolvers(&self) -> &MapTable {
        &self.resolvers
    }

    /// Prefixes by client subnet.
    pub fn clients(&self) -> &MapTable {
        &self.clients
    }

    /// The DNS-LBs that unmapped resolvers get.
    pub fn default_group(&self) -> &[Member] {
        &self.default_group
    }
}
