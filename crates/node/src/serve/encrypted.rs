//! DNS over TLS, HTTPS and QUIC: what is configured, and its sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use dglb_core::dns::Transport;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    version::{TLS12, TLS13},
};
use socket2::{Domain, Protocol, Type};
use tokio_rustls::TlsAcceptor;

use crate::certificate::{CertificateFiles, provider};

use super::{
    BindError, Endpoint,
    certificate::Certificate,
    stream::{self, Carrier, Listening, Socket, StreamSettings},
};

/// Encrypted transports; all are served by one thread of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptedSettings {
    /// Limits that hold for the connections of all of them together.
    pub limits: StreamSettings,
    /// What is served.
    pub services: Vec<EncryptedService>,
}

/// One encrypted transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedService {
    /// What messages are carried by.
    pub over: Over,
    /// Where.
    pub endpoints: Vec<Endpoint>,
    /// What to show to clients.
    pub files: CertificateFiles,
}

/// An encrypted transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https {
        /// The path to ask at; begins with `/`.
        path: String,
    },
    /// DNS over QUIC (RFC 9250).
    Quic,
}

impl Over {
    /// As which transport its questions count.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Tls => Transport::Tls,
            Self::Https { .. } => Transport::Https,
            Self::Quic => Transport::Quic,
        }
    }

    /// RFC 7858 section 3.1 names none, IANA knows "dot"; RFC 7540 and 9112; RFC 9250 section 4.1.
    fn application_protocols(&self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Tls => &[b"dot"],
            Self::Https { .. } => &[b"h2", b"http/1.1"],
            Self::Quic => &[b"doq"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// The sockets of all encrypted transports, and the certificates that they show.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) certificates: Vec<Arc<Certificate>>,
    sockets: Vec<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    endpoint: Endpoint,
    over: Over,
    tls: Arc<ServerConfig>,
    socket: Either,
}

#[derive(Debug)]
enum Either {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    pub(super) fn new(settings: &EncryptedSettings) -> Result<Self, BindError> {
        let mut bound = Self::default();
        for service in &settings.services {
            let Some(first) = service.endpoints.first() else { continue };
            let transport = service.over.transport().as_str();
            let failed = |address| move |source| BindError { address, transport, source };
            let certificate = bound.certificate(&service.files).map_err(failed(first.address))?;
            let tls = tls(&service.over, certificate).map_err(failed(first.address))?;
            for endpoint in &service.endpoints {
                let socket = BoundSocket::new(*endpoint, service.over.clone(), Arc::clone(&tls));
                bound.sockets.push(socket.map_err(failed(endpoint.address))?);
            }
        }
        Ok(bound)
    }

    /// Where each transport really is.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Transport, SocketAddr)> {
        self.sockets.iter().map(|socket| (socket.over.transport(), socket.endpoint.address))
    }

    /// What the thread that serves them needs.
    pub(super) fn listening(self) -> Vec<Listening> {
        let listening = |bound: BoundSocket| {
            let acceptor = || TlsAcceptor::from(Arc::clone(&bound.tls));
            let socket = match (bound.socket, bound.over) {
                (Either::Udp(socket), _) => Socket::Quic(socket, bound.tls),
                (Either::Tcp(listener), Over::Https { path }) => {
                    Socket::Tcp(listener, Carrier::Https(acceptor(), path.into()))
                }
                (Either::Tcp(listener), _) => Socket::Tcp(listener, Carrier::Tls(acceptor())),
            };
            Listening { role: bound.endpoint.role, socket }
        };
        self.sockets.into_iter().map(listening).collect()
    }

    /// One for each pair of files, however many transports show it.
    fn certificate(&mut self, files: &CertificateFiles) -> io::Result<Arc<Certificate>> {
        if let Some(known) = self.certificates.iter().find(|known| known.files() == files) {
            return Ok(Arc::clone(known));
        }
        let certificate = Arc::new(Certificate::new(files.clone()).map_err(io::Error::other)?);
        self.certificates.push(Arc::clone(&certificate));
        Ok(certificate)
    }
}

impl BoundSocket {
    fn new(mut endpoint: Endpoint, over: Over, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let socket = if over == Over::Quic {
            let socket = udp_socket(endpoint.address)?;
            endpoint.address = socket.local_addr()?;
            Either::Udp(socket)
        } else {
            let listener = stream::bind(endpoint.address)?;
            endpoint.address = listener.local_addr()?;
            Either::Tcp(listener)
        };
        Ok(Self { endpoint, over, tls, socket })
    }
}

/// Not shared, so that a second daemon on the same address fails.
fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn tls(over: &Over, certificate: Arc<Certificate>) -> io::Result<Arc<ServerConfig>> {
    // QUIC is defined with TLS 1.3 alone (RFC 9001 section 4.2).
    let versions: &[_] = if *over == Over::Quic { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = over.application_protocols();
    // Clients come back with tickets, so nothing is kept for those who do not.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(io::Error::other)?;
    Ok(Arc::new(config))
}
