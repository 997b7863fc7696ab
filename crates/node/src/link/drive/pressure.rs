//! What a link does with a peer that says too much: first it is not read, then it is told to leave.

use std::time::Instant;

use dglb_core::proto::message::{Bye, ByeReason};
use tracing::warn;

use super::{Account, Driver, Link};
use crate::link::quota::Charged;

/// Octets of replies beyond which nothing is read from who has dialled: what it asks for it has to take.
const UNSENT: usize = 1 << 20;

/// The account of whoever is at the other end; one of its own for who shows no certificate.
pub(super) fn account(driver: &Driver) -> Account {
    let name = driver.certified.as_ref().and_then(|peer| peer.name.as_ref().ok());
    name.map_or_else(Account::default, |name| driver.settings.accounts.of(name, Instant::now()))
}

impl Link {
    /// Whether what the peer says is taken in: the daemon has room, the peer is within its quota, and takes
    /// what it is told. Only the accepting side minds the last: if both did, both might wait for ever.
    pub(super) fn reads(&self) -> bool {
        let takes = self.driver.dialled || self.session.unsent() <= UNSENT;
        self.pending.is_none() && self.held_until.is_none() && takes
    }

    /// The peer has made a link.
    pub(super) fn charge_link(&mut self) {
        let charged = self.account.open(&self.driver.settings.quota, Instant::now());
        self.follow(charged);
    }

    /// The peer has said so much.
    pub(super) fn charge(&mut self, frames: u64, octets: u64) {
        let charged = self.account.charge(&self.driver.settings.quota, (frames, octets), Instant::now());
        self.follow(charged);
    }

    /// The peer is read again, if it is time.
    pub(super) fn look_at_hold(&mut self) {
        if self.held_until.is_some_and(|until| Instant::now() >= until) {
            self.held_until = None;
        }
    }

    fn follow(&mut self, charged: Charged) {
        match charged {
            Charged::Within => {}
            Charged::Until(until) => {
                if self.held_until.is_none() {
                    self.driver.metrics.throttled.inc();
                }
                self.held_until = Some(until);
            }
            Charged::Over if self.session.is_closed() => {}
            Charged::Over => {
                warn!(peer = %self.driver.remote, "more was said than may be, for too long: the link ends");
                let text = "more was said than may be, for too long".to_owned();
                self.session.close(Bye { reason: ByeReason::Quota, text });
            }
        }
    }
}
