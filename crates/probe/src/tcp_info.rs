//! The kernel's own measurement of a connection's round trip. It is taken when the segment comes
//! in, so it does not contain the time until this busy process was woken.
#![allow(unsafe_code)]

use std::{mem::MaybeUninit, os::fd::AsRawFd, time::Duration};

/// The round trip of the handshake of a connection that was just established; `None` where the
/// kernel has not measured it, for instance because the SYN was sent twice.
pub(crate) fn round_trip(socket: &impl AsRawFd) -> Option<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is writable for `length` octets and outlives the call; the descriptor is open
    // as long as `socket` is borrowed; other descriptors than TCP sockets make the call fail.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: `tcp_info` is made of integers alone, for which every octet pattern, zero included,
    // is a value; what an older kernel did not write is zero.
    let info = unsafe { info.assume_init() };
    (info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into()))
}

#[cfg(test)]
mod tests {
    use std::{net, time::Instant};

    use super::*;

    #[test]
    fn the_kernel_measures_no_longer_than_we_wait() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let waited = start.elapsed();
        let measured = round_trip(&stream).unwrap();
        assert!(measured <= waited + Duration::from_micros(1), "{measured:?} of {waited:?}");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(round_trip(&file), None);
    }
}
