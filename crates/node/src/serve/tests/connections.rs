//! Connections: what is put together, who may stay, and how each of them ends.

use std::net::Shutdown;

use super::*;
use crate::metrics::ConnectionEvent;

fn happened(totals: &Totals, event: ConnectionEvent) -> u64 {
    totals.connections(Transport::Tcp, event)
}

fn limits(change: impl FnOnce(&mut StreamSettings)) -> Settings {
    let mut tcp = StreamSettings::default();
    change(&mut tcp);
    Settings { tcp, ..lanes(1) }
}

/// A connection from another loopback address.
fn from(client: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn hello(stream: &mut TcpStream) {
    stream.write_all(&framed(b"hello")).unwrap();
    assert_eq!(read_message(stream), b"hello\0\0");
}

#[tokio::test]
async fn tcp_messages_are_put_together_from_any_pieces() {
    let serving = Serving::new(&TWO_FAMILIES, lanes(1));
    let mut stream = serving.tcp();
    stream.set_nodelay(true).unwrap();
    for octet in framed(b"piecemeal") {
        stream.write_all(&[octet]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read_message(&mut stream), [&b"piecemeal"[..], &[0, 0]].concat());

    // Several in one segment, the last one in two, and a client that says it has no more.
    let mut segment = [framed(b"one"), framed(b"two"), framed(b"three")].concat();
    let rest = segment.split_off(segment.len() - 2);
    stream.write_all(&segment).unwrap();
    assert_eq!(read_message(&mut stream), [&b"one"[..], &[0, 0]].concat());
    assert_eq!(read_message(&mut stream), [&b"two"[..], &[0, 0]].concat());
    stream.write_all(&rest).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_message(&mut stream), [&b"three"[..], &[0, 0]].concat());
    assert_closed(&mut stream);

    let mut stream = TcpStream::connect(serving.addresses[1]).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&framed(&[7; 65_535])).unwrap();
    let reply = read_message(&mut stream);
    assert_eq!(reply.len(), 65_535);
    assert_eq!(reply[65_533..], [0, Role::Fallback as u8]);
    stream.write_all(&framed(b"boast")).unwrap();
    assert_eq!(read_message(&mut stream).len(), 65_535);
    serving.expect("all are counted", |totals| totals.questions(Transport::Tcp) == 6);
    let totals = serving.counters.totals();
    assert_eq!(
        (totals.questions(Transport::Udp), totals.replies(0), happened(&totals, ConnectionEvent::Accepted)),
        (0, 6, 2)
    );
}

#[tokio::test]
async fn many_pipelined_questions_are_answered_in_order_with_bounded_memory() {
    let serving = Serving::new(&TWO_FAMILIES[..1], lanes(1));
    let mut stream = serving.tcp();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for n in 0..5_000_u32 {
            writer.write_all(&framed(&[&n.to_be_bytes()[..], &[9; 200]].concat())).unwrap();
        }
    });
    for n in 0..5_000_u32 {
        assert_eq!(read_message(&mut stream)[..4], n.to_be_bytes());
    }
    writing.join().unwrap();
    serving.expect("all are counted", |totals| totals.questions(Transport::Tcp) == 5_000);
}

#[tokio::test]
async fn who_gets_no_answer_over_tcp_is_let_go() {
    let serving = Serving::new(&TWO_FAMILIES[..1], lanes(1));
    for nonsense in [framed(b"silence"), framed(b"")] {
        let mut stream = serving.tcp();
        stream.write_all(&nonsense).unwrap();
        assert_closed(&mut stream);
    }
    serving.expect("all are counted", |totals| {
        totals.decision(Decision::Dropped) == 2 && happened(totals, ConnectionEvent::Nonsense) == 2
    });
}

