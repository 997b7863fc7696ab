//! What becomes of links when the files change.

use super::*;

/// A dns-b, whose files are followed, and two DNS-LBs that are linked to it.
struct Linked {
    authority: Authority,
    server: Host,
    b: Side,
    credentials: Credentials,
    /// What the first DNS-LB shows.
    first: Issued,
    lbs: [Side; 2],
    to_lbs: [LinkSender; 2],
    address: SocketAddr,
    stop: CancellationToken,
    _to_b: [LinkSender; 2],
}

impl Linked {
    async fn new() -> Self {
        let authority = authority();
        let server = good(&authority, "dglb:dns-b:b1");
        let links = server.links();
        let (credentials, stop) = (links.tls.clone().unwrap(), CancellationToken::new());
        tokio::spawn(credentials.clone().follow(stop.clone()));
        let (mut b, address) = acceptor(links).await;
        let first = authority.issue(&Request::new(name("dglb:dns-lb:sea1"), days(5))).unwrap();
        let host = good(&authority, "dglb:dns-lb:sea1");
        host.show(&first, &authority);
        let (one, one_to_b, to_one) = linked(&mut b, address, &host).await;
        let (two, two_to_b, to_two) = linked(&mut b, address, &good(&authority, "dglb:dns-lb:sea1")).await;
        Self {
            authority,
            server,
            b,
            credentials,
            first,
            lbs: [one, two],
            to_lbs: [to_one, to_two],
            address,
            stop,
            _to_b: [one_to_b, two_to_b],
        }
    }

