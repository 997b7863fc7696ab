//! Ending when a person or the system says so: SIGINT, SIGTERM, SIGHUP, or a panic that aborts. A
//! lab's processes are in groups of their own, so a Ctrl-C at the terminal reaches the process that
//! holds the lab alone; it ends them by force and leaves nothing behind.

use std::{
    io, panic,
    path::PathBuf,
    process,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    marker::{Marker, remove_unless_kept},
    sandbox,
    sys::process::{block_signals, wait_signal},
};

const NUMBERS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The labs of this process that have not ended yet, with their directories.
static LIVING: Mutex<Vec<(Marker, PathBuf)>> = Mutex::new(Vec::new());

/// The signals that end a program, caught.
#[derive(Debug)]
pub struct Interrupt(());

impl Interrupt {
    /// Catches them from now on. To be called before the process has a second thread: threads that
    /// exist already would still be ended by them.
    ///
    /// # Errors
    /// What the system says.
    pub fn catch() -> io::Result<Self> {
        block_signals(&NUMBERS)?;
        Ok(Self(()))
    }

    /// When the first of them comes: ends all labs of this process by force, however far they have
    /// been built, does `last`, and exits with 128 and the signal's number. Until then a thread
    /// waits for it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn exit_on_signal(self, last: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let wait = move || {
            if let Ok(number) = wait_signal(&NUMBERS) {
                end_all();
                last();
                process::exit(128 + number);
            }
        };
        thread::Builder::new().name("lab-interrupt".into()).spawn(wait).map(drop)
    }
}

/// Enters a sandbox in which the first signal ends all labs of this process, and it. To be called while
/// the process has one thread.
///
/// # Errors
/// Why not, for people.
pub(crate) fn enter_until_signalled() -> Result<(), String> {
    let interrupt = Interrupt::catch();
    sandbox::enter().map_err(|missing| format!("a lab needs {missing}"))?;
    interrupt.and_then(|i| i.exit_on_signal(|| ())).map_err(|error| format!("signals: {error}"))
}

/// Where a panic aborts the process, has it end all labs first.
pub(crate) fn end_labs_on_abort() {
    if cfg!(panic = "abort") {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            tell(info);
            end_all();
        }));
    }
}

/// Notes a lab that is to be ended before the process exits.
pub(crate) fn note(marker: Marker, dir: PathBuf) {
    living().push((marker, dir));
}

/// Undoes [`note`]: the lab has ended.
pub(crate) fn forget(marker: Marker) {
    living().retain(|(living, _)| *living != marker);
}

fn end_all() {
    for (marker, dir) in living().iter() {
        marker.kill_all(Duration::from_secs(5));
        remove_unless_kept(dir);
    }
}

fn living() -> std::sync::MutexGuard<'static, Vec<(Marker, PathBuf)>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
