//! The tables below `[dns]` that say how questions come in, other than over UDP.

use std::time::Duration;

use super::{Section, duration, integer, size};
use crate::serve::StreamSettings;

/// `[dns.tcp]`.
pub(super) fn tcp(dns: &Section<'_>) -> StreamSettings {
    let default = StreamSettings::default();
    match dns.table("tcp") {
        Some(tcp) => limits(&tcp, default),
        None => default,
    }
}

/// The limits on connections that a table may state.
fn limits(section: &Section<'_>, default: StreamSettings) -> StreamSettings {
    let limits = StreamSettings {
        idle: section.or("idle", duration("1s", "1h"), default.idle),
        life: section.optional("life", duration("10s", "7days")),
        connections: section.or("connections", integer(1..=1_000_000), default.connections),
        connections_per_client: section.or(
            "connections-per-client",
            integer(1..=1_000_000),
            default.connections_per_client,
        ),
        messages_per_connection: section.or(
            "messages",
            integer(1..=u64::from(u32::MAX)),
            default.messages_per_connection,
        ),
        in_flight: section.or("in-flight", integer(1..=1_000), default.in_flight),
        memory: usize::try_from(section.or("memory", size(1 << 20..=1 << 40), default.memory as u64))
            .unwrap_or(usize::MAX),
        handshake: default.handshake,
    };
    if limits.idle < Duration::from_secs(2) {
        section.warning("idle", "resolvers that keep connections open expect some seconds (RFC 7766 section 6.2.3)");
    }
    limits
}
