//! Clients of the encrypted transports that send octets as they are: whatever is in a message.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dglb_scenarios::raw;
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The name in the servers' certificate.
const NAME: &str = "dns.example";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A transport under TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Tls,
    Https,
    Quic,
}

impl Over {
    pub(super) const ALL: [Self; 3] = [Self::Tls, Self::Https, Self::Quic];

    /// The value of the metrics' `transport` label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }

    fn protocol(self) -> &'static [u8] {
        match self {
            Self::Tls => b"dot",
            Self::Https => b"http/1.1",
            Self::Quic => b"doq",
        }
    }
}

/// A certificate and its key in PEM.
pub(super) fn pair() -> [String; 2] {
    let wanted = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    [wanted.self_signed(&key).unwrap().pem(), key.serialize_pem()]
}

/// Whoever trusts one certificate alone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    from: IpAddr,
    certificate: CertificateDer<'static>,
}

impl Client {
    pub(super) fn new(from: IpAddr, certificate: &str) -> Self {
        Self { from, certificate: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap() }
    }

    fn config(&self, over: Over) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![over.protocol().to_vec()];
        config
    }

    /// Sends a message over a connection of its own; `None` if nothing comes back.
    pub(super) async fn ask(&self, over: Over, server: IpAddr, octets: &[u8]) -> Option<Vec<u8>> {
        let ask = async {
            match over {
                Over::Tls => self.over_tls(server, octets).await,
                Over::Https => self.over_https(server, octets).await,
                Over::Quic => self.over_quic(server, octets).await,
            }
        };
        timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("{over:?} at {server}: nothing happens"))
    }

    /// A TLS connection; an error if the server is not who it must be.
    pub(super) async fn connect(&self, over: Over, server: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let port = if over == Over::Https { 443 } else { 853 };
        let stream = raw::connect(self.from, SocketAddr::new(server, port)).await;
        let connector = TlsConnector::from(Arc::new(self.config(over)));
        connector.connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    async fn over_tls(&self, server: IpAddr, octets: &[u8]) -> Option<Vec<u8>> {
        let mut stream = self.connect(Over::Tls, server).await.unwrap();
        stream.write_all(&raw::framed(octets)).await.ok()?;
        let mut reply = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut reply).await.ok()?;
        Some(reply)
    }

    /// RFC 8484 section 4.1, by POST.
    async fn over_https(&self, server: IpAddr, octets: &[u8]) -> Option<Vec<u8>> {
        let mut stream = BufStream::new(self.connect(Over::Https, server).await.unwrap());
        let head = format!(
            "POST /dns-query HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/dns-message\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            octets.len()
        );
        stream.write_all(&[head.as_bytes(), octets].concat()).await.ok()?;
        stream.flush().await.ok()?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
            status = status.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        }
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply).await.ok()?;
        (status.as_deref() == Some("200")).then_some(reply)
    }

    /// Whether a QUIC server is who it must be.
    pub(super) async fn reaches_over_quic(&self, server: IpAddr) -> bool {
        timeout(PATIENCE, self.quic(server)).await.is_ok_and(|reached| reached.is_ok())
    }

    async fn quic(&self, server: IpAddr) -> Result<(Endpoint, quinn::Connection), quinn::ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::new(self.from, 0)).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(self.config(Over::Quic)).unwrap()));
        let connection = endpoint.connect_with(config, SocketAddr::new(server, 853), NAME).unwrap().await?;
        Ok((endpoint, connection))
    }

    /// RFC 9250 section 4.2: a stream for a message, whose id is 0.
    async fn over_quic(&self, server: IpAddr, octets: &[u8]) -> Option<Vec<u8>> {
        let (_endpoint, connection) = self.quic(server).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // The connection may be closed before all was sent.
        let _ = send.write_all(&raw::framed(octets)).await;
        let _ = send.finish();
        let reply = receive.read_to_end(70_000).await.ok()?;
        connection.close(0_u32.into(), b"");
        let (length, reply) = reply.split_first_chunk()?;
        assert_eq!(usize::from(u16::from_be_bytes(*length)), reply.len(), "one message, framed");
        Some(reply.to_vec())
    }
}
