//! Over real sockets on loopback.

mod pressure;
mod queue;
mod tls;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use dglb_core::{
    fleet::{Fleet, FleetServer, FleetTtls},
    net::Prefix,
    proto::{
        Frame, FrameCodec, Number, Session,
        body::decode,
        message::{BootId, ByeReason, EntryKind, FleetStamp, Map, MapEntry, PeerRole, Ready, RefuseReason},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{
    codec::{Decoder, Encoder},
    sync::CancellationToken,
};

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
        fleet: FleetStamp::default(),
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
        fleet: Some(Fleet::new(fleet).unwrap()),
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
        let expected = "b1".parse().unwrap();
        let dialler = Dialler { id: LinkId(1), server, expected, settings, metrics: metrics.clone() };
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
    assert_eq!((welcome.version, welcome.fleet.unwrap().serial), (1, 7));

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

/// An accepting daemon that keeps its side of a test busy.
async fn acceptor(link: LinkSettings) -> (Side, SocketAddr) {
    Side::accept(AcceptSettings { link, ..AcceptSettings::default() }).await
}

/// Waits until `done`, which must happen soon.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A peer that does what it is told, on a bare socket.
struct Raw {
    stream: TcpStream,
    codec: FrameCodec,
    arrived: BytesMut,
}

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        Self { stream, codec: FrameCodec::default(), arrived: BytesMut::new() }
    }

    /// Connects, and is let in.
    async fn up(address: SocketAddr, b: &mut Side) -> (Self, LinkSender) {
        let mut raw = Self::connect(address).await;
        raw.send(&Message::Hello(hello())).await;
        b.let_in().await;
        assert_eq!(raw.frame().await.map(|f| f.number), Some(Number::WELCOME));
        (raw, b.up().await.1)
    }

    async fn send(&mut self, message: &Message) {
        let (encoded, mut octets) = (message.encode().unwrap(), BytesMut::new());
        self.codec.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut octets).unwrap();
        within(self.stream.write_all(&octets)).await.unwrap();
    }

    /// The next frame, `None` at the end of the stream.
    async fn frame(&mut self) -> Option<Frame> {
        self.codec.set_limit(1 << 20);
        loop {
            if let Some(frame) = self.codec.decode(&mut self.arrived).unwrap() {
                return Some(frame);
            }
            if within(self.stream.read_buf(&mut self.arrived)).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// The last message before the end of the stream.
    async fn last_words(&mut self) -> Option<Message> {
        let mut last = None;
        while let Some(frame) = self.frame().await {
            last = Some(frame);
        }
        let frame = last?;
        decode(frame.number, frame.body, 1_000).unwrap().map(|d| d.message)
    }
}

#[test]
fn plain_tcp_is_spoken_only_where_it_is_allowed() {
    let [here, mapped, there]: [SocketAddr; 3] =
        ["127.0.0.1:1", "[::ffff:127.0.0.1]:1", "192.0.2.1:1"].map(|a| a.parse().unwrap());
    for (setting, allowed) in [(PlainTcp::Never, [false, false, false]), (PlainTcp::Loopback, [true, true, false])] {
        for (peer, allowed) in [here, mapped, there].into_iter().zip(allowed) {
            assert_eq!(setting.check(peer).is_ok(), allowed, "{setting:?} {peer}");
        }
    }
    assert_eq!(PlainTcp::default(), PlainTcp::Never);
    let refused = PlainTcp::Loopback.check(there).unwrap_err();
    assert_eq!(refused.to_string(), "plain TCP with 192.0.2.1:1 is not allowed by plain-tcp = \"loopback\"");
    let refused = PlainTcp::default().check(here).unwrap_err();
    assert_eq!(refused.to_string(), "plain TCP with 127.0.0.1:1 is not allowed by plain-tcp = \"never\"");
}

#[tokio::test]
async fn neither_side_speaks_plain_tcp_unless_told_to() {
    let (mut b, address) = acceptor(LinkSettings::default()).await;
    let mut lb = Side::dial(address, LinkSettings::default());
    let down = lb.down().await;
    assert!(matches!(down.reason, DownReason::Plain(_)) && !down.was_up && down.last_heard.is_none());
    assert_eq!((lb.metrics.connections.get(), b.metrics.connections.get()), (0, 0), "not even a connection");

    let mut lb = Side::dial(address, settings());
    let down = lb.down().await;
    assert!(matches!(down.reason, DownReason::Closed(CloseReason::Lost)), "{:?}", down.reason);
    assert!(b.metrics.plain_refused.get() >= 1);
    assert!(b.events.try_recv().is_err(), "the daemon never hears of it");
}

#[tokio::test]
async fn a_refusal_reaches_the_dialler_which_tries_again() {
    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, settings());
    for attempt in 1..=3 {
        let LinkEvent::Hello { decision, .. } = b.next().await else { panic!("no HELLO") };
        let refuse = Refuse { reason: RefuseReason::Identity, text: format!("no {attempt}") };
        decision.send(Decision::Refuse(refuse.clone())).unwrap();
        let (ours, theirs) = (b.down().await, lb.down().await);
        assert!(matches!(ours.reason, DownReason::Closed(CloseReason::RefusedByUs(r)) if r == refuse));
        assert!(matches!(theirs.reason, DownReason::Closed(CloseReason::RefusedByPeer(r)) if r == refuse));
    }
    let LinkEvent::Hello { decision, .. } = b.next().await else { panic!("no HELLO") };
    drop(decision);
    let DownReason::Closed(CloseReason::RefusedByPeer(refuse)) = lb.down().await.reason else { panic!("not refused") };
    assert_eq!(refuse.reason, RefuseReason::Busy);
    assert_eq!((b.metrics.established.get(), b.metrics.handshake_failures.get()), (0, 4));
}

