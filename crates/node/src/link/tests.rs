//! Over real sockets on loopback.

use std::{future::Future, net::SocketAddr, time::Duration};

use dglb_core::{
    fleet::{Fleet, FleetServer, FleetTtls},
    proto::message::{BootId, ByeReason, PeerRole, Ready},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::*;

/// Every wait of these tests is over long before.
const LONG: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("took too long")
}

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        role: PeerRole::DnsLb,
        identity: "sea1".parse().unwrap(),
        boot: BootId([1; 16]),
        uptime_ms: 0,
        features: 0,
    }
}

fn welcome(observed: SocketAddr) -> Box<Welcome> {
    let fleet = Fleet {
        serial: 7,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![FleetServer {
            identity: "b1".parse().unwrap(),
            referral: vec!["192.0.2.1".parse().unwrap()],
            fallback: vec!["192.0.2.2".parse().unwrap()],
        }],
        labels: vec![],
        ttl: FleetTtls::default(),
    };
    Box::new(Welcome {
        version: 1,
        identity: "b1".parse().unwrap(),
        boot: BootId([2; 16]),
        observed,
        features: 0,
        fleet: Fleet::new(fleet).unwrap(),
        map_generation: 0,
        report_generation: 0,
        catalogues: vec![],
    })
}

fn settings() -> LinkSettings {
    LinkSettings { plain_tcp: PlainTcp::Loopback, ..LinkSettings::default() }
}

/// One side of a test.
struct Side {
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    metrics: LinkMetrics,
    stop: CancellationToken,
}

impl Side {
    async fn accept(settings: AcceptSettings) -> (Self, SocketAddr) {
        let metrics = LinkMetrics::default();
        let acceptor = Acceptor::bind("127.0.0.1:0".parse().unwrap(), settings, metrics.clone()).await.unwrap();
        let (address, stop) = (acceptor.local_addr().unwrap(), CancellationToken::new());
        let (sender, events) = mpsc::channel(16);
        tokio::spawn(acceptor.run(sender, stop.clone()));
        (Self { events, metrics, stop }, address)
    }

    fn dial(server: SocketAddr, settings: LinkSettings) -> Self {
        let (metrics, stop) = (LinkMetrics::default(), CancellationToken::new());
        let (sender, events) = mpsc::channel(16);
        let dialler = Dialler { id: LinkId(1), server, settings, metrics: metrics.clone() };
        tokio::spawn(dialler.run(hello, sender, stop.clone()));
        Self { events, metrics, stop }
    }

    async fn next(&mut self) -> LinkEvent {
        within(self.events.recv()).await.expect("no more events").1
    }

    async fn let_in(&mut self) {
        let LinkEvent::Hello { hello, remote, decision } = self.next().await else { panic!("no HELLO") };
        assert_eq!(hello.identity.as_str(), "sea1");
        decision.send(Decision::Welcome(welcome(remote))).unwrap();
    }

    async fn up(&mut self) -> (Peer, LinkSender) {
        match self.next().await {
            LinkEvent::Up { peer, link, .. } => (peer, link),
            other => panic!("not up but {other:?}"),
        }
    }

    async fn down(&mut self) -> Down {
        match self.next().await {
            LinkEvent::Down(down) => down,
            other => panic!("not down but {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_link_comes_up_carries_both_directions_and_leaves_with_bye() {
    let (mut b, address) = Side::accept(AcceptSettings { link: settings(), ..AcceptSettings::default() }).await;
    let mut lb = Side::dial(address, settings());
    b.let_in().await;
    let (peer, to_lb) = b.up().await;
    assert!(matches!(peer, Peer::Dialler(h) if h.identity.as_str() == "sea1"));
    let (peer, to_b) = lb.up().await;
    let Peer::Acceptor(welcome) = peer else { panic!("not the acceptor") };
    assert_eq!((welcome.version, welcome.fleet.serial), (1, 7));

    let ready = Ready { map_generation: 3, servers: vec!["b1".parse().unwrap()] };
    to_b.try_send(Message::Ready(ready.clone())).unwrap();
    assert!(matches!(b.next().await, LinkEvent::Message(Message::Ready(r)) if r == ready));
    to_lb.send(Message::Drain(true)).await.unwrap();
    assert!(matches!(lb.next().await, LinkEvent::Message(Message::Drain(true))));

    lb.stop.cancel();
    let down = b.down().await;
    assert!(down.was_up && down.last_heard.is_some());
    let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = down.reason else { panic!("{:?}", down.reason) };
    assert_eq!(bye.reason, ByeReason::Shutdown);
    assert!(within(lb.events.recv()).await.is_some_and(|(_, e)| matches!(e, LinkEvent::Down(_))));
    assert!(within(lb.events.recv()).await.is_none(), "a stopped dialler dials no more");
    assert!(to_lb.is_closed());
    assert_eq!(to_lb.try_send(Message::GetReport), Err(LinkSendError::Closed));
    assert_eq!((b.metrics.established.get(), b.metrics.up.get(), b.metrics.violations.get()), (1, 0, 0));
    assert_eq!((b.metrics.frames_in.get(), lb.metrics.frames_out.get()), (3, 3));
    assert_eq!(b.metrics.octets_in.get(), lb.metrics.octets_out.get());
}
