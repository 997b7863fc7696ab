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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Driver, Events, LinkId, LinkMetrics, LinkSettings, tls};
use crate::descriptors::make_room;

/// How long nothing is accepted after the system had nothing left to accept with.
const PAUSE: Duration = Duration::from_millis(100);

/// What an [`Acceptor`] allows.
#[derive(Clone, Debug)]
pub struct AcceptSettings {
    /// What holds for each link.
    pub link: LinkSettings,
    /// Most handshakes under way; more wait in the kernel's queue. Default 256.
    pub handshakes: usize,
    /// Most links in all; more are closed at once. Default 20 000.
    pub links: usize,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        Self { link: LinkSettings::default(), handshakes: 256, links: 20_000 }
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
        Ok(Self::new(TcpListener::bind(address).await?, settings, metrics))
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
                accepted = self.accept(&handshakes) => accepted,
            };
            match accepted {
                Ok((stream, remote, permit)) => {
                    if let Some(stream) = self.screen(stream, remote, links.len()) {
                        let driver = Driver {
                            id: LinkId(NEXT.fetch_add(1, Ordering::Relaxed)),
                            remote,
                            settings: self.settings.link.clone(),
                            events: events.clone(),
                            metrics: self.metrics.clone(),
                            dialled: false,
                            handshake: Some(permit),
                            certified: None,
                            stop: stop_links.clone(),
                        };
                        links.spawn(take(driver, stream));
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

    /// The next connection, taken only when a handshake may begin.
    async fn accept(&self, handshakes: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(handshakes).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, remote) = self.listener.accept().await?;
        Ok((stream, remote, permit))
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
async fn take(mut driver: Driver, stream: TcpStream) -> Option<Duration> {
    let session = Session::accept(driver.settings.session.clone(), Instant::now());
    let Some(credentials) = driver.settings.tls.clone() else { return driver.run(stream, session).await };
    let stop = driver.stop.clone();
    // On the heap: what a handshake needs would make every link's future that much larger.
    let handshake = Box::pin(tls::accept(&credentials, stream, driver.settings.session.handshake_timeout));
    let (error, stream) = match stop.run_until_cancelled(handshake).await {
        None => return None,
        Some(Ok((stream, certified))) => {
            driver.certified = Some(Box::new(certified));
            return driver.run(stream, session).await;
        }
        Some(Err(failed)) => failed,
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
