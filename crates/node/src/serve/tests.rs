//! DNS sockets over real loopback addresses, with stand-ins for the function that answers.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    time::{Duration, Instant},
};

use dglb_core::{
    dns::{Asked, Decision, Handled, Transport},
    published::{Published, Publisher, Snapshot},
};

mod connections;
mod encrypted;
mod limits;
mod proofs;
mod signed;

use super::*;
use crate::{
    lifecycle::Stopped,
    metrics::{Incident, Totals},
};

const SOON: Duration = Duration::from_secs(20);
/// Long enough for what would come to have come.
const SILENCE: Duration = Duration::from_millis(200);

/// A server with its counters, until dropped or stopped.
struct Serving {
    addresses: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    registry: Registry,
    counters: DnsCounters,
    publisher: Publisher<u8>,
    tasks: Tasks,
}

impl Serving {
    fn new(addresses: &[(&str, Role)], settings: Settings) -> Self {
        Self::with(addresses, settings, echo)
    }

    fn with(
        addresses: &[(&str, Role)],
        settings: Settings,
        respond: impl Fn(&u8, &Asked<'_>, &mut [u8]) -> Handled + Send + Sync + 'static,
    ) -> Self {
        let endpoint = |(address, role): &(&str, Role)| Endpoint { address: address.parse().unwrap(), role: *role };
        let server = Server::bind(&addresses.iter().map(endpoint).collect::<Vec<_>>(), settings).unwrap();
        let (addresses, encrypted) = (server.local_addresses(), server.encrypted_addresses());
        let (mut registry, counters) = (Registry::default(), DnsCounters::new());
        server.register(&mut registry);
        let (publisher, mut tasks) = (Publisher::new(0), Tasks::new());
        server
            .run(Scripted { published: publisher.reader(), respond: Arc::new(respond) }, &counters, &mut tasks)
            .unwrap();
        Self { addresses, encrypted, registry, counters, publisher, tasks }
    }

    /// Waits until the counters are as wanted: a reply arrives before its question is counted.
    fn expect(&self, what: &str, mut wanted: impl FnMut(&Totals) -> bool) {
        let deadline = Instant::now() + SOON;
        while !wanted(&self.counters.totals()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.counters.totals());
            std::thread::yield_now();
        }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream
    }
}

/// A function that answers from a published octet.
#[derive(Clone)]
struct Scripted {
    published: Published<u8>,
    respond: Respond,
}

type Respond = Arc<dyn Fn(&u8, &Asked<'_>, &mut [u8]) -> Handled + Send + Sync>;

struct ScriptedHeld(Snapshot<u8>, Respond);

impl Source for Scripted {
    type Held = ScriptedHeld;

    fn hold(&self) -> ScriptedHeld {
        ScriptedHeld(self.published.load(), Arc::clone(&self.respond))
    }
}

impl Held for ScriptedHeld {
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        (self.1)(&self.0, asked, reply)
    }
}

/// The packet, then the published value and the role; some packets have a meaning.
fn echo(published: &u8, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
    let role = [*published, asked.role as u8];
    let answered = |length| Handled { length, decision: Decision::Authority, ..Handled::DROPPED };
    match asked.packet {
        b"" | b"silence" => Handled { decision: Decision::Dropped, ..answered(0) },
        b"boast" => answered(usize::MAX),
        b"fill" => answered(reply.len()),
        b"cut" => {
            reply[..12].fill(0);
            Handled { truncated: true, rcode: 5, ..answered(12) }
        }
        packet => {
            let room = reply.len() - 2;
            let kept = &packet[..packet.len().min(room)];
            reply[..kept.len()].copy_from_slice(kept);
            reply[kept.len()..kept.len() + 2].copy_from_slice(&role);
            answered(kept.len() + 2)
        }
    }
}

fn lanes(lanes: usize) -> Settings {
    Settings { lanes: NonZeroUsize::new(lanes).unwrap(), ..Settings::default() }
}

