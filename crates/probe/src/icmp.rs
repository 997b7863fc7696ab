//! An ICMP echo (RFC 792, RFC 4443 section 4) through a datagram socket, which needs no privilege: the
//! system's setting `net.ipv4.ping_group_range` says who may.
//!
//! The kernel gives the request its identifier and its checksum, and shows this socket the replies to it
//! alone. The round trip is ours: it contains the time until this process was woken.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Once,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::{
    connection::of_connect,
    probe::{Run, Stop},
};

/// Type, code, checksum, identifier, sequence.
const HEAD: usize = 8;
/// Octets behind it, by which a reply is told from one to an earlier request.
const PAYLOAD: usize = 16;
const ECHO_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Sends an echo request and waits for its reply.
pub(crate) async fn echo(run: &mut Run, to: IpAddr) -> Result<(), Stop> {
    let socket = open(to).map_err(|error| {
        say_why(&error);
        of_connect(&error)
    })?;
    let (request, reply_type) = request(to.is_ipv4());
    socket.send(&request).await.map_err(|e| of_connect(&e))?;
    // A longer message than a reply is cut off one octet later, so that it is none.
    let mut buffer = [0; HEAD + PAYLOAD + 1];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|e| of_connect(&e))?;
        let received = &buffer[..length];
        if received.first() == Some(&reply_type) && received.get(HEAD..) == Some(&request[HEAD..]) {
            run.times.connect = run.started.elapsed();
            return Ok(());
        }
    }
}

/// A datagram socket is handled like any other, whatever its datagrams are.
fn open(to: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) =
        if to.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(protocol))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    UdpSocket::from_std(socket.into())
}

fn request(ipv4: bool) -> ([u8; HEAD + PAYLOAD], u8) {
    let mut request = [0; HEAD + PAYLOAD];
    request[HEAD..].copy_from_slice(&rand::random::<[u8; PAYLOAD]>());
    // The sequence: 1, as the first of this socket.
    request[HEAD - 1] = 1;
    let (kind, reply) = if ipv4 { (ECHO_V4, ECHO_REPLY_V4) } else { (ECHO_V6, ECHO_REPLY_V6) };
    request[0] = kind;
    (request, reply)
}

/// Once: it is the same for all sites.
fn say_why(error: &io::Error) {
    static SAID: Once = Once::new();
    if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) {
        SAID.call_once(|| {
            tracing::warn!(%error, "ICMP probes need this daemon's group within the sysctl net.ipv4.ping_group_range");
        });
    }
}
