//! How a link can go wrong, and how it can end.

use thiserror::Error;

use crate::proto::{
    BodyError, FrameError, Number,
    message::{Bye, PeerRole, Refuse, RefuseReason},
};

/// The peer broke the protocol. The link is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// Octets that are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A body that is no message.
    #[error("{number}: {error}")]
    Body {
        /// The message.
        number: Number,
        /// What is wrong.
        error: BodyError,
    },
    /// A message that has no place at this point: before or after the handshake, or twice.
    #[error("{number} has no place here")]
    Unexpected {
        /// The message.
        number: Number,
    },
    /// A message that this role may not send in this direction.
    #[error("{number} is not for this side of a link that a {dialler:?} dialled")]
    Direction {
        /// The message.
        number: Number,
        /// The role of the side that dialled.
        dialler: PeerRole,
    },
    /// No version in common, or a WELCOME with one that was not offered.
    #[error("versions {theirs_min} to {theirs_max} offered, {ours_min} to {ours_max} known")]
    Version {
        /// The peer's lowest.
        theirs_min: u16,
        /// The peer's highest.
        theirs_max: u16,
        /// Our lowest.
        ours_min: u16,
        /// Our highest.
        ours_max: u16,
    },
    /// A HELLO from a role that does not dial.
    #[error("a {role:?} does not dial")]
    Role {
        /// The role.
        role: PeerRole,
    },
    /// PART or COMMIT without BEGIN, or another message inside a transfer.
    #[error("{number} has no place in a transfer of {transfer:?}")]
    Transfer {
        /// The message that came.
        number: Number,
        /// What is under way.
        transfer: Option<Number>,
    },
    /// A message in parts beyond the limit.
    #[error("{number} of {announced} octets is announced, {limit} are allowed")]
    TooLarge {
        /// The message.
        number: Number,
        /// Its octets.
        announced: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Parts that do not add up to what BEGIN announced.
    #[error("{number} of {announced} octets was announced, {received} came")]
    Length {
        /// The message.
        number: Number,
        /// What BEGIN said.
        announced: u64,
        /// What came.
        received: u64,
    },
}

impl ProtocolError {
    /// How a REFUSE says it to programs.
    pub(super) fn refuse_reason(&self) -> RefuseReason {
        match self {
            Self::Version { .. } => RefuseReason::Version,
            Self::Role { .. } => RefuseReason::Identity,
            _ => RefuseReason::Protocol,
        }
    }
}

/// Why a message was not queued. The link goes on as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The link is over.
    #[error("the link is closed")]
    Closed,
    /// The handshake is not at the point where this can be said.
    #[error("the link is not established")]
    NotEstablished,
    /// This side may not say that.
    #[error("{number} is not for this side to send")]
    NotAllowed {
        /// The message.
        number: Number,
    },
    /// The peer does not read as fast as we send.
    #[error("{messages} messages of {octets} octets wait already")]
    Full {
        /// Messages waiting.
        messages: usize,
        /// Octets waiting.
        octets: usize,
    },
    /// Beyond the limit for one message.
    #[error("a message of {length} octets, {limit} are allowed")]
    TooLarge {
        /// Octets of its body.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// No peer would take it.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// The peer did not want the link.
    #[error("refused by the peer: {:?}, {}", .0.reason, .0.text)]
    RefusedByPeer(Refuse),
    /// We did not want the link.
    #[error("refused: {:?}, {}", .0.reason, .0.text)]
    RefusedByUs(Refuse),
    /// The peer left and said why.
    #[error("the peer left: {:?}, {}", .0.reason, .0.text)]
    ByeFromPeer(Bye),
    /// We left.
    #[error("closed: {:?}, {}", .0.reason, .0.text)]
    ByeFromUs(Bye),
    /// The peer fell silent.
    #[error("the peer fell silent")]
    TimedOut,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    HandshakeTimedOut,
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(ProtocolError),
    /// The stream ended without a word.
    #[error("the connection was lost")]
    Lost,
}
