//! Many datagrams in one system call, both ways: `recvmmsg` and `sendmmsg` over buffers that are
//! allocated once.
//!
//! Every pointer that the kernel is given is made anew, right before the call, from buffers that
//! the [`Batch`] owns and that nobody else touches until the call returns.
#![allow(unsafe_code)]

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    ptr,
    time::Duration,
};

/// Datagrams in one system call.
pub(super) const BATCH: usize = 32;
/// Longest datagram that is looked at, in octets. Questions are far shorter.
pub(super) const RECEIVE: usize = 4_096;
/// Longest reply in octets: the most that the answering side may be set to.
pub(super) const REPLY: usize = 4_096;
/// Room for one packet-information message of either family, aligned like its header.
const CONTROL: usize = 64;

/// `IP_PMTUDISC_OMIT`: never believe a small path MTU, never set DF (RFC 9715 section 3.1).
const PMTUDISC_OMIT: libc::c_int = 5;

/// Buffers for [`BATCH`] datagrams and their replies.
pub(super) struct Batch {
    slots: Box<[Slot; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
}

/// One datagram and its reply.
struct Slot {
    peer: libc::sockaddr_storage,
    peer_length: libc::socklen_t,
    control: Control,
    /// Octets of packet information to send with the reply, so that it leaves from the address
    /// that was asked; 0 where the socket has but one.
    control_length: usize,
    question: [u8; RECEIVE],
    question_length: usize,
    /// Longer than `question`.
    oversized: bool,
    reply: [u8; REPLY],
    reply_length: usize,
}

/// `cmsghdr` must be aligned like a word.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What became of the replies of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Handed to the system.
    pub(super) sent: usize,
    /// Refused by the system, and given up.
    pub(super) refused: usize,
}

/// One datagram that was received.
pub(super) struct Datagram<'b> {
    /// Who sent it; `None` when it is of no family that we know.
    pub(super) peer: Option<SocketAddr>,
    /// What it says; `None` when it is longer than [`RECEIVE`].
    pub(super) packet: Option<&'b [u8]>,
    /// Where the reply is written to.
    pub(super) reply: &'b mut [u8; REPLY],
    /// How long the reply is; 0, as at first, for none. Never more than [`REPLY`] is used.
    pub(super) reply_length: &'b mut usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: `Slot`, `mmsghdr` and `iovec` are made of integers, arrays of integers and raw
        // pointers, for all of which zero is a valid value.
        unsafe { Self { slots: Box::new_zeroed().assume_init(), headers: zeroed_box(), vectors: zeroed_box() } }
    }

    /// Receives what is there, at most [`BATCH`] datagrams, without waiting; the number.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for ((slot, header), vector) in self.slots.iter_mut().zip(&mut *self.headers).zip(&mut *self.vectors) {
            *header = slot.receiving_header(vector);
        }
        // SAFETY: the descriptor is borrowed, so open; `headers` holds BATCH headers whose
        // pointers were set just now to buffers of the stated lengths, owned by `self`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(0) } else { Err(error) };
        }
        let received = (received as usize).min(BATCH);
        for (slot, header) in self.slots.iter_mut().zip(&*self.headers).take(received) {
            slot.take_in(header);
        }
        Ok(received)
    }

    /// The first `received` datagrams of those received last.
    pub(super) fn datagrams(&mut self, received: usize) -> impl Iterator<Item = Datagram<'_>> {
        self.slots.iter_mut().take(received).map(|slot| Datagram {
            peer: socket_address(&slot.peer, slot.peer_length),
            packet: (!slot.oversized).then_some(&slot.question[..slot.question_length]),
            reply: &mut slot.reply,
            reply_length: &mut slot.reply_length,
        })
    }

    /// Sends the replies to the first `received` datagrams. Waits at most `patience` in all for
    /// room in the socket's buffer.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, received: usize, patience: Duration) -> Sent {
        let mut count = 0;
        let slots = self.slots.iter_mut().take(received).filter(|slot| slot.reply_length > 0);
        for ((slot, header), vector) in slots.zip(&mut *self.headers).zip(&mut *self.vectors) {
            *header = slot.sending_header(vector);
            count += 1;
        }
        let mut sent = Sent::default();
        let mut waited = false;
        while sent.sent + sent.refused < count {
            let rest = &mut self.headers[sent.sent + sent.refused..count];
            // SAFETY: the descriptor is borrowed, so open; `rest` holds headers whose pointers
            // were set above to buffers of the stated lengths, owned by `self` and not moved.
            let accepted = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            // An error concerns the first of the rest; fewer than asked for means that the next
            // call will say what is wrong with the following one.
            match usize::try_from(accepted) {
                Ok(accepted) if accepted > 0 => sent.sent += accepted,
                _ => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if !waited => {
                        waited = true;
                        wait(&mut [interest(socket, libc::POLLOUT)], patience);
                    }
                    io::ErrorKind::WouldBlock => {
                        sent.refused = count - sent.sent;
                    }
                    _ => sent.refused += 1,
                },
            }
        }
        sent
    }
}

