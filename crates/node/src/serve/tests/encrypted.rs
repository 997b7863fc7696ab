//! TLS, HTTPS and QUIC: what they carry, who may stay, and how each of them ends.

mod certificates;
mod https;
mod quic;

use std::path::Path;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::*;
use crate::{
    certificate::{CertificateFiles, provider},
    metrics::ConnectionEvent,
};

/// A server with all encrypted transports.
struct Encrypted {
    serving: Serving,
    addresses: Vec<SocketAddr>,
    directory: tempfile::TempDir,
}

impl Encrypted {
    fn new(change: impl FnOnce(&mut StreamSettings)) -> Self {
        Self::with(change, echo)
    }

    fn with(
        change: impl FnOnce(&mut StreamSettings),
        respond: impl Fn(&u8, &Asked<'_>, &mut [u8]) -> Handled + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = write_pair(directory.path(), "dns.example");
        let mut settings = lanes(1);
        change(&mut settings.encrypted.limits);
        let over = [Over::Tls, Over::Https { path: "/dns-query".to_owned() }, Over::Quic];
        settings.encrypted.services = over
            .map(|over| {
                let endpoint = |role| Endpoint { address: "127.0.0.1:0".parse().unwrap(), role };
                let endpoints = vec![endpoint(Role::Referral), endpoint(Role::Fallback)];
                EncryptedService { over, endpoints, files: files.clone() }
            })
            .into();
        let serving = Serving::with(&TWO_FAMILIES[..1], settings, respond);
        let addresses = serving.encrypted.iter().map(|(_, address)| *address).collect();
        Self { serving, addresses, directory }
    }

    /// Where a transport is served in the referral role.
    fn address(&self, transport: Transport) -> SocketAddr {
        self.serving.encrypted.iter().find(|(over, _)| *over == transport).expect("served").1
    }

    /// A client of DNS over TLS that trusts what the files hold now.
    fn tls(&self) -> StreamOwned<ClientConnection, TcpStream> {
        tls_client(self.address(Transport::Tls), client_config(self.directory.path(), &[b"dot"]))
    }

    fn expect(&self, transport: Transport, event: ConnectionEvent, count: u64) {
        self.serving.expect(&format!("{count} × {event:?}"), |totals| totals.connections(transport, event) == count);
    }
}

/// A new certificate and its key for this name, in place of what was there.
fn write_pair(directory: &Path, name: &str) -> CertificateFiles {
    let files = CertificateFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    let mut wanted = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&files.certificate, wanted.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn client_config(directory: &Path, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

fn tls_client(server: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let name = ServerName::try_from("dns.example").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

fn next_message(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn closed(stream: &mut impl Read) {
    match stream.read(&mut [0; 16]) {
        Ok(0) | Err(_) => {}
        Ok(_) => panic!("not closed"),
    }
}

#[tokio::test]
async fn tls_carries_what_tcp_does() {
    let encrypted = Encrypted::new(|_| {});
    let mut stream = encrypted.tls();
    stream.write_all(&[framed(b"one"), framed(b"two"), vec![0]].concat()).unwrap();
    assert_eq!(next_message(&mut stream), b"one\0\0");
    assert_eq!(next_message(&mut stream), b"two\0\0");
    stream.write_all(b"\x05three").unwrap();
    assert_eq!(next_message(&mut stream), b"three\0\0");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"dot"[..]));
    // The other role, TLS 1.2, and no word of protocols.
    let mut config = client_config(encrypted.directory.path(), &[]);
    config = {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(encrypted.directory.path().join("cert.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    let mut old = tls_client(encrypted.addresses[1], config);
    old.write_all(&framed(b"old")).unwrap();
    assert_eq!(next_message(&mut old), [&b"old"[..], &[0, Role::Fallback as u8]].concat());
    // It ends politely.
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    encrypted.expect(Transport::Tls, ConnectionEvent::Finished, 1);
    let totals = encrypted.serving.counters.totals();
    assert_eq!((totals.questions(Transport::Tls), totals.questions(Transport::Tcp)), (4, 0));
    assert_eq!(totals.open(Transport::Tls), 1);
}

#[tokio::test]
async fn handshakes_that_fail_or_stand_still_are_over_soon() {
    let encrypted = Encrypted::new(|limits| limits.handshake = Duration::from_secs(2));
    let address = encrypted.address(Transport::Tls);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(&framed(b"in the clear")).unwrap();
    encrypted.expect(Transport::Tls, ConnectionEvent::HandshakeFailed, 1);
    encrypted.expect(Transport::Tls, ConnectionEvent::HandshakeSlow, 1);
    closed(&mut silent);
    // Who wants to speak something else hears so.
    let config = client_config(encrypted.directory.path(), &[b"h2"]);
    let mut other = tls_client(address, config);
    let error = other.write_all(b"x").and_then(|()| other.read(&mut [0; 1]).map(drop)).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    encrypted.expect(Transport::Tls, ConnectionEvent::HandshakeFailed, 2);
    assert_eq!(encrypted.serving.counters.totals().open(Transport::Tls), 0);
}

#[tokio::test]
async fn caps_and_time_outs_hold_for_all_encrypted_transports_together() {
    let idle = Duration::from_secs(3);
    let encrypted = Encrypted::new(|limits| (limits.connections, limits.idle) = (2, idle));
    let mut first = encrypted.tls();
    first.write_all(&framed(b"first")).unwrap();
    next_message(&mut first);
    let https = encrypted.address(Transport::Https);
    let mut web = tls_client(https, client_config(encrypted.directory.path(), &[b"http/1.1"]));
    https::get(&mut web, &https::path(b"hello"));
    let mut third = encrypted.tls();
    third.write_all(&framed(b"third")).unwrap();
    next_message(&mut third);
    closed(&mut first);
    encrypted.expect(Transport::Tls, ConnectionEvent::Evicted, 1);
    closed(&mut web);
    closed(&mut third);
    encrypted.expect(Transport::Https, ConnectionEvent::Idle, 1);
    encrypted.expect(Transport::Tls, ConnectionEvent::Idle, 1);
}
