//! Counters of a daemon's links.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{TlsError, tls::REASONS};

/// Why there was no TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of all links of a daemon; clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct LinkMetrics {
    /// Connections made, by either side.
    pub connections: Counter,
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Connections closed: as many links as allowed are there, or too many handshakes were before it.
    pub turned_away: Counter,
    /// Connections closed at once, or not tried: plain TCP is not allowed with this peer.
    pub plain_refused: Counter,
    /// Connections that ended before the link was up.
    pub handshake_failures: Counter,
    /// Connections without TLS that would do, by the reason.
    tls_failures: Family<Reason, Counter>,
    /// Links that ended since the peer's certificate was revoked.
    pub revoked: Counter,
    /// Links that came up.
    pub established: Counter,
    /// Links that are up.
    pub up: Gauge,
    /// Links closed since the peer broke the protocol.
    pub violations: Counter,
    /// Links closed since the peer fell silent.
    pub timed_out: Counter,
    /// Links closed since the peer did not read.
    pub slow: Counter,
    /// Times that a peer was not read for a while, having said too much.
    pub throttled: Counter,
    /// Links closed since the peer had said too much for too long.
    pub over_quota: Counter,
    /// Messages of the daemon that were not sent: not allowed to be said, or too large.
    pub unsendable: Counter,
    /// Frames received.
    pub frames_in: Counter,
    /// Frames sent.
    pub frames_out: Counter,
    /// Octets received.
    pub octets_in: Counter,
    /// Octets sent.
    pub octets_out: Counter,
    /// Messages of unknown numbers, skipped.
    pub unknown_messages: Counter,
    /// Unknown fields, skipped.
    pub unknown_fields: Counter,
}

impl LinkMetrics {
    /// Connections that had no TLS that would do for this reason (see [`TlsError::reason`]).
    pub fn tls_failures(&self, reason: &'static str) -> u64 {
        self.tls_failures.get(&Reason { reason }).map_or(0, |count| count.get())
    }

    /// Counts a connection that has no TLS that would do.
    pub(super) fn tls_failed(&self, error: &TlsError) {
        self.tls_failures.get_or_create(&Reason { reason: error.reason() }).inc();
    }

    /// Puts the counters into a registry, as `dglb_link_…`.
    pub fn register(&self, registry: &mut Registry) {
        let links = registry.sub_registry_with_prefix("dglb_link");
        let counters: [(&str, &str, &Counter); 19] = [
            ("connections", "Connections made, by either side", &self.connections),
            ("connect_failures", "Attempts to connect that failed", &self.connect_failures),
            ("turned_away", "Connections closed for want of room", &self.turned_away),
            ("plain_refused", "Connections refused as plain TCP is not allowed", &self.plain_refused),
            ("handshake_failures", "Connections that ended before the link was up", &self.handshake_failures),
            ("revoked", "Links ended since the peer's certificate was revoked", &self.revoked),
            ("established", "Links that came up", &self.established),
            ("violations", "Links closed for a broken protocol", &self.violations),
            ("timed_out", "Links closed for silence", &self.timed_out),
            ("slow", "Links closed since the peer did not read", &self.slow),
            ("throttled", "Times that a peer was not read for a while, having said too much", &self.throttled),
            ("over_quota", "Links closed since the peer had said too much for too long", &self.over_quota),
            ("unsendable", "Messages that were not sent", &self.unsendable),
            ("frames_in", "Frames received", &self.frames_in),
            ("frames_out", "Frames sent", &self.frames_out),
            ("octets_in", "Octets received", &self.octets_in),
            ("octets_out", "Octets sent", &self.octets_out),
            ("unknown_messages", "Messages of unknown numbers, skipped", &self.unknown_messages),
            ("unknown_fields", "Unknown fields, skipped", &self.unknown_fields),
        ];
        for (name, help, counter) in counters {
            links.register(name, help, counter.clone());
        }
        for reason in REASONS {
            // Shown from the start, as 0.
            let _ = self.tls_failures.get_or_create(&Reason { reason });
        }
        links.register(
            "tls_failures",
            "Connections without TLS that would do, by the reason",
            self.tls_failures.clone(),
        );
        links.register("up", "Links that are up", self.up.clone());
    }
}