impl Slot {
    /// A header for receiving into this slot.
    fn receiving_header(&mut self, vector: &mut libc::iovec) -> libc::mmsghdr {
        *vector = libc::iovec { iov_base: self.question.as_mut_ptr().cast(), iov_len: RECEIVE };
        let mut header = empty_header();
        header.msg_hdr.msg_name = ptr::from_mut(&mut self.peer).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL as _;
        header
    }

    /// A header for sending this slot's reply to where its question came from.
    fn sending_header(&mut self, vector: &mut libc::iovec) -> libc::mmsghdr {
        let length = self.reply_length.min(REPLY);
        *vector = libc::iovec { iov_base: self.reply.as_mut_ptr().cast(), iov_len: length };
        let mut header = empty_header();
        header.msg_hdr.msg_name = ptr::from_mut(&mut self.peer).cast();
        header.msg_hdr.msg_namelen = self.peer_length;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if self.control_length > 0 {
            header.msg_hdr.msg_control = self.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = self.control_length as _;
        }
        header
    }

    /// Takes over what the kernel wrote into the header of this slot.
    fn take_in(&mut self, header: &libc::mmsghdr) {
        self.question_length = (header.msg_len as usize).min(RECEIVE);
        self.oversized = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        self.peer_length = header.msg_hdr.msg_namelen;
        self.reply_length = 0;
        self.control_length = reply_control(&header.msg_hdr);
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is made of integers and raw pointers; zero is valid for both.
    unsafe { mem::zeroed() }
}

/// Turns the received packet information into that of the reply, in place: the address that was
/// asked becomes the source, on whatever interface the route says, except that a link-local
/// address means nothing without its interface. Returns the length of the control data to send.
fn reply_control(header: &libc::msghdr) -> usize {
    // SAFETY: the kernel has just filled `msg_control` and set `msg_controllen`; CMSG_FIRSTHDR
    // returns null unless a whole header lies within, and the buffer is aligned for it.
    let control = unsafe { libc::CMSG_FIRSTHDR(header) };
    if control.is_null() {
        return 0;
    }
    // SAFETY: not null, so a whole `cmsghdr` within the buffer; CMSG_DATA is what follows it, read
    // and written unaligned, and only after `cmsg_len` was checked to cover it.
    unsafe {
        let (level, kind, length) = ((*control).cmsg_level, (*control).cmsg_type, (*control).cmsg_len as usize);
        let data = libc::CMSG_DATA(control);
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) && length >= control_length::<libc::in_pktinfo>() {
            let mut info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
            info.ipi_ifindex = 0;
            ptr::write_unaligned(data.cast(), info);
            return control_space::<libc::in_pktinfo>();
        }
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) && length >= control_length::<libc::in6_pktinfo>()
        {
            let mut info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
            if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                info.ipi6_ifindex = 0;
            }
            ptr::write_unaligned(data.cast(), info);
            return control_space::<libc::in6_pktinfo>();
        }
    }
    0
}

/// Octets of a control message with a `T`, without and with the padding behind it.
fn control_length<T>() -> usize {
    // SAFETY: CMSG_LEN is arithmetic on its argument.
    unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) as usize }
}

fn control_space<T>() -> usize {
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as libc::c_uint) as usize }
}

