//! The accepting side: many peers, bounded in number at every stage.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dglb_core::proto::Session;
use thiserror::Error;
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Driver, Events, LinkId, LinkMetrics, LinkSettings, TlsError, tls};
use crate::descriptors::make_room;

/// How long nothing is accepted after the system had nothing left to accept with.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel may hold for us, as far as `net.core.somaxconn` lets it: when thousands
/// of peers come back together, those for whom there is no room try again only after a second.
const BACKLOG: u32 = 4_096;

/// What an [`Acceptor`] allows.
#[derive(Clone, Debug)]
pub struct AcceptSettings {
    /// What holds for each link.
    pub link: LinkSettings,
    /// Most handshakes under way; more wait, in the order in which they have said something. Default 256.
    pub handshakes: usize,
    /// How long a connection may wait for that; then it is closed. Default 8 s: together with the
    /// handshake itself less than the dialling side's patience, so that no work is done in vain.
    pub queue_timeout: Duration,
    /// Most links in all, those among them that wait; more are closed at once. Default 20 000.
    pub links: usize,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        let queue_timeout = Duration::from_secs(8);
        Self { link: LinkSettings::default(), handshakes: 256, queue_timeout, links: 20_000 }
    }
}

/// Takes the links that peers dial.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    settings: AcceptSettings,
    metrics: LinkMetrics,
}

/// Identities of accepted links are drawn from here, so that several acceptors of one daemon can
/// share its events.
static NEXT: AtomicU64 = AtomicU64::new(1 << 32);

impl Acceptor {
    /// An acceptor on a socket that listens already. Lets this process have as many files open.
    pub fn new(listener: TcpListener, settings: AcceptSettings, metrics: LinkMetrics) -> Self {
        make_room("map links", settings.links);
        Self { listener, settings, metrics }
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// Whatever the system says to `address`.
    pub async fn bind(address: SocketAddr, settings: AcceptSettings, metrics: LinkMetrics) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self::new(socket.listen(BACKLOG)?, settings, metrics))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until `stop` is cancelled or nobody listens to `events`; then every link leaves with
    /// BYE. Ids of accepted links are 2³² and up, so they never meet those that a daemon gives to
    /// its diallers.
    pub async fn run(self, events: Events, stop: CancellationToken) {
        let handshakes = Arc::new(Semaphore::new(self.settings.handshakes.max(1)));
        let mut links = JoinSet::new();
        let stop_links = stop.child_token();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = events.closed() => break,
                Some(_) = links.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    if let Some(stream) = self.screen(stream, remote, links.len()) {
                        let driver = Driver {
                            id: LinkId(NEXT.fetch_add(1, Ordering::Relaxed)),
                            remote,
                            settings: self.settings.link.clone(),
                            events: events.clone(),
                            metrics: self.metrics.clone(),
                            dialled: false,
                            handshake: None,
                            certified: None,
                            stop: stop_links.clone(),
                        };
                        links.spawn(take(driver, stream, Arc::clone(&handshakes), self.settings.queue_timeout));
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot accept");
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
        stop_links.cancel();
        drop(self.listener);
        while links.join_next().await.is_some() {}
    }

    /// The connection if it may become a link.
    fn screen(&self, stream: TcpStream, remote: SocketAddr, links: usize) -> Option<TcpStream> {
        if let Err(refused) = self.settings.link.admits(remote) {
            self.metrics.plain_refused.inc();
            debug!(%refused, "connection closed");
            return None;
        }
        if links >= self.settings.links {
            self.metrics.turned_away.inc();
            return None;
        }
        // Fails only for connections that are gone already.
        stream.set_nodelay(true).ok()?;
        self.metrics.connections.inc();
        Some(stream)
    }
}

/// One connection from its first octet to its last. TLS and HELLO have one time limit together.
async fn take(
    mut driver: Driver,
    stream: TcpStream,
    handshakes: Arc<Semaphore>,
    queue_timeout: Duration,
) -> Option<Duration> {
    let stop = driver.stop.clone();
    let silence = driver.settings.session.handshake_timeout;
    match stop.run_until_cancelled(turn(&stream, handshakes, silence, queue_timeout)).await? {
        Ok(place) => driver.handshake = Some(place),
        Err(error) => {
            debug!(peer = %driver.remote, %error, "no handshake");
            let metrics = &driver.metrics;
            match error {
                NoTurn::Silent if driver.settings.tls.is_some() => metrics.tls_failed(&TlsError::TimedOut),
                NoTurn::Gone if driver.settings.tls.is_some() => metrics.tls_failed(&TlsError::Lost),
                NoTurn::Crowded => drop(metrics.turned_away.inc()),
                NoTurn::Silent | NoTurn::Gone => {}
            }
            metrics.handshake_failures.inc();
            return None;
        }
    }
    let session = Session::accept(driver.settings.session.clone(), Instant::now());
    let Some(credentials) = driver.settings.tls.clone() else { return driver.run(stream, session).await };
    // On the heap: what a handshake needs would make every link's future that much larger.
    let handshake = Box::pin(tls::accept(&credentials, stream, silence));
    let (error, stream) = match stop.run_until_cancelled(handshake).await? {
        Ok((stream, certified)) => {
            driver.certified = Some(Box::new(certified));
            return driver.run(stream, session).await;
        }
        Err(failed) => failed,
    };
    debug!(peer = %driver.remote, %error, "no TLS");
    driver.handshake = None;
    driver.metrics.tls_failed(&error);
    driver.metrics.handshake_failures.inc();
    if let Some(stream) = stream {
        tls::dismiss(stream, driver.settings.linger).await;
    }
    None
}

/// Why a connection has no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum NoTurn {
    /// There is nothing to shake hands with.
    #[error("the peer says nothing")]
    Silent,
    /// Too many were before it.
    #[error("too many handshakes are under way")]
    Crowded,
    /// It did not wait for so long.
    #[error("the peer has gone")]
    Gone,
}

/// Waits until the peer has said something, and then until there is a place for its handshake: who is
/// silent takes none. Nothing is begun with a peer that has lost its patience meanwhile, or when
/// thousands come back together all the time would go into handshakes that nobody finishes.
async fn turn(
    stream: &TcpStream,
    handshakes: Arc<Semaphore>,
    silence: Duration,
    queue_timeout: Duration,
) -> Result<OwnedSemaphorePermit, NoTurn> {
    // Not `readable`, which may be through although there is nothing.
    let spoken = timeout(silence, stream.peek(&mut [0])).await.map_err(|_| NoTurn::Silent)?;
    if spoken.map_err(|_| NoTurn::Gone)? == 0 {
        return Err(NoTurn::Gone);
    }
    let place = timeout(queue_timeout, handshakes.acquire_owned()).await.map_err(|_| NoTurn::Crowded)?;
    let ready = stream.ready(Interest::READABLE).await.map_err(|_| NoTurn::Gone)?;
    if ready.is_read_closed() {
        return Err(NoTurn::Gone);
    }
    // The semaphore is never closed.
    place.map_err(|_| NoTurn::Crowded)
}
