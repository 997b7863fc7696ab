//! A network namespace, which lives as long as somebody holds its descriptor or runs in it: there
//! is no name to clean up after a crash.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    panic, thread,
};

use crate::sys::namespace::{Kind, enter, unshare};

/// A network namespace of our own.
#[derive(Debug)]
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// A new namespace: loopback down, nothing else in it.
    ///
    /// # Errors
    /// What `unshare(CLONE_NEWNET)` says: `EPERM` without the capability.
    pub(crate) fn create() -> io::Result<Self> {
        on_thread(|| {
            unshare(Kind::Network)?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
        })?
    }

    /// Runs `work` on a fresh thread inside the namespace and waits for it. Sockets that it opens
    /// belong to the namespace wherever they are used later; so do threads that it starts.
    ///
    /// # Errors
    /// When no thread can be had, or the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| enter(self.0.as_fd(), Kind::Network).map(|()| work()))?
    }

    /// Another descriptor of the same namespace, for a child to enter.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("lab-host".into()).spawn_scoped(scope, work)?;
        thread.join().map_err(|payload| panic::resume_unwind(payload))
    })
}
