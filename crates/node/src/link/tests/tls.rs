//! TLS under a link: with real certificates of a real authority, from real files.

mod followed;
mod refused;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use dglb_ca::{Authority, Issued, Lifetime, Request, Revoked};
use dglb_core::peer_name::PeerName;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::certificate::provider;

const HOUR: Duration = Duration::from_secs(3_600);

fn authority() -> Authority {
    Authority::new("test", days(10)).unwrap()
}

fn days(days: u32) -> Lifetime {
    Lifetime::days(SystemTime::now(), days)
}

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

/// The files of one host.
struct Host {
    directory: tempfile::TempDir,
    name: PeerName,
}

impl Host {
    /// One that `authority` has given a certificate, and that trusts those of `trusted`.
    fn new(authority: &Authority, trusted: &Authority, certified: &str, lifetime: Lifetime) -> Self {
        let issued = authority.issue(&Request::new(name(certified), lifetime)).unwrap();
        let host = Self { directory: tempfile::tempdir().unwrap(), name: name(certified) };
        host.show(&issued, trusted);
        host.revoke(trusted, &[]);
        host
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts another certificate in the place of its own.
    fn show(&self, issued: &Issued, trusted: &Authority) {
        let list = list(trusted, &[]);
        issued.write(self.path(), trusted.certificate(), &list).unwrap();
    }

    /// Puts a list in the place of its own.
    fn revoke(&self, authority: &Authority, revoked: &[&Issued]) {
        std::fs::write(self.path().join("crl.new"), list(authority, revoked)).unwrap();
        std::fs::rename(self.path().join("crl.new"), self.path().join("crl.pem")).unwrap();
    }

    fn credentials(&self) -> Credentials {
        Credentials::load(&TlsFiles::in_directory(self.path()), self.name.clone()).unwrap()
    }

    fn links(&self) -> LinkSettings {
        LinkSettings { tls: Some(self.credentials()), ..LinkSettings::default() }
    }
}

fn list(authority: &Authority, revoked: &[&Issued]) -> String {
    let now = SystemTime::now();
    let revoked: Vec<Revoked> =
        revoked.iter().map(|issued| Revoked { serial: issued.serial.clone(), since: now }).collect();
    authority.revocation_list(&revoked, 1, now, now + HOUR).unwrap()
}

/// The host of this name as everybody expects it.
fn good(authority: &Authority, certified: &str) -> Host {
    Host::new(authority, authority, certified, days(5))
}

/// A client that is not ours: it speaks TLS as it is told to, and believes nobody's certificate
/// less than that of `authority`.
fn stranger(authority: &Authority, host: Option<&Host>, change: impl FnOnce(&mut ClientConfig)) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match host {
        None => builder.with_no_client_auth(),
        Some(host) => {
            let chain = CertificateDer::from_pem_file(host.path().join("certificate.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(host.path().join("key.pem")).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    change(&mut config);
    TlsConnector::from(std::sync::Arc::new(config))
}

/// A dns-b whose certificate has an address that strangers can ask for.
fn b_at_loopback(authority: &Authority) -> Host {
    let mut request = Request::new(name("dglb:dns-b:b1"), days(5));
    request.addresses = vec!["127.0.0.1".parse().unwrap()];
    let host = good(authority, "dglb:dns-b:b1");
    host.show(&authority.issue(&request).unwrap(), authority);
    host
}

/// A stranger with this host's certificate that has said HELLO.
async fn says_hello(authority: &Authority, host: &Host, address: SocketAddr) -> TlsStream<TcpStream> {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let connector = stranger(authority, Some(host), |_| {});
    let mut stream = within(connector.connect(loopback(), stream)).await.unwrap();
    let (encoded, mut octets) = (Message::Hello(hello()).encode().unwrap(), BytesMut::new());
    let frame = Frame::new(encoded.number(), encoded.body().clone());
    FrameCodec::default().encode(frame, &mut octets).unwrap();
    within(stream.write_all(&octets)).await.unwrap();
    within(stream.flush()).await.unwrap();
    stream
}

fn loopback() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

#[tokio::test]
async fn a_link_has_tls_carries_both_directions_and_leaves_with_bye() {
    let authority = authority();
    let (mut b, address) = acceptor(good(&authority, "dglb:dns-b:b1").links()).await;
    let host = good(&authority, "dglb:dns-lb:sea1").links();
    let mut lb = Side::dial(address, host.clone());
    b.let_in().await;
    let ((_, to_lb), (_, to_b)) = (b.up().await, lb.up().await);
    // More than TLS and the kernel hold together: what waits below must be pushed on.
    let entries = large_map().entries.into_iter().cycle().take(50_000).collect();
    let map = Map { entries, ..large_map() };
    to_b.send(Message::Map(map.clone())).await.unwrap();
    to_lb.send(Message::Fleet(Box::new(large_fleet()))).await.unwrap();
    assert!(matches!(b.next().await, LinkEvent::Message(Message::Map(m)) if m == map));
    assert!(matches!(lb.next().await, LinkEvent::Message(Message::Fleet(f)) if *f == large_fleet()));
    // And the last octets of a batch without any that come after them.
    to_lb.try_send(Message::Drain(true)).unwrap();
    assert!(matches!(lb.next().await, LinkEvent::Message(Message::Drain(true))));

    let credentials = host.tls.unwrap();
    let (left, peer) = credentials.peer_seconds_left().expect("a peer is linked");
    assert_eq!(peer.unwrap().to_string(), "dglb:dns-b:b1");
    assert!((4 * 86_400..=5 * 86_400).contains(&left) && (left - credentials.seconds_left()).abs() < 60);
    lb.stop.cancel();
    let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = b.down().await.reason else { panic!("no BYE") };
    assert_eq!(bye.reason, ByeReason::Shutdown);
    assert!(matches!(lb.down().await.reason, DownReason::Closed(CloseReason::ByeFromUs(_))));
    until("nobody is linked", || credentials.peer_seconds_left().is_none()).await;
    assert_eq!((b.metrics.established.get(), b.metrics.up.get(), b.metrics.violations.get()), (1, 0, 0));
    assert_eq!((b.metrics.handshake_failures.get(), lb.metrics.handshake_failures.get()), (0, 0));
}

#[tokio::test]
async fn frames_that_wait_together_share_records() {
    let authority = authority();
    let (mut b, address) = acceptor(good(&authority, "dglb:dns-b:b1").links()).await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = relay.local_addr().unwrap();
    let (count, mut records) = tokio::sync::watch::channel(0_u32);
    tokio::spawn(async move {
        let (near, _) = relay.accept().await.unwrap();
        let (mut near, mut near_up) = near.into_split();
        let (mut far, mut far_up) = TcpStream::connect(address).await.unwrap().into_split();
        let up = async { tokio::io::copy(&mut near, &mut far_up).await };
        let down = async {
            loop {
                // A record: type, version, length (RFC 8446 section 5.1).
                let mut record = vec![0; 5];
                far.read_exact(&mut record).await?;
                let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
                record.resize(5 + length, 0);
                far.read_exact(&mut record[5..]).await?;
                count.send_modify(|records| *records += 1);
                near_up.write_all(&record).await?;
            }
            #[allow(unreachable_code)]
            io::Result::Ok(())
        };
        let _ = tokio::join!(up, down);
    });
    let mut lb = Side::dial(through, good(&authority, "dglb:dns-lb:sea1").links());
    b.let_in().await;
    let ((_, to_lb), (_, _to_b)) = (b.up().await, lb.up().await);
    let before = *records.borrow_and_update();
    for n in 0..200 {
        to_lb.try_send(Message::Drain(n % 2 == 0)).unwrap();
    }
    for n in 0..200 {
        assert!(matches!(lb.next().await, LinkEvent::Message(Message::Drain(drain)) if drain == (n % 2 == 0)));
    }
    let after = *records.borrow_and_update() - before;
    assert!((1..40).contains(&after), "{after} records for 200 frames");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_under_tls_too() {
    let authority = authority();
    let mut link =
        LinkSettings { stall_timeout: Duration::from_millis(300), commands: 4, ..b_at_loopback(&authority).links() };
    link.linger = Duration::from_millis(100);
    let (mut b, address) = acceptor(link).await;
    let host = good(&authority, "dglb:dns-lb:sea1");
    let _stream = says_hello(&authority, &host, address).await;
    b.let_in().await;
    let (_, to_lb) = b.up().await;
    let encoded = Message::Fleet(Box::new(large_fleet())).encode().unwrap();
    let end = Instant::now() + LONG;
    while to_lb.try_send_encoded(encoded.clone()) != Err(LinkSendError::Closed) {
        assert!(Instant::now() < end, "never closed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let DownReason::Closed(CloseReason::ByeFromUs(bye)) = b.down().await.reason else { panic!("not by us") };
    assert_eq!((bye.reason, b.metrics.slow.get(), b.metrics.up.get()), (ByeReason::Slow, 1, 0));
}
