//! Accepting: in bursts, so that those who are connected get their turn, and each into a place.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use dglb_core::dns::{Role, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Carrier, Place, Thread, connection::Connection, https};
use crate::{
    metrics::{ConnectionEvent, Incident},
    serve::source::Source,
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Connections that are accepted before others get a turn.
const BURST: u32 = 32;
/// Octets that the system keeps for each connection, out and in; it takes twice as many for its
/// own books. It would grow them to megabytes for who does not read.
const BUFFERS: (usize, usize) = (32_768, 16_384);
/// Pause after an error on accepting, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// A listener whose connections have small buffers.
pub(in crate::serve) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit these. Without them memory is bounded all the same, by the system.
    let _ = socket.set_send_buffer_size(BUFFERS.0);
    let _ = socket.set_recv_buffer_size(BUFFERS.1);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl<S: Source> Thread<S> {
    /// Accepts until the daemon stops.
    pub(super) async fn accept(self: Rc<Self>, role: Role, listener: TcpListener, carrier: Carrier) {
        let mut burst = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take_in(stream, (peer, role), &carrier),
                Err(error) => self.accept_failed(&error).await,
            }
            burst = (burst + 1) % BURST;
            if burst == 0 {
                yield_now().await;
            }
        }
        // Whoever is in the queue was told by the system that it is connected: its question is
        // answered, and it is not reset.
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { return };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.take_in(stream, (peer, role), &carrier);
            }
        }
    }

    /// A connection that broke before it was accepted is nobody's fault. Otherwise descriptors or
    /// memory are short: somebody idle goes, and the next attempt waits a little.
    async fn accept_failed(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        self.counters.borrow_mut().incident(Incident::ReceiveError);
        let longest_idle = self.places.borrow_mut().evict();
        if let Some(connection) = longest_idle {
            connection.abort();
        }
        sleep(ERROR_PAUSE).await;
    }

    fn take_in(self: &Rc<Self>, stream: TcpStream, client: (SocketAddr, Role), carrier: &Carrier) {
        let Some(place) = self.admit(client.0.ip(), carrier.transport()) else { return };
        // Replies are written whole, so there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let id = place.id;
        match carrier.clone() {
            Carrier::Tcp => self.run(id, Connection::new(stream, client, place).serve()),
            Carrier::Tls(tls) => self.run(id, async move {
                let Some((stream, place)) = handshake(stream, &tls, place).await else { return };
                Connection::new(stream, client, place).serve().await;
            }),
            Carrier::Https(tls, path) => self.run(id, async move {
                let Some((stream, place)) = handshake(stream, &tls, place).await else { return };
                https::serve(stream, client, path, place).await;
            }),
        }
    }
}

/// Agrees on TLS, or notes in the place that nothing came of it.
async fn handshake<S: Source>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    mut place: Place<S>,
) -> Option<(TlsStream<TcpStream>, Place<S>)> {
    match timeout(place.thread().limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some((stream, place)),
        Ok(Err(_)) => place.end = ConnectionEvent::HandshakeFailed,
        Err(_) => place.end = ConnectionEvent::HandshakeSlow,
    }
    None
}

impl Carrier {
    fn transport(&self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
            Self::Https(..) => Transport::Https,
        }
    }
}
