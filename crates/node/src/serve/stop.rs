//! Tells threads that wait in `poll` to stop.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::lifecycle::Tasks;

/// A flag to look at between batches, and a pipe that hangs up at the same time, for those who
/// wait.
#[derive(Debug)]
pub(super) struct Stop {
    flag: Arc<AtomicBool>,
    hangs_up: PipeReader,
}

impl Stop {
    /// Stops when the daemon does.
    pub(super) fn new(tasks: &mut Tasks) -> io::Result<Self> {
        let (hangs_up, held) = io::pipe()?;
        let flag = Arc::new(AtomicBool::new(false));
        let raise = Raise { flag: Arc::clone(&flag), _held: held };
        let stop = tasks.stop_token();
        tasks.spawn("dns-stop", async move {
            let _raise = raise;
            stop.cancelled().await;
        });
        Ok(Self { flag, hangs_up })
    }

    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Has something to read (its end) once it is set.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.hangs_up.as_fd()
    }
}

/// Raises the flag, then hangs up, when dropped: also when its task is aborted, or else the waiting
/// threads would never wait again and never end.
struct Raise {
    flag: Arc<AtomicBool>,
    _held: PipeWriter,
}

impl Drop for Raise {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}
