//! What an operator may see: `/api/v1/status`.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Forced, Probe, ProbeKind},
    name::Name,
};
use dglb_probe::{pace::Effective, probe::OUTCOMES, shares::Share};
use serde_json::{Value, json};

use crate::{
    config::Config,
    keeper::Keeper,
    metrics::{Metrics, ProbeLabels},
    uplink::Uplink,
};

/// The document, but for what changes by itself ([`crate::DnsLb`] adds that).
pub(crate) fn status(keeper: &Keeper, uplink: &Uplink, metrics: &Metrics, now: Instant) -> Value {
    let registration = keeper.registration();
    let reports = keeper.reports();
    let targets = keeper.targets_of_addresses();
    let services: serde_json::Map<String, Value> = keeper
        .rankings()
        .map(|(name, ranking)| {
            (name.to_string(), json!({ "ranking": ranking, "probes": paces(keeper, name, &targets) }))
        })
        .collect();
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
        "fleet": {
            "serial": keeper.fleet().map(|f| f.serial),
            "disagree": keeper.fleet_disagrees().collect::<Vec<_>>(),
            "not_dialled": keeper.not_dialled(),
        },
        "catalogues": catalogues,
        "catalogues_behind": behind.collect::<Vec<_>>(),
        "called_down": called_down(keeper),
        "forced": forced(keeper),
        "cut_off": keeper.is_cut_off(),
        "probe_shares": probe_shares(keeper),
        "services": services,
        "probes": probes(metrics),
    })
}

/// The sites that dns-bs call down: this DNS-LB goes by its own probes all the same.
fn called_down(keeper: &Keeper) -> Vec<Value> {
    let site = |(service, site, by)| json!({ "service": service, "site": site, "by": by });
    keeper.called_down().map(|(service, name, by): (&Name, &str, usize)| site((service, name, by))).collect()
}

/// The sites that count as what somebody says, and why.
fn forced(keeper: &Keeper) -> Vec<Value> {
    let of = |(service, site, forced, by): (&Name, &str, &Forced, &str)| {
        let Forced { state, until, reason } = forced;
        json!({ "service": service, "site": site, "state": state, "until": until, "reason": reason, "by": by })
    };
    keeper.forced().map(of).collect()
}

/// Addresses with a ceiling: this DNS-LB's share, and what comes of it between two probes of one kind.
fn probe_shares(keeper: &Keeper) -> Vec<Value> {
    let share = |(address, share, probes): (IpAddr, Share, u32)| {
        let interval = share.interval().map(|interval| interval.saturating_mul(probes).as_millis() as u64);
        json!({ "address": address, "share": share, "least_interval_ms": interval })
    };
    keeper.shares().into_iter().map(share).collect()
}

/// What the probes of a service come to: the longest time from one to the next, and from a failure until
/// no resolver has the site's address any more (bound of the fail-over); null where a share is lacking.
fn paces(keeper: &Keeper, name: &Name, targets: &HashMap<IpAddr, u32>) -> Vec<Value> {
    let service = keeper.catalogues().values().find_map(|zone| zone.service(name));
    let pace = |(probe, effective): (&Probe, Option<Effective>), ttl: u32| {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let failover = effective.map(|e| ms(e.until_down + Duration::from_secs(ttl.into())));
        json!({ "kind": probe.kind.as_str(), "interval_ms": effective.map(|e| ms(e.interval)), "failover_ms": failover })
    };
    service
        .into_iter()
        .flat_map(|s| keeper.effective(s, targets).into_iter().map(move |each| pace(each, s.ttl)))
        .collect()
}

/// `{"http": {"ok": 17, …}, "tcp": {…}, …}`
fn probes(metrics: &Metrics) -> Value {
    let of = |kind: &'static str| {
        let count = |outcome| metrics.probes.get(&ProbeLabels { kind, outcome }).map_or(0, |c| c.get());
        let counts = OUTCOMES.iter().map(|outcome| ((*outcome).to_owned(), count(outcome).into()));
        Value::Object(counts.filter(|(_, count): &(String, Value)| *count != 0).collect())
    };
    ProbeKind::NAMES.iter().map(|kind| ((*kind).to_owned(), of(kind))).collect()
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
        ("[decisions]", before.decisions != after.decisions),
    ];
    keys.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
}