#[tokio::test]
async fn a_dialler_comes_back_to_a_server_that_comes_back() {
    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, settings());
    b.let_in().await;
    let (_, first) = lb.up().await;
    b.stop.cancel();
    assert!(matches!(lb.down().await.reason, DownReason::Closed(CloseReason::ByeFromPeer(_))));
    assert_eq!(first.try_send(Message::Drain(true)), Err(LinkSendError::Closed), "it belonged to that connection");
    drop(b);
    // Nobody listens now, and nobody else takes the address: refused connections, further and further apart.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    until("the address is free", || reserved.bind(address).is_ok()).await;
    assert!(matches!(lb.down().await.reason, DownReason::Connect { .. }));
    assert!(lb.metrics.connect_failures.get() >= 1);

    let listener = reserved.listen(16).unwrap();
    let (sender, events) = mpsc::channel(16);
    let (metrics, stop) = (LinkMetrics::default(), CancellationToken::new());
    let link = AcceptSettings { link: settings(), ..AcceptSettings::default() };
    tokio::spawn(Acceptor::new(listener, link, metrics.clone()).run(sender, stop.clone()));
    let mut b = Side { events, metrics, stop };
    b.let_in().await;
    while let LinkEvent::Down(down) = lb.next().await {
        assert!(matches!(down.reason, DownReason::Connect { .. }), "{:?}", down.reason);
    }
    assert_eq!(lb.metrics.established.get(), 2);
}

#[tokio::test]
async fn strangers_are_turned_away_and_the_daemon_never_hears_of_them() {
    let (mut b, address) = acceptor(settings()).await;
    let mut stranger = within(TcpStream::connect(address)).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(stranger.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() < 200, "{answer:?}");
    until("the violation", || b.metrics.violations.get() == 1).await;

    let mut cut = Raw::connect(address).await;
    let (encoded, mut octets) = (Message::Hello(hello()).encode().unwrap(), BytesMut::new());
    cut.codec.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut octets).unwrap();
    cut.stream.write_all(&octets[..octets.len() - 1]).await.unwrap();
    drop(cut);
    until("the loss", || b.metrics.handshake_failures.get() == 2).await;
    assert_eq!(b.metrics.violations.get(), 1, "a cut is not held against the peer");

    let mut early = Raw::connect(address).await;
    early.send(&Message::Drain(true)).await;
    let Some(Message::Refuse(refuse)) = early.last_words().await else { panic!("not refused") };
    assert_eq!((refuse.reason, refuse.text.as_str()), (RefuseReason::Protocol, "DRAIN has no place here"));
    assert!(b.events.try_recv().is_err());
    assert_eq!((b.metrics.violations.get(), b.metrics.established.get(), b.metrics.up.get()), (2, 0, 0));
}

