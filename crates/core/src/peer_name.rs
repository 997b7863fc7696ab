//! What a certificate says of its holder: `dglb:<role>:<identity>`, as a URI among its alternative
//! names (design section 6).

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    identity::{Identity, IdentityError},
    proto::message::PeerRole,
};

/// What every such URI begins with.
pub const SCHEME: &str = "dglb:";

const ROLES: [(&str, PeerRole); 4] = [
    ("dns-b", PeerRole::DnsB),
    ("dns-lb", PeerRole::DnsLb),
    ("dns-a-sync", PeerRole::DnsASync),
    ("mservice", PeerRole::Mservice),
];

/// A role and an identity: the name by which peers certify themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName {
    /// What kind of daemon.
    pub role: PeerRole,
    /// Which of them.
    pub identity: Identity,
}

/// Why a text is no [`PeerName`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerNameError {
    /// Not three parts, or not ours.
    #[error("\"{0}\" is not dglb:<role>:<identity>")]
    Form(String),
    /// A role that there is not.
    #[error("\"{0}\" is no role; there are dns-b, dns-lb, dns-a-sync and mservice")]
    Role(String),
    /// The last part is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The role as configurations and certificates write it: `dns-lb`.
pub fn role_text(role: PeerRole) -> &'static str {
    ROLES.iter().find(|(_, known)| *known == role).map_or("", |(text, _)| text)
}

/// The role of this name.
///
/// # Errors
/// [`PeerNameError::Role`].
pub fn parse_role(text: &str) -> Result<PeerRole, PeerNameError> {
    let known = ROLES.iter().find(|(name, _)| *name == text);
    known.map(|(_, role)| *role).ok_or_else(|| PeerNameError::Role(text.to_owned()))
}

impl PeerName {
    /// The name of this peer.
    pub fn new(role: PeerRole, identity: Identity) -> Self {
        Self { role, identity }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}:{}", role_text(self.role), self.identity)
    }
}

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once(':'));
        let (role, identity) = parts.ok_or_else(|| PeerNameError::Form(text.to_owned()))?;
        Ok(Self { role: parse_role(role)?, identity: identity.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["dglb:dns-b:b1", "dglb:dns-lb:sea1", "dglb:dns-a-sync:foobar", "dglb:mservice:x-1"] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        let name: PeerName = "dglb:dns-lb:sea1".parse().unwrap();
        assert_eq!((name.role, name.identity.as_str()), (PeerRole::DnsLb, "sea1"));
    }

    #[test]
    fn everything_else_is_none() {
        for text in ["", "dglb:", "dglb:dns-lb", "dns-lb:sea1", "DGLB:dns-lb:sea1", "spiffe://x/dns-lb"] {
            assert_eq!(text.parse::<PeerName>(), Err(PeerNameError::Form(text.to_owned())), "{text}");
        }
        assert!(matches!("dglb:dns-x:sea1".parse::<PeerName>(), Err(PeerNameError::Role(_))));
        for text in ["dglb:dns-lb:", "dglb:dns-lb:Sea1", "dglb:dns-lb:a:b", "dglb:dns-lb:ns", "dglb:dns-lb: sea1"] {
            assert!(matches!(text.parse::<PeerName>(), Err(PeerNameError::Identity(_))), "{text}");
        }
    }
}
