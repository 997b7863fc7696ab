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

use super::Keeper;

/// Between two rounds until the first that goes well.
const RETRY: Duration = Duration::from_secs(1);
/// While all is well TCP is asked in every so many-th round: a connection costs ten times what a
/// datagram does, and what fails without the other failing, too, is rare.
const TCP_EVERY: u32 = 6;
/// Rounds that may begin together, whatever their number in an interval.
const LEAST_AT_ONCE: f64 = 16.0;
/// How much faster than evenly over the interval rounds may begin, so that none is late for long.
const HASTE: f64 = 1.25;

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
    /// The linked DNS-LBs whose next round is due; none has two rounds under way. A DNS-LB that has
    /// not passed yet is asked again after a second, since it waits to be handed out. Of the others no
    /// more are due at once than what spreads them over the interval: thousands that came together
    /// would be asked together for ever.
    pub fn take_due_checks(&mut self, now: Instant) -> Vec<Target> {
        let mut zones: Vec<&ZoneEntry> = self.directory.zones().collect();
        // The shortest first: a check's name is longer than a service's.
        zones.sort_by_key(|zone| (zone.name().wire().len(), zone.name()));
        let since = self.checks_taken.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
        let share = self.lbs.len() as f64 * since.as_secs_f64() / self.check.interval.as_secs_f64();
        let mut left = (share * HASTE + LEAST_AT_ONCE) as usize;
        let mut due = Vec::new();
        for (index, truth) in self.lbs.iter_mut().filter(|(_, truth)| truth.link.is_some()) {
            let lb = self.directory.find_lb(*index).filter(|lb| !lb.addresses.is_empty());
            let (Some(lb), true) = (lb, truth.check.is_due(now)) else { continue };
            // Where something else has its name, it has no label zone.
            let Some(zone) = zones.iter().find(|zone| !zone.occupies(lb.label())) else { continue };
            let Ok(label_zone) = zone.name().child(lb.identity.as_str()) else { continue };
            if truth.check.passed {
                let Some(rest) = left.checked_sub(1) else { continue };
                left = rest;
            }
            let tcp = truth.check.begin(*index);
            let (identity, addresses) = (lb.identity.clone(), lb.addresses.clone());
            due.push(Target { lb: *index, boot: truth.boot, identity, addresses, label_zone, tcp });
        }
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
