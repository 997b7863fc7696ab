//! The keeper's figures as metrics.

use std::sync::PoisonError;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    keeper::{Figures, PROOF_REFUSALS, QUOTAS},
    run::SharedFigures,
};

/// Reads the figures at every scrape.
#[derive(Debug)]
struct KeeperMetrics(SharedFigures);

/// Adds the keeper's figures to a registry.
pub fn register(registry: &mut Registry, figures: SharedFigures) {
    registry.register_collector(Box::new(KeeperMetrics(figures)));
}

impl Collector for KeeperMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in counters(&figures) {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in gauges(&figures) {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let mut states = encoder.encode_descriptor("dglb_dns_lbs", "DNS-LBs by state", None, MetricType::Gauge)?;
        for (state, count) in ["alive", "suspect", "gone"].into_iter().zip(figures.lbs) {
            ConstGauge::new(count as i64).encode(states.encode_family(&[("state", state)])?)?;
        }
        let help = "Proofs of residence refused, by reason";
        let mut refused = encoder.encode_descriptor("dglb_proofs_refused", help, None, MetricType::Counter)?;
        for (reason, count) in PROOF_REFUSALS.into_iter().zip(figures.proofs_refused) {
            ConstCounter::new(count).encode(refused.encode_family(&[("reason", reason)])?)?;
        }
        let help = "What was too much for one peer and not taken in, or put off, by what it was";
        let mut over = encoder.encode_descriptor("dglb_over_quota", help, None, MetricType::Counter)?;
        for (quota, count) in QUOTAS.into_iter().zip(figures.over_quota) {
            ConstCounter::new(count).encode(over.encode_family(&[("quota", quota)])?)?;
        }
        Ok(())
    }
}

type Row = (&'static str, &'static str, u64);

fn counters(f: &Figures) -> [Row; 26] {
    [
        ("dglb_links_refused", "Map links refused for who they were", f.refused_links),
        ("dglb_map_entries_refused", "Map entries refused", f.refused_entries),
        ("dglb_stale_messages", "Messages with an older generation than the one held", f.stale),
        ("dglb_duplicate_identities", "Times that two processes of one identity were found at work", f.duplicates),
        ("dglb_verdicts", "Verdicts of the POPs on sites, for and against", f.verdicts),
        ("dglb_reports", "Reports taken in", f.reports),
        ("dglb_rankings_unknown", "Rankings of services that no zone has", f.unknown_rankings),
        ("dglb_rankings_refused", "Rankings not kept, being too many", f.rankings_refused),
        ("dglb_leases_ended", "Leases that ran out", f.leases_ended),
        ("dglb_checks_passed", "Rounds of checks of DNS-LBs that went well", f.checks_passed),
        ("dglb_checks_failed", "Rounds of checks of DNS-LBs that did not", f.checks_failed),
        ("dglb_catalogues_adopted", "Catalogues taken in, or held already", f.catalogues_adopted),
        ("dglb_catalogues_refused", "Catalogues refused", f.catalogues_refused),
        ("dglb_catalogues_sent", "Catalogues, deltas and withdrawals sent to DNS-LBs", f.catalogues_sent),
        ("dglb_wants", "Names that DNS-LBs were asked for and did not know", f.wants),
        ("dglb_wants_unknown", "Such names in no zone that is served here", f.wants_unknown),
        ("dglb_catalogues_refused_by_dns_lb", "Catalogues that a DNS-LB would not take", f.catalogues_refused_by_lb),
        ("dglb_messages_unexpected", "Messages that have no meaning here", f.unexpected),
        ("dglb_challenges", "Challenges sent to DNS-LBs for proofs of residence", f.nonces.issued),
        ("dglb_challenges_withheld", "Challenges not sent, too many being under way", f.challenges_withheld),
        ("dglb_challenges_unproven", "Challenges that ended without a proof", f.nonces.unproven),
        ("dglb_nonces_given", "Secrets given to who asked for a nonce first", f.nonces.given),
        ("dglb_nonces_asked_again", "Questions for a nonce that somebody else had asked for", f.nonces.later),
        ("dglb_nonces_unknown", "Questions for what is no nonce, or no longer", f.nonces.unknown),
        ("dglb_proofs_accepted", "Proofs of residence that mapped an address, or kept it", f.proofs_accepted),
        ("dglb_proofs_lapsed", "Proven prefixes that were not seen any more", f.proofs_lapsed),
    ]
}

fn gauges(f: &Figures) -> [Row; 9] {
    [
        ("dglb_map_links", "Map links that are up", f.links),
        ("dglb_map_prefixes", "Prefixes mapped", f.prefixes),
        ("dglb_map_prefixes_proven", "Prefixes mapped by proof of residence", f.proven),
        ("dglb_identities_duplicated", "Identities of which two processes are or were lately at work", f.duplicated),
        ("dglb_probe_budgets_starved", "Addresses whose ceiling leaves nothing to a DNS-LB", f.budgets_starved),
        ("dglb_zones", "Zones served", f.zones),
        ("dglb_fleet_newer_at_peers", "Linked peers that hold a newer fleet document", f.fleet_newer),
        ("dglb_fleet_other_at_peers", "Linked peers with another fleet document of this serial", f.fleet_other),
        ("dglb_presumed_own_fault", "1 while so many DNS-LBs fail that nobody is demoted", u64::from(f.own_fault)),
    ]
}
