//! Waiting for packets and for moments: `epoll`, `timerfd`, `eventfd`, and a thread's punctuality.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use super::check;

/// A set of descriptors to be read from, each under a number of the caller's choice.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: integers only; on success the descriptor is new and ours.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 64] })
    }

    pub(crate) fn add(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: number };
        let (epoll, descriptor) = (self.epoll.as_raw_fd(), descriptor.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open, `event` lives through the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) }).map(drop)
    }

    pub(crate) fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        let (epoll, descriptor) = (self.epoll.as_raw_fd(), descriptor.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open; deletion takes no event.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, descriptor, ptr::null_mut()) }).map(drop)
    }

    /// Waits without limit, then returns the numbers of those that can be read.
    pub(crate) fn wait(&mut self) -> io::Result<Vec<u64>> {
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the buffer has `room` elements.
        let ready = check(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, -1) });
        let count = match ready {
            Ok(count) => count.cast_unsigned() as usize,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        Ok(self.events[..count].iter().map(|event| event.u64).collect())
    }
}

/// A descriptor that becomes readable at a set moment and stays so until it is set again.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: integers only; on success the descriptor is new and ours.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(check(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags))?) }))
    }

    /// Sets the timer, counted from now; `None` stops it.
    pub(crate) fn set(&self, after: Option<Duration>) -> io::Result<()> {
        // All zeroes stops a timer, so "now" is the shortest time there is.
        let after = after.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the descriptor is open, `spec` lives through the call, the old value is not asked for.
        check(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) }).map(drop)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable for good once [`Event::raise`] was called.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: integers only; on success the descriptor is new and ours.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, flags))?) }))
    }

    pub(crate) fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        // A full counter is readable too, so the only possible failure is no failure.
        // SAFETY: pointer and length describe `one`.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes the calling thread wake as punctually as it is allowed to: no timer slack, and ahead of
/// ordinary threads where the kernel lets us. Returns whether it runs ahead.
pub(crate) fn be_punctual() -> bool {
    // SAFETY: integers only; the slack of one nanosecond is the least there is (0 means default).
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let mut priority: libc::sched_param = libc::sched_param { sched_priority: 1 };
    // Children must not inherit the priority: the flag gives them the ordinary one.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, `priority` lives through the call.
    unsafe { libc::sched_setscheduler(0, policy, &raw mut priority) == 0 }
}
