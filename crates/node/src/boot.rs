//! What tells one run of a daemon from the next (design section 6, HELLO).

use std::time::{Duration, Instant};

use dglb_core::proto::message::BootId;

/// This run of the daemon: drawn once at the start, carried in every HELLO and WELCOME.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Random, so that a restart is told from a reconnect.
    pub id: BootId,
    started: Instant,
}

impl Boot {
    /// A run that begins now.
    pub fn now() -> Self {
        Self { id: BootId(rand::random()), started: Instant::now() }
    }

    /// How long this run has lasted.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whole milliseconds of this run, as HELLO carries them.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boot_is_another() {
        assert_ne!(Boot::now().id, Boot::now().id);
        let boot = Boot::now();
        assert!(boot.uptime_ms() < 60_000);
        assert!(boot.uptime() <= boot.uptime());
    }
}
