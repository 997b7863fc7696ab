//! Who a certificate says that its holder is, and whether a peer claims to be the same.
//!
//! Invariant: what a peer may say follows from the name that its certificate has been verified for;
//! HELLO and WELCOME only repeat it.

use dglb_core::peer_name::{PeerName, PeerNameError, SCHEME};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a peer is not who it says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityProblem {
    /// The certificate names nobody.
    #[error("the certificate has no URI dglb:<role>:<identity>")]
    Nobody,
    /// The certificate names several.
    #[error("the certificate has several URIs of the form dglb:<role>:<identity>; one is wanted")]
    Several,
    /// The certificate's name is none.
    #[error("the certificate's URI: {0}")]
    Malformed(#[from] PeerNameError),
    /// The certificate's extensions cannot be read.
    #[error("the certificate's alternative names cannot be read")]
    Unreadable,
    /// The certificate is another one's.
    #[error("the certificate is {certified}'s, not {claimed}'s")]
    Differs {
        /// Whose the certificate is.
        certified: PeerName,
        /// Who was expected there, or who the peer said it is.
        claimed: PeerName,
    },
}

/// The one name that a certificate (in DER) has.
///
/// # Errors
/// Why it has none.
pub fn certified_name(certificate: &[u8]) -> Result<PeerName, IdentityProblem> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityProblem::Unreadable)?;
    let names = parsed.subject_alternative_name().map_err(|_| IdentityProblem::Unreadable)?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let ours = names.filter_map(|name| match name {
        // Schemes are the same in capitals (RFC 3986 section 3.1); what follows is not.
        GeneralName::URI(uri) if has_scheme(uri) => Some(*uri),
        _ => None,
    });
    let ours: Vec<&str> = ours.take(2).collect();
    match ours[..] {
        [] => Err(IdentityProblem::Nobody),
        [uri] => Ok(uri.parse()?),
        _ => Err(IdentityProblem::Several),
    }
}

fn has_scheme(uri: &str) -> bool {
    uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Whether the peer that is certified to be this claims to be it.
///
/// # Errors
/// [`IdentityProblem::Differs`], or what was wrong with the certificate.
pub(super) fn agree(certified: &Result<PeerName, IdentityProblem>, claimed: &PeerName) -> Result<(), IdentityProblem> {
    let certified = certified.as_ref().map_err(Clone::clone)?;
    if certified == claimed {
        return Ok(());
    }
    Err(IdentityProblem::Differs { certified: certified.clone(), claimed: claimed.clone() })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn exactly_one_name_counts_whatever_else_there_is() {
        let name = certified_name(&certificate(&["https://foobar.com/", "dglb:dns-lb:sea1"]));
        assert_eq!(name.unwrap().to_string(), "dglb:dns-lb:sea1");
        assert_eq!(certified_name(&certificate(&[])), Err(IdentityProblem::Nobody));
        assert_eq!(certified_name(&certificate(&["spiffe://dglb:dns-lb:sea1"])), Err(IdentityProblem::Nobody));
        for twice in [["dglb:dns-lb:sea1", "dglb:dns-lb:sea2"], ["dglb:dns-lb:sea1", "DGLB:dns-b:b1"]] {
            assert_eq!(certified_name(&certificate(&twice)), Err(IdentityProblem::Several));
        }
        for wrong in ["dglb:", "DGLB:dns-lb:sea1", "dglb:dns-x:sea1", "dglb:dns-lb:SEA1"] {
            let name = certified_name(&certificate(&[wrong]));
            assert!(matches!(name, Err(IdentityProblem::Malformed(_))), "{wrong}: {name:?}");
        }
        assert_eq!(certified_name(b"no certificate"), Err(IdentityProblem::Unreadable));
    }

    #[test]
    fn role_and_identity_must_both_agree() {
        let name = |text: &str| text.parse::<PeerName>().unwrap();
        let certified = Ok(name("dglb:dns-lb:sea1"));
        assert_eq!(agree(&certified, &name("dglb:dns-lb:sea1")), Ok(()));
        for other in ["dglb:dns-lb:sea2", "dglb:dns-a-sync:sea1"] {
            let text = agree(&certified, &name(other)).unwrap_err().to_string();
            assert_eq!(text, format!("the certificate is dglb:dns-lb:sea1's, not {other}'s"));
        }
        let none = Err(IdentityProblem::Nobody);
        assert_eq!(agree(&none, &name("dglb:dns-lb:sea1")), Err(IdentityProblem::Nobody));
    }
}
