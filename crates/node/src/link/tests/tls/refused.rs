//! Whom TLS keeps out, on either side, and how that is counted and told.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::version::TLS12;

use super::*;

/// A dialler on `host` that does not get in at a dns-b that `authority` certifies: the dns-b, and
/// what the dialler was told.
async fn turned_away(authority: &Authority, host: &Host, reason: &'static str) -> (Side, DownReason) {
    let (mut b, address) = acceptor(good(authority, "dglb:dns-b:b1").links()).await;
    let mut lb = Side::dial(address, host.links());
    let down = lb.down().await;
    assert!(!down.was_up);
    until(reason, || b.metrics.tls_failures(reason) >= 1).await;
    assert_eq!(b.metrics.established.get(), 0);
    assert!(b.events.try_recv().is_err(), "the daemon never hears of it");
    lb.stop.cancel();
    (b, down.reason)
}

/// A certificate of `authority` that says anything.
fn signed(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let ca_key = KeyPair::from_pem(&authority.key()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(authority.certificate(), ca_key).unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Issued { serial: "40".parse().unwrap(), certificate, key: key.serialize_pem() }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[tokio::test]
async fn certificates_that_are_no_good_are_refused_and_the_dialler_is_told() {
    let (authority, other) = (authority(), authority());
    let now = SystemTime::now();
    let expired = Lifetime { from: now - 2 * HOUR, until: now - HOUR };
    let early = Lifetime { from: now + HOUR, until: now + 2 * HOUR };
    let lb = "dglb:dns-lb:sea1";
    for (host, reason, told) in [
        (Host::new(&other, &authority, lb, days(5)), "unknown-issuer", "UnknownCA"),
        (Host::new(&authority, &authority, lb, expired), "expired", "CertificateExpired"),
        (Host::new(&authority, &authority, lb, early), "not-yet-valid", "CertificateExpired"),
    ] {
        let (b, down) = turned_away(&authority, &host, reason).await;
        let DownReason::Tls(TlsError::Refused(alert)) = down else { panic!("{reason}: {down:?}") };
        assert_eq!(alert, told, "{reason}");
        assert!(b.metrics.handshake_failures.get() >= 1);
    }
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_refused() {
    let authority = authority();
    let host = good(&authority, "dglb:dns-lb:sea1");
    // Good enough for who accepts, not for who dials.
    let server_only = signed(&authority, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![uri("dglb:dns-lb:sea1")];
    });
    host.show(&server_only, &authority);
    let (_, down) = turned_away(&authority, &host, "purpose").await;
    assert!(matches!(down, DownReason::Tls(TlsError::Refused(_))), "{down:?}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_one_without_a_list() {
    let authority = authority();
    let issued = authority.issue(&Request::new(name("dglb:dns-lb:sea1"), days(5))).unwrap();
    let host = good(&authority, "dglb:dns-lb:sea1");
    host.show(&issued, &authority);
    let server = good(&authority, "dglb:dns-b:b1");
    server.revoke(&authority, &[&issued]);
    let (b, address) = acceptor(server.links()).await;
    let mut lb = Side::dial(address, host.links());
    let DownReason::Tls(TlsError::Refused(alert)) = lb.down().await.reason else { panic!("not refused") };
    assert_eq!(alert, "CertificateRevoked");
    assert!(b.metrics.tls_failures("revoked") >= 1);

    // Two authorities, but a list of one of them: the other's hosts could all be revoked.
    let second = Authority::new("second", days(10)).unwrap();
    let both = format!("{}{}", authority.certificate(), second.certificate());
    std::fs::write(server.path().join("ca.pem"), both).unwrap();
    let (b, address) = acceptor(server.links()).await;
    let mut lb = Side::dial(address, Host::new(&second, &authority, "dglb:dns-lb:sea1", days(5)).links());
    let down = lb.down().await;
    assert!(matches!(down.reason, DownReason::Tls(TlsError::Refused(_))), "{:?}", down.reason);
    assert!(b.metrics.tls_failures("no-list") >= 1);
    assert_eq!((b.metrics.tls_failures("revoked"), b.metrics.established.get()), (0, 0));
}

#[tokio::test]
async fn hello_must_name_whom_the_certificate_names() {
    let authority = authority();
    let host = good(&authority, "dglb:dns-lb:sea1");
    for (names, says) in [
        (&["dglb:dns-lb:sea2"][..], "the certificate is dglb:dns-lb:sea2's, not dglb:dns-lb:sea1's"),
        (&["dglb:dns-a-sync:sea1"], "the certificate is dglb:dns-a-sync:sea1's, not dglb:dns-lb:sea1's"),
        (&["dglb:dns-lb:sea1", "dglb:dns-lb:sea2"], "several URIs"),
        (&["https://sea1.example.net/"], "no URI"),
        (&["dglb:dns-lb:Sea1"], "the certificate's URI"),
    ] {
        // A host of ours checks itself and would not show these.
        host.show(&signed(&authority, |p| p.subject_alt_names = names.iter().map(|n| uri(n)).collect()), &authority);
        let (mut b, address) = acceptor(b_at_loopback(&authority).links()).await;
        let mut stream = says_hello(&authority, &host, address).await;
        let mut answer = BytesMut::new();
        while within(stream.read_buf(&mut answer)).await.unwrap() > 0 {}
        let frame = FrameCodec::default().decode(&mut answer).unwrap().expect("a frame");
        let message = decode(frame.number, frame.body, 100).unwrap().unwrap().message;
        let Message::Refuse(refuse) = message else { panic!("not REFUSE but {message:?}") };
        assert_eq!(refuse.reason, RefuseReason::Identity);
        assert!(refuse.text.contains(says), "{says} is not in {}", refuse.text);
        until("its end", || b.metrics.handshake_failures.get() == 1).await;
        assert_eq!((b.metrics.tls_failures("identity"), b.metrics.established.get()), (1, 0));
        assert!(b.events.try_recv().is_err(), "the daemon never hears of it");
    }
}

#[tokio::test]
async fn a_dialler_reaches_the_dns_b_that_it_wanted_or_nobody() {
    let (authority, other) = (authority(), authority());
    let host = good(&authority, "dglb:dns-lb:sea1");
    let now = SystemTime::now();
    let expired = Lifetime { from: now - 2 * HOUR, until: now - HOUR };
    let b1 = "dglb:dns-b:b1";
    for (server, reason) in [
        (good(&authority, "dglb:dns-b:b2"), "identity"),
        (good(&authority, "dglb:dns-lb:b1"), "identity"),
        (Host::new(&other, &authority, b1, days(5)), "unknown-issuer"),
        (Host::new(&authority, &authority, b1, expired), "expired"),
    ] {
        let (mut b, address) = acceptor(server.links()).await;
        let mut lb = Side::dial(address, host.links());
        let down = lb.down().await;
        let DownReason::Tls(error) = down.reason else { panic!("{reason}: {:?}", down.reason) };
        assert_eq!(error.reason(), reason, "{error}");
        assert!(lb.metrics.tls_failures(reason) >= 1 && lb.metrics.established.get() == 0);
        assert!(b.events.try_recv().is_err(), "it said nothing of itself");
    }
}

#[tokio::test]
async fn welcome_must_name_whom_the_certificate_names() {
    let authority = authority();
    let (mut b, address) = acceptor(good(&authority, "dglb:dns-b:b1").links()).await;
    let mut lb = Side::dial(address, good(&authority, "dglb:dns-lb:sea1").links());
    let LinkEvent::Hello { remote, decision, .. } = b.next().await else { panic!("no HELLO") };
    let other = Welcome { identity: "b2".parse().unwrap(), ..*welcome(remote) };
    decision.send(Decision::Welcome(Box::new(other))).unwrap();
    let down = lb.down().await;
    let DownReason::Identity(problem) = down.reason else { panic!("{:?}", down.reason) };
    assert_eq!(problem.to_string(), "the certificate is dglb:dns-b:b1's, not dglb:dns-b:b2's");
    assert!(!down.was_up);
    assert_eq!((lb.metrics.tls_failures("identity"), lb.metrics.established.get()), (1, 0));
    let _up = b.up().await;
    let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = b.down().await.reason else { panic!("no BYE") };
    assert_eq!(bye.reason, ByeReason::Identity);
}

#[tokio::test]
async fn who_shows_no_certificate_or_speaks_something_else_is_refused() {
    let authority = authority();
    let (mut b, address) = acceptor(b_at_loopback(&authority).links()).await;
    let host = good(&authority, "dglb:dns-lb:sea1");
    let anonymous = stranger(&authority, None, |_| {});
    let other_protocol = stranger(&authority, Some(&host), |config| config.alpn_protocols = vec![b"h2".to_vec()]);
    let no_protocol = stranger(&authority, Some(&host), |config| config.alpn_protocols.clear());
    for (connector, reason) in [(anonymous, "no-certificate"), (other_protocol, "protocol"), (no_protocol, "protocol")]
    {
        let before = b.metrics.tls_failures(reason);
        let stream = within(TcpStream::connect(address)).await.unwrap();
        // A client may believe that it is done before the server has looked at its certificate.
        if let Ok(mut stream) = within(connector.connect(loopback(), stream)).await {
            let mut octets = Vec::new();
            let _ = within(stream.read_to_end(&mut octets)).await;
            assert!(octets.is_empty(), "{octets:?}");
        }
        until(reason, || b.metrics.tls_failures(reason) == before + 1).await;
    }
    assert!(b.events.try_recv().is_err());
    assert_eq!((b.metrics.handshake_failures.get(), b.metrics.established.get()), (3, 0));
}

#[tokio::test]
async fn older_versions_of_tls_are_refused() {
    let authority = authority();
    let (mut b, address) = acceptor(b_at_loopback(&authority).links()).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let old = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS12]).unwrap();
    let old = TlsConnector::from(std::sync::Arc::new(old.with_root_certificates(roots).with_no_client_auth()));
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let error = within(old.connect(loopback(), stream)).await.unwrap_err();
    assert_eq!(TlsError::of(&error), Some(TlsError::Incompatible), "the alert says protocol version: {error}");
    until("the old version is counted", || b.metrics.tls_failures("incompatible") == 1).await;
    assert!(b.events.try_recv().is_err());
}

#[tokio::test]
async fn plain_tcp_and_tls_do_not_understand_each_other() {
    let authority = authority();
    let (mut b, address) = acceptor(good(&authority, "dglb:dns-b:b1").links()).await;
    let mut plain = Side::dial(address, settings());
    assert!(!plain.down().await.was_up);
    until("no TLS", || b.metrics.tls_failures("not-tls") >= 1).await;
    plain.stop.cancel();
    assert!(b.events.try_recv().is_err());
    assert_eq!((b.metrics.established.get(), b.metrics.violations.get()), (0, 0));

    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, good(&authority, "dglb:dns-lb:sea1").links());
    let down = lb.down().await;
    assert!(matches!(down.reason, DownReason::Tls(TlsError::NotTls)), "{:?}", down.reason);
    assert!(lb.metrics.tls_failures("not-tls") >= 1);
    until("the violation", || b.metrics.violations.get() >= 1).await;
    assert!(b.events.try_recv().is_err());
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number_under_tls() {
    let authority = authority();
    let mut link = good(&authority, "dglb:dns-b:b1").links();
    link.session.handshake_timeout = Duration::from_secs(1);
    let settings = AcceptSettings { link, handshakes: 1, ..AcceptSettings::default() };
    let (mut b, address) = Side::accept(settings).await;
    let began = Instant::now();
    let mut half = within(TcpStream::connect(address)).await.unwrap();
    // The beginning of a record that never ends.
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    until("the half connection", || b.metrics.connections.get() == 1).await;
    let mut lb = Side::dial(address, good(&authority, "dglb:dns-lb:sea1").links());
    b.let_in().await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it had to wait for the half one");
    let _up = (lb.up().await, b.up().await);
    assert_eq!(b.metrics.tls_failures("timed-out"), 1);
    let mut end = Vec::new();
    let _ = within(half.read_to_end(&mut end)).await;
    assert!(end.is_empty(), "closed without a word");
    assert_eq!((b.metrics.handshake_failures.get(), b.metrics.up.get()), (1, 1));

    // TLS alone is no link: the same time holds for HELLO.
    let host = good(&authority, "dglb:dns-lb:sea1");
    let server = b_at_loopback(&authority);
    let mut link = server.links();
    link.session.handshake_timeout = Duration::from_secs(1);
    let (b, address) = acceptor(link).await;
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let mut mute = within(stranger(&authority, Some(&host), |_| {}).connect(loopback(), stream)).await.unwrap();
    let mut end = Vec::new();
    let _ = within(mute.read_to_end(&mut end)).await;
    until("its end", || b.metrics.handshake_failures.get() == 1).await;
}
