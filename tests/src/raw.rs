//! DNS as octets: whatever somebody may send, and what comes back.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

/// How long somebody who must answer has for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// An id that no other question of this process has, for a while.
pub fn id() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A message as it goes over TCP, with its length in front.
///
/// # Panics
/// When it is longer than TCP can say.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("at most 65 535 octets");
    [&length.to_be_bytes(), message].concat()
}

/// Sends a datagram and waits for one; `None` if none comes.
///
/// # Panics
/// When the system has no socket.
pub async fn over_udp(from: IpAddr, server: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    over_udp_within(from, server, octets, PATIENCE).await
}

/// The same, waiting no longer than `patience`.
///
/// # Panics
/// When the system has no socket.
pub async fn over_udp_within(from: IpAddr, server: SocketAddr, octets: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((from, 0)).await.unwrap_or_else(|error| panic!("{from}: {error}"));
    socket.connect(server).await.unwrap_or_else(|error| panic!("{server}: {error}"));
    socket.send(octets).await.unwrap_or_else(|error| panic!("{server}: {error}"));
    let mut reply = vec![0; 65_536];
    match tokio::time::timeout(patience, socket.recv(&mut reply)).await {
        Ok(Ok(length)) => {
            reply.truncate(length);
            Some(reply)
        }
        // Nobody listens there, or nobody says anything.
        _ => None,
    }
}

/// Sends octets over a connection of their own, closes its half, and returns every whole message
/// that comes until the server closes; what is left at the end is a message of its own.
///
/// # Panics
/// When no connection can be had, or the server does not close.
pub async fn over_tcp(from: IpAddr, server: SocketAddr, octets: &[u8]) -> Vec<Vec<u8>> {
    let mut stream = connect(from, server).await;
    // A server that has seen enough may have closed before all was written.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    until_closed(&mut stream).await
}

/// A connection from an address of this host.
///
/// # Panics
/// When none can be had.
pub async fn connect(from: IpAddr, server: SocketAddr) -> TcpStream {
    let connect = async {
        let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind((from, 0).into())?;
        socket.connect(server).await
    };
    connect.await.unwrap_or_else(|error| panic!("{from} to {server}: {error}"))
}

/// Every message that comes until the server closes, or resets.
///
/// # Panics
/// When it does not.
pub async fn until_closed(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut octets = Vec::new();
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        match timeout_at(deadline, stream.read_buf(&mut octets)).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => break,
            Err(_) => panic!("the server does not close the connection"),
        }
    }
    let mut messages = Vec::new();
    let mut rest = &octets[..];
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        messages.push(tail[..length].to_vec());
        rest = &tail[length..];
    }
    messages
}

/// One message from a connection that stays open; `None` if it is closed.
///
/// # Panics
/// When nothing happens.
pub async fn next_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let read = async {
        let length = stream.read_u16().await.ok()?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.ok()?;
        Some(message)
    };
    timeout_at(Instant::now() + PATIENCE, read).await.expect("neither an answer nor the end of the connection")
}
