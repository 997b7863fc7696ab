//! A peer that dials a dns-b through the real link and says what a scenario wants it to.

use std::net::SocketAddr;

use dglb_core::{
    catalogue::ZoneCatalogue,
    identity::Identity,
    peer_name::role_text,
    proto::{
        Peer as Other, VERSION,
        message::{BootId, FleetStamp, Hello, Message, PeerRole, Welcome},
    },
};
use dglb_node::link::{
    Dialler, DownReason, IdentityProblem, LinkEvent, LinkId, LinkMetrics, LinkSender, LinkSettings, TlsError,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{tls, wait::LONG};

/// A dialled link that is up.
#[derive(Debug)]
pub struct Peer {
    /// What the dns-b said first.
    pub welcome: Box<Welcome>,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    link: LinkSender,
    stop: CancellationToken,
}

/// What a peer says first.
pub fn hello(identity: &str, role: PeerRole) -> Hello {
    let boot = BootId(latest_boot());
    let identity = identity.parse().expect("an identity");
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        role,
        identity,
        boot,
        uptime_ms: 1,
        features: 0,
        fleet: FleetStamp::default(),
    }
}

/// Greater than what a daemon draws and than those of earlier peers: of two processes that started at about
/// the same time the one with the greater id stays.
fn latest_boot() -> [u8; 16] {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (u128::MAX << 64 | now.as_nanos()).to_be_bytes()
}

impl Peer {
    /// Dials the dns-b b1, or whoever else is there, and is let in.
    ///
    /// # Panics
    /// When it is not.
    pub async fn dial(server: SocketAddr, identity: &str, role: PeerRole) -> Self {
        Self::try_dial(server, identity, role).await.unwrap_or_else(|error| panic!("{identity} at {server}: {error}"))
    }

    /// Dials once.
    ///
    /// # Errors
    /// Why there is no link.
    ///
    /// # Panics
    /// When nothing happens at all.
    pub async fn try_dial(server: SocketAddr, identity: &str, role: PeerRole) -> Result<Self, DownReason> {
        let settings = tls::links(&format!("dglb:{}:{identity}", role_text(role)));
        let mut expected: Identity = "b1".parse().expect("an identity");
        loop {
            match Self::dial_once(server, expected, settings.clone(), hello(identity, role)).await {
                // Whoever is there is meant.
                Err(DownReason::Tls(TlsError::Identity(IdentityProblem::Differs { certified, claimed })))
                    if certified.role == claimed.role =>
                {
                    expected = certified.identity;
                }
                other => return other,
            }
        }
    }

    async fn dial_once(
        server: SocketAddr,
        expected: Identity,
        settings: LinkSettings,
        hello: Hello,
    ) -> Result<Self, DownReason> {
        let dialler = Dialler { id: LinkId(1), server, expected, settings, metrics: LinkMetrics::default() };
        let (sender, mut events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        tokio::spawn(dialler.run(move || hello.clone(), sender, stop.clone()));
        match next(&mut events).await {
            LinkEvent::Up { peer: Other::Acceptor(welcome), link, .. } => Ok(Self { welcome, events, link, stop }),
            LinkEvent::Down(down) => {
                stop.cancel();
                Err(down.reason)
            }
            other => panic!("neither up nor down: {other:?}"),
        }
    }

    /// The publisher `sync` at a dns-b, with this catalogue adopted there.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn publisher(server: SocketAddr, catalogue: &ZoneCatalogue) -> Self {
        let mut sync = Self::dial(server, "sync", PeerRole::DnsASync).await;
        sync.say(Message::snapshot(catalogue.clone()));
        let ack = sync.hear("CATALOGUE-ACK", |m| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None });
        let ack = ack.await;
        assert_eq!((ack.generation, ack.refused), (catalogue.generation, None));
        sync
    }

    /// Says something.
    ///
    /// # Panics
    /// When the link is down or full.
    pub fn say(&self, message: Message) {
        self.link.try_send(message).expect("the link is up and has room");
    }

    /// Says something if the link is up and has room.
    pub fn try_say(&self, message: Message) -> bool {
        self.link.try_send(message).is_ok()
    }

    /// Waits for the next message; `None` when the link ends.
    ///
    /// # Panics
    /// When neither comes.
    pub async fn next(&mut self) -> Option<Message> {
        match next(&mut self.events).await {
            LinkEvent::Message(message) => Some(message),
            _ => None,
        }
    }

    /// Waits for the message that `wanted` takes; others are passed over.
    ///
    /// # Panics
    /// When it does not come, or the link goes down.
    pub async fn hear<T>(&mut self, what: &str, wanted: impl Fn(Message) -> Option<T>) -> T {
        loop {
            match next(&mut self.events).await {
                LinkEvent::Message(message) => {
                    if let Some(heard) = wanted(message) {
                        return heard;
                    }
                }
                other => panic!("instead of {what}: {other:?}"),
            }
        }
    }

    /// Waits for the end of the link; why it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(mut self) -> DownReason {
        loop {
            if let LinkEvent::Down(down) = next(&mut self.events).await {
                return down.reason;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn next(events: &mut mpsc::Receiver<(LinkId, LinkEvent)>) -> LinkEvent {
    let event = timeout_at(Instant::now() + LONG, events.recv()).await.expect("nothing happens on the link");
    event.expect("the dialler is there").1
}