#[tokio::test]
async fn idle_and_trickling_connections_are_closed() {
    let idle = Duration::from_secs(2);
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.idle = idle));
    let begin = Instant::now();
    let (mut silent, mut trickling, mut busy) = (serving.tcp(), serving.tcp(), serving.tcp());
    let trickle = std::thread::spawn(move || {
        let message = framed(&[1; 1_000]);
        // Ends when the server has closed, long before all is sent.
        let sent = message.chunks(1).take_while(|octet| {
            std::thread::sleep(idle / 40);
            trickling.write_all(octet).is_ok()
        });
        (sent.count(), trickling)
    });
    // Whole messages keep a connection, for longer than the time-out.
    while begin.elapsed() < idle + idle / 4 {
        busy.write_all(&framed(b"busy")).unwrap();
        assert_eq!(read_message(&mut busy).len(), 6);
        std::thread::sleep(idle / 40);
    }
    assert_closed(&mut silent);
    let (sent, mut trickling) = trickle.join().unwrap();
    assert_closed(&mut trickling);
    assert!((2..1_000).contains(&sent), "closed after {sent} octets");
    assert_closed(&mut busy);
    serving.expect("three time-outs", |totals| happened(totals, ConnectionEvent::Idle) == 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let idle = Duration::from_secs(1);
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.idle = idle));
    let mut stream = serving.tcp();
    // Far more than the buffers between us hold.
    let questions = framed(b"fill").repeat(1_000);
    stream.write_all(&questions).unwrap();
    serving.expect("let go", |totals| happened(totals, ConnectionEvent::Slow) == 1);
    assert!(serving.counters.totals().questions(Transport::Tcp) < 1_000, "{:?}", serving.counters.totals());
    // Others are served meanwhile and after.
    let mut other = serving.tcp();
    other.write_all(&framed(b"hello")).unwrap();
    assert_eq!(read_message(&mut other).len(), 7);
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.connections = 3));
    let server = serving.addresses[0];
    let [mut a, mut b, mut c] = [1, 2, 3].map(|n| {
        let mut stream = from([127, 0, 0, n], server);
        hello(&mut stream);
        stream
    });
    hello(&mut a);
    let mut d = from([127, 0, 0, 4], server);
    hello(&mut d);
    assert_closed(&mut b);
    // Half a question is no work in progress.
    c.write_all(&[0, 5, b'h']).unwrap();
    let mut e = from([127, 0, 0, 5], server);
    hello(&mut e);
    assert_closed(&mut c);
    for stream in [&mut a, &mut d, &mut e] {
        hello(stream);
    }
    serving.expect("two were evicted", |totals| {
        happened(totals, ConnectionEvent::Evicted) == 2 && totals.open(Transport::Tcp) == 3
    });
    assert_eq!(happened(&serving.counters.totals(), ConnectionEvent::Refused), 0);
}

#[tokio::test]
async fn who_has_too_many_connections_loses_its_own() {
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.connections_per_client = 2));
    let mut other = from([127, 0, 0, 9], serving.addresses[0]);
    hello(&mut other);
    let mut own: Vec<_> = (0..4).map(|_| serving.tcp()).collect();
    own.iter_mut().skip(2).for_each(hello);
    own.iter_mut().take(2).for_each(assert_closed);
    hello(&mut other);
    own.iter_mut().skip(2).for_each(hello);
    serving.expect("two were evicted", |totals| happened(totals, ConnectionEvent::Evicted) == 2);
}

#[tokio::test]
async fn connections_with_work_in_progress_are_not_evicted() {
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.connections = 2));
    let mut stuck = [serving.tcp(), serving.tcp()];
    for stream in &mut stuck {
        stream.write_all(&framed(b"fill").repeat(500)).unwrap();
    }
    // Both wait for their clients to read.
    let mut seen = 0;
    serving.expect("replies stop", |totals| {
        let asked = totals.questions(Transport::Tcp);
        std::thread::sleep(Duration::from_millis(50));
        asked > 2 && std::mem::replace(&mut seen, asked) == asked
    });
    assert_closed(&mut serving.tcp());
    serving.expect("one was refused", |totals| happened(totals, ConnectionEvent::Refused) == 1);
    drop(stuck);
    serving.expect("they are gone", |totals| totals.open(Transport::Tcp) == 0);
    hello(&mut serving.tcp());
}