    /// Waits until the files were taken over, or refused, so often.
    async fn reloaded(&self, applied: u64, refused: u64) {
        until("the files are read", || self.credentials.reload_counts() == (applied, refused)).await;
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn linked(b: &mut Side, address: SocketAddr, host: &Host) -> (Side, LinkSender, LinkSender) {
    let mut lb = Side::dial(address, host.links());
    b.let_in().await;
    let ((_, to_b), (_, to_lb)) = (lb.up().await, b.up().await);
    (lb, to_b, to_lb)
}

#[tokio::test]
async fn a_list_that_names_a_linked_peer_ends_its_link_at_once_and_no_other() {
    let mut linked = Linked::new().await;
    let (applied, began) = (0, Instant::now());
    linked.server.revoke(&linked.authority, &[&linked.first]);
    let down = linked.b.down().await;
    // Two looks, a second apart, and what a busy machine takes.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(matches!(down.reason, DownReason::Tls(TlsError::Revoked)) && down.was_up, "{:?}", down.reason);
    let told = linked.lbs[0].down().await.reason;
    let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = told else { panic!("{told:?}") };
    assert_eq!((bye.reason, bye.text.as_str()), (ByeReason::Identity, "the certificate is revoked"));
    // It comes again, and is kept out.
    let again = linked.lbs[0].down().await.reason;
    assert!(matches!(again, DownReason::Tls(TlsError::Refused(_))), "{again:?}");
    linked.lbs[0].stop.cancel();
    linked.reloaded(applied + 1, 0).await;
    assert!(linked.b.metrics.tls_failures("revoked") >= 1);
    assert_eq!((linked.b.metrics.revoked.get(), linked.b.metrics.up.get()), (1, 1));
    assert!(linked.to_lbs[0].is_closed());
    linked.to_lbs[1].try_send(Message::Drain(true)).unwrap();
    assert!(matches!(linked.lbs[1].next().await, LinkEvent::Message(Message::Drain(true))));
}

#[tokio::test]
async fn a_dns_b_that_is_revoked_is_left_by_who_dialled_it() {
    let authority = authority();
    let server = good(&authority, "dglb:dns-b:b1");
    let issued = authority.issue(&Request::new(name("dglb:dns-b:b1"), days(5))).unwrap();
    server.show(&issued, &authority);
    let (mut b, address) = acceptor(server.links()).await;
    let host = good(&authority, "dglb:dns-lb:sea1");
    let links = host.links();
    let credentials = links.tls.clone().unwrap();
    let mut lb = Side::dial(address, links);
    b.let_in().await;
    let _up = (b.up().await, lb.up().await);
    host.revoke(&authority, &[&issued]);
    credentials.reload();
    assert!(matches!(lb.down().await.reason, DownReason::Tls(TlsError::Revoked)));
    let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = b.down().await.reason else { panic!("no BYE") };
    assert_eq!((bye.reason, lb.metrics.revoked.get()), (ByeReason::Identity, 1));
}

#[tokio::test]
async fn new_certificates_are_shown_to_new_peers_and_no_link_is_lost() {
    let mut linked = Linked::new().await;
    let left = linked.credentials.seconds_left();
    let renewed = linked.authority.issue(&Request::new(name("dglb:dns-b:b1"), days(9))).unwrap();
    linked.server.show(&renewed, &linked.authority);
    linked.reloaded(1, 0).await;
    assert!(linked.credentials.seconds_left() > left + 3 * 86_400);
    let host = good(&linked.authority, "dglb:dns-lb:sea1");
    let links = host.links();
    let credentials = links.tls.clone().unwrap();
    let mut lb = Side::dial(linked.address, links);
    linked.b.let_in().await;
    let _up = (linked.b.up().await, lb.up().await);
    let (peer, _) = credentials.peer_seconds_left().unwrap();
    assert!(peer > 8 * 86_400, "it was shown the new one: {peer} s left");
    for (lb, to_lb) in linked.lbs.iter_mut().zip(&linked.to_lbs) {
        to_lb.try_send(Message::Drain(false)).unwrap();
        assert!(matches!(lb.next().await, LinkEvent::Message(Message::Drain(false))), "its link was lost");
    }
    assert_eq!((linked.b.metrics.established.get(), linked.b.metrics.up.get()), (3, 3));
}

#[tokio::test]
async fn files_that_are_no_good_change_nothing_and_are_told_of() {
    let mut linked = Linked::new().await;
    let good_key = std::fs::read(linked.server.path().join("key.pem")).unwrap();
    // Another host's certificate, for which there is no key here.
    std::fs::write(linked.server.path().join("key.pem"), "nonsense").unwrap();
    linked.reloaded(0, 1).await;
    let problem = linked.credentials.status()["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("key.pem: holds no private key in PEM") && !problem.contains("nonsense"), "{problem}");
    std::fs::write(linked.server.path().join("key.pem"), good_key).unwrap();
    linked.reloaded(1, 1).await;
    // A good certificate, but of another host.
    let other = linked.authority.issue(&Request::new(name("dglb:dns-b:b2"), days(5))).unwrap();
    linked.server.show(&other, &linked.authority);
    linked.reloaded(1, 2).await;
    let mut lb = Side::dial(linked.address, good(&linked.authority, "dglb:dns-lb:sea1").links());
    linked.b.let_in().await;
    let _up = (linked.b.up().await, lb.up().await);
    assert_eq!(linked.b.metrics.up.get(), 3);
    let status = linked.credentials.status();
    assert_eq!(status["name"], "dglb:dns-b:b1");
    assert!(status["problem"].as_str().unwrap().contains("is dglb:dns-b:b2's, not dglb:dns-b:b1's"), "{status}");
    assert!(status["expires_in_seconds"].as_i64().unwrap() > 4 * 86_400);
}

#[test]
fn expiry_is_shown_as_metric_and_status() {
    let authority = authority();
    let until = SystemTime::now() + 47 * HOUR + HOUR / 2;
    let host = Host::new(&authority, &authority, "dglb:dns-lb:sea1", Lifetime { until, ..days(2) });
    let credentials = host.credentials();
    let mut registry = prometheus_client::registry::Registry::default();
    credentials.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find(|l| l.starts_with("dglb_link_certificate_remaining_seconds{whose=\"own\"} ")).unwrap();
    let left: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((170_900..=171_000).contains(&left), "{line}");
    assert!(!text.contains("next peer"), "nobody is linked");
    assert!(text.contains("dglb_link_certificate_reloads_total{outcome=\"applied\"} 0"), "{text}");
    let status = credentials.status();
    assert_eq!(status["problem"], "the own certificate expires in 47 hours");
}
