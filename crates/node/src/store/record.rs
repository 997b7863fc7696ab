//! What records of all daemons have in common: each begins with the number of its own form, so that
//! one kind can change without the others; and what there is a message for is kept as its body.

use bytes::Bytes;
use dglb_core::proto::{
    Number,
    body::{MAX_ELEMENTS, decode},
    message::Message,
};
use thiserror::Error;

/// The form in which all records are written now.
pub const FORM: u8 = 1;

/// Why a record is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Of a later version, or no record at all.
    #[error("it has the unknown form {0}")]
    Form(u8),
    /// It ends too early.
    #[error("it is cut short")]
    Cut,
    /// It goes on after its end.
    #[error("{0} octets follow it")]
    Long(usize),
    /// A prefix, an address, a name that is none.
    #[error("{0}")]
    Content(String),
}

/// What follows the form.
///
/// # Errors
/// [`RecordError::Form`] and [`RecordError::Cut`].
pub fn content(octets: &[u8]) -> Result<&[u8], RecordError> {
    match octets.split_first() {
        Some((&FORM, rest)) => Ok(rest),
        Some((form, _)) => Err(RecordError::Form(*form)),
        None => Err(RecordError::Cut),
    }
}

/// The body of a message of the map protocol as a record, which [`message`] reads back.
pub fn body(body: &[u8]) -> Vec<u8> {
    [&[FORM], body].concat()
}

/// A message of the map protocol, checked as if a peer had sent it.
///
/// # Errors
/// [`RecordError`].
pub fn message(number: Number, octets: &[u8]) -> Result<Message, RecordError> {
    let body = Bytes::copy_from_slice(content(octets)?);
    match decode(number, body, MAX_ELEMENTS) {
        Ok(Some(decoded)) => Ok(decoded.message),
        Ok(None) => Err(RecordError::Content(format!("there is no message {number:?}"))),
        Err(error) => Err(RecordError::Content(error.to_string())),
    }
}
