//! Limits of connections.

use std::time::Duration;

/// Limits on the connections of one serving thread (RFC 7766 section 6, RFC 9210 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// A connection is closed when no whole message came for so long, or when a batch of replies
    /// was not taken in that time. Default: 10 s.
    pub idle: Duration,
    /// How long a connection may live, whatever it does; `None` for as long as it likes. Default: none.
    pub life: Option<Duration>,
    /// How long a TLS handshake may take. Default: 5 s.
    pub handshake: Duration,
    /// Open connections. Default: 1 000.
    pub connections: usize,
    /// Open connections of one client: an IPv4 address or an IPv6 /64. Default: 50.
    pub connections_per_client: usize,
    /// Messages answered on one connection before it is closed. Default: 10 000.
    pub messages_per_connection: u64,
    /// Questions of one connection that may wait for the slow lane; more are not read. Default: 16.
    pub in_flight: usize,
    /// Octets of questions and replies that all connections may hold together; who wants to hold
    /// more than [`FREE`] beyond that is closed. Default: 64 MiB.
    pub memory: usize,
}

/// Octets that a connection may hold without asking whether there is memory for it.
pub const FREE: usize = 4_096;

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            life: None,
            handshake: Duration::from_secs(5),
            connections: 1_000,
            connections_per_client: 50,
            messages_per_connection: 10_000,
            in_flight: 16,
            memory: 64 << 20,
        }
    }
}
