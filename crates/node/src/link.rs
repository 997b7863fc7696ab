//! The only place where a byte stream meets a map-protocol
//! [`Session`](dglb_core::proto::Session): for daemons that dial ([`Dialler`]) and daemons that
//! accept ([`Acceptor`]) alike. Whatever a peer does, a link holds a bounded number of octets and
//! messages, and a daemon that falls behind slows its peers down instead of growing.
//!
//! A daemon owns one channel of `(LinkId, LinkEvent)` for all its links. With [`LinkEvent::Up`]
//! comes a [`LinkSender`] that belongs to this one connection: what is said into it never turns up
//! on a later one.

mod accept;
mod backoff;
mod credentials;
mod dial;
mod drive;
mod expected;
mod expiry;
mod greeting;
mod identity;
mod metrics;
mod quota;
mod security;
mod tls;
mod trust;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, time::Duration, time::Instant};

use dglb_core::{
    net::canonical,
    proto::{
        CloseReason, Config, Encoded, Peer,
        message::{Bye, Hello, Message, Refuse, Welcome},
    },
};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use accept::{AcceptSettings, Acceptor};
pub use backoff::Backoff;
pub use credentials::{Certified, Credentials, CredentialsError, TlsFiles};
pub use dial::Dialler;
pub use drive::Driver;
pub use expected::{WrongPeer, expect, not_dialled};
pub use greeting::{Greeting, Named};
pub use identity::{IdentityProblem, certified_name};
pub use metrics::LinkMetrics;
pub use quota::{Accounts, LinkQuota};
pub use security::{LinkSecurity, Unsecured};
pub use tls::{PROTOCOL, TlsError};

/// A link in the events of one daemon: given by the caller for dialled ones, where it stays the
/// same over reconnects; drawn for each accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Where plain TCP may be spoken by a daemon that has no certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainTcp {
    /// Nowhere. The default.
    #[default]
    Never,
    /// With peers on this host.
    Loopback,
}

/// Plain TCP with this peer is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("plain TCP with {peer} is not allowed by plain-tcp = \"{setting}\"", setting = .setting.as_str())]
pub struct PlainRefused {
    /// The other side.
    pub peer: SocketAddr,
    /// What is set.
    pub setting: PlainTcp,
}

impl PlainTcp {
    /// The setting as the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Loopback => "loopback",
        }
    }

    /// Whether plain TCP may be spoken with `peer`.
    ///
    /// # Errors
    /// [`PlainRefused`] where not.
    pub fn check(self, peer: SocketAddr) -> Result<(), PlainRefused> {
        let allowed = match self {
            Self::Never => false,
            Self::Loopback => canonical(peer.ip()).is_loopback(),
        };
        if allowed { Ok(()) } else { Err(PlainRefused { peer, setting: self }) }
    }
}

/// What holds for every link of a daemon.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// TLS for every link; without it, plain TCP where that is allowed.
    pub tls: Option<Credentials>,
    /// Where plain TCP may be spoken. With [`Self::tls`] it is spoken nowhere.
    pub plain_tcp: PlainTcp,
    /// Limits and times of the protocol.
    pub session: Config,
    /// How long a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a peer may take to read what was handed to the connection, at most 128 KiB and the
    /// kernel's own buffer. Slower ones are closed. Default 15 s.
    pub stall_timeout: Duration,
    /// How long a link that is over may take to say goodbye. Default 2 s.
    pub linger: Duration,
    /// Messages that a [`LinkSender`] holds beside the session's own queue. Default 256.
    pub commands: usize,
    /// How much a peer may say.
    pub quota: LinkQuota,
    /// What each holder of a certificate has said.
    pub accounts: Accounts,
}

impl LinkSettings {
    /// Whether a link to this peer may be tried.
    fn admits(&self, peer: SocketAddr) -> Result<(), PlainRefused> {
        if self.tls.is_some() { Ok(()) } else { self.plain_tcp.check(peer) }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            tls: None,
            plain_tcp: PlainTcp::Never,
            session: Config::default(),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(15),
            linger: Duration::from_secs(2),
            commands: 256,
            quota: LinkQuota::default(),
            accounts: Accounts::default(),
        }
    }
}

