//! DNS over connections: accept loops of our own in threads of their own, with caps on
//! connections, on what they hold and on the time that they may do nothing (RFC 7766, RFC 9210).
//!
//! | file | |
//! |---|---|
//! | `listener` | accepts, and gives out places |
//! | `places` | who may stay, who has to go |
//! | `connection` | one connection from its first octet to its last, whatever carries it |
//! | `settings` | limits |
//!
//! What an idle connection holds is its task; what a busy one holds grows with what was received
//! on it, never with what was announced.

mod connection;
mod listener;
mod places;
mod settings;

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use dglb_core::dns::{Asked, Handled, Role, Transport, framing::MAX_MESSAGE};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, LocalSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use listener::bind;
pub use settings::{FREE, StreamSettings};

use super::source::{Held, Source};
use crate::{
    lifecycle::Tasks,
    metrics::{ConnectionEvent, Lane},
};
use places::{Id, Places};

/// How long the last replies may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Most octets that are read at a time.
const READ: usize = 16_384;

/// Starts the thread that serves `listeners` until the daemon stops.
pub(super) fn spawn<S: Source>(
    listeners: Vec<(Role, std::net::TcpListener)>,
    service: Service<S>,
    tasks: &mut Tasks,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = {
        let _entered = runtime.enter();
        let register = |(role, listener)| Ok((role, TcpListener::from_std(listener)?));
        listeners.into_iter().map(register).collect::<io::Result<Vec<_>>>()?
    };
    let stop = tasks.stop_token();
    tasks.spawn_thread("dns-tcp", move || {
        let thread = Rc::new(Thread::new(service, stop));
        LocalSet::new().block_on(&runtime, thread.serve(listeners));
    })
}

/// What answers, what it counts with, and within which limits.
pub(super) struct Service<S> {
    pub(super) source: S,
    pub(super) counters: Lane,
    pub(super) limits: StreamSettings,
}

/// All that the connections of one thread share. No borrow is held across an await.
struct Thread<S> {
    source: S,
    limits: StreamSettings,
    stop: CancellationToken,
    connections: TaskTracker,
    counters: RefCell<Lane>,
    places: RefCell<Places<AbortHandle>>,
    buffers: RefCell<Buffers>,
    /// Octets that all connections hold together.
    held: std::cell::Cell<usize>,
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
        let Service { source, counters, limits } = service;
        Self {
            source,
            stop,
            connections: TaskTracker::new(),
            counters: RefCell::new(counters),
            places: RefCell::new(Places::new(limits.connections, limits.connections_per_client)),
            buffers: RefCell::new(Buffers { received: vec![0; READ].into(), reply: vec![0; MAX_MESSAGE].into() }),
            held: std::cell::Cell::new(0),
            limits,
        }
    }

    async fn serve(self: Rc<Self>, listeners: Vec<(Role, TcpListener)>) {
        let accepting = TaskTracker::new();
        for (role, listener) in listeners {
            accepting.spawn_local(Rc::clone(&self).accept(role, listener));
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

    fn count(&self, transport: Transport, event: ConnectionEvent) {
        self.counters.borrow_mut().connection(transport, event);
    }
}

/// A place among the open connections; given back when dropped, together with the memory that its
/// connection holds, and the end of the connection counted.
struct Place<S: Source> {
    thread: Rc<Thread<S>>,
    transport: Transport,
    id: Id,
    held: usize,
    /// How it ends, as far as is known. It was evicted if nothing else is: then its task is
    /// dropped in the middle of whatever it does.
    end: ConnectionEvent,
}

impl<S: Source> Place<S> {
    fn busy(&self) {
        self.thread.places.borrow_mut().busy(self.id);
    }

    fn idle(&self) {
        self.thread.places.borrow_mut().idle(self.id);
    }

    /// The connection holds so many octets from now on; false if that is more than there are for
    /// all together.
    fn hold(&mut self, octets: usize) -> bool {
        let all = self.thread.held.get() - self.held + octets;
        self.thread.held.set(all);
        self.held = octets;
        octets <= FREE || all <= self.thread.limits.memory
    }
}

impl<S: Source> Drop for Place<S> {
    fn drop(&mut self) {
        self.thread.held.set(self.thread.held.get() - self.held);
        self.thread.places.borrow_mut().leave(self.id);
        let stopped = self.end == ConnectionEvent::Evicted && self.thread.stop.is_cancelled();
        self.thread.count(self.transport, if stopped { ConnectionEvent::Stopped } else { self.end });
    }
}
