//! What happens to connections, of whatever transport: each is accepted or refused, and each that
//! was accepted ends in one of the other ways.

/// One counter for each transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// Accepted and given a place.
    Accepted,
    /// Closed at once: all places, or all of this client, are taken and none of them is idle.
    Refused,
    /// The client ended it, or took all that it is entitled to.
    Finished,
    /// It was idle for longer than the others, and its place was needed.
    Evicted,
    /// No whole message came in time.
    Idle,
    /// Replies were not taken in time.
    Slow,
    /// It had lived for as long as a connection may, or had asked as much as it may.
    Expired,
    /// It sent what gets no reply, or broke the rules of its transport.
    Nonsense,
    /// It was to hold more memory than there is for all together.
    Memory,
    /// It was reset, or lost.
    Broken,
    /// TLS could not be agreed on.
    HandshakeFailed,
    /// TLS was not agreed on in time.
    HandshakeSlow,
    /// The daemon stopped.
    Stopped,
}

/// The number of [`ConnectionEvent`]s.
pub(super) const CONNECTION_EVENTS: usize = 13;

impl ConnectionEvent {
    /// All, in the order of their discriminants, with the value of the metric's `event` label.
    pub(super) const ALL: [(Self, &str); CONNECTION_EVENTS] = [
        (Self::Accepted, "accepted"),
        (Self::Refused, "refused"),
        (Self::Finished, "finished"),
        (Self::Evicted, "evicted"),
        (Self::Idle, "idle"),
        (Self::Slow, "slow"),
        (Self::Expired, "expired"),
        (Self::Nonsense, "nonsense"),
        (Self::Memory, "memory"),
        (Self::Broken, "broken"),
        (Self::HandshakeFailed, "handshake-failed"),
        (Self::HandshakeSlow, "handshake-slow"),
        (Self::Stopped, "stopped"),
    ];

    /// Whether an accepted connection is over with it.
    pub(super) fn is_end(self) -> bool {
        !matches!(self, Self::Accepted | Self::Refused)
    }
}
