//! The TCP connection of a probe: always a new one, and its round trip as the kernel saw it.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

use crate::{
    outcome::{Failure, Phase},
    probe::{Run, Stop},
    tcp_info,
};

/// Connects, and notes the round trip.
pub(crate) async fn connect(run: &mut Run, to: SocketAddr) -> Result<TcpStream, Stop> {
    let stream = TcpStream::connect(to).await.map_err(|e| of_connect(&e))?;
    let waited = run.started.elapsed();
    run.times.connect = tcp_info::round_trip(&stream).map_or(waited, |kernel| kernel.min(waited));
    run.phase = Phase::FirstByte;
    Ok(stream)
}

/// What an error of a socket that is not yet of use says.
pub(crate) fn of_connect(error: &io::Error) -> Stop {
    let raw = error.raw_os_error();
    if [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EACCES, libc::EPERM].map(Some).contains(&raw) {
        return Stop::Local;
    }
    Stop::Failed(match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Failure::Reset,
        io::ErrorKind::TimedOut => Failure::TimedOut(Phase::Connect),
        _ => Failure::Unreachable,
    })
}
