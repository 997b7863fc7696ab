//! DNS over connections: accept loops of our own in threads of their own, with caps on
//! connections, on what they hold and on the time that they may do nothing (RFC 7766, RFC 9210).
//!
//! | file | |
//! |---|---|
//! | `listener` | accepts, and gives out places |
//! | `places` | who may stay, who has to go |
//! | `connection` | TCP and TLS: one connection from its first octet to its last |
//! | `https` | DNS over HTTPS: the same for HTTP/1.1 and HTTP/2 |
//! | `late` | replies of the slow lane |
//! | `quic` | DNS over QUIC: the same for QUIC, which accepts by itself |
//! | `tab` | what a connection with several questions under way holds |
//! | `settings` | limits |
//!
//! What an idle connection holds is its task; what a busy one holds grows with what was received
//! on it, never with what was announced.

mod connection;
mod https;
mod late;
mod listener;
mod places;
mod quic;
mod settings;
mod tab;

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use dglb_core::dns::{Asked, Decision, Handled, Role, Transport, framing::MAX_MESSAGE};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, LocalSet},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use listener::bind;
pub use settings::{FREE, StreamSettings};

use super::{
    slow::SlowLane,
    source::{Held, Source},
};
use crate::{
    lifecycle::Tasks,
    metrics::{ConnectionEvent, Incident, Lane},
};
use late::Late;
use places::{Id, Places};

/// How long the last replies may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Most octets that are read at a time.
const READ: usize = 16_384;

/// A socket to be served, and what its connections speak.
pub(super) struct Listening {
    pub(super) role: Role,
    pub(super) socket: Socket,
}

/// See [`Listening`].
pub(super) enum Socket {
    /// Accepts TCP connections.
    Tcp(std::net::TcpListener, Carrier),
    /// Takes the packets of all QUIC connections.
    Quic(std::net::UdpSocket, Arc<rustls::ServerConfig>),
}

/// What carries messages over an accepted TCP connection.
#[derive(Clone)]
pub(super) enum Carrier {
    /// The connection itself.
    Tcp,
    /// TLS (RFC 7858).
    Tls(TlsAcceptor),
    /// HTTP over TLS (RFC 8484), at this path.
    Https(TlsAcceptor, Arc<str>),
}

/// Starts the thread that serves the sockets until the daemon stops.
pub(super) fn spawn<S: Source>(
    name: &'static str,
    listening: Vec<Listening>,
    service: Service<S>,
    tasks: &mut Tasks,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let accepting = {
        let _entered = runtime.enter();
        listening.into_iter().map(Accepting::new).collect::<io::Result<Vec<_>>>()?
    };
    let stop = tasks.stop_token();
    tasks.spawn_thread(name, move || {
        let thread = Rc::new(Thread::new(service, stop));
        LocalSet::new().block_on(&runtime, thread.serve(accepting));
    })
}

/// A socket that the thread's runtime knows.
enum Accepting {
    Tcp(Role, TcpListener, Carrier),
    Quic(Role, quinn::Endpoint, Arc<rustls::ServerConfig>),
}

impl Accepting {
    fn new(listening: Listening) -> io::Result<Self> {
        let role = listening.role;
        Ok(match listening.socket {
            Socket::Tcp(listener, carrier) => Self::Tcp(role, TcpListener::from_std(listener)?, carrier),
            Socket::Quic(socket, tls) => Self::Quic(role, quic::endpoint(socket)?, tls),
        })
    }
}

/// What answers, what it counts with, and within which limits.
pub(super) struct Service<S> {
    pub(super) source: S,
    pub(super) counters: Lane,
    pub(super) slow: SlowLane,
    pub(super) limits: StreamSettings,
}

/// All that the connections of one thread share. No borrow is held across an await.
struct Thread<S> {
    source: S,
    limits: StreamSettings,
    slow: SlowLane,
    stop: CancellationToken,
    connections: TaskTracker,
    counters: RefCell<Lane>,
    places: RefCell<Places<AbortHandle>>,
    buffers: RefCell<Buffers>,
    /// Octets that all connections hold together.
    held: Cell<usize>,
}

/// What a connection needs while it is looked at, and not between.
struct Buffers {
    /// Where octets are received.
    received: Box<[u8]>,
    /// Where a reply is rendered.
    reply: Box<[u8]>,
}

impl<S: Source> Thread<S> {
    fn new(service: Service<S>, stop: CancellationToken) -> Self {
        let Service { source, counters, slow, limits } = service;
        Self {
            source,
            slow,
            stop,
            connections: TaskTracker::new(),
            counters: RefCell::new(counters),
            places: RefCell::new(Places::new(limits.connections, limits.connections_per_client)),
            buffers: RefCell::new(Buffers { received: vec![0; READ].into(), reply: vec![0; MAX_MESSAGE].into() }),
            held: Cell::new(0),
            limits,
        }
    }

