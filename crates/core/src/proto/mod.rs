//! The map protocol, version 1 (design section 6; `docs/map-protocol.md` is normative).
//!
//! Nothing a peer sends can make this module panic, allocate more than the limits in [`Config`]
//! allow, or show the daemon a message out of its place. No socket and no clock: bytes come and
//! go through [`codec`], time is an argument of [`Session`].
//!
//! ```text
//! bytes ↔ codec (frames, limits) ↔ session (handshake, who may say what, transfers, liveness)
//!         number (the table)        body ↔ wire (protobuf) ↔ message (what the daemons use)
//! ```

pub mod body;
pub mod codec;
mod digest;
pub mod direction;
pub mod message;
pub mod number;
mod scan;
pub mod session;
mod wire;

pub use body::{BodyError, Encoded};
pub use codec::{CodecError, Frame, FrameCodec, FrameError};
pub use number::Number;
pub use session::{CloseReason, Config, Event, Peer, ProtocolError, SendError, Session};

/// The version of the protocol that this module speaks.
pub const VERSION: u16 = 1;

/// What the body of the first frame of each side begins with.
pub const MAGIC: [u8; 8] = *b"DGLB-MAP";

/// Longest frame before WELCOME, counted like the length field: type, flags and body.
pub const HANDSHAKE_FRAME: usize = 4_096;

/// Longest body that travels in one frame after WELCOME; longer ones go as BEGIN, PART, COMMIT.
/// Every receiver takes frames of at least this size with its header and a PART's own octets.
pub const PART: usize = 65_536;

/// The least [`Config::max_frame`]: a full PART, its field header, type and flags.
pub const LEAST_MAX_FRAME: usize = PART + 16;
