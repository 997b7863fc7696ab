//! Many datagrams in one system call, both ways: `recvmmsg` and `sendmmsg` over buffers that are
//! allocated once.
//!
//! The kernel reads and writes through pointers in headers. All of them lead from one allocation,
//! the [`Arena`], into itself; it never moves, it lives as long as the [`Batch`], and nobody holds
//! a reference into it during a call. So headers are written once, and before a call only what the
//! last one has changed is put back.
#![allow(unsafe_code)]

mod address;
mod option;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    time::Duration,
};

use rustix::event::PollFlags;

use address::{Control, Peer};
pub(super) use option::{Interest, happened, ignore_path_mtu, readable, receive_packet_information, wait};

/// Datagrams in one system call.
pub(super) const BATCH: usize = 32;
/// Longest datagram that is looked at, in octets. Questions are far shorter.
pub(super) const RECEIVE: usize = 4_096;
/// Longest reply in octets: the most that the answering side may be set to.
pub(super) const REPLY: usize = 4_096;

/// Buffers for [`BATCH`] datagrams and their replies.
pub(super) struct Batch {
    /// From [`Box::into_raw`], and nobody else's.
    arena: NonNull<Arena>,
    /// How many of the receiving headers the kernel has written to since they were last put back.
    stale: usize,
}

/// Everything that headers point to, and the headers.
struct Arena {
    receiving: [libc::mmsghdr; BATCH],
    sending: [libc::mmsghdr; BATCH],
    questions_at: [libc::iovec; BATCH],
    replies_at: [libc::iovec; BATCH],
    slots: [Slot; BATCH],
    questions: [Buffer<RECEIVE>; BATCH],
    replies: [Buffer<REPLY>; BATCH],
}

/// One datagram and its reply, but for their octets.
struct Slot {
    peer: Peer,
    control: Control,
    peer_length: libc::socklen_t,
    /// Octets of packet information to send with the reply, so that it leaves from the address
    /// that was asked; 0 where the socket has but one.
    control_length: usize,
    question_length: usize,
    /// Longer than `question`.
    oversized: bool,
    reply_length: usize,
}

/// Octets of a datagram. Neighbours are a cache line more than a page apart: at a distance of a
/// power of two the beginnings of all of them would compete for one set of the cache.
#[repr(C, align(64))]
struct Buffer<const N: usize> {
    octets: [u8; N],
    _apart: [u8; 64],
}

