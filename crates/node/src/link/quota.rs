//! What a peer may say on its links: so many frames and so many octets in a second. One that is over is
//! not read for a while, so it feels the pressure and nobody else does; one that goes on nevertheless is
//! told to leave.
//!
//! Invariant: what a holder of a certificate has used up it has used up on all of its links together,
//! also on those that it makes anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dglb_core::{
    allowance::{Allowance, Rate},
    peer_name::PeerName,
};

/// Frames that a link costs by itself, so that making links is no way around the rate.
const LINK: u64 = 20;
/// So many seconds' worth of frames may come at once.
const FRAMES_AT_ONCE: u64 = 100;
/// The same of octets: they are memory for as long as the daemon is behind.
const OCTETS_AT_ONCE: u64 = 32;
/// Holders that are remembered at least before those that have used up nothing are forgotten.
const LEAST_SWEPT: usize = 1_024;

/// The bounds for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkQuota {
    /// Frames in a second, at least 1. A hundred seconds' worth may come at once. Default 200.
    pub frames_per_second: u32,
    /// Octets in a second, at least 64 KiB, so that no pause is long. Half a minute's worth, 32 s, may
    /// come at once. Default 1 MiB.
    pub octets_per_second: u64,
    /// How long a peer may be over its rate before it is told to leave. It is within again once half of
    /// what may come at once could come. Default 60 s.
    pub patience: Duration,
}

impl Default for LinkQuota {
    fn default() -> Self {
        Self { frames_per_second: 200, octets_per_second: 1 << 20, patience: Duration::from_secs(60) }
    }
}

impl LinkQuota {
    fn frames(&self) -> Rate {
        let per_second = u64::from(self.frames_per_second.max(1));
        Rate { per_second, at_once: per_second * FRAMES_AT_ONCE }
    }

    fn octets(&self) -> Rate {
        let per_second = self.octets_per_second.max(64 << 10);
        Rate { per_second, at_once: per_second.saturating_mul(OCTETS_AT_ONCE) }
    }
}

/// What a peer has used up.
#[derive(Debug, Default)]
struct Spent {
    frames: Allowance,
    octets: Allowance,
    /// Since when it is over.
    over_since: Option<Instant>,
}

impl Spent {
    fn is_nothing(&self, now: Instant) -> bool {
        self.frames.is_full(now) && self.octets.is_full(now)
    }
}

/// What becomes of a peer that has said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// It goes on.
    Within,
    /// It is not read before then.
    Until(Instant),
    /// It leaves.
    Over,
}

/// One link's hold on what its peer has used up.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<Mutex<Spent>>);

impl Account {
    /// Puts down what came.
    pub(super) fn charge(&self, quota: &LinkQuota, (frames, octets): (u64, u64), now: Instant) -> Charged {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = spent.frames.take(quota.frames(), frames, now);
        let wait = frames.max(spent.octets.take(quota.octets(), octets, now));
        if !wait.is_zero() {
            let since = *spent.over_since.get_or_insert(now);
            let over = now.saturating_duration_since(since) >= quota.patience;
            return if over { Charged::Over } else { now.checked_add(wait).map_or(Charged::Over, Charged::Until) };
        }
        if spent.frames.is_half_full(quota.frames(), now) && spent.octets.is_half_full(quota.octets(), now) {
            spent.over_since = None;
        }
        Charged::Within
    }

    /// Puts down the link itself.
    pub(super) fn open(&self, quota: &LinkQuota, now: Instant) -> Charged {
        self.charge(quota, (LINK, 0), now)
    }
}

/// The accounts of all who hold a certificate and are, or were lately, here; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    accounts: HashMap<PeerName, Account>,
    sweep_at: usize,
}

impl Accounts {
    /// The account of a holder.
    pub(super) fn of(&self, name: &PeerName, now: Instant) -> Account {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.accounts.len() >= known.sweep_at.max(LEAST_SWEPT) {
            known.sweep(now);
        }
        known.accounts.entry(name.clone()).or_default().clone()
    }
}

impl Known {
    /// Forgets who has no link and has used up nothing.
    fn sweep(&mut self, now: Instant) {
        self.accounts.retain(|_, Account(spent)| {
            Arc::strong_count(spent) > 1 || !spent.lock().unwrap_or_else(PoisonError::into_inner).is_nothing(now)
        });
        self.sweep_at = 2 * self.accounts.len();
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::proto::message::PeerRole;

    use super::*;

    const QUOTA: LinkQuota =
        LinkQuota { frames_per_second: 10, octets_per_second: 1 << 20, patience: Duration::from_secs(30) };

    fn name(n: usize) -> PeerName {
        PeerName::new(PeerRole::DnsLb, format!("lb{n}").parse().unwrap())
    }

    #[test]
    fn who_is_over_waits_and_who_goes_on_leaves() {
        let (accounts, now) = (Accounts::default(), Instant::now());
        let account = accounts.of(&name(1), now);
        assert!((0..1_000).all(|_| account.charge(&QUOTA, (1, 100), now) == Charged::Within));
        assert_eq!(account.charge(&QUOTA, (1, 0), now), Charged::Until(now + Duration::from_millis(100)));
        // As fast as it may and not faster is over all the same, as long as nothing is put by.
        let at = |ms| now + Duration::from_millis(ms);
        assert!(matches!(account.charge(&QUOTA, (2, 0), at(29_900)), Charged::Within), "it has waited for long");
        assert!(matches!(account.charge(&QUOTA, (1_000, 0), at(29_950)), Charged::Until(_)));
        assert_eq!(account.charge(&QUOTA, (1, 0), at(30_000)), Charged::Over);
        // So it is on its next link, until half of all is there again.
        let again = accounts.of(&name(1), at(31_000));
        assert_eq!(again.open(&QUOTA, at(31_000)), Charged::Over);
        assert_eq!(again.open(&QUOTA, at(31_000 + 150_000)), Charged::Within);
        assert_eq!(again.charge(&QUOTA, (1_200, 0), at(181_000)), Charged::Until(at(181_000 + 43_400)));
    }

    #[test]
    fn octets_count_as_frames_do() {
        let (account, now) = (Account::default(), Instant::now());
        assert_eq!(account.charge(&QUOTA, (0, 32 << 20), now), Charged::Within);
        assert_eq!(account.charge(&QUOTA, (0, 1 << 20), now), Charged::Until(now + Duration::from_secs(1)));
    }

    #[test]
    fn accounts_of_who_has_used_up_nothing_are_forgotten() {
        let (accounts, now) = (Accounts::default(), Instant::now());
        let _linked = accounts.of(&name(0), now);
        let greedy = accounts.of(&name(1), now);
        greedy.charge(&QUOTA, (100_000, 0), now);
        drop(greedy);
        (2..10_000).for_each(|n| drop(accounts.of(&name(n), now)));
        let known = accounts.0.lock().unwrap();
        assert!(known.accounts.len() <= LEAST_SWEPT, "{}", known.accounts.len());
        assert!(known.accounts.contains_key(&name(0)) && known.accounts.contains_key(&name(1)));
    }
}
