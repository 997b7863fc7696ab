//! What a session may use up.

use std::time::Duration;

use crate::proto::{LEAST_MAX_FRAME, VERSION, body::MAX_ELEMENTS};

/// Limits and times of one link; the defaults are the design's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Lowest version that the accepting side takes.
    pub version_min: u16,
    /// Highest version that the accepting side takes.
    pub version_max: u16,
    /// How long the handshake may take on the accepting side, once it has begun. Default 5 s.
    pub handshake_timeout: Duration,
    /// How long the dialling side waits for WELCOME. Longer than the handshake takes, since many may
    /// have come before it. Default 15 s.
    pub dial_timeout: Duration,
    /// Silence of this side's own after which it sends PING. Default 5 s.
    pub ping_after: Duration,
    /// Silence of the peer after which it counts as dead. Default 15 s.
    pub dead_after: Duration,
    /// Longest frame read after WELCOME, in octets. Default 1 MiB, at least
    /// [`LEAST_MAX_FRAME`].
    pub max_frame: usize,
    /// Longest message, sent or received in parts, in octets. Default 64 MiB.
    pub max_message: usize,
    /// Longest message taken in parts from a DNS-LB or mservice that dialled, in octets: they have less
    /// to say than who publishes. Default 64 MiB; where it is more than `max_message`, that holds.
    pub max_measured: usize,
    /// Most values in one message; bounds what decoding allocates. Default
    /// [`MAX_ELEMENTS`].
    pub max_elements: usize,
    /// Most messages waiting to be sent. Default 1 024.
    pub queue_messages: usize,
    /// Octets waiting to be sent beyond which no more are taken. Default 64 MiB.
    pub queue_octets: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version_min: VERSION,
            version_max: VERSION,
            handshake_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(15),
            ping_after: Duration::from_secs(5),
            dead_after: Duration::from_secs(15),
            max_frame: 1 << 20,
            max_message: 64 << 20,
            max_measured: 64 << 20,
            max_elements: MAX_ELEMENTS,
            queue_messages: 1_024,
            queue_octets: 64 << 20,
        }
    }
}

/// Longest WELCOME, which carries the fleet document. Nothing was agreed on when it comes.
const MAX_WELCOME: usize = 16 << 20;

impl Config {
    /// With every value brought to where the protocol works.
    pub(super) fn clamped(mut self) -> Self {
        self.max_frame = self.max_frame.max(LEAST_MAX_FRAME);
        self.max_message = self.max_message.max(LEAST_MAX_FRAME);
        self.max_measured = self.max_measured.clamp(LEAST_MAX_FRAME, self.max_message);
        self.queue_messages = self.queue_messages.max(1);
        self.queue_octets = self.queue_octets.max(1);
        self
    }

    /// The longest WELCOME.
    pub(super) fn welcome_limit(&self) -> usize {
        self.max_message.min(MAX_WELCOME)
    }
}
