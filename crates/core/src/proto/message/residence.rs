//! Proof of residence (design section 6): CHALLENGE, PROOF, SEEN.

use std::{fmt, net::IpAddr};

use super::RefusedReason;
pub use crate::residence::Nonce;
use crate::{name::Name, net::Prefix};

/// What a DNS answer carried and comes back over the link. It is in no log and in no error.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofSecret(pub Vec<u8>);

/// Says that there is one, not which.
impl fmt::Debug for ProofSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofSecret(…)")
    }
}

/// CHALLENGE: ask your DNS-ISP for these, and tell what it answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Which challenge.
    pub nonce: Nonce,
    /// The names whose TXT records are to be asked for, 1 to 4.
    pub names: Vec<Name>,
    /// Milliseconds for which the nonce is good.
    pub expires_ms: u32,
}

/// Says how many names there are, not which: whoever knows one can ask for it.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, expires_ms, .. } = self;
        f.debug_struct("Challenge").field("names", &names.len()).field("expires_ms", expires_ms).finish_non_exhaustive()
    }
}

/// PROOF: what one of the names was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The challenge's.
    pub nonce: Nonce,
    /// 1 to 64 octets.
    pub secret: ProofSecret,
}

/// SEEN: what became of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The challenge's.
    pub nonce: Nonce,
    /// Mapped, or not and why.
    pub outcome: SeenOutcome,
}

/// See [`Seen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenOutcome {
    /// The resolver is the DNS-LB's.
    Mapped {
        /// Where the question came from.
        address: IpAddr,
        /// What is mapped now.
        prefix: Prefix,
    },
    /// Nothing is mapped.
    Refused {
        /// Why, for programs.
        reason: RefusedReason,
        /// Why, for people.
        text: String,
    },
}
