//! DNS over QUIC (RFC 9250) by quinn: a stream for each question.
//!
//! Whoever sends a first packet may be lying about its address, so a client gets a place, and an
//! idle one has to go for it, only after the handshake. Handshakes have a bound of their own; when
//! half of it is used, addresses are checked first, at the cost of a round trip.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc};

use dglb_core::dns::{
    Asked, Role, Transport,
    framing::{MAX_MESSAGE, PREFIX, prefix},
};
use hickory_proto::op::Message;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicServerConfig,
};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{Instant, timeout, timeout_at},
};

use super::{
    DRAIN, Place, StreamSettings, Thread,
    tab::{Share, Tab},
};
use crate::{metrics::ConnectionEvent, serve::source::Source};

/// Handshakes under way at a time.
const HANDSHAKES: usize = 512;
/// Questions under way on one connection.
const STREAMS: VarInt = VarInt::from_u32(100);
/// Octets that a client may send, and not yet be answered: one longest question.
const WINDOW: u32 = (PREFIX + MAX_MESSAGE) as u32;
/// Octets of replies that a client has not acknowledged yet.
const SEND_WINDOW: u64 = 131_072;

/// RFC 9250 section 4.3.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
/// EDNS option that has no place here (RFC 9250 section 5.5.2).
const TCP_KEEPALIVE: u16 = 11;

/// An endpoint that accepts nobody yet.
pub(super) fn endpoint(socket: std::net::UdpSocket) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// Accepts until the daemon stops, then says so to all.
pub(super) async fn accept<S: Source>(
    thread: Rc<Thread<S>>,
    role: Role,
    endpoint: Endpoint,
    tls: Arc<rustls::ServerConfig>,
) {
    let Some(config) = server_config(tls, &thread.limits) else { return };
    endpoint.set_server_config(Some(config));
    let handshakes = Rc::new(Cell::new(0));
    while let Some(Some(incoming)) = thread.stop.run_until_cancelled(endpoint.accept()).await {
        let under_way = handshakes.get();
        if under_way >= HANDSHAKES {
            thread.count(Transport::Quic, ConnectionEvent::Refused);
            incoming.refuse();
        } else if under_way >= HANDSHAKES / 2 && !incoming.remote_address_validated() && incoming.may_retry() {
            // Fails only where no retry is allowed, which was asked just now.
            let _ = incoming.retry();
        } else {
            let connecting = connect(Rc::clone(&thread), incoming, role, Handshake::new(&handshakes));
            thread.connections.spawn_local(connecting);
        }
    }
    endpoint.set_server_config(None);
    endpoint.close(NO_ERROR, b"");
    let _ = timeout(DRAIN, endpoint.wait_idle()).await;
}

/// `None` if the TLS configuration has not what QUIC needs; ours has.
fn server_config(tls: Arc<rustls::ServerConfig>, limits: &StreamSettings) -> Option<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls).ok()?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(2 * WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        // Our own time-out counts questions; this one only ends what is lost.
        .max_idle_timeout(limits.idle.saturating_mul(2).try_into().ok());
    config.transport_config(Arc::new(transport)).max_incoming(HANDSHAKES);
    Some(config)
}

/// One of the handshakes under way.
struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn connect<S: Source>(thread: Rc<Thread<S>>, incoming: Incoming, role: Role, handshake: Handshake) {
    let agreed = match incoming.accept() {
        Ok(connecting) => timeout(thread.limits.handshake, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    drop(handshake);
    let failed = |event| {
        // The books say that all who come in go out.
        thread.count(Transport::Quic, ConnectionEvent::Accepted);
        thread.count(Transport::Quic, event);
    };
    let connection = match agreed {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return failed(ConnectionEvent::HandshakeFailed),
        Err(_) => return failed(ConnectionEvent::HandshakeSlow),
    };
    let Some(place) = thread.admit(connection.remote_address().ip(), Transport::Quic) else {
        return connection.close(EXCESSIVE_LOAD, b"");
    };
    let id = place.id;
    thread.run(id, serve(Closing(connection), role, place));
}

/// Closes the connection when it is dropped, which is how it is evicted.
struct Closing(Connection);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(EXCESSIVE_LOAD, b"");
    }
}

/// How a question came out.
enum Outcome {
    Answered,
    /// The client broke the rules of its transport.
    Nonsense,
    Memory,
    /// The client gave this question up, or does not take the reply.
    Lost,
}

async fn serve<S: Source>(connection: Closing, role: Role, mut place: Place<S>) {
    let (end, code) = converse(&connection.0, role, &place).await;
    place.end = end;
    connection.0.close(code, b"");
}

