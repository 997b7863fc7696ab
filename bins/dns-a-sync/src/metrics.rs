//! What is counted, for `/metrics`. Zones and peers come from the configuration, so the number of
//! series is bounded.

use std::sync::atomic::AtomicU64;

use dglb_core::{identity::Identity, name::Name};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::delegation::{Delegations, State};

/// All counters and gauges; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    readings: Family<Outcome, Counter>,
    serial: Gauge<u64, AtomicU64>,
    generation: Family<Zone, Gauge<u64, AtomicU64>>,
    published: Family<Zone, Counter>,
    held: Family<Zone, Gauge<u64, AtomicU64>>,
    unreadable: Family<Zone, Gauge<u64, AtomicU64>>,
    linked: Family<Peer, Gauge<u64, AtomicU64>>,
    fleet_serial: Gauge<u64, AtomicU64>,
    fleet_disagreements: Gauge<u64, AtomicU64>,
    not_dialled: Gauge<u64, AtomicU64>,
    acknowledged: Family<ZonePeer, Gauge<u64, AtomicU64>>,
    refused: Family<ZonePeer, Counter>,
    resyncs: Family<Peer, Counter>,
    updates: Family<Outcome, Counter>,
    delegation: Family<ZoneState, Gauge<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Zone {
    zone: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZonePeer {
    zone: String,
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZoneState {
    zone: String,
    state: &'static str,
}

impl Outcome {
    fn of(good: bool) -> Self {
        Self { outcome: if good { "ok" } else { "failed" } }
    }
}

impl Zone {
    fn of(zone: &Name) -> Self {
        Self { zone: zone.to_string() }
    }
}

impl Peer {
    fn of(peer: &Identity) -> Self {
        Self { peer: peer.to_string() }
    }
}

impl Metrics {
    /// Adds `dglb_sync_…` to a registry.
    pub fn register(&self, registry: &mut Registry) {
        for good in [true, false] {
            // Shown from the start, as 0.
            let _ = self.readings.get_or_create(&Outcome::of(good));
            let _ = self.updates.get_or_create(&Outcome::of(good));
        }
        let sync = registry.sub_registry_with_prefix("dglb_sync");
        sync.register("readings", "Readings of DNS-A by outcome", self.readings.clone());
        sync.register("dns_a_serial", "SOA serial of the enterprise zone at the last reading", self.serial.clone());
        sync.register("generation", "Catalogue generation that is published", self.generation.clone());
        sync.register("publications", "New catalogue generations", self.published.clone());
        sync.register("held_services", "Services that keep old sites by a guard rail", self.held.clone());
        sync.register("unreadable_sites", "Sites whose answer from DNS-A is of no use", self.unreadable.clone());
        sync.register("link_up", "Whether the link to a dns-b is up", self.linked.clone());
        sync.register("fleet_serial", "Serial of the newest fleet document", self.fleet_serial.clone());
        let help = "Connected dns-bs with another fleet document";
        sync.register("fleet_disagreements", help, self.fleet_disagreements.clone());
        let help = "Dns-bs of the fleet document that are not configured";
        sync.register("fleet_not_dialled", help, self.not_dialled.clone());
        let help = "Newest catalogue generation that a dns-b accepted";
        sync.register("acknowledged_generation", help, self.acknowledged.clone());
        sync.register("refusals", "Catalogues that a dns-b refused", self.refused.clone());
        sync.register("resyncs", "Catalogues that a dns-b asked for again", self.resyncs.clone());
        sync.register("dns_updates", "Dynamic updates sent to DNS-A by outcome", self.updates.clone());
        sync.register("delegation_state", "1 for the state that a delegation is in", self.delegation.clone());
    }

    /// A reading ended; its serial, or none.
    pub fn reading(&self, serial: Option<u32>) {
        self.readings.get_or_create(&Outcome::of(serial.is_some())).inc();
        if let Some(serial) = serial {
            self.serial.set(u64::from(serial));
        }
    }

    /// A zone got a new generation.
    pub fn publication(&self, zone: &Name, generation: u64) {
        self.published.get_or_create(&Zone::of(zone)).inc();
        self.generation.get_or_create(&Zone::of(zone)).set(generation);
    }

    /// So many services of a zone keep old sites.
    pub fn held(&self, zone: &Name, services: usize) {
        self.held.get_or_create(&Zone::of(zone)).set(services as u64);
    }

    /// So many sites of a zone cannot be read.
    pub fn unreadable(&self, zone: &Name, sites: usize) {
        self.unreadable.get_or_create(&Zone::of(zone)).set(sites as u64);
    }

    /// A link came up or went down.
    pub fn link(&self, peer: &Identity, up: bool) {
        self.linked.get_or_create(&Peer::of(peer)).set(u64::from(up));
    }

    /// The newest fleet document has this serial, and so many dns-bs have another one.
    pub fn fleet(&self, serial: u32, others: usize) {
        self.fleet_serial.set(u64::from(serial));
        self.fleet_disagreements.set(others as u64);
    }

    /// So many dns-bs of the fleet document are not configured.
    pub fn not_dialled(&self, servers: usize) {
        self.not_dialled.set(servers as u64);
    }

    /// A dns-b accepted a generation.
    pub fn acknowledged(&self, zone: &Name, peer: &Identity, generation: u64) {
        let label = ZonePeer { zone: zone.to_string(), peer: peer.to_string() };
        self.acknowledged.get_or_create(&label).set(generation);
    }

    /// A dns-b refused a catalogue.
    pub fn refused(&self, zone: &Name, peer: &Identity) {
        let label = ZonePeer { zone: zone.to_string(), peer: peer.to_string() };
        self.refused.get_or_create(&label).inc();
    }

    /// A dns-b asked for a catalogue again.
    pub fn resync(&self, peer: &Identity) {
        self.resyncs.get_or_create(&Peer::of(peer)).inc();
    }

    /// An update was sent to DNS-A, and taken or not.
    pub fn update(&self, taken: bool) {
        self.updates.get_or_create(&Outcome::of(taken)).inc();
    }

    /// How many updates DNS-A took.
    pub fn updates_taken(&self) -> u64 {
        self.updates.get_or_create(&Outcome::of(true)).get()
    }

    /// What became of all delegations.
    pub fn delegations(&self, delegations: &Delegations) {
        for (zone, delegation) in delegations {
            for state in [State::InPlace, State::Printed, State::Conflict, State::Failed] {
                let label = ZoneState { zone: zone.to_string(), state: state.word() };
                self.delegation.get_or_create(&label).set(u64::from(state == delegation.state));
            }
        }
    }
}
