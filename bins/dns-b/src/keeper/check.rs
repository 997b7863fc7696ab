//! Checks of the DNS-LBs' DNS sides, as far as they need no socket (design section 4): whom to
//! ask for what, and what the outcomes mean.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{LbIndex, ZoneEntry},
    identity::Identity,
    name::Name,
    proto::message::BootId,
};

use super::{Keeper, lb::LbTruth, turn::Turns};

/// Between two rounds until the first that goes well.
const RETRY: Duration = Duration::from_secs(1);
/// While all is well TCP is asked in every so many-th round: a connection costs ten times what a
/// datagram does, and what fails without the other failing, too, is rare.
const TCP_EVERY: u32 = 6;
/// Rounds that may begin together beyond what the time since the last look has earned.
const LEAST_AT_ONCE: f64 = 16.0;
/// Seconds of which the rounds that did not begin may do so later.
const SAVED: f64 = 0.1;
/// How much faster than evenly over the interval rounds may begin, so that none is late for long.
const HASTE: f64 = 1.25;

/// Whom checks come to next.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    turns: Turns,
    /// When due ones were taken last.
    taken: Option<Instant>,
    /// How many more might have begun then.
    left: f64,
}

impl Rounds {
    /// How many may begin now where so many are due in a second.
    fn room(&mut self, per_second: f64, now: Instant) -> f64 {
        let Some(last) = self.taken.replace(now) else { return LEAST_AT_ONCE };
        let share = per_second * now.saturating_duration_since(last).as_secs_f64() * HASTE;
        // Among those whose turn it was, fewer may have been due.
        share + self.left.min(LEAST_AT_ONCE + per_second * SAVED)
    }
}

/// What checks have shown of one DNS-LB.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckState {
    /// The checks went well at least once since it started or moved.
    pub(super) passed: bool,
    failures: u8,
    /// When the next round is due; `None` for at once.
    next: Option<Instant>,
    /// A round has begun and its outcome has not come.
    under_way: bool,
    /// Rounds that have begun.
    rounds: u32,
    /// What went wrong last.
    pub(super) problem: Option<String>,
}

impl CheckState {
    /// Nothing is known; the first round is due at `next`, or at once.
    pub(super) fn anew(next: Option<Instant>) -> Self {
        Self { next, ..Self::default() }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.under_way && self.next.is_none_or(|next| next <= now)
    }

    /// A round begins; whether TCP is asked in it. DNS-LBs differ in the rounds in which it is.
    fn begin(&mut self, index: LbIndex) -> bool {
        self.under_way = true;
        self.rounds = self.rounds.wrapping_add(1);
        !self.passed || self.failures > 0 || self.rounds.wrapping_add(index.0).is_multiple_of(TCP_EVERY)
    }

    /// Whether it has failed too often in a row.
    pub(super) fn failing(&self, fall: u8) -> bool {
        self.failures >= fall
    }
}

/// A DNS-LB to be checked: every address.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whom.
    pub lb: LbIndex,
    /// This run of it.
    pub boot: BootId,
    /// Its label.
    pub identity: Identity,
    /// Where it says it answers.
    pub addresses: Vec<IpAddr>,
    /// One of its label zones.
    pub label_zone: Name,
    /// Whether to ask over TCP, too: until it has passed, after every failure, and now and then.
    pub tcp: bool,
}

/// What checking one DNS-LB has shown.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whom.
    pub lb: LbIndex,
    /// The run of it that was asked.
    pub boot: BootId,
    /// The addresses that were asked: if it has moved since, the outcome means nothing.
    pub addresses: Vec<IpAddr>,
    /// What came of it.
    pub outcome: CheckOutcome,
}

/// The outcome of one round of checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Every address that this host can reach at all answered as it should.
    Passed,
    /// Somebody did not, and how.
    Failed(String),
}

impl Keeper {
    /// Of those whose turn it is, the linked DNS-LBs whose next round is due; none has two rounds under
    /// way. A DNS-LB that has not passed yet is asked again after a second, since it waits to be handed
    /// out. Of the others no more are due at once than what spreads them over the interval: thousands that
    /// came together would be asked together for ever. To be called as often as [`Keeper::turn`].
    pub fn take_due_checks(&mut self, now: Instant) -> Vec<Target> {
        let turn = self.rounds.turns.take(self.directory.lb_count(), now);
        let mut left = self.rounds.room(self.lbs.len() as f64 / self.check.interval.as_secs_f64(), now);
        let (mut due, mut zones) = (Vec::new(), Vec::new());
        for index in turn {
            let is_due = |truth: &&mut LbTruth| truth.link.is_some() && truth.check.is_due(now);
            let Some(truth) = self.lbs.get_mut(&index).filter(is_due) else { continue };
            let Some(lb) = self.directory.find_lb(index).filter(|lb| !lb.addresses.is_empty()) else { continue };
            if zones.is_empty() {
                zones = self.directory.zones().collect();
                // The shortest first: a check's name is longer than a service's.
                zones.sort_by_key(|zone: &&ZoneEntry| (zone.name().wire().len(), zone.name()));
            }
            // Where something else has its name, it has no label zone.
            let Some(zone) = zones.iter().find(|zone| !zone.occupies(lb.label())) else { continue };
            let Ok(label_zone) = zone.name().child(lb.identity.as_str()) else { continue };
            if truth.check.passed {
                if left < 1.0 {
                    continue;
                }
                left -= 1.0;
            }
            let tcp = truth.check.begin(index);
            let (identity, addresses) = (lb.identity.clone(), lb.addresses.clone());
            due.push(Target { lb: index, boot: truth.boot, identity, addresses, label_zone, tcp });
        }
        self.rounds.left = left;
        due
    }

    /// Takes the outcome of a round of checks in. One of an address or a process that is not there
    /// any more says nothing.
    pub fn checked(&mut self, checked: Checked, now: Instant) {
        let moved = self.directory.find_lb(checked.lb).is_none_or(|lb| lb.addresses != checked.addresses);
        let Some(truth) = self.lbs.get_mut(&checked.lb).filter(|t| !moved && t.boot == checked.boot) else { return };
        let check = &mut truth.check;
        check.under_way = false;
        match checked.outcome {
            CheckOutcome::Passed => {
                self.figures.checks_passed += 1;
                (check.passed, check.failures, check.problem) = (true, 0, None);
            }
            CheckOutcome::Failed(problem) => {
                self.figures.checks_failed += 1;
                check.failures = check.failures.saturating_add(1);
                check.problem = Some(problem);
            }
        }
        let wait = if check.passed { self.check.interval } else { self.check.interval.min(RETRY) };
        check.next = Some(now + wait);
        self.judge(checked.lb, now);
    }
}
