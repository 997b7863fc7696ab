//! Counters of the measuring and reporting; those of the DNS side and of the links are
//! `dglb_node`'s.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What a dns-lb counts; clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Probes that ended.
    pub probes: Family<ProbeLabels, Counter>,
    /// Probes whose connection the other side did not end in order.
    pub abnormal_ends: Counter,
    /// Rankings that led to other answers than before.
    pub ranking_changes: Counter,
    /// Catalogues that came, by what became of them.
    pub catalogues: Family<CatalogueLabels, Counter>,
    /// REPORTs sent.
    pub reports_sent: Counter,
    /// REPORT-ACKs that came for them.
    pub reports_acknowledged: Counter,
    /// Generation of the newest MAP.
    pub map_generation: Gauge,
    /// 1 while every dns-b that is reached has acknowledged the newest MAP, else 0.
    pub registered: Gauge,
    /// Serial of the fleet document in use.
    pub fleet_serial: Gauge,
    /// Connected dns-bs that hold another fleet document: an alarm.
    pub fleet_disagreements: Gauge,
    /// Catalogues of one generation that were not equal: an alarm.
    pub catalogue_conflicts: Counter,
    /// Times that dns-bs were asked for a zone, since somebody had asked for a service of it.
    pub wants: Counter,
    /// Dns-bs of the fleet document that are not configured: an alarm.
    pub fleet_not_dialled: Gauge,
    /// Zones that a connected dns-b offers in an older generation than the one in use, once for
    /// each such dns-b: an alarm.
    pub catalogues_behind: Gauge,
    /// VERDICTs heard.
    pub verdicts: Counter,
    /// Times that a majority of them had a site probed at once.
    pub probed_at_once: Counter,
    /// Sites probed before they were due, since somebody asked for what was old.
    pub probed_on_demand: Counter,
    /// What dns-bs asked for and got later, having asked too often.
    pub put_off: Counter,
    /// Addresses that have a ceiling.
    pub ceilings: Gauge,
    /// Those of them that are not probed for want of a share: an alarm if it lasts.
    pub without_share: Gauge,
    /// Challenges of dns-bs, by what became of them.
    pub challenges: Family<OutcomeLabels, Counter>,
    /// Proofs of residence that dns-bs have answered, by how.
    pub proofs: Family<OutcomeLabels, Counter>,
    /// Own questions through the DNS-ISP, by where they arrived.
    pub self_checks: Family<OutcomeLabels, Counter>,
    /// Addresses of the DNS-ISP that a dns-b has mapped by proof.
    pub isp_addresses_proven: Gauge,
    /// Resolvers of the DNS-ISP whose users reach this DNS-LB.
    pub isp_resolvers_reaching: Gauge,
    /// Resolvers of the DNS-ISP whose users do not: an alarm.
    pub isp_resolvers_not_reaching: Gauge,
    /// Times that neither a dns-b nor any site could be reached.
    pub cut_offs: Counter,
    /// 1 while that is so: an alarm.
    pub cut_off: Gauge,
    /// Services in the catalogues.
    pub services: Gauge,
    /// Services that have a ranking.
    pub services_ranked: Gauge,
}

/// Labels of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProbeLabels {
    /// As [`dglb_core::catalogue::ProbeKind::as_str`] has it.
    pub kind: &'static str,
    /// As [`dglb_probe::probe::Outcome::as_str`] has it.
    pub outcome: &'static str,
}

/// Labels of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CatalogueLabels {
    /// `accepted` or `refused`.
    pub outcome: &'static str,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// A word for it.
    pub outcome: &'static str,
}

impl Metrics {
    /// Puts everything into a registry, as `dglb_lb_…`.
    pub fn register(&self, registry: &mut Registry) {
        let lb = registry.sub_registry_with_prefix("dglb_lb");
        lb.register("probes", "Probes that ended, by kind and outcome", self.probes.clone());
        lb.register("catalogues", "Catalogues that came, by outcome", self.catalogues.clone());
        lb.register("challenges", "Challenges of dns-bs, by outcome", self.challenges.clone());
        lb.register("proofs", "Proofs of residence answered by dns-bs, by outcome", self.proofs.clone());
        let help = "Own questions through the ISP's resolvers, by where they arrived";
        lb.register("self_checks", help, self.self_checks.clone());
        let counters = [
            ("abnormal_ends", "Probes whose connection was reset or ended in the middle", &self.abnormal_ends),
            ("ranking_changes", "Rankings that led to other answers", &self.ranking_changes),
            ("reports_sent", "Reports sent to dns-bs", &self.reports_sent),
            ("reports_acknowledged", "Reports acknowledged by dns-bs", &self.reports_acknowledged),
            ("verdicts", "Verdicts on sites heard from dns-bs", &self.verdicts),
            ("probed_at_once", "Sites probed at once by a majority of verdicts", &self.probed_at_once),
            ("probed_on_demand", "Sites probed since somebody asked for old figures", &self.probed_on_demand),
            ("requests_put_off", "Requests of dns-bs that came too soon", &self.put_off),
            ("wants", "Times that dns-bs were asked for a zone that is not known here", &self.wants),
            ("cut_offs", "Times that neither a dns-b nor any site could be reached", &self.cut_offs),
            ("catalogue_conflicts", "Catalogues of one generation that differ", &self.catalogue_conflicts),
        ];
        for (name, help, counter) in counters {
            lb.register(name, help, counter.clone());
        }
        let gauges = [
            ("map_generation", "Generation of the newest map", &self.map_generation),
            ("registered", "Whether every dns-b that is reached knows the newest map", &self.registered),
            ("fleet_serial", "Serial of the fleet document in use", &self.fleet_serial),
            ("fleet_disagreements", "Connected dns-bs with another fleet document", &self.fleet_disagreements),
            ("fleet_not_dialled", "Dns-bs of the fleet document that are not configured", &self.fleet_not_dialled),
            ("catalogues_behind", "Catalogues at dns-bs that are older than those in use", &self.catalogues_behind),
            ("probe_ceilings", "Addresses that have a ceiling of probes", &self.ceilings),
            ("probe_shares_missing", "Addresses that are not probed for want of a share", &self.without_share),
            ("isp_addresses_proven", "Addresses of the ISP's resolvers mapped by proof", &self.isp_addresses_proven),
            ("isp_resolvers_reaching", "Resolvers whose users reach this DNS-LB", &self.isp_resolvers_reaching),
            ("isp_resolvers_not_reaching", "Resolvers whose users do not", &self.isp_resolvers_not_reaching),
            ("cut_off", "Whether neither a dns-b nor any site can be reached", &self.cut_off),
            ("services", "Services in the catalogues", &self.services),
            ("services_ranked", "Services that have a ranking", &self.services_ranked),
        ];
        for (name, help, gauge) in gauges {
            lb.register(name, help, gauge.clone());
        }
    }
}
