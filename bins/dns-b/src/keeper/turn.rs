//! What time brings about. One part of that is what every DNS-LB needs again and again: whether it is due
//! for a challenge or a check, and whether something of it is to be forgotten. A few have their turn at a
//! time: a look at ten thousand at once would keep a change of the map waiting.
//!
//! Invariant: whoever is called often enough gives every DNS-LB a turn within [`ROUND`], and never looks at
//! many more at once than the time since the last call has earned.

use std::time::{Duration, Instant};

use dglb_core::{directory::LbIndex, proto::message::PeerRole};

use super::Keeper;

/// In which all have had their turn.
const ROUND: Duration = Duration::from_millis(500);
/// Looked at in one turn at least: so few cost nothing.
const LEAST: u32 = 256;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: u32,
    last: Option<Instant>,
}

impl Turns {
    /// The next ones of `all`, each of them once.
    pub(super) fn take(&mut self, all: usize, now: Instant) -> impl Iterator<Item = LbIndex> + use<> {
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let since = self.last.replace(now).map_or(ROUND, |last| now.saturating_duration_since(last));
        let earned = f64::from(all) * since.as_secs_f64() / ROUND.as_secs_f64();
        // What is too much for a `u32` becomes the greatest.
        let count = (earned.ceil() as u32).max(LEAST).min(all);
        let first = self.next.checked_rem(all).unwrap_or(0);
        self.next = first.saturating_add(count);
        (0..count).map(move |n| LbIndex(if n < all - first { first + n } else { n - (all - first) }))
    }
}

impl Keeper {
    /// Called several times a second: what is owed, leases, liveness, and a [turn](Keeper::turn).
    pub fn tick(&mut self, now: Instant) {
        self.latest = now;
        self.catch_up(now);
        self.expire(now);
        self.judge_all(now);
        self.end_filling(now);
        self.proofs.expire(now);
        self.turn(now);
    }

    /// The slower part of [`Keeper::tick`]: who speaks for whom, for which a second is soon enough.
    pub fn slow_tick(&mut self, now: Instant) {
        self.borrow_rankings(now);
        self.share_budgets();
        self.figures.duplicated = self.duplicates.alarming(now).count() as u64;
        self.keep_reports();
    }

    /// Until every DNS-LB that may come has come, or one lease has passed, somebody who sits nearer
    /// to a resolver than the one known may be on its way (design section 3).
    fn end_filling(&mut self, now: Instant) {
        if !self.directory.is_filling() {
            return;
        }
        let expected = self.peers.values().filter(|p| p.role == PeerRole::DnsLb).count();
        let mapped = self.lbs.values().filter(|t| t.map_generation > 0).count();
        if mapped >= expected || now.duration_since(self.started) >= self.max_lease {
            self.directory.set_filling(false);
            self.changed = true;
        }
    }

    /// Those whose turn it is: to be called often, so that few have it together.
    pub fn turn(&mut self, now: Instant) {
        self.latest = now;
        let turn: Vec<LbIndex> = self.turns.take(self.directory.lb_count(), now).collect();
        self.forget(&turn, now);
        self.lapse_proofs(&turn, now);
        self.challenge(&turn, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_has_its_turn_within_a_round() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        assert_eq!(turns.take(0, now).count(), 0);
        assert_eq!(turns.take(3, now).map(|lb| lb.0).collect::<Vec<_>>(), [0, 1, 2], "few have it every time");
        for all in [257, 10_000, 10_001] {
            let mut seen = vec![0; all];
            for _ in 0..20 {
                now += ROUND / 20;
                let turn: Vec<LbIndex> = turns.take(all, now).collect();
                assert!(turn.len() <= all.div_ceil(20).max(LEAST as usize), "{} of {all} at once", turn.len());
                turn.iter().for_each(|lb| seen[lb.0 as usize] += 1);
            }
            assert!(seen.iter().all(|times| *times >= 1), "of {all}");
        }
        now += ROUND * 9;
        assert_eq!(turns.take(10_000, now).count(), 10_000, "never twice at once");
    }
}
