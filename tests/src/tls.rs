//! Certificates of everybody who plays in these tests: all of one authority, which is as old as the
//! process.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use dglb_ca::Ephemeral;
use dglb_node::link::{Credentials, LinkSettings, PROTOCOL, TlsFiles};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

static AUTHORITY: OnceLock<Ephemeral> = OnceLock::new();

/// Who signs for all of them.
///
/// # Panics
/// When there is no room for files.
pub fn authority() -> &'static Ephemeral {
    AUTHORITY.get_or_init(|| Ephemeral::new().expect("a key can be made"))
}

/// Writes what the host of this name (`dglb:dns-lb:lb1`) needs into a directory.
///
/// # Panics
/// When there is no room for files.
pub fn equip(name: &str, directory: &Path) {
    authority().write(&name.parse().expect("a name"), directory).expect("room for files");
}

/// Settings of the links of the host of this name.
///
/// # Panics
/// When there is no room for files.
pub fn links(name: &str) -> LinkSettings {
    let directory = tempfile::tempdir().expect("room for files");
    equip(name, directory.path());
    let name = name.parse().expect("a name");
    let credentials = Credentials::load(&TlsFiles::in_directory(directory.path()), name).expect("they were just made");
    LinkSettings { tls: Some(credentials), ..LinkSettings::default() }
}

/// TLS as the host of this name would speak it, on a connection to whomever.
///
/// # Panics
/// When the handshake fails.
pub async fn over(stream: TcpStream, name: &str) -> TlsStream<TcpStream> {
    let files = authority().files(&name.parse().expect("a name")).expect("a key can be made");
    let chain = CertificateDer::from_pem_slice(files[0].1.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(files[1].1.as_bytes()).expect("a key");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("there are some");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = builder.with_client_auth_cert(vec![chain], key).expect("they belong together");
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let server = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.expect("a TLS handshake")
}

/// Takes anybody for the right one: who intrudes does not mind whom he meets.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &aws_lc_rs::default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &aws_lc_rs::default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