#[tokio::test]
async fn a_violation_is_told_to_the_peer_even_while_it_sends() {
    let (mut b, address) = acceptor(settings()).await;
    let (mut raw, _link) = Raw::up(address, &mut b).await;
    raw.send(&Message::Drain(true)).await;
    // What stays unread at the other side must not turn its BYE into a reset.
    for _ in 0..20 {
        raw.send(&Message::Map(large_map())).await;
    }
    let Some(Message::Bye(bye)) = raw.last_words().await else { panic!("no BYE") };
    assert_eq!(bye.reason, ByeReason::Protocol);
    drop(raw);
    let down = b.down().await;
    assert!(matches!(down.reason, DownReason::Closed(CloseReason::Violation(_))) && down.was_up);
    assert_eq!((b.metrics.violations.get(), b.metrics.up.get()), (1, 0));
}

fn large_map() -> Map {
    let entry = |n: u32| MapEntry {
        prefix: Prefix::host(std::net::Ipv4Addr::from_bits(n).into()),
        kind: EntryKind::Resolver,
        preference: 1,
        weight: 1,
    };
    Map { generation: 1, lease_ms: 1_000, addresses: vec![], entries: (0..500).map(entry).collect() }
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, settings());
    b.let_in().await;
    let ((_, to_lb), (_, to_b)) = (b.up().await, lb.up().await);
    let entries = large_map().entries.into_iter().cycle().take(50_000).collect();
    let map = Map { entries, ..large_map() };
    assert!(Message::Map(map.clone()).encode().unwrap().body().len() > 500_000);
    to_b.send(Message::Map(map.clone())).await.unwrap();
    to_lb.try_send_encoded(Message::Drain(true).encode().unwrap()).unwrap();
    assert!(matches!(lb.next().await, LinkEvent::Message(Message::Drain(true))));
    assert!(matches!(b.next().await, LinkEvent::Message(Message::Map(m)) if m == map));
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let mut link = settings();
    link.session.handshake_timeout = Duration::from_secs(2);
    let settings_b = AcceptSettings { link, handshakes: 1, ..AcceptSettings::default() };
    let (mut b, address) = Side::accept(settings_b).await;
    let began = Instant::now();
    let mut half = Raw::connect(address).await;
    within(half.stream.write_all(&[0])).await.unwrap();
    until("the half connection", || b.metrics.connections.get() == 1).await;
    let mut lb = Side::dial(address, settings());
    b.let_in().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "it had to wait for the half one");
    assert!(half.frame().await.is_none(), "closed without a word");
    let _up = (lb.up().await, b.up().await);
    assert_eq!((b.metrics.handshake_failures.get(), b.metrics.timed_out.get()), (1, 0));
    // An established link holds no place among the handshakes.
    let second = Raw::up(address, &mut b).await;
    assert_eq!(b.metrics.up.get(), 2);
    drop(second);
}

