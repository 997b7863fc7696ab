//! What sockets are told once, and how to wait for them.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `IP_PMTUDISC_OMIT`: never believe a small path MTU, never set DF (RFC 9715 section 3.1).
const PMTUDISC_OMIT: libc::c_int = 5;

/// Wants every datagram to come with the address that it was sent to.
pub(in crate::serve) fn receive_packet_information(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    set_option(socket, level, name, 1)
}

/// Leaves fragmentation to the path and forged ICMP without effect (RFC 9715).
pub(in crate::serve) fn ignore_path_mtu(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) } else { (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) };
    set_option(socket, level, name, PMTUDISC_OMIT)
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int on this stack, and its length is given.
    let outcome = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What to wait for on a descriptor.
pub(in crate::serve) type Interest<'fd> = PollFd<'fd>;

/// Interest in something to read.
pub(in crate::serve) fn readable(descriptor: BorrowedFd<'_>) -> Interest<'_> {
    PollFd::from_borrowed_fd(descriptor, PollFlags::IN)
}

/// Whether something happened on this descriptor at the last [`wait`]; an error is something, too.
pub(in crate::serve) fn happened(interest: &Interest<'_>) -> bool {
    !interest.revents().is_empty()
}

/// Waits until something happens on one of the descriptors, at most `patience`.
pub(in crate::serve) fn wait(interests: &mut [Interest<'_>], patience: Duration) {
    for interest in &mut *interests {
        interest.clear_revents();
    }
    // So short that it cannot fail to be a Timespec. An error (EINTR) is as good as a timeout.
    let _ = poll(interests, Timespec::try_from(patience).ok().as_ref());
}
