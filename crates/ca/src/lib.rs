//! A private certificate authority for map links, for those who have none: an [`Authority`] signs
//! certificates that name a role and an identity, a [`Store`] keeps one in a directory.
//!
//! Invariant: a certificate is in the store's ledger before anybody can have it, so whatever was
//! issued can be revoked.
//!
//! It knows nothing of daemons. `dglbctl ca` is its face; the lab and the tests use it to make the
//! certificates of their own worlds.

mod authority;
mod ephemeral;
mod file;
mod ledger;
mod store;

pub use authority::{Authority, AuthorityError, Issued, Lifetime, Request, Revoked, Serial};
pub use ephemeral::Ephemeral;
pub use ledger::{Entry, LedgerError, State};
pub use store::{Bundle, Store, StoreError};

/// How long a CA of [`Store::init`] lives unless told otherwise: ten years, in days.
pub const CA_DAYS: u32 = 3_650;
/// How long a host's certificate lives unless told otherwise, in days.
pub const HOST_DAYS: u32 = 90;
