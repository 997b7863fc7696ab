//! Whose certificates are believed: those of the authorities in one file, but for those that a list
//! of theirs revokes.
//!
//! Where lists are configured, every authority that has issued a certificate must have one: a list
//! that is missing would let in whom it names. When the next list was due is not looked at: a list
//! that nobody renewed must not take all links down.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError as Invalid, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime, pem::PemObject},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use crate::certificate::{CertificateError, provider, read, read_up_to};

/// More than the list of any authority of ours has: some 100 000 certificates.
const MAX_LIST: u64 = 16 << 20;

/// Authorities and their lists.
#[derive(Debug)]
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    /// How many certificates the lists name.
    revoked: usize,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What tells a certificate from all others: its issuer and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateId {
    issuer: Box<[u8]>,
    serial: Box<[u8]>,
}

impl CertificateId {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        Some(Self { issuer: parsed.issuer().into(), serial: parsed.serial().into() })
    }
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub(super) fn load(ca: &Path, lists: Option<&Path>) -> Result<Self, CertificateError> {
        let text = read(ca)?;
        let missing = |path: &Path, what| CertificateError::Missing { path: path.to_owned(), what };
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|_| missing(ca, "certificate in PEM"))?;
            let anchor = anchor_from_trusted_cert(&certificate);
            anchors.push(anchor.map_err(|_| CertificateError::Certificate { path: ca.to_owned() })?.to_owned());
        }
        if anchors.is_empty() {
            return Err(missing(ca, "certificate in PEM"));
        }
        let mut trust =
            Self { anchors, lists: Vec::new(), revoked: 0, algorithms: provider().signature_verification_algorithms };
        if let Some(path) = lists {
            trust.read_lists(path)?;
        }
        Ok(trust)
    }

    fn read_lists(&mut self, path: &Path) -> Result<(), CertificateError> {
        let missing = || CertificateError::Missing { path: path.to_owned(), what: "revocation list in PEM" };
        for list in CertificateRevocationListDer::pem_slice_iter(&read_up_to(path, MAX_LIST)?) {
            let list = list.map_err(|_| missing())?;
            self.revoked += entries(&list).ok_or_else(missing)?;
            let list = OwnedCertRevocationList::from_der(&list).map_err(|_| missing())?;
            self.lists.push(list.into());
        }
        if self.lists.is_empty() { Err(missing()) } else { Ok(()) }
    }

    /// How many certificates are revoked.
    pub(super) fn revoked(&self) -> usize {
        self.revoked
    }

    /// Whether a list names this certificate. For links that are up, so nothing else counts.
    pub(super) fn revokes(&self, id: &CertificateId) -> bool {
        let issuers = self.lists.iter().filter(|list| list.issuer() == &*id.issuer);
        issuers.into_iter().any(|list| matches!(list.find_serial(&id.serial), Ok(Some(_)) | Err(_)))
    }

    /// Whether a chain is to be believed now, for this use.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(RevocationCheckDepth::EndEntity);
            let options = options.with_status_policy(UnknownStatusPolicy::Deny);
            options.with_expiration_policy(ExpirationPolicy::Ignore).build()
        });
        let end = EndEntityCert::try_from(certificate).map_err(invalid)?;
        let algorithms = self.algorithms.all;
        end.verify_for_usage(algorithms, &self.anchors, others, now, usage, revocation, None).map(drop).map_err(invalid)
    }
}

/// How many certificates a list names.
fn entries(list: &CertificateRevocationListDer<'_>) -> Option<usize> {
    let (_, parsed) = x509_parser::parse_x509_crl(list).ok()?;
    Some(parsed.iter_revoked_certificates().count())
}

/// What is told apart here is what [`super::TlsError`] and the alert to the peer tell apart.
fn invalid(error: webpki::Error) -> Error {
    use webpki::Error as Of;
    let invalid = match error {
        Of::CertExpired { .. } | Of::InvalidCertValidity => Invalid::Expired,
        Of::CertNotValidYet { .. } => Invalid::NotValidYet,
        Of::CertRevoked => Invalid::Revoked,
        Of::UnknownRevocationStatus => Invalid::UnknownRevocationStatus,
        // Another authority may have the name of one of ours, but not its key.
        Of::UnknownIssuer | Of::InvalidSignatureForPublicKey => Invalid::UnknownIssuer,
        Of::RequiredEkuNotFoundContext(_) => Invalid::InvalidPurpose,
        other => Invalid::Other(OtherError(Arc::new(other))),
    };
    invalid.into()
}

/// Verifies the other side of a handshake, whichever side that is. Names are not looked at here:
/// see [`super::identity`].
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<Trust>);

impl Verifier {
    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.algorithms)
    }
}

/// TLS 1.2 is not offered, so nobody can have signed anything for it.
fn never() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOffered.into())
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}