#[tokio::test]
async fn memory_is_shared_out() {
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.memory = 100_000));
    let piece = |announced: u16, sent: usize| [&announced.to_be_bytes()[..], &vec![1; sent]].concat();
    let (mut first, mut second, mut third) = (serving.tcp(), serving.tcp(), serving.tcp());
    first.write_all(&piece(60_000, 50_000)).unwrap();
    hello(&mut third);
    second.write_all(&piece(60_000, 50_000)).unwrap();
    serving.expect("one goes", |totals| happened(totals, ConnectionEvent::Memory) == 1);
    // Who is content with little is served whatever others hold.
    hello(&mut third);
    for stream in [&mut first, &mut second] {
        // One of them is closed, of which it may not have heard yet.
        let _ = stream.write_all(&[1; 10_000]);
    }
    serving.expect("the other is served", |totals| totals.questions(Transport::Tcp) == 3);
    // The memory is free again.
    let mut fourth = serving.tcp();
    fourth.write_all(&piece(60_000, 60_000)).unwrap();
    assert_eq!(read_message(&mut fourth).len(), 60_002);
}

#[tokio::test]
async fn nobody_stays_for_ever() {
    let life = Duration::from_secs(1);
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.life = Some(life)));
    let (begin, mut silent, mut busy) = (Instant::now(), serving.tcp(), serving.tcp());
    let mut asked = 0;
    while busy.write_all(&framed(b"hello")).is_ok() && busy.read_exact(&mut [0; 9]).is_ok() {
        std::thread::sleep(life / 20);
        asked += 1;
        assert!(begin.elapsed() < life + SOON);
    }
    assert!(asked > 1 && begin.elapsed() >= life, "{asked} in {:?}", begin.elapsed());
    assert_closed(&mut silent);
    serving.expect("both have expired", |totals| happened(totals, ConnectionEvent::Expired) == 2);
}

#[tokio::test]
async fn nobody_asks_for_ever() {
    let serving = Serving::new(&TWO_FAMILIES[..1], limits(|tcp| tcp.messages_per_connection = 100));
    let mut greedy = serving.tcp();
    greedy.write_all(&framed(b"hello").repeat(101)).unwrap();
    (0..100).for_each(|_| assert_eq!(read_message(&mut greedy), b"hello\0\0"));
    assert_closed(&mut greedy);
    serving.expect("it has expired", |totals| happened(totals, ConnectionEvent::Expired) == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_to_be_accepted_at_the_stop_is_answered() {
    let (asked, was_asked) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(1), move |published, question, reply| {
        if question.packet == b"slow" {
            asked.send(()).unwrap();
            gate.lock().unwrap().recv_timeout(SOON).unwrap();
        }
        echo(published, question, reply)
    });
    let mut slow = serving.tcp();
    slow.write_all(&framed(b"slow")).unwrap();
    was_asked.recv_timeout(SOON).unwrap();
    // Nobody accepts them now.
    let mut queued: Vec<_> = (0..5).map(|_| serving.tcp()).collect();
    queued.iter_mut().for_each(|stream| stream.write_all(&framed(b"hello")).unwrap());
    let mut silent = serving.tcp();
    let counters = serving.counters.clone();
    let stop = serving.tasks.stop_token();
    let stopping = tokio::spawn(serving.tasks.stop(SOON));
    stop.cancelled().await;
    open.send(()).unwrap();
    assert_eq!(stopping.await.unwrap(), Stopped::default());
    assert_eq!(read_message(&mut slow), b"slow\0\0");
    for stream in &mut queued {
        assert_eq!(read_message(stream), b"hello\0\0");
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closed, not reset");
    }
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "closed, not reset");
    let totals = counters.totals();
    assert_eq!(happened(&totals, ConnectionEvent::Accepted), 7);
    assert_eq!((happened(&totals, ConnectionEvent::Stopped), totals.open(Transport::Tcp)), (7, 0));
}
