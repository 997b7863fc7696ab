//! Frames on a byte stream: `u32` length, `u16` type, `u16` flags, all big-endian, then the body.
//! A length is checked before anything is stored for it, and no buffer ever grows by an announced
//! length, only by octets that came.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use super::{HANDSHAKE_FRAME, MAGIC, Number};

/// Octets of the length field.
const LENGTH: usize = 4;
/// Octets of type and flags, which the length field counts.
const KIND: usize = 4;

/// One frame; the magic of a side's first frame is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub number: Number,
    /// None are defined: sent as 0, not looked at.
    pub flags: u16,
    /// A protobuf message.
    pub body: Bytes,
}

impl Frame {
    /// A frame without flags.
    pub fn new(number: Number, body: Bytes) -> Self {
        Self { number, flags: 0, body }
    }
}

/// Why octets are no frames. After it a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The first frame does not begin with [`MAGIC`]: not this protocol at all.
    #[error("the first frame does not carry the map protocol's magic")]
    Magic,
    /// Longer than allowed at this point.
    #[error("a frame of {announced} octets is announced, {limit} are allowed")]
    TooLong {
        /// The length field.
        announced: u32,
        /// What was allowed.
        limit: u32,
    },
    /// Too short for type and flags, or for the magic in a first frame.
    #[error("a frame of {announced} octets is announced, too few for its header")]
    TooShort {
        /// The length field.
        announced: u32,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended {missing} octets before the end of a frame")]
    Cut {
        /// Octets that did not come, as far as they are known.
        missing: usize,
    },
}

/// What [`FrameCodec`] fails with.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The stream itself failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The octets are wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Both directions of one link. Starts with the limit that holds before WELCOME.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    limit: usize,
    magic_sent: bool,
    magic_seen: bool,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self { limit: HANDSHAKE_FRAME, magic_sent: false, magic_seen: false }
    }
}

impl FrameCodec {
    /// Sets the longest frame that is read, counted like the length field. The session says which
    /// limit holds: [`Session::frame_limit`](super::Session::frame_limit).
    pub fn set_limit(&mut self, octets: usize) {
        self.limit = octets;
    }

    /// Checks whatever is there of the header, so that a stranger is turned away at its first
    /// wrong octet. Returns the length field once it is whole.
    fn check_start(&self, octets: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((length, rest)) = octets.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*length);
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        if announced > limit {
            return Err(FrameError::TooLong { announced, limit });
        }
        let least = if self.magic_seen { KIND } else { KIND + MAGIC.len() };
        let length = announced as usize;
        if length < least {
            return Err(FrameError::TooShort { announced });
        }
        if !self.magic_seen {
            let seen = rest.get(KIND..).unwrap_or_default();
            let seen = &seen[..seen.len().min(MAGIC.len())];
            if *seen != MAGIC[..seen.len()] {
                return Err(FrameError::Magic);
            }
        }
        Ok(Some(length))
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = CodecError;

    /// The next frame, `None` until it is whole. Unlike most decoders it reserves nothing: a
    /// length that was only announced costs nothing.
    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let Some(length) = self.check_start(source)? else {
            return Ok(None);
        };
        if source.len() < LENGTH + length {
            return Ok(None);
        }
        source.advance(LENGTH);
        let mut content = source.split_to(length);
        let number = Number(content.get_u16());
        let flags = content.get_u16();
        if !self.magic_seen {
            content.advance(MAGIC.len());
            self.magic_seen = true;
        }
        Ok(Some(Frame { number, flags, body: content.freeze() }))
    }

    /// Like `decode`; octets that are no whole frame at the end of the stream are an error.
    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        if let Some(frame) = self.decode(source)? {
            return Ok(Some(frame));
        }
        if source.is_empty() {
            return Ok(None);
        }
        let whole = LENGTH + self.check_start(source)?.unwrap_or(KIND);
        Err(FrameError::Cut { missing: whole.saturating_sub(source.len()) }.into())
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame, target: &mut BytesMut) -> Result<(), CodecError> {
        let magic: &[u8] = if self.magic_sent { &[] } else { &MAGIC };
        let length = KIND + magic.len() + frame.body.len();
        let announced =
            u32::try_from(length).map_err(|_| FrameError::TooLong { announced: u32::MAX, limit: u32::MAX })?;
        target.reserve(LENGTH + length);
        target.put_u32(announced);
        target.put_u16(frame.number.0);
        target.put_u16(frame.flags);
        target.put_slice(magic);
        target.put_slice(&frame.body);
        self.magic_sent = true;
        Ok(())
    }
}
