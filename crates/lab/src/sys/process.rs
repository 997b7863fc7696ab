//! Signals, and what a child process does between `fork` and `exec`.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use super::{
    check,
    namespace::{self, Kind},
};

/// What a child becomes before it runs its program.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Killed when the thread that started it ends; holds our own process id.
    pub(crate) die_with: Option<u32>,
    /// Leader of a session of its own, out of reach of the terminal.
    pub(crate) new_session: bool,
    /// `uid_map` and `gid_map` lines: root of a new user namespace.
    pub(crate) user: Option<(String, String)>,
    /// The network namespace to enter.
    pub(crate) network: Option<OwnedFd>,
    /// A file to be seen in the place of `/etc/resolv.conf`.
    pub(crate) resolv_conf: Option<CString>,
}

/// The effective user id of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: cannot fail, no arguments.
    unsafe { libc::geteuid() }
}

/// The effective group id of this process.
pub(crate) fn effective_group() -> u32 {
    // SAFETY: cannot fail, no arguments.
    unsafe { libc::getegid() }
}

/// Sends a signal number to one process; 0 only asks whether it is there.
pub(crate) fn signal(process: u32, number: i32) -> io::Result<()> {
    // SAFETY: integers only. A process id fits in `pid_t`.
    check(unsafe { libc::kill(process.cast_signed(), number) }).map(drop)
}

/// Sends a signal number to a whole process group.
pub(crate) fn signal_group(leader: u32, number: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::killpg(leader.cast_signed(), number) }).map(drop)
}

/// Has `command` do all of `before` in the child, in the order of the fields.
pub(crate) fn prepare(command: &mut Command, before: Before) {
    let run = move || {
        if let Some(parent) = before.die_with {
            die_with_parent(parent)?;
        }
        if before.new_session {
            // SAFETY: no arguments; fails only for the leader of a group, which a fresh child is not.
            check(unsafe { libc::setsid() })?;
        }
        if let Some((uid_map, gid_map)) = &before.user {
            namespace::unshare(Kind::User)?;
            namespace::map_to_root(uid_map.as_bytes(), gid_map.as_bytes())?;
        }
        if let Some(network) = &before.network {
            namespace::enter(network.as_fd(), Kind::Network)?;
        }
        if let Some(resolv_conf) = &before.resolv_conf {
            namespace::cover_file(resolv_conf, c"/etc/resolv.conf")?;
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child; it allocates nothing, takes no lock, and calls
    // only prctl, getppid, setsid, unshare, setns, mount, open, write, close: plain system calls.
    unsafe { command.pre_exec(run) };
}

/// Blocks these signals in the calling thread, and in all threads it starts from now on, so that
/// [`wait_signal`] can take them one by one.
pub(crate) fn block_signals(numbers: &[i32]) -> io::Result<()> {
    let set = signal_set(numbers);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Waits for one of these, which [`block_signals`] has blocked, and returns its number.
pub(crate) fn wait_signal(numbers: &[i32]) -> io::Result<i32> {
    let set = signal_set(numbers);
    let mut number = 0;
    // SAFETY: both pointers are to live values of the right type.
    match unsafe { libc::sigwait(&raw const set, &raw mut number) } {
        0 => Ok(number),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn signal_set(numbers: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeroes is a valid `sigset_t`, and sigemptyset makes it an empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours; a number that is no signal is refused and leaves the set as it was.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for &number in numbers {
            libc::sigaddset(&raw mut set, number);
        }
    }
    set
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // The parent may have died before the call: then nobody would ever send the signal.
    // SAFETY: cannot fail, no arguments.
    if unsafe { libc::getppid() }.cast_unsigned() == parent {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}