    async fn serve(self: Rc<Self>, sockets: Vec<Accepting>) {
        let accepting = TaskTracker::new();
        for socket in sockets {
            let thread = Rc::clone(&self);
            match socket {
                Accepting::Tcp(role, listener, carrier) => {
                    accepting.spawn_local(thread.accept(role, listener, carrier))
                }
                Accepting::Quic(role, endpoint, tls) => {
                    accepting.spawn_local(quic::accept(thread, role, endpoint, tls))
                }
            };
        }
        accepting.close();
        accepting.wait().await;
        self.connections.close();
        // Connections know of the stop; those that do not take their last reply are let go.
        let _ = tokio::time::timeout(DRAIN, self.connections.wait()).await;
    }

    /// Answers one message from `held`, into `reply`.
    fn respond(&self, held: &S::Held, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        let mut handled = held.respond(asked, reply);
        handled.length = handled.length.min(reply.len()).min(MAX_MESSAGE);
        self.counters.borrow_mut().count(asked.transport, &handled);
        handled
    }

    /// The reply to one message; none for what gets none.
    async fn reply(&self, asked: &Asked<'_>) -> Option<Vec<u8>> {
        let (reply, decision) = {
            let Buffers { reply, .. } = &mut *self.buffers.borrow_mut();
            let handled = self.respond(&self.source.hold(), asked, reply);
            (reply[..handled.length].to_vec(), handled.decision)
        };
        let mut late = Late::default();
        if decision.is_for_the_slow_lane() && self.is_taken(&mut late, asked, decision, &reply) {
            return Some(late.next().await);
        }
        Some(reply).filter(|reply| !reply.is_empty())
    }

    /// Whether the slow lane has taken a message, which then gets its reply later.
    fn is_taken(&self, late: &mut Late, asked: &Asked<'_>, decision: Decision, reply: &[u8]) -> bool {
        let taken = late.hand_over(&self.slow, asked, decision, reply);
        if !taken {
            self.counters.borrow_mut().incident(Incident::SlowLaneFull);
        }
        taken
    }

    /// A place for a connection that was accepted; `None` when it is to be closed at once.
    fn admit(self: &Rc<Self>, peer: IpAddr, transport: Transport) -> Option<Place<S>> {
        let admitted = self.places.borrow_mut().admit(peer);
        let Ok(admitted) = admitted else {
            self.count(transport, ConnectionEvent::Refused);
            return None;
        };
        if let Some(evicted) = admitted.evicted {
            evicted.abort();
        }
        self.count(transport, ConnectionEvent::Accepted);
        let held = Loan { thread: Rc::clone(self), octets: 0 };
        Some(Place { held, transport, id: admitted.id, end: ConnectionEvent::Evicted })
    }

    /// Runs a connection, which holds its place as long as it runs.
    fn run(&self, id: Id, connection: impl Future<Output = ()> + 'static) {
        let task = self.connections.spawn_local(connection);
        self.places.borrow_mut().ends_by(id, task.abort_handle());
    }

    fn count(&self, transport: Transport, event: ConnectionEvent) {
        self.counters.borrow_mut().connection(transport, event);
    }
}

/// A place among the open connections; given back when dropped, and the end of the connection
/// counted.
struct Place<S: Source> {
    held: Loan<S>,
    transport: Transport,
    id: Id,
    /// How it ends, as far as is known. It was evicted if nothing else is: then its task is
    /// dropped in the middle of whatever it does.
    end: ConnectionEvent,
}

impl<S: Source> Place<S> {
    fn thread(&self) -> &Rc<Thread<S>> {
        &self.held.thread
    }

    fn busy(&self) {
        self.thread().places.borrow_mut().busy(self.id);
    }

    fn idle(&self) {
        self.thread().places.borrow_mut().idle(self.id);
    }
}

impl<S: Source> Drop for Place<S> {
    fn drop(&mut self) {
        let thread = self.thread();
        thread.places.borrow_mut().leave(self.id);
        let stopped = self.end == ConnectionEvent::Evicted && thread.stop.is_cancelled();
        thread.count(self.transport, if stopped { ConnectionEvent::Stopped } else { self.end });
    }
}

/// Octets out of the memory that all connections have together; given back when dropped.
struct Loan<S: Source> {
    thread: Rc<Thread<S>>,
    octets: usize,
}

impl<S: Source> Loan<S> {
    /// So many are held from now on; false if that is more than there are.
    fn hold(&mut self, octets: usize) -> bool {
        let all = self.thread.held.get() - self.octets + octets;
        self.thread.held.set(all);
        self.octets = octets;
        octets <= FREE || all <= self.thread.limits.memory
    }
}

impl<S: Source> Drop for Loan<S> {
    fn drop(&mut self) {
        self.thread.held.set(self.thread.held.get() - self.octets);
    }
}

#[cfg(test)]
mod tests;
