//! The dialling side: one server, again and again.

use std::{io, net::SocketAddr, time::Duration, time::Instant};

use dglb_core::{
    identity::Identity,
    peer_name::PeerName,
    proto::{
        Session,
        message::{Hello, PeerRole},
    },
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Backoff, Down, DownReason, Driver, Events, LinkEvent, LinkId, LinkMetrics, LinkSettings, tls};

/// A link that is lost sooner than this does not count as a sign of health.
const STEADY: Duration = Duration::from_secs(1);

/// Keeps a link to one server up.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// The link's name in the events, the same for every attempt.
    pub id: LinkId,
    /// Where to dial.
    pub server: SocketAddr,
    /// The dns-b that is there. A certificate of anybody else ends the attempt; without TLS it is for
    /// the daemon to look at WELCOME (see [`super::expect`]).
    pub expected: Identity,
    /// Times, limits, certificates, and where plain TCP is allowed.
    pub settings: LinkSettings,
    /// What is counted.
    pub metrics: LinkMetrics,
}

impl Dialler {
    /// Dials until `stop` is cancelled or nobody listens to `events`; then leaves with BYE. `hello`
    /// is asked for what to say on each connection. Attempts are spaced by [`Backoff`], which starts
    /// over once a link was up for a second. Every failed attempt is a [`LinkEvent::Down`].
    pub async fn run(self, hello: impl Fn() -> Hello + Send + Sync, events: Events, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() && !events.is_closed() {
            match self.attempt(&hello, &events, &stop).await {
                Ok(up_for) if up_for.is_some_and(|up| up >= STEADY) => backoff.reset(),
                Ok(_) => {}
                Err(reason) => {
                    debug!(server = %self.server, %reason, "no link");
                    let down = LinkEvent::Down(Down { reason, last_heard: None, was_up: false });
                    if events.send((self.id, down)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next(rand::random())) => {}
            }
        }
    }

    /// One connection; how long its link was up.
    async fn attempt(
        &self,
        hello: &(impl Fn() -> Hello + Send + Sync),
        events: &Events,
        stop: &CancellationToken,
    ) -> Result<Option<Duration>, DownReason> {
        self.settings.admits(self.server).inspect_err(|_| {
            self.metrics.plain_refused.inc();
        })?;
        let peer = self.server;
        let connected = tokio::select! {
            () = stop.cancelled() => Err(io::ErrorKind::Interrupted.into()),
            stream = timeout(self.settings.connect_timeout, TcpStream::connect(peer)) => {
                stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        };
        let stream = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
            self.metrics.connect_failures.inc();
            DownReason::Connect { peer, error }
        })?;
        self.metrics.connections.inc();
        // Only now: what it says of its age is to be as young as can be.
        let session = Session::dial(self.settings.session.clone(), hello(), Instant::now())
            .map_err(|error| DownReason::Connect { peer, error: io::Error::other(error) })?;
        let driver = Driver {
            id: self.id,
            remote: peer,
            settings: self.settings.clone(),
            events: events.clone(),
            metrics: self.metrics.clone(),
            dialled: true,
            handshake: None,
            certified: None,
            stop: stop.clone(),
        };
        driver.dialled(stream, session, &self.expected).await
    }
}

impl Driver {
    /// Runs the session over a connection that was dialled, under TLS where the settings have it, if
    /// it is the dns-b `expected` that is there. Returns how long the link was up, `None` if it never
    /// was.
    ///
    /// # Errors
    /// [`DownReason::Tls`] where there is no TLS that would do; the daemon is not told then.
    pub async fn dialled(
        mut self,
        stream: TcpStream,
        session: Session,
        expected: &Identity,
    ) -> Result<Option<Duration>, DownReason> {
        let Some(credentials) = self.settings.tls.clone() else { return Ok(self.run(stream, session).await) };
        let (stop, within) = (self.stop.clone(), self.settings.session.dial_timeout);
        let expected = PeerName::new(PeerRole::DnsB, expected.clone());
        // On the heap, as on the accepting side.
        let handshake = Box::pin(tls::connect(&credentials, stream, (self.remote, &expected), within));
        let (error, stream) = match stop.run_until_cancelled(handshake).await {
            None => return Ok(None),
            Some(Ok((stream, certified))) => {
                self.certified = Some(Box::new(certified));
                return Ok(self.run(stream, session).await);
            }
            Some(Err(failed)) => failed,
        };
        self.metrics.tls_failed(&error);
        self.metrics.handshake_failures.inc();
        if let Some(stream) = stream {
            tls::dismiss(stream, self.settings.linger).await;
        }
        Err(error.into())
    }
}