/// What a daemon is told of a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Accepting side: somebody wants in. Dropping `decision` turns it away as busy.
    Hello {
        /// Who.
        hello: Hello,
        /// From where: what WELCOME says as `observed`.
        remote: SocketAddr,
        /// The daemon's answer.
        decision: oneshot::Sender<Decision>,
    },
    /// The link is up.
    Up {
        /// Who is there.
        peer: Peer,
        /// Where.
        remote: SocketAddr,
        /// How to speak. Dropping every clone of it leaves with BYE.
        link: LinkSender,
    },
    /// The peer said this. Only between `Up` and `Down`.
    Message(Message),
    /// The link is over, or was not to be had. On the dialling side another attempt follows by
    /// itself; on the accepting side this comes for links that sent a HELLO, and is the last.
    Down(Down),
}

/// The end of a link.
#[derive(Debug)]
pub struct Down {
    /// Why.
    pub reason: DownReason,
    /// When the last frame came, if any did: leases count from here.
    pub last_heard: Option<Instant>,
    /// Whether the link was up.
    pub was_up: bool,
}

/// Why a link is over.
#[derive(Debug, Error)]
pub enum DownReason {
    /// The session ended.
    #[error(transparent)]
    Closed(#[from] CloseReason),
    /// The settings forbid it.
    #[error(transparent)]
    Plain(#[from] PlainRefused),
    /// No TLS, or not with whom it should be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer is not whom its certificate names.
    #[error(transparent)]
    Identity(#[from] IdentityProblem),
    /// No connection.
    #[error("cannot connect to {peer}: {error}")]
    Connect {
        /// To whom.
        peer: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// What a daemon says to a HELLO.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Come in. The session puts in the version that was agreed on.
    Welcome(Box<Welcome>),
    /// Stay out.
    Refuse(Refuse),
}

/// Speaks to the peer of one connection.
#[derive(Clone, Debug)]
pub struct LinkSender {
    commands: mpsc::Sender<Command>,
    closing: mpsc::Sender<Bye>,
}

/// What waits in front of a session.
#[derive(Debug)]
enum Command {
    Message(Box<Message>),
    Encoded(Encoded),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LinkSendError {
    /// The peer does not read as fast as this side speaks.
    #[error("the link is congested")]
    Full,
    /// The connection is over.
    #[error("the link is down")]
    Closed,
}

impl LinkSender {
    /// Sends a message, waiting for room.
    ///
    /// # Errors
    /// [`LinkSendError::Closed`].
    pub async fn send(&self, message: Message) -> Result<(), LinkSendError> {
        self.commands.send(Command::Message(Box::new(message))).await.map_err(|_| LinkSendError::Closed)
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    /// [`LinkSendError`].
    pub fn try_send(&self, message: Message) -> Result<(), LinkSendError> {
        self.try_command(Command::Message(Box::new(message)))
    }

    /// Sends a message that was encoded once for many, if there is room.
    ///
    /// # Errors
    /// [`LinkSendError`].
    pub fn try_send_encoded(&self, encoded: Encoded) -> Result<(), LinkSendError> {
        self.try_command(Command::Encoded(encoded))
    }

    /// Leaves with this BYE, after what was sent before as far as the queue takes it. The first call
    /// counts.
    pub fn close(&self, bye: Bye) {
        // Full: somebody has closed it already. Closed: it is over.
        let _ = self.closing.try_send(bye);
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    fn try_command(&self, command: Command) -> Result<(), LinkSendError> {
        self.commands.try_send(command).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => LinkSendError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkSendError::Closed,
        })
    }
}

/// A daemon's status with what there is to know of certificates, as `certificate`.
pub fn with_certificate(mut status: Value, credentials: Option<&Credentials>) -> Value {
    if let (Some(fields), Some(credentials)) = (status.as_object_mut(), credentials) {
        fields.insert("certificate".to_owned(), credentials.status());
    }
    status
}

/// Events of all links of a daemon.
pub type Events = mpsc::Sender<(LinkId, LinkEvent)>;