#[tokio::test]
async fn links_are_bounded_in_number() {
    let (mut b, address) =
        Side::accept(AcceptSettings { link: settings(), links: 1, ..AcceptSettings::default() }).await;
    let (first, _link) = Raw::up(address, &mut b).await;
    let mut second = Raw::connect(address).await;
    assert!(second.frame().await.is_none());
    assert_eq!((b.metrics.turned_away.get(), b.metrics.connections.get()), (1, 1));
    drop(first);
    assert!(matches!(b.down().await.reason, DownReason::Closed(CloseReason::Lost)));
    // Its place is free once its task is gone, which nobody is told.
    let end = Instant::now() + LONG;
    loop {
        let mut third = Raw::connect(address).await;
        third.send(&Message::Hello(hello())).await;
        if let Ok(Some((_, LinkEvent::Hello { .. }))) = timeout(Duration::from_millis(200), b.events.recv()).await {
            break;
        }
        assert!(Instant::now() < end, "no place became free");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_and_memory_stays_bounded() {
    let mut link = LinkSettings { stall_timeout: Duration::from_millis(300), commands: 4, ..settings() };
    link.session.queue_messages = 4;
    link.linger = Duration::from_millis(100);
    let (mut b, address) = acceptor(link).await;
    let (raw, to_lb) = Raw::up(address, &mut b).await;
    let fleet = Message::Fleet(Box::new(large_fleet()));
    let encoded = fleet.encode().unwrap();
    let (mut sent, mut full) = (0, 0);
    let end = Instant::now() + LONG;
    loop {
        assert!(Instant::now() < end, "never closed");
        match to_lb.try_send_encoded(encoded.clone()) {
            Ok(()) => sent += 1,
            Err(LinkSendError::Full) => {
                full += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(LinkSendError::Closed) => break,
        }
    }
    assert!(full > 0 && sent > 8, "{sent} sent, {full} times full");
    let DownReason::Closed(CloseReason::ByeFromUs(bye)) = b.down().await.reason else { panic!("not by us") };
    assert_eq!(bye.reason, ByeReason::Slow);
    assert_eq!((b.metrics.slow.get(), b.metrics.up.get()), (1, 0));
    drop(raw);
}

fn large_fleet() -> Fleet {
    let mut fleet = welcome("127.0.0.1:1".parse().unwrap()).fleet.unwrap();
    let label = |n: u32| dglb_core::fleet::FleetLabel {
        identity: format!("lb{n}").parse().unwrap(),
        addresses: vec![std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()],
    };
    fleet.labels = (0..20_000).map(label).collect();
    Fleet::new(fleet).unwrap()
}

#[tokio::test]
async fn a_daemon_that_falls_behind_slows_its_peers_down_and_loses_nothing() {
    let mut link = settings();
    // Time-outs shorter than the pause: silence that is this side's own fault is not the peer's.
    link.session.ping_after = Duration::from_millis(200);
    link.session.dead_after = Duration::from_secs(1);
    let (mut b, address) = acceptor(link.clone()).await;
    let mut lb = Side::dial(address, LinkSettings { commands: 8, ..link });
    b.let_in().await;
    let (_, to_b) = lb.up().await;
    let (_, _to_lb) = b.up().await;
    let message = |generation| Message::Map(Map { generation, ..large_map() });
    let mut sent = 0;
    // The events hold 16, the rest must fill the sockets' buffers, the queues, and stop.
    while matches!(timeout(Duration::from_millis(300), to_b.send(message(sent))).await, Ok(Ok(()))) {
        sent += 1;
    }
    assert!(sent > 100, "{sent}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((b.metrics.up.get(), lb.metrics.up.get()), (1, 1), "the pause was held against somebody");
    for expected in 0..sent {
        let event = b.next().await;
        let LinkEvent::Message(Message::Map(map)) = event else { panic!("not MAP {expected} of {sent} but {event:?}") };
        assert_eq!(map.generation, expected);
    }
    assert_eq!((b.metrics.timed_out.get(), lb.metrics.timed_out.get()), (0, 0));
}

#[tokio::test]
async fn idle_links_live_and_silent_ones_die() {
    let mut link = settings();
    link.session.ping_after = Duration::from_millis(40);
    link.session.dead_after = Duration::from_secs(3);
    let (mut b, address) = acceptor(link.clone()).await;
    let mut lb = Side::dial(address, link);
    b.let_in().await;
    let (_up, _up_too) = (b.up().await, lb.up().await);
    until("thirty frames", || b.metrics.frames_in.get() > 30).await;
    assert_eq!((b.metrics.up.get(), lb.metrics.up.get()), (1, 1));

    let (raw, _link) = Raw::up(address, &mut b).await;
    let down = b.down().await;
    assert!(matches!(down.reason, DownReason::Closed(CloseReason::TimedOut)), "{:?}", down.reason);
    let heard = down.last_heard.expect("HELLO at least");
    assert!(heard.elapsed() >= Duration::from_millis(2_990));
    assert_eq!((b.metrics.timed_out.get(), b.metrics.up.get()), (1, 1));
    drop(raw);
}

#[tokio::test]
async fn dropping_the_sender_or_closing_it_leaves_after_what_was_said() {
    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, settings());
    for round in 0..2 {
        b.let_in().await;
        let ((_, to_lb), (_, to_b)) = (b.up().await, lb.up().await);
        for _ in 0..50 {
            to_b.try_send(Message::Map(large_map())).unwrap();
        }
        if round == 0 {
            to_b.close(Bye { reason: ByeReason::Other(99), text: "of its own".into() });
        } else {
            drop(to_b);
        }
        for _ in 0..50 {
            assert!(matches!(b.next().await, LinkEvent::Message(Message::Map(_))));
        }
        let DownReason::Closed(CloseReason::ByeFromPeer(bye)) = b.down().await.reason else { panic!("no BYE") };
        assert_eq!(bye.reason, if round == 0 { ByeReason::Other(99) } else { ByeReason::Shutdown });
        assert!(matches!(lb.down().await.reason, DownReason::Closed(CloseReason::ByeFromUs(_))));
        drop(to_lb);
    }
}

#[tokio::test]
async fn what_may_not_be_said_is_counted_and_the_link_lives() {
    let (mut b, address) = acceptor(settings()).await;
    let mut lb = Side::dial(address, settings());
    b.let_in().await;
    let ((_, _to_lb), (_, to_b)) = (b.up().await, lb.up().await);
    to_b.try_send(Message::Drain(true)).unwrap();
    to_b.try_send(Message::Map(large_map())).unwrap();
    assert!(matches!(b.next().await, LinkEvent::Message(Message::Map(_))));
    assert_eq!((lb.metrics.unsendable.get(), lb.metrics.up.get()), (1, 1));
}

/// Takes nothing and has something to say: a peer that refused and was gone.
struct Gone(&'static [u8]);

impl AsyncRead for Gone {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(5));
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_last_words_of_a_peer_that_is_gone_are_heard() {
    // REFUSE busy "later", as docs/map-protocol.md has it; then the same cut short.
    let refuse = b"\0\0\0\x15\0\x03\0\0DGLB-MAP\x08\x04\x12\x05later";
    for (last, heard) in [(&refuse[..], true), (&refuse[..20], false)] {
        let (sender, mut events) = mpsc::channel(4);
        let driver = Driver {
            id: LinkId(1),
            remote: "127.0.0.1:1".parse().unwrap(),
            settings: settings(),
            events: sender,
            metrics: LinkMetrics::default(),
            dialled: true,
            handshake: None,
            certified: None,
            stop: CancellationToken::new(),
        };
        let session = Session::dial(settings().session, hello(), Instant::now()).unwrap();
        assert_eq!(within(driver.run(Gone(last), session)).await, None);
        let Some((_, LinkEvent::Down(down))) = events.recv().await else { panic!("not told") };
        match down.reason {
            DownReason::Closed(CloseReason::RefusedByPeer(refuse)) if heard => assert_eq!(refuse.text, "later"),
            DownReason::Closed(CloseReason::Lost) if !heard => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn counters_have_names() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = LinkMetrics::default();
    metrics.register(&mut registry);
    metrics.established.inc_by(3);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("dglb_link_established_total 3") && text.contains("dglb_link_up 0"), "{text}");
}
