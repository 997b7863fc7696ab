//! TLS under a map link: version 1.3 alone, certificates on both sides, no resumption. What the
//! handshake has shown goes with the connection as [`Certified`].

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use dglb_core::peer_name::PeerName;
use rustls::{
    AlertDescription, CertificateError as Invalid, ClientConfig, CommonState, Error, ServerConfig,
    client::Resumption,
    pki_types::ServerName,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use thiserror::Error as ThisError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{
    IdentityProblem,
    credentials::{Certified, Credentials},
    identity::{agree, certified_name},
    trust::{Trust, Verifier},
};
use crate::certificate::provider;

/// What both sides agree on by ALPN (RFC 7301), so that no other service's client or server can be
/// led here.
pub const PROTOCOL: &[u8] = b"dglb-map/1";
/// Most octets that are read and thrown away while a peer that failed closes.
const LAST_OCTETS: u64 = 64 << 10;

/// Why a connection has no TLS that would do.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum TlsError {
    /// It did not come to an end.
    #[error("the TLS handshake took too long")]
    TimedOut,
    /// The connection broke.
    #[error("the connection ended during the TLS handshake")]
    Lost,
    /// Something else is spoken there.
    #[error("what the peer speaks is not TLS")]
    NotTls,
    /// An older version, or ciphers that are not known here.
    #[error("the peer has no TLS 1.3, or no cipher in common")]
    Incompatible,
    /// ALPN names something else, or nothing.
    #[error("the peer does not speak dglb-map/1 (ALPN)")]
    Protocol,
    /// The peer did not show who it is.
    #[error("the peer shows no certificate")]
    NoCertificate,
    /// Too late.
    #[error("the peer's certificate has expired")]
    Expired,
    /// Too early, or the clock of this host is wrong.
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// A list names it.
    #[error("the peer's certificate is revoked")]
    Revoked,
    /// No authority of ours has signed it.
    #[error("the peer's certificate is of no authority that is trusted here")]
    UnknownIssuer,
    /// Its authority has no list here, although lists are configured.
    #[error("there is no revocation list here of the authority of the peer's certificate")]
    NoList,
    /// It is good for something else.
    #[error("the peer's certificate is not meant for this side of a link")]
    Purpose,
    /// It is broken in another way.
    #[error("the peer's certificate cannot be used: {0}")]
    Certificate(String),
    /// The certificate is good, but of the wrong one.
    #[error(transparent)]
    Identity(#[from] IdentityProblem),
    /// The peer did not like what we showed.
    #[error("the peer refuses this side's TLS or certificate: {0}")]
    Refused(String),
    /// Anything else.
    #[error("TLS: {0}")]
    Other(String),
}

/// Everything that [`TlsError::reason`] says.
pub(super) const REASONS: [&str; 16] = [
    "timed-out",
    "lost",
    "not-tls",
    "incompatible",
    "protocol",
    "no-certificate",
    "expired",
    "not-yet-valid",
    "revoked",
    "unknown-issuer",
    "no-list",
    "purpose",
    "certificate",
    "identity",
    "refused",
    "other",
];

impl TlsError {
    /// As the counters name it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::Lost => "lost",
            Self::NotTls => "not-tls",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no-certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Revoked => "revoked",
            Self::UnknownIssuer => "unknown-issuer",
            Self::NoList => "no-list",
            Self::Purpose => "purpose",
            Self::Certificate(_) => "certificate",
            Self::Identity(_) => "identity",
            Self::Refused(_) => "refused",
            Self::Other(_) => "other",
        }
    }

    /// What an error of a TLS stream was about; `None` where it was the network's.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        Some(Self::from(error.get_ref()?.downcast_ref::<Error>()?))
    }
}

impl From<&Error> for TlsError {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::Incompatible,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            Error::InvalidCertificate(invalid) => match invalid {
                Invalid::Expired => Self::Expired,
                Invalid::NotValidYet => Self::NotYetValid,
                Invalid::Revoked => Self::Revoked,
                Invalid::UnknownIssuer => Self::UnknownIssuer,
                Invalid::UnknownRevocationStatus => Self::NoList,
                Invalid::InvalidPurpose => Self::Purpose,
                other => Self::Certificate(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

/// The accepting side's settings.
///
/// # Errors
/// Whatever rustls says to the key.
pub(super) fn server(pair: Arc<CertifiedKey>, trust: Arc<Trust>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier(trust)))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A link lives for long: what resumption saves is not worth what it would keep for each peer,
    // and a session that is resumed has not shown that its certificate is still good.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The dialling side's settings.
///
/// # Errors
/// Whatever rustls says to the key.
pub(super) fn client(pair: Arc<CertifiedKey>, trust: Arc<Trust>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(trust)))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What a failed handshake leaves: the reason, and the socket with an alert on its way.
type Failed = (TlsError, Option<TcpStream>);

/// The handshake of a connection that came in.
pub(super) async fn accept(
    credentials: &Credentials,
    stream: TcpStream,
    within: Duration,
) -> Result<(TlsStream<TcpStream>, Certified), Failed> {
    let reloads = credentials.reloads();
    let handshake = TlsAcceptor::from(credentials.server()).accept(stream).into_fallible();
    let stream = TlsStream::from(finished(timeout(within, handshake).await)?);
    let certified = certified(credentials, &stream, reloads).map_err(|error| (error, None))?;
    Ok((stream, certified))
}

/// The handshake of a connection that was dialled, with whom is `expected` there and nobody else.
pub(super) async fn connect(
    credentials: &Credentials,
    stream: TcpStream,
    (server, expected): (SocketAddr, &PeerName),
    within: Duration,
) -> Result<(TlsStream<TcpStream>, Certified), Failed> {
    let reloads = credentials.reloads();
    // Addresses are not said in the handshake, and certificates are not looked through for them.
    let name = ServerName::from(server.ip());
    let handshake = TlsConnector::from(credentials.client()).connect(name, stream).into_fallible();
    let stream = TlsStream::from(finished(timeout(within, handshake).await)?);
    let certified = certified(credentials, &stream, reloads).map_err(|error| (error, None))?;
    agree(&certified.name, expected).map_err(|problem| (problem.into(), None))?;
    Ok((stream, certified))
}

fn finished<T>(handshake: Result<Result<T, (io::Error, TcpStream)>, impl Sized>) -> Result<T, Failed> {
    match handshake {
        Err(_) => Err((TlsError::TimedOut, None)),
        Ok(Err((error, stream))) => Err((TlsError::of(&error).unwrap_or(TlsError::Lost), Some(stream))),
        Ok(Ok(stream)) => Ok(stream),
    }
}

fn certified(
    credentials: &Credentials,
    stream: &TlsStream<TcpStream>,
    reloads: tokio::sync::watch::Receiver<u64>,
) -> Result<Certified, TlsError> {
    let (_, state): (_, &CommonState) = stream.get_ref();
    if state.alpn_protocol() != Some(PROTOCOL) {
        return Err(TlsError::Protocol);
    }
    let certificate = state.peer_certificates().and_then(|chain| chain.first()).ok_or(TlsError::NoCertificate)?;
    Ok(credentials.certified(certificate, certified_name(certificate), reloads))
}

/// Lets the peer read the alert: closing with octets unread would reset the connection.
pub(super) async fn dismiss(mut stream: TcpStream, within: Duration) {
    let goodbye = async {
        if stream.shutdown().await.is_ok() {
            let _ = tokio::io::copy(&mut (&mut stream).take(LAST_OCTETS), &mut tokio::io::sink()).await;
        }
    };
    // Whoever does not close is closed.
    let _ = timeout(within, goodbye).await;
}
