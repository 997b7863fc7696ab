//! CHALLENGE, PROOF, SEEN.

use bytes::Bytes;

use super::{
    PREFIX, WirePrefix, address, from_address, from_name, from_text, map, name, required, text_field, u32_field,
};
use crate::{
    name::MAX_NAME,
    proto::{
        body::BodyError,
        message::{self, Nonce, ProofSecret, SeenOutcome},
        scan::{Field, Kind, Shape, many, one},
    },
};

/// Most names of one challenge.
const MAX_NAMES: usize = 4;
/// Longest secret, in octets.
const MAX_SECRET: usize = 64;
const NONCE: Field = one(1, "nonce", Kind::Octets(16));

pub(in crate::proto) const CHALLENGE: Shape = Shape {
    name: "Challenge",
    fields: &[NONCE, many(2, "names", Kind::Octets(MAX_NAME), MAX_NAMES), u32_field(3, "expires_ms")],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Challenge {
    #[prost(bytes = "bytes", tag = "1")]
    nonce: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    names: Vec<Bytes>,
    #[prost(uint32, tag = "3")]
    expires_ms: u32,
}

impl From<&message::Challenge> for Challenge {
    fn from(challenge: &message::Challenge) -> Self {
        Self {
            nonce: from_nonce(challenge.nonce),
            names: challenge.names.iter().map(from_name).collect(),
            expires_ms: challenge.expires_ms,
        }
    }
}

impl TryFrom<Challenge> for message::Challenge {
    type Error = BodyError;

    fn try_from(wire: Challenge) -> Result<Self, BodyError> {
        if wire.names.is_empty() {
            return Err(BodyError::Missing { field: "names" });
        }
        Ok(Self {
            nonce: nonce(&wire.nonce)?,
            names: wire.names.iter().map(|n| name("names", n)).collect::<Result<_, _>>()?,
            expires_ms: wire.expires_ms,
        })
    }
}

pub(in crate::proto) const PROOF: Shape =
    Shape { name: "Proof", fields: &[NONCE, one(2, "secret", Kind::Octets(MAX_SECRET))] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Proof {
    #[prost(bytes = "bytes", tag = "1")]
    nonce: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    secret: Bytes,
}

impl From<&message::Proof> for Proof {
    fn from(proof: &message::Proof) -> Self {
        Self { nonce: from_nonce(proof.nonce), secret: Bytes::copy_from_slice(&proof.secret.0) }
    }
}

impl TryFrom<Proof> for message::Proof {
    type Error = BodyError;

    fn try_from(wire: Proof) -> Result<Self, BodyError> {
        if wire.secret.is_empty() {
            return Err(BodyError::Missing { field: "secret" });
        }
        Ok(Self { nonce: nonce(&wire.nonce)?, secret: ProofSecret(wire.secret.into()) })
    }
}

pub(in crate::proto) const SEEN: Shape = Shape {
    name: "Seen",
    fields: &[
        NONCE,
        one(2, "address", Kind::Address),
        one(3, "prefix", Kind::Message(&PREFIX)),
        u32_field(4, "reason"),
        text_field(5, "text"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Seen {
    #[prost(bytes = "bytes", tag = "1")]
    nonce: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    address: Bytes,
    #[prost(message, optional, tag = "3")]
    prefix: Option<WirePrefix>,
    #[prost(uint32, tag = "4")]
    reason: u32,
    #[prost(string, tag = "5")]
    text: String,
}

impl From<&message::Seen> for Seen {
    fn from(seen: &message::Seen) -> Self {
        let nonce = from_nonce(seen.nonce);
        match &seen.outcome {
            SeenOutcome::Mapped { address, prefix } => {
                Self { nonce, address: from_address(*address), prefix: Some(prefix.into()), ..Self::default() }
            }
            SeenOutcome::Refused { reason, text } => {
                Self { nonce, reason: map::from_reason(*reason), text: from_text(text), ..Self::default() }
            }
        }
    }
}

impl TryFrom<Seen> for message::Seen {
    type Error = BodyError;

    fn try_from(wire: Seen) -> Result<Self, BodyError> {
        let nonce = nonce(&wire.nonce)?;
        let outcome = if wire.reason == 0 {
            SeenOutcome::Mapped {
                address: address("address", &wire.address)?,
                prefix: required("prefix", wire.prefix)?.try_into()?,
            }
        } else {
            SeenOutcome::Refused { reason: map::reason(wire.reason), text: wire.text }
        };
        Ok(Self { nonce, outcome })
    }
}

fn from_nonce(nonce: Nonce) -> Bytes {
    Bytes::copy_from_slice(&nonce.0)
}

fn nonce(wire: &[u8]) -> Result<Nonce, BodyError> {
    wire.try_into().map(Nonce).map_err(|_| BodyError::Missing { field: "nonce" })
}
