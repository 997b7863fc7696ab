//! Proof of residence (design section 6): CHALLENGE, PROOF, SEEN.

use std::{fmt, net::IpAddr};

use super::RefusedReason;
use crate::{name::Name, net::Prefix};

/// Names one challenge; good for one proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub [u8; 16]);

/// In hexadecimal, as it stands in names: resolvers may change letters' case.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Which challenge.
    pub nonce: Nonce,
    /// The names whose TXT records are to be asked for, 1 to 4.
    pub names: Vec<Name>,
    /// Milliseconds for which the nonce is good.
    pub expires_ms: u32,
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
