//! Namespaces and mounts: `unshare`, `setns`, `mount`. All functions here are safe to call between
//! `fork` and `exec`: they allocate nothing.
#![allow(unsafe_code)]

use std::{ffi::CStr, io, os::fd::AsRawFd, os::fd::BorrowedFd, ptr};

use super::check;

/// What [`unshare`] leaves behind and [`enter`] joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Users, groups and capabilities; single-threaded processes only.
    User,
    /// Interfaces, addresses, routes, sockets; per thread.
    Network,
    /// Mounts; per thread, if that thread shares its root and working directory with no other.
    Mount,
}

impl Kind {
    fn flag(self) -> libc::c_int {
        match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Network => libc::CLONE_NEWNET,
            Self::Mount => libc::CLONE_NEWNS,
        }
    }
}

/// Moves the calling thread into a new namespace of this kind.
pub(crate) fn unshare(kind: Kind) -> io::Result<()> {
    // SAFETY: takes an integer, touches no memory of ours.
    check(unsafe { libc::unshare(kind.flag()) }).map(drop)
}

/// Moves the calling thread into the namespace that `namespace` refers to.
pub(crate) fn enter(namespace: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, hence open; no memory is passed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), kind.flag()) }).map(drop)
}

/// Writes the user maps of a fresh user namespace: the one user and group that we were becomes
/// root. `uid_map` and `gid_map` are complete lines, `0 <outside id> 1`.
pub(crate) fn map_to_root(uid_map: &[u8], gid_map: &[u8]) -> io::Result<()> {
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", uid_map)?;
    write_file(c"/proc/self/gid_map", gid_map)
}

/// In a mount namespace of our own: shows `source` in the place of `target` (both files), to
/// nobody outside.
pub(crate) fn cover_file(source: &CStr, target: &CStr) -> io::Result<()> {
    unshare(Kind::Mount)?;
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(Some(source), target, libc::MS_BIND)
}

fn mount(source: Option<&CStr>, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: both paths are NUL-terminated and outlive the call; no type and no data are needed
    // for a bind mount or a change of propagation.
    check(unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) }).map(drop)
}

fn write_file(path: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: the path is NUL-terminated.
    let file = check(unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    // SAFETY: pointer and length describe `text`.
    let written = unsafe { libc::write(file, text.as_ptr().cast(), text.len()) };
    let outcome = if written == text.len().cast_signed() { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: `file` was opened above and is closed once.
    unsafe { libc::close(file) };
    outcome
}
