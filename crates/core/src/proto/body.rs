//! Message bodies: [`Message`] ↔ number and protobuf octets. Everything that one side sends, the
//! other side's checks let through: bodies are checked by the same code before they are sent.

use bytes::Bytes;
use thiserror::Error;

use super::{Number, message::Message, scan, wire};
use crate::{fleet::FleetError, identity::IdentityError, name::NameError, net::PrefixError};

/// Most length-delimited values in one body, all levels together; see [`decode`].
pub const MAX_ELEMENTS: usize = 262_144;

/// A message ready to be framed. Cheap to clone: one that goes to many peers is encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    number: Number,
    body: Bytes,
}

impl Encoded {
    /// What the body is.
    pub fn number(&self) -> Number {
        self.number
    }

    /// The protobuf octets.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Why a body is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The body ends inside a field.
    #[error("the body ends inside a field")]
    Cut,
    /// A key or varint that protobuf does not allow, or a group.
    #[error("malformed field key or number")]
    Key,
    /// Another wire type than the field's.
    #[error("field {field} has the wrong wire type")]
    WireType {
        /// The field.
        field: &'static str,
    },
    /// A field stands too often.
    #[error("field {field} stands more than {cap} times")]
    TooMany {
        /// The field.
        field: &'static str,
        /// How often it may.
        cap: usize,
    },
    /// Too many values in all.
    #[error("more than {limit} values in one message")]
    Elements {
        /// How many may be.
        limit: usize,
    },
    /// A number beyond its range.
    #[error("field {field} is {value}, the most is {limit}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it may.
        limit: u64,
    },
    /// Infinite, or not a number.
    #[error("field {field} is not a finite number")]
    NotFinite {
        /// The field.
        field: &'static str,
    },
    /// Text or octets beyond their limit.
    #[error("field {field} has {length} octets, the most is {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its octets.
        length: usize,
        /// What it may have.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("field {field} is not UTF-8")]
    NotText {
        /// The field.
        field: &'static str,
    },
    /// An address of neither 4 nor 16 octets, or an IPv4 address dressed as IPv6.
    #[error("field {field} of {length} octets is no IPv4 or IPv6 address")]
    Address {
        /// The field.
        field: &'static str,
        /// Its octets.
        length: usize,
    },
    /// A field without which the message means nothing.
    #[error("field {field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// An enumeration's value that this version does not know and cannot do without.
    #[error("field {field} has the unknown value {value}")]
    Enum {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// A field whose value another one rules out.
    #[error("field {field} contradicts the rest of the message")]
    Contradiction {
        /// The field.
        field: &'static str,
    },
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No domain name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No address prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// A fleet document that contradicts itself.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Refused by the protobuf decoder after the scan let it pass; should not happen.
    #[error("protobuf: {0}")]
    Protobuf(String),
}

/// What [`decode`] makes of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The message.
    pub message: Message,
    /// Fields that this version does not know; they were skipped.
    pub unknown_fields: u32,
}

impl Message {
    /// The message's number.
    pub fn number(&self) -> Number {
        wire::number(self)
    }

    /// The message's number and body, checked as the receiver will check them.
    ///
    /// # Errors
    /// [`BodyError`] where a text is too long, a field stands too often or a figure is not
    /// finite, so that no conforming receiver would take it.
    pub fn encode(&self) -> Result<Encoded, BodyError> {
        let number = self.number();
        let body = wire::encode(self);
        if let Some(shape) = wire::shape(number) {
            scan::scan(shape, &body, MAX_ELEMENTS)?;
        }
        Ok(Encoded { number, body })
    }
}

/// The message in `body`; `None` if this version knows no message of this number. `elements`
/// bounds the length-delimited values (texts, names, addresses, sub-messages) in the whole body,
/// and with them what decoding allocates.
///
/// # Errors
/// [`BodyError`], the first that applies.
pub fn decode(number: Number, body: Bytes, elements: usize) -> Result<Option<Decoded>, BodyError> {
    let Some(shape) = wire::shape(number) else {
        return Ok(None);
    };
    let found = scan::scan(shape, &body, elements)?;
    let message = wire::decode(number, body)?;
    Ok(message.map(|message| Decoded { message, unknown_fields: found.unknown }))
}
