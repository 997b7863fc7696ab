//! Identities of peers, which are also the labels of DNS-LBs (design section 6).

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Labels that can never be an identity, because label zones and the operator zone use them.
pub const RESERVED: [&str; 5] = ["ns", "f1", "f2", "prove", "any"];

/// The name of a peer: `[a-z0-9-]`, 1 to 32 characters, no hyphen at either end, none of
/// [`RESERVED`]. A DNS-LB's identity is its label in every zone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(
    /// As a DNS label in wire form: a length octet, which is ASCII here, then the text.
    Box<str>,
);

/// Why a text is no [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Empty or longer than 32 characters.
    #[error("an identity has 1 to 32 characters, \"{0}\" has {len}", len = .0.len())]
    Length(String),
    /// A character outside `[a-z0-9-]`, or a hyphen at an end.
    #[error("an identity is made of a-z, 0-9 and inner hyphens; \"{0}\" is not")]
    Character(String),
    /// One of [`RESERVED`].
    #[error("\"{0}\" is reserved and cannot be an identity")]
    Reserved(String),
}

impl Identity {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0[1..]
    }

    /// The identity as a DNS label in wire form, length octet first.
    pub fn wire_label(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether a DNS label, in wire form without its length octet and already in lower case,
    /// could be somebody's identity.
    pub fn is_valid_label(label: &[u8]) -> bool {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        (1..=32).contains(&label.len())
            && label.iter().all(inner)
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
            && !RESERVED.iter().any(|r| r.as_bytes() == label)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 32 {
            return Err(IdentityError::Length(text.to_owned()));
        }
        if RESERVED.contains(&text) {
            return Err(IdentityError::Reserved(text.to_owned()));
        }
        if !Self::is_valid_label(text.as_bytes()) {
            return Err(IdentityError::Character(text.to_owned()));
        }
        Ok(Self(format!("{}{text}", char::from(text.len() as u8)).into()))
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.as_str().to_owned()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

// Looked up by the octets of a label as it stands in a question, without its length octet.
impl Borrow<[u8]> for Identity {
    fn borrow(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().as_bytes().hash(state);
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_follow_the_design() {
        for good in ["sea1", "a", "lb-7", "0", &"x".repeat(32)] {
            assert_eq!(good.parse::<Identity>().unwrap().as_str(), good);
        }
        for bad in ["", "Sea1", "-a", "a-", "a.b", "a_b", "é", &"x".repeat(33), "ns", "f1", "f2", "prove", "any"] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