fn socket_address(storage: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    let storage = ptr::from_ref(storage);
    // SAFETY: `sockaddr_storage` is large and aligned enough for every family; which family's
    // layout was written is told by `ss_family`, and `length` says that it was written whole.
    unsafe {
        match i32::from((*storage).ss_family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                let v4: libc::sockaddr_in = ptr::read(storage.cast());
                let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                let v6: libc::sockaddr_in6 = ptr::read(storage.cast());
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Wants every datagram to come with the address that it was sent to.
pub(super) fn receive_packet_information(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    set_option(socket.as_raw_fd(), level, name, 1)
}

/// Leaves fragmentation to the path and forged ICMP without effect (RFC 9715).
pub(super) fn ignore_path_mtu(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) } else { (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) };
    set_option(socket.as_raw_fd(), level, name, PMTUDISC_OMIT)
}

fn set_option(socket: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int on this stack, and its length is given.
    let outcome = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket, level, name, ptr::from_ref(&value).cast(), length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What to wait for on a descriptor.
pub(super) type Interest = libc::pollfd;

/// Interest in `events` on `descriptor`, or in reading from it.
pub(super) fn interest(descriptor: BorrowedFd<'_>, events: libc::c_short) -> Interest {
    libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 }
}

/// Interest in something to read.
pub(super) fn readable(descriptor: BorrowedFd<'_>) -> Interest {
    interest(descriptor, libc::POLLIN)
}

/// Waits until something happens on one of the descriptors, at most `patience`. Descriptors that
/// are not open any more count as something; the next call on them says so.
pub(super) fn wait(interests: &mut [Interest], patience: Duration) {
    let timeout = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: pointer and length are those of one slice. An error (EINTR) is as good as a timeout.
    unsafe { libc::poll(interests.as_mut_ptr(), interests.len() as libc::nfds_t, timeout) };
}

/// # Safety
/// Zero must be a valid value of `T`.
unsafe fn zeroed_box<T>() -> Box<T> {
    let boxed: Box<MaybeUninit<T>> = Box::new_zeroed();
    // SAFETY: the caller's promise.
    unsafe { boxed.assume_init() }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    fn nth(batch: &mut Batch, n: usize) -> Datagram<'_> {
        batch.datagrams(n + 1).nth(n).expect("a slot")
    }

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        (server, client)
    }

    /// Receives until there are `count`, which are few enough to come as one batch once all are
    /// sent over loopback.
    fn receive(batch: &mut Batch, server: &UdpSocket, count: usize) {
        wait(&mut [readable(server.as_fd())], SOON);
        assert_eq!(batch.receive(server.as_fd()).unwrap(), count);
    }

    #[test]
    fn a_reply_that_cannot_be_sent_does_not_hold_up_the_others() {
        let (server, client) = pair();
        let mut batch = Batch::new();
        (0..5).for_each(|n| _ = client.send(&[n]).unwrap());
        receive(&mut batch, &server, 5);
        for n in 0..5 {
            let datagram = nth(&mut batch, n);
            assert_eq!(datagram.peer, Some(client.local_addr().unwrap()));
            let packet = datagram.packet.unwrap();
            datagram.reply[0] = packet[0];
            // The fourth stays without an answer.
            *datagram.reply_length = usize::from(packet[0] != 3);
        }
        for unreachable in [0, 2] {
            // Nothing can be sent to a port 0.
            let peer = ptr::from_mut(&mut batch.slots[unreachable].peer).cast::<libc::sockaddr_in>();
            // SAFETY: the kernel wrote an IPv4 address there.
            unsafe { (*peer).sin_port = 0 };
        }
        assert_eq!(batch.send(server.as_fd(), 5, SOON), Sent { sent: 2, refused: 2 });
        let mut replies = [0; 2];
        for reply in &mut replies {
            assert_eq!(client.recv(std::slice::from_mut(reply)).unwrap(), 1);
        }
        assert_eq!(replies, [1, 4]);
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nothing_of_an_earlier_batch_is_left_in_the_next() {
        let (server, client) = pair();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(server.as_fd()).unwrap(), 0);
        client.send(&[9; RECEIVE + 1]).unwrap();
        receive(&mut batch, &server, 1);
        assert_eq!(nth(&mut batch, 0).packet, None);
        *nth(&mut batch, 0).reply_length = 5;
        client.send(b"ab").unwrap();
        receive(&mut batch, &server, 1);
        assert_eq!(nth(&mut batch, 0).packet, Some(&b"ab"[..]));
        assert_eq!(*nth(&mut batch, 0).reply_length, 0);
        assert_eq!(batch.send(server.as_fd(), 1, SOON), Sent::default());
    }
}
