//! What a link does for the sake of time alone.

use std::time::{Duration, Instant};

use dglb_core::proto::message::{Bye, ByeReason};

use super::Link;

/// Longest wait without a look at the clock.
const IDLE: Duration = Duration::from_secs(60);

impl Link {
    /// When [`Link::time`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        let settings = &self.driver.settings;
        let stall = (!self.is_written()).then(|| self.sent_all + settings.stall_timeout);
        let linger = self.over.filter(|_| !self.is_written()).map(|over| over + settings.linger);
        let broken = self.broken.filter(|_| self.over.is_none()).map(|broken| broken + settings.linger);
        // Nothing to wait for but the daemon: look again now and then.
        let idle = Instant::now() + IDLE;
        [self.session.poll_timeout(), stall, linger, broken, self.held_until]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    /// Looks at the clock.
    pub(super) fn time(&mut self) {
        let now = Instant::now();
        let settings = &self.driver.settings;
        let past = |since: Option<Instant>, span| since.is_some_and(|since| now >= since + span);
        let unsent = Some(self.sent_all).filter(|_| !self.is_written());
        if past(self.over, settings.linger) {
            // What the peer has not read by now it will not.
            self.forget();
        } else if past(self.broken, settings.linger) {
            self.session.lost();
        } else if past(unsent, settings.stall_timeout) {
            self.session.close(Bye { reason: ByeReason::Slow, text: "not reading".to_owned() });
            self.forget();
        }
        self.session.handle_timeout(now);
    }

    /// Gives up on what was still to be sent.
    pub(super) fn forget(&mut self) {
        self.abandon();
        while self.session.poll_transmit(Instant::now()).is_some() {}
    }
}
