//! What an operator may see: `/api/v1/status`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    config::Config,
    keeper::Keeper,
    metrics::{Metrics, ProbeLabels},
    probe::OUTCOMES,
    uplink::Uplink,
};

/// The document, but for what changes by itself ([`crate::DnsLb`] adds that).
pub(crate) fn status(keeper: &Keeper, uplink: &Uplink, metrics: &Metrics, now: Instant) -> Value {
    let registration = keeper.registration();
    let reports = keeper.reports();
    let services: serde_json::Map<String, Value> =
        keeper.rankings().map(|(name, ranking)| (name.to_string(), json!({ "ranking": ranking }))).collect();
    let catalogues: serde_json::Map<String, Value> =
        keeper.catalogues().iter().map(|(zone, c)| (zone.to_string(), c.generation.into())).collect();
    let behind = keeper.behind().map(|(server, zone, g)| json!({ "dns_b": server, "zone": zone, "generation": g }));
    json!({
        "daemon": "dns-lb",
        "identity": keeper.identity(),
        "addresses": registration.claim().addresses,
        "isp": {
            "resolvers": registration.claim().resolvers,
            "networks": registration.claim().networks,
        },
        "residence": keeper.proofs().status(now),
        "self_check": keeper.self_check().status(),
        "links": uplink.status(),
        "map": {
            "generation": registration.generation(),
            "ready": registration.is_ready(),
            "dns_bs": registration.servers(),
        },
        "reports": {
            "generation": reports.generation(),
            "dns_bs": reports.servers(),
        },
        "drained_by": keeper.drained_by(),
        "fleet": { "serial": keeper.fleet().map(|f| f.serial), "not_dialled": keeper.not_dialled() },
        "catalogues": catalogues,
        "catalogues_behind": behind.collect::<Vec<_>>(),
        "services": services,
        "probes": probes(metrics),
    })
}

/// `{"http": {"ok": 17, …}, "tcp": {…}}`
fn probes(metrics: &Metrics) -> Value {
    let of = |kind| {
        let count = |outcome| metrics.probes.get(&ProbeLabels { kind, outcome }).map_or(0, |c| c.get());
        let counts = OUTCOMES.iter().map(|outcome| ((*outcome).to_owned(), count(outcome).into()));
        Value::Object(counts.filter(|(_, count): &(String, Value)| *count != 0).collect())
    };
    json!({ "http": of("http"), "tcp": of("tcp") })
}

/// The first of what differs between two configurations and only a restart can change.
pub(crate) fn immutable_change(before: &Config, after: &Config) -> Option<&'static str> {
    let settings = |config: &Config| config.dns.serving.settings.clone();
    let keys = [
        ("identity", before.identity != after.identity),
        ("dns.listen", before.dns.listen != after.dns.listen),
        ("dns.lanes", settings(before).lanes != settings(after).lanes),
        ("dns.rate-limit.table-size", settings(before).rate_table != settings(after).rate_table),
        ("[dns.tcp]", settings(before).tcp != settings(after).tcp),
        ("[dns]", settings(before) != settings(after)),
        ("[[dns-b]]", before.servers != after.servers),
        ("[map]", before.map != after.map),
        ("[probe]", before.probe != after.probe),
        ("[report]", before.report_interval != after.report_interval),
        ("[admin]", before.admin != after.admin),
        ("state-dir", before.state_dir != after.state_dir),
    ];
    keys.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
}
