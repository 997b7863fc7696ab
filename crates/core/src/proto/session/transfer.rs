//! A message that comes in parts. It grows with the octets that come, never beyond what was
//! announced, and nobody sees any of it before COMMIT.

use bytes::{Bytes, BytesMut};

use super::ProtocolError;
use crate::proto::{Number, wire};

#[derive(Debug)]
pub(super) struct Assembly {
    number: Number,
    announced: u64,
    received: u64,
    /// `None` where the message is of a later version: its octets are counted and dropped.
    octets: Option<BytesMut>,
}

impl Assembly {
    /// Begins one; `known` says whether its octets are wanted.
    pub(super) fn begin(begin: &wire::Begin, known: bool, limit: usize) -> Result<Self, ProtocolError> {
        let number = begun(begin);
        let limit = limit as u64;
        if begin.length > limit {
            return Err(ProtocolError::TooLarge { number, announced: begin.length, limit });
        }
        let octets = known.then(BytesMut::new);
        Ok(Self { number, announced: begin.length, received: 0, octets })
    }

    pub(super) fn number(&self) -> Number {
        self.number
    }

    pub(super) fn part(&mut self, part: &wire::Part) -> Result<(), ProtocolError> {
        self.received += part.octets.len() as u64;
        if self.received > self.announced {
            return Err(self.length());
        }
        if let Some(octets) = &mut self.octets {
            octets.extend_from_slice(&part.octets);
        }
        Ok(())
    }

    /// The whole body; `None` for one that was dropped.
    pub(super) fn commit(self) -> Result<Option<Bytes>, ProtocolError> {
        if self.received != self.announced {
            return Err(self.length());
        }
        Ok(self.octets.map(BytesMut::freeze))
    }

    fn length(&self) -> ProtocolError {
        ProtocolError::Length { number: self.number, announced: self.announced, received: self.received }
    }
}

/// What a BEGIN begins. The scan has bounded the number.
pub(super) fn begun(begin: &wire::Begin) -> Number {
    Number(u16::try_from(begin.number).unwrap_or(u16::MAX))
}
