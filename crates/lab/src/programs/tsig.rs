//! The one format for a TSIG key in all topologies and programs:
//! `key = { name = "labkey", algorithm = "hmac-sha256", secret = "<base64>" }`.
//! The secret never reaches a log: [`TsigKey`] prints without it.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use serde::{Deserialize, Serialize};

/// Seconds that the clocks of both sides may be apart (RFC 8945 section 10 recommends 300).
const FUDGE: u16 = 300;

/// A shared secret for RFC 8945 signatures, as it stands in a topology.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TsigKey {
    /// The key's name, a domain name; the final dot may be left out.
    pub name: String,
    /// `hmac-sha256` is the only one that every program of the lab knows.
    pub algorithm: String,
    /// The secret in base64 (RFC 4648 section 4, with padding).
    pub secret: String,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is not a domain name.
    #[error("key {name:?}: not a domain name")]
    Name {
        /// The name as given.
        name: String,
    },
    /// The algorithm is none that the lab's programs share.
    #[error("key {name:?}: algorithm {algorithm:?} is not hmac-sha256")]
    Algorithm {
        /// The key's name.
        name: String,
        /// The algorithm as given.
        algorithm: String,
    },
    /// The secret is not base64, or empty.
    #[error("key {name:?}: the secret is not base64")]
    Secret {
        /// The key's name.
        name: String,
    },
}

impl TsigKey {
    /// Checks the key and makes it ready to sign and verify.
    ///
    /// # Errors
    ///
    /// When a field is not what its description says.
    pub fn signer(&self) -> Result<TSigner, KeyError> {
        let name = || self.name.clone();
        let owner = Name::from_str(&self.name).map_err(|_| KeyError::Name { name: name() })?;
        if owner.num_labels() == 0 || self.name.contains(|c: char| c.is_whitespace() || "\"\\;{}".contains(c)) {
            return Err(KeyError::Name { name: name() });
        }
        if self.algorithm != "hmac-sha256" {
            return Err(KeyError::Algorithm { name: name(), algorithm: self.algorithm.clone() });
        }
        let secret = BASE64.decode(self.secret.as_bytes()).map_err(|_| KeyError::Secret { name: name() })?;
        if secret.is_empty() {
            return Err(KeyError::Secret { name: name() });
        }
        TSigner::new(secret, TsigAlgorithm::HmacSha256, owner, FUDGE)
            .map_err(|_| KeyError::Algorithm { name: name(), algorithm: self.algorithm.clone() })
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, algorithm: &str, secret: &str) -> TsigKey {
        TsigKey { name: name.into(), algorithm: algorithm.into(), secret: secret.into() }
    }

    #[test]
    fn a_key_is_checked_and_never_printed() {
        let good = key("labkey", "hmac-sha256", "c2VjcmV0LWtleS1mb3ItdGhlLWxhYi1vbmx5LTMyYnl0ZXM=");
        assert_eq!(good.signer().unwrap().key(), b"secret-key-for-the-lab-only-32bytes");
        assert!(!format!("{good:?}").contains("c2VjcmV0"), "{good:?}");
        assert!(matches!(key("labkey", "hmac-md5", "AAAA").signer(), Err(KeyError::Algorithm { .. })));
        assert!(matches!(key("labkey", "hmac-sha256", "not base64").signer(), Err(KeyError::Secret { .. })));
        assert!(matches!(key("labkey", "hmac-sha256", "").signer(), Err(KeyError::Secret { .. })));
        for bad in ["", ".", "a;b", "a\" {}", "a b"] {
            assert!(matches!(key(bad, "hmac-sha256", "AAAA").signer(), Err(KeyError::Name { .. })), "{bad:?}");
        }
    }
}
