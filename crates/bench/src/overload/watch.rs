//! Somebody at the admin endpoint, and a DNS-LB whose map changes, while others load the server.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dglb_core::{
    net::Prefix,
    proto::{
        VERSION,
        message::{BootId, EntryKind, FleetStamp, Hello, Map, MapEntry, Message, PeerRole},
    },
};
use dglb_node::link::{Dialler, LinkEvent, LinkId, LinkMetrics, LinkSender, LinkSettings, PlainTcp};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::daemon::Daemon;
use crate::world;

/// Between two requests, and between two changes.
const INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for anything; longer is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long something took, again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The longest.
    pub(super) fn worst(&self) -> Option<Duration> {
        self.0.iter().max().copied()
    }

    /// More of them.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        match (sorted.get(sorted.len() / 2), sorted.last()) {
            (Some(median), Some(worst)) => {
                let [median, worst] = [median, worst].map(|time| time.as_secs_f64() * 1_000.0);
                write!(f, "median {median:.1} ms, worst {worst:.1} ms of {}", sorted.len())
            }
            _ => write!(f, "never"),
        }
    }
}

/// Both watchers at work.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    admin: JoinHandle<io::Result<Latencies>>,
    map: JoinHandle<io::Result<Latencies>>,
}

impl Watch {
    /// Publishes the zone, so that there is something to answer, then begins.
    ///
    /// # Errors
    /// When the daemon does not let us in.
    pub(super) fn start(daemon: &Daemon) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (to, its) = (daemon.admin, Arc::clone(&over));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (link, links) = (daemon.map, Arc::clone(&over));
        let map = thread::Builder::new().name("map".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(changes(link, &links, &ready))
        })?;
        if is_ready.recv_timeout(PATIENCE).is_err() {
            let failed = map.join().map_err(|_| io::Error::other("the map link panicked"))?;
            return Err(failed.err().unwrap_or_else(|| io::Error::other("dns-b takes no zone")));
        }
        let admin = thread::Builder::new().name("admin".into()).spawn(move || requests(to, &its))?;
        Ok(Self { over, admin, map })
    }

    /// Ends both; the admin endpoint's latencies, and the map's.
    ///
    /// # Errors
    /// When one of them was not answered at all.
    pub(super) fn stop(self) -> io::Result<(Latencies, Latencies)> {
        self.over.store(true, Relaxed);
        let joined = |thread: JoinHandle<io::Result<Latencies>>| {
            thread.join().map_err(|_| io::Error::other("a watcher panicked"))?
        };
        Ok((joined(self.admin)?, joined(self.map)?))
    }
}

fn requests(to: SocketAddrV4, over: &AtomicBool) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    while !over.load(Relaxed) {
        let begin = Instant::now();
        let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        if !said.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("the admin endpoint says: {said}")));
        }
        latencies.0.push(begin.elapsed());
        thread::sleep(INTERVAL);
    }
    Ok(latencies)
}

async fn changes(to: SocketAddrV4, over: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) -> io::Result<Latencies> {
    let mut sync = Peer::dial(to, "sync", PeerRole::DnsASync).await?;
    sync.say(Message::snapshot(world::catalogue(0)))?;
    let taken = sync.hear(|said| if let Message::CatalogueAck(ack) = said { Some(ack.refused) } else { None }).await?;
    if let Some(why) = taken {
        return Err(io::Error::other(why));
    }
    let mut lb = Peer::dial(to, "lb0", PeerRole::DnsLb).await?;
    // Nobody waits any more if this is too late.
    let _ = ready.send(());
    let mut latencies = Latencies::default();
    while !over.load(Relaxed) {
        let generation = lb.generation + 1 + latencies.0.len() as u64;
        let begin = Instant::now();
        lb.say(Message::Map(map(generation)))?;
        let hear = lb.hear(|said| if let Message::MapAck(ack) = said { Some(ack) } else { None });
        let ack = hear.await?;
        if (ack.generation, ack.accepted) != (generation, 1) {
            return Err(io::Error::other(format!("the map was not taken: {ack:?}")));
        }
        latencies.0.push(begin.elapsed());
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(latencies)
}

/// Another network with every generation.
fn map(generation: u64) -> Map {
    let prefix = Prefix::containing([10, generation as u8, 0, 0].into(), 16).expect("a prefix");
    let entry = MapEntry { prefix, kind: EntryKind::Resolver, preference: 10, weight: 1 };
    Map { generation, lease_ms: 60_000, addresses: vec![[127, 0, 0, 53].into()], entries: vec![entry] }
}

/// A link that is up.
struct Peer {
    /// What the dns-b holds of us already.
    generation: u64,
    link: LinkSender,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    stop: CancellationToken,
}

impl Peer {
    async fn dial(to: SocketAddrV4, identity: &str, role: PeerRole) -> io::Result<Self> {
        let settings = LinkSettings { plain_tcp: PlainTcp::Loopback, ..LinkSettings::default() };
        let expected = "b1".parse().map_err(io::Error::other)?;
        let metrics = LinkMetrics::default();
        let dialler = Dialler { id: LinkId(1), server: to.into(), expected, settings, metrics };
        let identity = identity.parse().map_err(io::Error::other)?;
        let boot = BootId(dglb_node::boot::Boot::now().id.0);
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            role,
            identity,
            boot,
            uptime_ms: 1,
            features: 0,
            fleet: FleetStamp::default(),
        };
        let (sender, mut events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        tokio::spawn(dialler.run(move || hello.clone(), sender, stop.clone()));
        loop {
            match next(&mut events).await? {
                LinkEvent::Up { peer: dglb_core::proto::Peer::Acceptor(welcome), link, .. } => {
                    return Ok(Self { generation: welcome.map_generation, link, events, stop });
                }
                // Not yet listening, or the last link of this name is still known.
                LinkEvent::Down(_) => {}
                other => return Err(io::Error::other(format!("neither up nor down: {other:?}"))),
            }
        }
    }

    fn say(&self, message: Message) -> io::Result<()> {
        self.link.try_send(message).map_err(io::Error::other)
    }

    /// The next message that `wanted` takes.
    async fn hear<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> io::Result<T> {
        loop {
            match next(&mut self.events).await? {
                LinkEvent::Message(message) => {
                    if let Some(heard) = wanted(message) {
                        return Ok(heard);
                    }
                }
                other => return Err(io::Error::other(format!("the map link ends: {other:?}"))),
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn next(events: &mut mpsc::Receiver<(LinkId, LinkEvent)>) -> io::Result<LinkEvent> {
    let event = timeout(PATIENCE, events.recv()).await?;
    event.map(|(_, event)| event).ok_or_else(|| io::Error::other("the dialler has ended"))
}
