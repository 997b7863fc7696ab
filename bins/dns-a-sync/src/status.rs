//! What `/api/v1/status` says.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use dglb_core::{catalogue::ZoneStyle, name::Name};
use dglb_node::boot::Boot;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    config::{Config, DelegationMode},
    delegation::Delegations,
    snapshot::{Snapshot, ZoneView},
    uplink::UplinkView,
};

/// Where the status is put together from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// As it is at the moment.
    pub config: watch::Receiver<Arc<Config>>,
    /// What the keeper has.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What became of the delegations.
    pub delegations: watch::Receiver<Delegations>,
    /// This run.
    pub boot: Boot,
}

impl Sources {
    /// The status of now.
    pub fn status(&self) -> Value {
        let config = Arc::clone(&self.config.borrow());
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let delegations = self.delegations.borrow().clone();
        let zones = snapshot.zones.iter().map(|zone| self.zone(&config, zone, &snapshot, &delegations));
        json!({
            "daemon": "dns-a-sync",
            "version": env!("CARGO_PKG_VERSION"),
            "identity": config.identity,
            "boot": self.boot.id.to_string(),
            "uptime_seconds": self.boot.uptime().as_secs(),
            "dns_a": {
                "server": config.dns_a.server,
                "zone": config.dns_a.zone,
                "serial": snapshot.read.map(|(serial, _)| serial),
                "read_seconds_ago": snapshot.read.map(|(_, at)| seconds(at)),
                "problem": snapshot.source_error,
            },
            "state": { "kept_in": config.state_dir, "problem": snapshot.state_error },
            "fleet": { "serial": snapshot.fleet, "disagree": snapshot.disagree },
            "dns_bs_not_dialled": snapshot.not_dialled,
            "zones": zones.collect::<Vec<_>>(),
            "withdrawn": snapshot.leaving.iter().map(|zone| withdrawn(zone, &snapshot)).collect::<Vec<_>>(),
            "dns_bs": snapshot.uplinks.iter().map(uplink).collect::<Vec<_>>(),
        })
    }

    fn zone(&self, config: &Config, view: &ZoneView, snapshot: &Snapshot, delegations: &Delegations) -> Value {
        let style = config.zones.iter().find(|z| z.name == view.name).map(|z| z.style);
        let acknowledged: BTreeMap<_, _> = snapshot
            .uplinks
            .iter()
            .map(|u| (u.identity.to_string(), u.answers.get(&view.name).map_or(0, |a| a.accepted)))
            .collect();
        let refused: BTreeMap<_, _> = snapshot
            .uplinks
            .iter()
            .filter_map(|u| Some((u.identity.to_string(), u.answers.get(&view.name)?.refused.clone()?.1)))
            .collect();
        json!({
            "zone": view.name,
            "style": style.map(|s| if s == ZoneStyle::Host { "host" } else { "sub-zone" }),
            "generation": view.catalogue.as_ref().map(|c| c.generation),
            "changed_seconds_ago": view.changed.map(seconds),
            "problem": view.error,
            "held_back": view.held.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unreadable": view.unreadable,
            "acknowledged": acknowledged,
            "refused": refused,
            "delegation": delegation(config, view, delegations),
            "services": services(view),
        })
    }
}

fn withdrawn((zone, generation): &(Name, Option<u64>), snapshot: &Snapshot) -> Value {
    let acknowledged: BTreeMap<_, _> = snapshot
        .uplinks
        .iter()
        .map(|u| (u.identity.to_string(), u.answers.get(zone).map_or(0, |a| a.accepted)))
        .collect();
    json!({ "zone": zone, "generation": generation, "acknowledged": acknowledged })
}

fn services(view: &ZoneView) -> Vec<Value> {
    let services = view.catalogue.iter().flat_map(|c| &c.services);
    services
        .map(|service| {
            let sites: BTreeMap<_, _> = service.sites.iter().map(|s| (&s.name, &s.addresses)).collect();
            json!({ "service": service.name, "host": service.host, "mode": service.mode, "sites": sites })
        })
        .collect()
}

fn delegation(config: &Config, view: &ZoneView, delegations: &Delegations) -> Value {
    let mode = match config.delegation.mode {
        DelegationMode::Update => "update",
        DelegationMode::Print => "print",
        DelegationMode::Off => return json!({ "mode": "off" }),
    };
    let Some(delegation) = delegations.get(&view.name) else {
        return json!({ "mode": mode, "state": "waiting", "problems": ["no dns-b serves the zone yet"] });
    };
    json!({
        "mode": mode,
        "state": delegation.state.word(),
        "checked_seconds_ago": seconds(delegation.checked),
        "problems": delegation.problems,
        "notes": delegation.notes,
        "to_be_changed": delegation.lines,
    })
}

fn uplink(view: &UplinkView) -> Value {
    json!({
        "identity": view.identity,
        "address": view.address,
        "link": if view.up { "up" } else { "down" },
        "since_seconds": seconds(view.since),
        "fleet_serial": view.fleet_serial,
        "problem": view.error,
    })
}

fn seconds(at: Instant) -> u64 {
    at.elapsed().as_secs()
}