/// Where a reply goes, and from which address, for who writes it later.
#[derive(Clone)]
pub(super) struct ReturnPath {
    peer: Peer,
    control: Control,
    peer_length: libc::socklen_t,
    control_length: usize,
}

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
        // SAFETY: an `Arena` is made of integers, arrays of integers and raw pointers, for all of
        // which zero is a valid value.
        let arena = NonNull::from(Box::leak(unsafe { Box::<Arena>::new_zeroed().assume_init() }));
        for at in 0..BATCH {
            // SAFETY: `arena` is allocated; places within it are computed, none is read, and every
            // pointer stored is as good as `arena` itself.
            unsafe {
                let arena = arena.as_ptr();
                let question = &raw mut (*arena).questions[at].octets;
                let reply = &raw mut (*arena).replies[at].octets;
                (*arena).questions_at[at] = libc::iovec { iov_base: question.cast(), iov_len: RECEIVE };
                (*arena).replies_at[at] = libc::iovec { iov_base: reply.cast(), iov_len: 0 };
                let header = &mut (*arena).receiving[at].msg_hdr;
                header.msg_name = (&raw mut (*arena).slots[at].peer).cast();
                header.msg_iov = &raw mut (*arena).questions_at[at];
                header.msg_iovlen = 1;
                header.msg_control = (&raw mut (*arena).slots[at].control).cast();
            }
        }
        Self { arena, stale: BATCH }
    }

    fn arena(&mut self) -> &mut Arena {
        // SAFETY: allocated, initialised, and ours alone; the kernel has its pointers only during
        // a call, while no such reference exists.
        unsafe { self.arena.as_mut() }
    }

    /// Receives what is there, at most [`BATCH`] datagrams, without waiting; the number.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let stale = std::mem::take(&mut self.stale);
        for header in &mut self.arena().receiving[..stale] {
            header.msg_hdr.msg_namelen = size_of::<Peer>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: the descriptor is borrowed, so open; the headers point into the arena, at buffers
        // of the stated lengths.
        let received = unsafe {
            let headers = (&raw mut (*self.arena.as_ptr()).receiving).cast();
            let flags = libc::MSG_DONTWAIT as _;
            libc::recvmmsg(socket.as_raw_fd(), headers, BATCH as libc::c_uint, flags, ptr::null_mut())
        };
        if received < 0 {
            // The first header may have been touched.
            self.stale = 1;
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(0) } else { Err(error) };
        }
        let received = (received as usize).min(BATCH);
        // One more than were received: there the kernel found that nothing was left.
        self.stale = (received + 1).min(BATCH);
        let arena = self.arena();
        for (slot, header) in arena.slots.iter_mut().zip(&arena.receiving).take(received) {
            slot.take_in(header);
        }
        Ok(received)
    }

    /// The first `received` datagrams of those received last.
    pub(super) fn datagrams(&mut self, received: usize) -> impl Iterator<Item = Datagram<'_>> {
        let Arena { slots, questions, replies, .. } = self.arena();
        let each = slots.iter_mut().zip(questions).zip(replies).take(received);
        each.map(|((slot, question), reply)| Datagram {
            peer: slot.peer.socket_address(slot.peer_length),
            packet: (!slot.oversized).then_some(&question.octets[..slot.question_length]),
            reply: &mut reply.octets,
            reply_length: &mut slot.reply_length,
        })
    }

    /// Where the reply to a datagram goes, counted from 0; one of those received last.
    pub(super) fn return_path(&mut self, at: usize) -> ReturnPath {
        let Slot { peer, control, peer_length, control_length, .. } = &self.arena().slots[at];
        ReturnPath {
            peer: peer.clone(),
            control: control.clone(),
            peer_length: *peer_length,
            control_length: *control_length,
        }
    }

    /// Makes this the reply to the first datagram, as if that had come this way; cut to [`REPLY`].
    pub(super) fn reply_late(&mut self, path: ReturnPath, reply: &[u8]) {
        let ReturnPath { peer, control, peer_length, control_length } = path;
        let reply = &reply[..reply.len().min(REPLY)];
        let arena = self.arena();
        arena.replies[0].octets[..reply.len()].copy_from_slice(reply);
        let slot = &mut arena.slots[0];
        (slot.peer, slot.control) = (peer, control);
        (slot.peer_length, slot.control_length, slot.reply_length) = (peer_length, control_length, reply.len());
    }

    /// Sends the replies to the first `received` datagrams. Waits at most `patience` in all for
    /// room in the socket's buffer.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, received: usize, patience: Duration) -> Sent {
        let count = self.prepare_replies(received);
        let (mut sent, mut waited) = (Sent::default(), false);
        while sent.sent + sent.refused < count {
            let done = sent.sent + sent.refused;
            // SAFETY: the descriptor is borrowed, so open; the headers from `done` up to `count`,
            // at most BATCH, point into the arena, at buffers of the stated lengths.
            let accepted = unsafe {
                let headers: *mut libc::mmsghdr = (&raw mut (*self.arena.as_ptr()).sending).cast();
                let rest = (count - done) as libc::c_uint;
                libc::sendmmsg(socket.as_raw_fd(), headers.add(done), rest, libc::MSG_DONTWAIT as _)
            };
            // An error concerns the first of the rest; fewer than asked for means that the next
            // call will say what is wrong with the following one.
            match usize::try_from(accepted) {
                Ok(accepted) if accepted > 0 => sent.sent += accepted,
                _ => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if !waited => {
                        waited = true;
                        wait(&mut [Interest::from_borrowed_fd(socket, PollFlags::OUT)], patience);
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

    /// Writes the headers of the replies that there are, one after the other; their number.
    fn prepare_replies(&mut self, received: usize) -> usize {
        let arena = self.arena.as_ptr();
        let mut count = 0;
        for at in 0..received.min(BATCH) {
            // SAFETY: `at` and `count` are below BATCH, so all of this is within the arena, which
            // is ours alone; no reference outlives its statement.
            unsafe {
                let length = (*arena).slots[at].reply_length.min(REPLY);
                if length == 0 {
                    continue;
                }
                (*arena).replies_at[at].iov_len = length;
                let header = &mut (*arena).sending[count].msg_hdr;
                header.msg_name = (&raw mut (*arena).slots[at].peer).cast();
                header.msg_namelen = (*arena).slots[at].peer_length;
                header.msg_iov = &raw mut (*arena).replies_at[at];
                header.msg_iovlen = 1;
                header.msg_control = (&raw mut (*arena).slots[at].control).cast();
                header.msg_controllen = (*arena).slots[at].control_length as _;
            }
            count += 1;
        }
        count
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: from `Box::leak`, and never given away.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

impl Slot {
    /// Takes over what the kernel wrote into the header of this slot.
    fn take_in(&mut self, header: &libc::mmsghdr) {
        self.question_length = (header.msg_len as usize).min(RECEIVE);
        self.oversized = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        self.peer_length = header.msg_hdr.msg_namelen;
        self.reply_length = 0;
        self.control_length = self.control.turn_around(header.msg_hdr.msg_controllen as _);
    }
}

#[cfg(test)]
mod tests;
