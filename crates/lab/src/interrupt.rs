//! Ending in good order when a person or the system says so: SIGINT, SIGTERM, SIGHUP. A lab's
//! processes are in groups of their own, so a Ctrl-C at the terminal reaches the lab alone, which
//! then ends them.

use std::io;

use crate::sys::process::{block_signals, wait_signal};

const NUMBERS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

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

    /// Waits for the next one and returns its number; by custom the process then exits with 128
    /// more than that.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self) -> io::Result<i32> {
        wait_signal(&NUMBERS)
    }
}