/// Answers each stream in a task of its own until the connection is to end.
async fn converse<S: Source>(connection: &Connection, role: Role, place: &Place<S>) -> (ConnectionEvent, VarInt) {
    let thread = place.thread();
    let (limits, tab) = (thread.limits, Tab::new(place));
    let expiry = limits.life.map(|life| Instant::now() + life);
    let mut idle = Instant::now() + limits.idle;
    let mut streams = JoinSet::new();
    let mut asked = 0;
    loop {
        let deadline = expiry.map_or(idle, |expiry| expiry.min(idle));
        tokio::select! {
            biased;
            () = thread.stop.cancelled() => return (ConnectionEvent::Stopped, NO_ERROR),
            Some(outcome) = streams.join_next() => match outcome {
                Ok(Outcome::Answered) => {
                    idle = Instant::now() + limits.idle;
                    if asked >= limits.messages_per_connection && streams.is_empty() {
                        // Until the client has it, or has gone.
                        let _ = timeout_at(deadline, connection.closed()).await;
                        return (ConnectionEvent::Expired, NO_ERROR);
                    }
                }
                Ok(Outcome::Lost) | Err(_) => {}
                Ok(Outcome::Nonsense) => return (ConnectionEvent::Nonsense, PROTOCOL_ERROR),
                Ok(Outcome::Memory) => return (ConnectionEvent::Memory, EXCESSIVE_LOAD),
            },
            stream = timeout_at(deadline, connection.accept_bi()), if asked < limits.messages_per_connection => match stream {
                Ok(Ok((send, receive))) => {
                    asked += 1;
                    let (thread, share) = (Rc::clone(thread), tab.share());
                    let stream = Stream { thread, share, peer: connection.remote_address(), role };
                    streams.spawn_local(stream.answer(send, receive));
                }
                Ok(Err(quinn::ConnectionError::ApplicationClosed(_) | quinn::ConnectionError::ConnectionClosed(_))) => {
                    return (ConnectionEvent::Finished, NO_ERROR);
                }
                Ok(Err(quinn::ConnectionError::TimedOut)) => return (ConnectionEvent::Idle, NO_ERROR),
                Ok(Err(_)) => return (ConnectionEvent::Broken, NO_ERROR),
                Err(_) if expiry == Some(deadline) => return (ConnectionEvent::Expired, NO_ERROR),
                Err(_) => return (ConnectionEvent::Idle, NO_ERROR),
            },
        }
    }
}

/// One question and its reply.
struct Stream<S: Source> {
    thread: Rc<Thread<S>>,
    share: Share<S>,
    peer: SocketAddr,
    role: Role,
}

impl<S: Source> Stream<S> {
    async fn answer(mut self, mut send: SendStream, mut receive: RecvStream) -> Outcome {
        let mut stream = Vec::new();
        loop {
            match receive.read_chunk(WINDOW as usize, true).await {
                Ok(Some(chunk)) => stream.extend_from_slice(&chunk.bytes),
                Ok(None) => break,
                Err(_) => return Outcome::Lost,
            }
            if stream.len() > PREFIX + MAX_MESSAGE {
                return Outcome::Nonsense;
            }
            if !self.share.hold(stream.capacity()) {
                return Outcome::Memory;
            }
        }
        let Some(packet) = only_message(&stream).filter(|packet| is_allowed(packet)) else { return Outcome::Nonsense };
        self.share.work();
        let asked = Asked { packet, peer: self.peer, transport: Transport::Quic, role: self.role };
        let Some(reply) = self.thread.reply(&asked).await else { return Outcome::Nonsense };
        drop(stream);
        if !self.share.hold(reply.capacity()) {
            return Outcome::Memory;
        }
        let Some(length) = prefix(reply.len()) else { return Outcome::Lost };
        if send.write_all(&length).await.is_err() || send.write_all(&reply).await.is_err() {
            return Outcome::Lost;
        }
        // Fails only for a stream that the client has stopped, which is its own affair.
        let _ = send.finish();
        self.share.rest();
        // QUIC holds the octets until the client has them, or the connection ends.
        spawn_local(async move {
            let _ = send.stopped().await;
            drop(self.share);
        });
        Outcome::Answered
    }
}

/// A stream holds exactly one message after its length (RFC 9250 section 4.2).
fn only_message(stream: &[u8]) -> Option<&[u8]> {
    let (length, message) = stream.split_first_chunk::<PREFIX>()?;
    (message.len() == usize::from(u16::from_be_bytes(*length))).then_some(message)
}

/// The message id is 0 (RFC 9250 section 4.2.1), and there is no edns-tcp-keepalive (5.5.2).
fn is_allowed(packet: &[u8]) -> bool {
    let keepalive = |message: &Message| {
        let options = message.edns.as_ref().map(|edns| edns.options());
        options.is_some_and(|options| options.as_ref().iter().any(|(code, _)| u16::from(*code) == TCP_KEEPALIVE))
    };
    packet.starts_with(&[0, 0]) && !Message::from_vec(packet).is_ok_and(|message| keepalive(&message))
}