/// A socket that only hears from the address that it asks.
fn client(server: SocketAddr) -> UdpSocket {
    let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn ask(socket: &UdpSocket, packet: &[u8]) -> Vec<u8> {
    socket.send(packet).unwrap();
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).expect("no reply");
    reply.truncate(length);
    reply
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat()
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

/// The server has closed: an end or, where it left octets unread, a reset.
fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

const TWO_FAMILIES: [(&str, Role); 2] = [("127.0.0.1:0", Role::Referral), ("[::1]:0", Role::Fallback)];

#[tokio::test]
async fn every_question_is_answered_and_counted_in_every_lane() {
    let serving = Serving::new(&TWO_FAMILIES, lanes(3));
    assert_ne!(serving.addresses[0].port(), 0);
    let asked = 60;
    for n in 0..asked {
        // A socket each, so that the questions spread over the lanes.
        let server = serving.addresses[n % 2];
        let role = [Role::Referral, Role::Fallback][n % 2] as u8;
        let packet = format!("question {n}");
        assert_eq!(ask(&client(server), packet.as_bytes()), [packet.as_bytes(), &[0, role]].concat());
    }
    serving.expect("all are counted", |totals| totals.questions(Transport::Udp) == 60);
    let totals = serving.counters.totals();
    assert_eq!((totals.questions(Transport::Tcp), totals.truncated, totals.replies(0)), (0, 0, 60));
    assert_eq!(totals.decision(Decision::Authority), 60);
}

#[tokio::test]
async fn a_burst_larger_than_a_batch_is_answered_whole() {
    let serving = Serving::new(&TWO_FAMILIES[..1], lanes(1));
    let socket = client(serving.addresses[0]);
    let mut missing: std::collections::BTreeSet<Vec<u8>> = (0..100).map(|n| vec![b'q', n, 0, 0]).collect();
    missing.iter().for_each(|reply| _ = socket.send(&reply[..2]).unwrap());
    let mut reply = [0; 16];
    while !missing.is_empty() {
        let length = socket.recv(&mut reply).unwrap_or_else(|error| panic!("{error}, missing {missing:?}"));
        assert!(missing.remove(&reply[..length]), "answered twice: {:?}", &reply[..length]);
    }
    serving.expect("all are counted", |totals| totals.questions(Transport::Udp) == 100 && totals.replies(0) == 100);
}

#[tokio::test]
async fn replies_leave_from_the_address_that_was_asked() {
    let serving = Serving::new(&[("0.0.0.0:0", Role::DnsLb), ("[::]:0", Role::DnsLb)], lanes(2));
    for host in ["127.0.0.1", "127.0.0.7", "127.1.2.3", "127.255.255.254", "::1"] {
        let port = serving.addresses[usize::from(host.contains(':'))].port();
        let socket = client(SocketAddr::new(host.parse().unwrap(), port));
        for packet in [&b"first"[..], b"second"] {
            assert_eq!(ask(&socket, packet), [packet, &[0, Role::DnsLb as u8]].concat(), "{host}");
        }
    }
    serving.expect("all are counted", |totals| totals.questions(Transport::Udp) == 10);
}

#[tokio::test]
async fn the_families_do_not_touch_each_other() {
    let both = || {
        let v6 = Server::bind(&[Endpoint { address: "[::]:0".parse().unwrap(), role: Role::DnsLb }], lanes(1)).unwrap();
        let port = v6.local_addresses()[0].port();
        let v4 = Endpoint { address: SocketAddr::new("0.0.0.0".parse().unwrap(), port), role: Role::DnsLb };
        Server::bind(&[v4], lanes(1))
    };
    // One of so many numbers is not somebody else's over IPv4.
    assert!((0..10).any(|_| both().is_ok()));
}

#[tokio::test]
async fn odd_datagrams_are_counted_and_do_no_harm() {
    let serving = Serving::new(&TWO_FAMILIES[..1], lanes(1));
    let socket = client(serving.addresses[0]);
    for odd in [vec![1; mmsg::RECEIVE + 1], vec![2; 60_000], b"silence".to_vec(), vec![]] {
        socket.send(&odd).unwrap();
    }
    // Long questions and replies are cut to what fits, whatever the answering function says.
    let reply = ask(&socket, &[3; mmsg::RECEIVE]);
    assert_eq!((reply.len(), reply[0]), (mmsg::REPLY, 3), "the odd ones were answered");
    assert_eq!(ask(&socket, b"boast").len(), mmsg::REPLY);
    assert_eq!(ask(&socket, b"fill").len(), mmsg::REPLY);
    assert_eq!(ask(&socket, b"cut").len(), 12);
    assert_eq!(ask(&socket, b"last"), [&b"last"[..], &[0, 0]].concat());
    serving.expect("all are counted", |totals| totals.questions(Transport::Udp) == 7);
    let totals = serving.counters.totals();
    assert_eq!(totals.incident(Incident::Oversized), 2);
    assert_eq!((totals.decision(Decision::Dropped), totals.decision(Decision::Authority)), (2, 5));
    assert_eq!((totals.replies(0), totals.replies(5), totals.truncated), (4, 1, 1));
}

#[tokio::test]
async fn the_published_value_is_seen_from_the_next_batch_on() {
    let mut serving = Serving::new(&TWO_FAMILIES[..1], lanes(1));
    let (socket, mut stream) = (client(serving.addresses[0]), serving.tcp());
    for value in 0..3 {
        serving.publisher.publish(value);
        assert_eq!(ask(&socket, b"?"), [b'?', value, 0]);
        stream.write_all(&framed(b"!")).unwrap();
        assert_eq!(read_message(&mut stream), [b'!', value, 0]);
    }
}

#[tokio::test]
async fn an_address_is_nobody_elses_and_the_error_says_so() {
    let serving = Serving::new(&TWO_FAMILIES[..1], lanes(2));
    let taken = Endpoint { address: serving.addresses[0], role: Role::DnsLb };
    let error = Server::bind(&[taken], lanes(1)).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().ends_with("is another DNS server, or this one, already running?"), "{error}");
    let foreign = Endpoint { address: "192.0.2.1:0".parse().unwrap(), role: Role::DnsLb };
    let error = Server::bind(&[foreign], lanes(1)).unwrap_err();
    assert!(error.to_string().starts_with("dns 192.0.2.1:0 tcp: "), "{error}");
    assert!(error.to_string().ends_with("this host has no such address"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_is_finished_and_the_rest_is_let_go_in_time() {
    let (asked, was_asked) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(2), move |published, question, reply| {
        if question.packet == b"slow" {
            asked.send(question.transport).unwrap();
            gate.lock().unwrap().recv_timeout(SOON).unwrap();
        }
        echo(published, question, reply)
    });
    let (mut idle, mut half, mut slow) = (serving.tcp(), serving.tcp(), serving.tcp());
    half.write_all(&[0, 100, 1]).unwrap();
    let (udp, server) = (client(serving.addresses[0]), serving.addresses[0]);
    udp.send(b"slow").unwrap();
    slow.write_all(&[framed(b"slow"), framed(b"next")].concat()).unwrap();
    let mut under_way = [was_asked.recv_timeout(SOON).unwrap(), was_asked.recv_timeout(SOON).unwrap()];
    under_way.sort_by_key(|transport| *transport == Transport::Tcp);
    assert_eq!(under_way, [Transport::Udp, Transport::Tcp]);

    // Arrives, but cannot have been read before the stop.
    slow.write_all(&framed(b"late")).unwrap();

    let begin = Instant::now();
    let stop = serving.tasks.stop_token();
    let stopping = tokio::spawn(serving.tasks.stop(2 * SOON));
    stop.cancelled().await;
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(stopping.await.unwrap(), Stopped::default());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_eq!(udp.recv(&mut [0; 100]).unwrap(), 6);
    assert_eq!(read_message(&mut slow), b"slow\0\0");
    assert_eq!(read_message(&mut slow), b"next\0\0");
    assert_eq!(read_message(&mut slow), b"late\0\0");
    for stream in [&mut slow, &mut idle, &mut half] {
        assert_closed(stream);
    }
    // Nobody listens any more, but for the moment that a program started by another test holds copies.
    udp.set_read_timeout(Some(SILENCE)).unwrap();
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    while !TcpStream::connect(server).is_err_and(refused)
        || !udp.send(b"anybody?").and_then(|_| udp.recv(&mut [0; 100])).is_err_and(refused)
    {
        assert!(begin.elapsed() < 2 * SOON, "somebody still serves");
    }
}

#[tokio::test]
async fn a_server_whose_tasks_are_dropped_frees_its_addresses() {
    let serving = Serving::new(&TWO_FAMILIES, lanes(2));
    let endpoints: Vec<_> =
        serving.addresses.iter().map(|address| Endpoint { address: *address, role: Role::DnsLb }).collect();
    let udp = client(serving.addresses[0]);
    assert_eq!(ask(&udp, b"?").len(), 3);
    drop(serving);
    udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let deadline = Instant::now() + SOON;
    // Refused, not silent: no lane and no listener is left.
    while udp.send(b"?").and_then(|_| udp.recv(&mut [0; 16])).map_err(|error| error.kind())
        != Err(ErrorKind::ConnectionRefused)
        || Server::bind(&endpoints, lanes(1)).is_err()
    {
        assert!(Instant::now() < deadline, "somebody still serves");
        // The runtime drops an aborted task when it comes to it.
        tokio::task::yield_now().await;
    }
}
