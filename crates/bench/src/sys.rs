//! Many datagrams in one system call, for the load client and the echo: as bare as it gets, so
//! that what is measured is the kernel and the server. And a net of our own.
//!
//! Every header points into buffers that the same value owns, that never move, and that nobody
//! else touches while the kernel has them.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    ptr,
};

/// Datagrams in one system call, at most.
pub(crate) const SLOTS: usize = 64;
/// Octets of one datagram, at most.
pub(crate) const OCTETS: usize = 1_536;
/// Octets of one IPv4 packet-information message with its padding.
const CONTROL: usize = 32;

/// Buffers for [`SLOTS`] datagrams. Headers are filled once; before a call only what the last one
/// has changed is put back.
pub(crate) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    peers: Box<[libc::sockaddr_in]>,
    controls: Box<[Control]>,
    /// Each datagram's place has `stride` octets.
    octets: Box<[u8]>,
}

/// One packet-information message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// The distance of two datagrams: not a power of two, lest all of them fall into one set of a cache.
const STRIDE: usize = OCTETS + 64;

impl Batch {
    /// Buffers; headers name no peer, which suits a connected socket.
    pub(crate) fn new() -> Self {
        // SAFETY: these are made of integers and raw pointers; zero is valid for both.
        let (header, peer): (libc::mmsghdr, libc::sockaddr_in) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let empty = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut batch = Self {
            headers: vec![header; SLOTS].into(),
            vectors: vec![empty; SLOTS].into(),
            peers: vec![peer; SLOTS].into(),
            controls: vec![Control([0; CONTROL]); SLOTS].into(),
            octets: vec![0; SLOTS * STRIDE].into(),
        };
        let places = batch.octets.chunks_exact_mut(STRIDE);
        for ((header, vector), place) in batch.headers.iter_mut().zip(&mut *batch.vectors).zip(places) {
            *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: OCTETS };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        batch
    }

    /// Keeps and uses the other side's address of every datagram.
    pub(crate) fn with_peers(mut self) -> Self {
        for (header, peer) in self.headers.iter_mut().zip(&mut *self.peers) {
            header.msg_hdr.msg_name = ptr::from_mut(peer).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        self
    }

    /// Sends every datagram to this peer, from a source that [`Batch::set_source`] chooses.
    pub(crate) fn with_sources(self, to: SocketAddrV4) -> Self {
        let mut batch = self.with_peers();
        for ((header, peer), control) in batch.headers.iter_mut().zip(&mut *batch.peers).zip(&mut *batch.controls) {
            peer.sin_family = libc::AF_INET as libc::sa_family_t;
            peer.sin_port = to.port().to_be();
            peer.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            // SAFETY: `control` has room for one aligned header and an `in_pktinfo` behind it, so
            // CMSG_FIRSTHDR is not null and CMSG_DATA lies within.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(&header.msg_hdr);
                (*first).cmsg_level = libc::IPPROTO_IP;
                (*first).cmsg_type = libc::IP_PKTINFO;
                (*first).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as _;
            }
        }
        batch
    }

    /// The source address of a datagram to be sent; for [`Batch::with_sources`].
    pub(crate) fn set_source(&mut self, slot: usize, source: Ipv4Addr) {
        let spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
        let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } };
        let data = self.controls[slot].0[size_of::<libc::cmsghdr>()..].as_mut_ptr();
        // SAFETY: behind the header, which is as long as its alignment asks for, there is room for
        // an `in_pktinfo`: 16 and 12 of the 32 octets.
        unsafe { ptr::write_unaligned(data.cast(), info) };
    }

    /// Where a datagram to be sent is written to.
    pub(crate) fn place(&mut self, slot: usize) -> &mut [u8] {
        &mut self.octets[slot * STRIDE..][..OCTETS]
    }

    /// How much of the place is to be sent.
    pub(crate) fn set_length(&mut self, slot: usize, length: usize) {
        self.vectors[slot].iov_len = length.min(OCTETS);
    }

    /// A datagram that was received.
    pub(crate) fn packet(&self, slot: usize) -> &[u8] {
        &self.octets[slot * STRIDE..][..(self.headers[slot].msg_len as usize).min(OCTETS)]
    }

    /// Receives what is there, at most `most`. With `wait`, sleeps until there is one; without,
    /// returns 0 if there is none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, most: usize, wait: bool) -> io::Result<usize> {
        let most = most.min(SLOTS);
        for (header, vector) in self.headers.iter_mut().zip(&mut *self.vectors).take(most) {
            vector.iov_len = OCTETS;
            if !header.msg_hdr.msg_name.is_null() {
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        let (fd, headers) = (socket.as_raw_fd(), self.headers.as_mut_ptr());
        // SAFETY: an open socket; `most` headers whose pointers lead into buffers of `self`.
        count(unsafe { libc::recvmmsg(fd, headers, most as libc::c_uint, flags as _, ptr::null_mut()) })
    }

    /// Sends the first `count` datagrams; how many the system took.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count_wanted: usize) -> io::Result<usize> {
        let wanted = count_wanted.min(SLOTS);
        let (fd, headers) = (socket.as_raw_fd(), self.headers.as_mut_ptr());
        // SAFETY: as above.
        count(unsafe { libc::sendmmsg(fd, headers, wanted as libc::c_uint, 0) })
    }
}

fn count(outcome: libc::c_int) -> io::Result<usize> {
    usize::try_from(outcome).or_else(|_| {
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    })
}

/// Moves this thread, and what it starts from now on, into a net of its own that has a loopback and
/// nothing else. Who is not root becomes root of a user namespace. To be called before there is a
/// second thread.
///
/// # Errors
/// When the system does not allow either.
pub(crate) fn isolate() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Err(error) = unshare(libc::CLONE_NEWNET) {
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(error);
        }
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)
            .map_err(|error| io::Error::new(error.kind(), format!("no net of our own: {error}; run this as root")))?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    bring_loopback_up()
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes an integer, touches no memory of ours.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bring_loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: made of integers and arrays of them; zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name.iter_mut().zip(b"lo").for_each(|(to, from)| *to = from.cast_signed());
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: an open socket and a whole request, whose name ends with a zero.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, ptr::from_ref(&request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn datagrams_leave_from_the_chosen_source_and_come_back_to_it() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(to) = server.local_addr().unwrap() else { unreachable!() };
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut out = Batch::new().with_sources(to);
        for slot in 0..3 {
            out.place(slot)[0] = slot as u8;
            out.set_length(slot, 1 + slot);
            out.set_source(slot, Ipv4Addr::new(127, 9, 8, slot as u8 + 1));
        }
        assert_eq!(out.send(&client, 3).unwrap(), 3);
        let mut mirror = Batch::new().with_peers();
        assert_eq!(mirror.receive(&server, 32, true).unwrap(), 3);
        for slot in 0..3 {
            assert_eq!(mirror.packet(slot).len(), 1 + slot);
            let from = Ipv4Addr::from(mirror.peers[slot].sin_addr.s_addr.to_ne_bytes());
            assert_eq!(from, Ipv4Addr::new(127, 9, 8, slot as u8 + 1));
            mirror.set_length(slot, 7);
        }
        assert_eq!(mirror.send(&server, 3).unwrap(), 3);
        let mut inbox = Batch::new();
        assert_eq!(inbox.receive(&client, 32, true).unwrap(), 3);
        assert_eq!((inbox.packet(2).len(), inbox.packet(2)[0]), (7, 2));
        assert_eq!(inbox.receive(&client, 32, false).unwrap(), 0);
    }
}
