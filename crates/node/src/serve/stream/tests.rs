//! One connection alone, with a slow lane that stands still for as long as the test wants.

use dglb_core::dns::framing::prefix;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{metrics::DnsCounters, serve::stream::connection::Connection};

/// Replies with the question, and takes those that begin with "s" for signed.
#[derive(Clone)]
struct Echo;

impl Source for Echo {
    type Held = Self;

    fn hold(&self) -> Self {
        Self
    }
}

impl Held for Echo {
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        reply[..asked.packet.len()].copy_from_slice(asked.packet);
        let decision = if asked.packet.starts_with(b"s") { Decision::Signed } else { Decision::Authority };
        Handled { length: asked.packet.len(), decision, ..Handled::DROPPED }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&prefix(message.len()).unwrap()[..], message].concat()
}

async fn next(client: &mut DuplexStream) -> Vec<u8> {
    let length = client.read_u16().await.unwrap();
    let mut message = vec![0; length.into()];
    client.read_exact(&mut message).await.unwrap();
    message
}

fn thread(limits: StreamSettings) -> (Rc<Thread<Echo>>, impl FnOnce() + Send, DnsCounters) {
    let counters = DnsCounters::new();
    let (slow, serve) = SlowLane::new(counters.lane(), None);
    let service = Service { source: Echo, counters: counters.lane(), slow, limits };
    (Rc::new(Thread::new(service, CancellationToken::new())), serve, counters)
}

fn open(thread: &Rc<Thread<Echo>>) -> DuplexStream {
    let (client, server) = duplex(65_536);
    let peer = (std::net::SocketAddr::from(([192, 0, 2, 1], 4_242)), Role::DnsLb);
    let place = thread.admit(peer.0.ip(), Transport::Tcp).expect("a place");
    thread.run(place.id, Connection::new(server, peer, place).serve());
    client
}

#[tokio::test]
async fn what_waits_for_the_slow_lane_is_overtaken_up_to_a_bound() {
    let limits = StreamSettings { in_flight: 2, connections: 1, ..StreamSettings::default() };
    let (thread, serve, counters) = thread(limits);
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut client = open(&thread);
            for message in [&b"s1"[..], b"plain 1", b"s2", b"plain 2"] {
                client.write_all(&framed(message)).await.unwrap();
            }
            // The second has to wait: two are under way.
            assert_eq!(next(&mut client).await, b"plain 1");
            // Work is in progress, so nobody else gets the place.
            assert!(thread.admit([192, 0, 2, 2].into(), Transport::Tcp).is_none());
            assert_eq!(counters.totals().questions(Transport::Tcp), 3);
            std::thread::spawn(serve);
            let mut rest = Vec::new();
            for _ in 0..3 {
                rest.push(next(&mut client).await);
            }
            rest.sort();
            // They are too short to hold the response code that the slow lane gives them.
            assert_eq!(rest, [&b"plain 2"[..], b"s1", b"s2"]);
            // Idle now, it makes room.
            assert!(thread.admit([192, 0, 2, 2].into(), Transport::Tcp).is_some());
        })
        .await;
}

/// However replies fall into what is written at a time: who asks and takes them stays.
#[tokio::test]
async fn who_was_just_answered_is_not_idle() {
    let idle = Duration::from_secs(2);
    let (thread, _serve, counters) = thread(StreamSettings { idle, ..StreamSettings::default() });
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut client = open(&thread);
            // So long that it is written out at once, before it is known that no other question follows.
            let long = vec![b'l'; 10_000];
            let (begin, mut rounds) = (tokio::time::Instant::now(), 0);
            while begin.elapsed() < idle * 3 / 2 {
                client.write_all(&framed(&long)).await.unwrap();
                assert_eq!(next(&mut client).await, long);
                rounds += 1;
                tokio::time::sleep(idle / 4).await;
            }
            client.write_all(&framed(b"last")).await.unwrap();
            assert_eq!(next(&mut client).await, b"last", "closed after {rounds} rounds");
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "in the end it is idle");
            thread.connections.close();
            thread.connections.wait().await;
            assert_eq!(counters.totals().connections(Transport::Tcp, ConnectionEvent::Idle), 1);
        })
        .await;
}

#[tokio::test]
async fn who_has_said_all_still_hears_what_is_late() {
    let (thread, serve, counters) = thread(StreamSettings::default());
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut client = open(&thread);
            client.write_all(&framed(b"s1")).await.unwrap();
            client.shutdown().await.unwrap();
            while counters.totals().questions(Transport::Tcp) == 0 {
                tokio::task::yield_now().await;
            }
            std::thread::spawn(serve);
            assert_eq!(next(&mut client).await, b"s1");
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            thread.connections.close();
            thread.connections.wait().await;
            assert_eq!(counters.totals().connections(Transport::Tcp, ConnectionEvent::Finished), 1);
        })
        .await;
}

#[tokio::test]
async fn who_overfills_the_slow_lane_gets_a_plain_reply() {
    let limits = StreamSettings { in_flight: 1_000, ..StreamSettings::default() };
    let (thread, _serve, counters) = thread(limits);
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut client = open(&thread);
            for _ in 0..257 {
                client.write_all(&framed(b"signed")).await.unwrap();
            }
            assert_eq!(next(&mut client).await, b"signed");
            assert_eq!(counters.totals().incident(Incident::SlowLaneFull), 1);
        })
        .await;
}
