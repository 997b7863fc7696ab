//! What the keeper knows, for whoever reads it: answers, probes, the status, and gauges.
//!
//! Invariant: nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use dglb_core::{
    catalogue::{Forced, ZoneCatalogue},
    directory::Directory,
    fleet::Fleet,
    identity::Identity,
    name::Name,
    report::Ranking,
};
use dglb_probe::prober::Target;
use prometheus_client::metrics::gauge::Gauge;

use super::Keeper;
use crate::{proof::Proofs, registration::Registration, reports::Reports, self_check::SelfCheck};

impl Keeper {
    /// What answers depend on.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What has to be probed.
    pub fn targets(&self) -> Vec<Target> {
        self.measurements.targets()
    }

    /// Whether there is a fleet document, a catalogue, and a ranking for each service.
    pub fn can_answer(&self) -> bool {
        self.fleet.is_some() && self.measurements.can_answer()
    }

    /// The fleet document in use.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// The catalogues in use, by zone.
    pub fn catalogues(&self) -> &BTreeMap<Name, ZoneCatalogue> {
        &self.catalogues
    }

    /// Zones that are gone, with the generation in which they went.
    pub fn withdrawn(&self) -> &BTreeMap<Name, u64> {
        &self.withdrawn
    }

    /// The dns-bs of the fleet document that are not configured here.
    pub fn not_dialled(&self) -> &[Identity] {
        &self.not_dialled
    }

    /// The generations that connected dns-bs offer of zones of which a newer one is in use.
    pub fn behind(&self) -> impl Iterator<Item = (&Identity, &Name, u64)> {
        self.behind.iter().map(|((server, zone), generation)| (server, zone, *generation))
    }

    /// The rankings of now, by service; `None` for one that is not settled.
    pub fn rankings(&self) -> impl Iterator<Item = (&Name, Option<&Ranking>)> {
        self.measurements.rankings()
    }

    /// Whether this host can reach nothing at all, so that failed probes say nothing of the sites.
    pub fn is_cut_off(&self) -> bool {
        self.measurements.is_cut_off()
    }

    /// Whether a service with this site is measured.
    pub fn has_site(&self, service: &Name, site: &str) -> bool {
        let mut services = self.catalogues.values().filter_map(|zone| zone.service(service));
        services.any(|service| service.sites.iter().any(|held| held.name == site))
    }

    /// The sites of services that count as what somebody says, and who: `operator` or `customer`.
    pub fn forced(&self) -> impl Iterator<Item = (&Name, &str, &Forced, &'static str)> {
        self.measurements.forced()
    }

    /// What the dns-bs know of this DNS-LB's place.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// What the dns-bs know of the sites.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// What the dns-bs have seen of the DNS-ISP.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Whether the ISP's users reach this DNS-LB.
    pub fn self_check(&self) -> &SelfCheck {
        &self.self_check
    }

    /// The dns-bs whose operator drains this DNS-LB.
    pub fn drained_by(&self) -> &BTreeSet<Identity> {
        &self.drained_by
    }

    /// Who this DNS-LB is.
    pub fn identity(&self) -> &Identity {
        &self.settings.identity
    }

    pub(super) fn gauge(&self) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let m = &self.metrics;
        set(&m.map_generation, self.registration.generation());
        set(&m.registered, self.registration.is_ready().into());
        set(&m.fleet_serial, self.fleet.as_ref().map_or(0, |f| f.serial.into()));
        set(&m.fleet_disagreements, self.fleet_disagrees().count() as u64);
        set(&m.fleet_not_dialled, self.not_dialled.len() as u64);
        set(&m.catalogues_behind, self.behind.len() as u64);
        set(&m.isp_addresses_proven, self.proofs.mapped() as u64);
        let (reaching, not_reaching) = self.self_check.counts();
        set(&m.isp_resolvers_reaching, reaching as u64);
        set(&m.isp_resolvers_not_reaching, not_reaching as u64);
        set(&m.services, self.measurements.rankings().count() as u64);
        set(&m.cut_off, self.measurements.is_cut_off().into());
        set(&m.services_ranked, self.measurements.rankings().filter(|(_, r)| r.is_some()).count() as u64);
    }
}
