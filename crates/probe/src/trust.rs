//! TLS of probes: whose certificates are believed, and why a handshake failed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dglb_core::name::Name;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    outcome::{Failure, TlsFailure},
    probe::Stop,
};

/// Where systems keep the authorities that they believe: Debian and Alpine, Fedora, openSUSE.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Whose certificates are believed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    verified: Protocols,
    unverified: Protocols,
}

/// The same with each of the two protocols that may be spoken inside.
#[derive(Clone, Debug)]
struct Protocols {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Trust {
    /// Believes who is signed by one of the certificates in a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, or has no certificate that can be used.
    pub fn read(file: &Path) -> io::Result<Self> {
        let text = std::fs::read(file)?;
        let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let mut roots = RootCertStore::empty();
        // Some of a system's are older than what can be read; the others count all the same.
        let (usable, _) = roots.add_parsable_certificates(certificates.map_err(|e| invalid(&e))?);
        if usable == 0 {
            return Err(invalid(&"there is no certificate in it"));
        }
        Ok(Self::of(roots))
    }

    /// Believes whom the system believes.
    ///
    /// # Errors
    /// As of [`Trust::read`], with the file.
    pub fn of_system() -> Result<Self, (PathBuf, io::Error)> {
        let file = SYSTEM.map(Path::new).into_iter().find(|file| file.exists()).unwrap_or(Path::new(SYSTEM[0]));
        Self::read(file).map_err(|error| (file.to_owned(), error))
    }

    /// Believes nobody: every probe that verifies certificates fails.
    pub fn nobody() -> Self {
        Self::of(RootCertStore::empty())
    }

    fn of(roots: RootCertStore) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
            // The provider is the one that the protocol versions were made with.
            builder.with_safe_default_protocol_versions().expect("aws-lc-rs has TLS 1.2 and 1.3")
        };
        let anyone = Arc::new(Anyone(Arc::clone(&provider)));
        Self {
            verified: Protocols::of(builder().with_root_certificates(roots).with_no_client_auth()),
            unverified: Protocols::of(
                builder().dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth(),
            ),
        }
    }

    /// Secures a connection to who calls itself `name`.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        name: &Name,
        verify: bool,
        http2: bool,
    ) -> Result<TlsStream<TcpStream>, Stop> {
        let protocols = if verify { &self.verified } else { &self.unverified };
        let config = if http2 { &protocols.http2 } else { &protocols.http1 };
        let name = name.to_string();
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        // A name with other characters than a host's is nobody's in a certificate.
        let name = ServerName::try_from(name).map_err(|_| Stop::Failed(Failure::Tls(TlsFailure::WrongName)))?;
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|e| of_handshake(&e))
    }
}

impl Protocols {
    fn of(mut config: ClientConfig) -> Self {
        // Each probe makes a whole handshake, as a new client would.
        config.resumption = Resumption::disabled();
        let with = |alpn: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![alpn.to_vec()];
            Arc::new(config)
        };
        Self { http1: with(b"http/1.1"), http2: with(b"h2") }
    }
}

fn of_handshake(error: &io::Error) -> Stop {
    let failure = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => Failure::Tls(of_tls(error)),
        None => match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Failure::Reset
            }
            _ => Failure::Truncated,
        },
    };
    Stop::Failed(failure)
}

fn of_tls(error: &Error) -> TlsFailure {
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFailure::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::WrongName
            }
            _ => TlsFailure::Untrusted,
        },
        Error::AlertReceived(_) | Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFailure::Refused,
        Error::InvalidMessage(_) => TlsFailure::Malformed,
        _ => TlsFailure::Other,
    }
}

/// Takes any certificate, though only from who has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
