//! DNS over TCP (RFC 7766): accept loops of our own in one thread, with caps on connections and
//! on the time that a connection may do nothing.
//!
//! What a connection costs grows with what was received on it, never with what was announced.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use dglb_core::{
    dns::{Asked, Role, Transport},
    net::{canonical, mask},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, yield_now},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    TcpSettings,
    source::{Held, Source},
};
use crate::{
    lifecycle::Tasks,
    metrics::{Incident, Lane},
};

/// Longest message (RFC 1035 section 4.2.2).
const MAX_MESSAGE: usize = 65_535;
/// Replies are written out once they are this many octets, before more questions are answered.
const FLUSH: usize = 65_536;
/// Fewest and most octets of room that are made for reading at a time.
const ROOM: (usize, usize) = (512, 16_384);
/// Octets of an IPv6 client's address that count as one client, in bits.
const CLIENT_V6: u8 = 64;
/// How long the last replies may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Pause after an error on accepting, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

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
    pub(super) limits: TcpSettings,
}

/// All that the connections of the one thread share. No borrow is held across an await.
struct Thread<S> {
    source: S,
    limits: TcpSettings,
    stop: CancellationToken,
    connections: TaskTracker,
    counters: RefCell<Lane>,
    /// Where a reply is rendered before it is queued.
    reply: RefCell<Box<[u8]>>,
    /// Open connections by client.
    clients: RefCell<HashMap<IpAddr, usize>>,
}

/// What is to be done after the questions at hand were answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read on.
    Read,
    /// Write out; more whole questions are at hand.
    Flush,
    /// Write out and close.
    Close,
}

impl<S: Source> Thread<S> {
    fn new(service: Service<S>, stop: CancellationToken) -> Self {
        Self {
            source: service.source,
            limits: service.limits,
            stop,
            connections: TaskTracker::new(),
            counters: RefCell::new(service.counters),
            reply: RefCell::new(vec![0; MAX_MESSAGE].into()),
            clients: RefCell::default(),
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

    async fn accept(self: Rc<Self>, role: Role, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                self.counters.borrow_mut().incident(Incident::ReceiveError);
                sleep(ERROR_PAUSE).await;
                continue;
            };
            let place = Place::take(&self, peer.ip());
            let incident = if place.is_some() { Incident::TcpAccepted } else { Incident::TcpRefused };
            self.counters.borrow_mut().incident(incident);
            if let Some(place) = place {
                let connection =
                    Connection { stream, peer, role, received: BytesMut::new(), replies: Vec::new(), answered: 0 };
                self.connections.spawn_local(async move {
                    // An error is the client's affair: it went away, or it is too slow.
                    let outcome = connection.serve(&place.thread).await;
                    if outcome.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                        place.thread.counters.borrow_mut().incident(Incident::TcpTimedOut);
                    }
                });
            }
        }
    }

    /// Answers one message onto the end of `replies`, length first; false if there is no answer.
    fn answer(&self, asked: &Asked<'_>, replies: &mut Vec<u8>) -> bool {
        let mut reply = self.reply.borrow_mut();
        let handled = self.source.hold().respond(asked, &mut reply);
        self.counters.borrow_mut().count(Transport::Tcp, &handled);
        let length = handled.length.min(MAX_MESSAGE);
        if length > 0 {
            replies.extend_from_slice(&(length as u16).to_be_bytes());
            replies.extend_from_slice(&reply[..length]);
        }
        length > 0
    }
}

/// One connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    role: Role,
    /// Octets that are not a whole question yet.
    received: BytesMut,
    replies: Vec<u8>,
    answered: u64,
}

impl Connection {
    async fn serve<S: Source>(mut self, thread: &Thread<S>) -> io::Result<()> {
        // Replies are written whole, so there is nothing to wait for.
        self.stream.set_nodelay(true)?;
        let idle = thread.limits.idle;
        let mut deadline = Instant::now() + idle;
        loop {
            let stopping = thread.stop.is_cancelled();
            if stopping {
                // What came in before the stop is answered; what has not come is not waited for.
                // The runtime hears of what came in when it is given a turn.
                yield_now().await;
                self.make_room();
                let _ = self.stream.try_read_buf(&mut self.received);
            }
            let before = self.answered;
            let next = self.answer(thread);
            if !self.replies.is_empty() {
                timeout_at(Instant::now() + idle, self.stream.write_all(&self.replies)).await??;
                self.replies.clear();
            }
            match next {
                Next::Flush => continue,
                Next::Close => break,
                Next::Read if stopping => break,
                Next::Read => {}
            }
            // Whole messages count, octets do not: one octet at a time is no way to stay.
            if self.answered > before {
                deadline = Instant::now() + idle;
            }
            self.make_room();
            tokio::select! {
                biased;
                () = thread.stop.cancelled() => {}
                read = timeout_at(deadline, self.stream.read_buf(&mut self.received)) => if read?? == 0 {
                    break;
                },
            }
        }
        timeout_at(Instant::now() + idle, self.stream.shutdown()).await?
    }

    /// Answers the whole questions at hand until there are none or there is enough to write.
    fn answer<S: Source>(&mut self, thread: &Thread<S>) -> Next {
        loop {
            let Some((length, rest)) = self.received.split_first_chunk() else { return Next::Read };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(packet) = rest.get(..length) else { return Next::Read };
            let asked = Asked { packet, peer: self.peer, transport: Transport::Tcp, role: self.role };
            let answered = thread.answer(&asked, &mut self.replies);
            self.received.advance(2 + length);
            self.answered += 1;
            // Who gets no answer does not speak DNS, and would wait for one.
            if !answered || self.answered >= thread.limits.messages_per_connection {
                return Next::Close;
            }
            if self.replies.len() >= FLUSH {
                return Next::Flush;
            }
        }
    }

    /// Room for reading grows with what is there already.
    fn make_room(&mut self) {
        if self.received.len() == self.received.capacity() {
            self.received.reserve(self.received.len().clamp(ROOM.0, ROOM.1));
        }
    }
}

/// A place among the open connections; given back when dropped.
struct Place<S> {
    thread: Rc<Thread<S>>,
    client: IpAddr,
}

impl<S: Source> Place<S> {
    /// `None` when all places, or all of this client, are taken.
    fn take(thread: &Rc<Thread<S>>, peer: IpAddr) -> Option<Self> {
        let client = match canonical(peer) {
            v6 @ IpAddr::V6(_) => mask(v6, CLIENT_V6),
            v4 => v4,
        };
        if thread.connections.len() >= thread.limits.connections {
            return None;
        }
        let mut clients = thread.clients.borrow_mut();
        let open = clients.get(&client).copied().unwrap_or(0);
        if open >= thread.limits.connections_per_client {
            return None;
        }
        clients.insert(client, open + 1);
        Some(Self { thread: Rc::clone(thread), client })
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let mut clients = self.thread.clients.borrow_mut();
        if let Some(open) = clients.get_mut(&self.client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}
