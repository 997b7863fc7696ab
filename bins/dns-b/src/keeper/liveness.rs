//! Whether DNS-LBs are there, and whether their names may be given to clients (design sections 3
//! and 4): link, checks, READY, and the fault that is presumed to be one's own.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use dglb_core::directory::{LbIndex, LbState};

use super::{Keeper, lb::LbTruth};

/// With fewer failing at once there is no telling whose fault it is.
const LEAST_AT_ONCE: usize = 3;

/// How many of the DNS-LBs that were handed out fail: counted anew at every tick, and kept up in
/// between, so that the first of many that are lost together does not wait for the next tick.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    handed_out: usize,
    failing_lately: usize,
    /// Who fails, and since when: a failure older than a lease is nobody's fault but its own. Apart from
    /// the rest, so that a tick looks at none of the thousands that are well.
    failing: BTreeMap<LbIndex, Instant>,
}

impl Crowd {
    /// It fails, if it was not known to. Whether that is news.
    pub(super) fn fails(&mut self, index: LbIndex, now: Instant) -> bool {
        match self.failing.entry(index) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }

    /// Whether it began to fail within one lease.
    fn fails_lately(&self, index: LbIndex, lease: Duration, now: Instant) -> bool {
        self.failing.get(&index).is_some_and(|since| now.duration_since(*since) < lease)
    }

    /// More than 30 % of all, and at least [`LEAST_AT_ONCE`].
    fn blames_us(&self) -> bool {
        self.failing_lately >= LEAST_AT_ONCE && self.failing_lately * 10 > self.handed_out * 3
    }
}

impl LbTruth {
    /// Whether link and checks are good.
    fn is_well(&self, fall: u8) -> bool {
        self.link.is_some() && !self.check.failing(fall)
    }
}

impl Keeper {
    /// Once said, a DNS-LB stays handed out until it restarts, moves or its lease ends: while it is
    /// suspect its label is answered by the fall-backs.
    pub(super) fn hand_out_if_fit(&mut self, index: LbIndex) {
        let fit = self.lbs.get(&index).is_some_and(|t| t.ready && t.check.passed);
        if fit && self.directory.find_lb(index).is_some_and(|lb| !lb.handed_out) {
            self.directory.update_lb(index, |lb| lb.handed_out = true);
            self.changed = true;
            self.keep_lb(index);
            if let Some(lb) = self.directory.find_lb(index) {
                tracing::info!(dns_lb = %lb.identity, "handed out from now on");
            }
        }
    }

    /// Brings a DNS-LB's state in line with what is known of it.
    pub(super) fn judge(&mut self, index: LbIndex, now: Instant) {
        let Some(truth) = self.lbs.get(&index) else { return };
        if truth.is_well(self.check.fall) {
            self.crowd.failing.remove(&index);
        } else if self.crowd.fails(index, now) {
            self.crowd.failing_lately += usize::from(self.is_handed_out(index));
            if self.crowd.blames_us() && !self.figures.own_fault {
                return self.judge_all(now);
            }
        }
        self.settle_state(index, now);
    }

    fn is_handed_out(&self, index: LbIndex) -> bool {
        self.directory.find_lb(index).is_some_and(|lb| lb.handed_out)
    }

    fn settle_state(&mut self, index: LbIndex, now: Instant) {
        let Some(truth) = self.lbs.get(&index) else { return };
        let state = if truth.gone_since.is_some() {
            LbState::Gone
        } else if truth.is_well(self.check.fall)
            || self.figures.own_fault && self.crowd.fails_lately(index, truth.lease, now)
        {
            LbState::Alive
        } else {
            LbState::Suspect
        };
        if self.directory.find_lb(index).is_some_and(|lb| lb.state != state) {
            self.directory.update_lb(index, |lb| lb.state = state);
            self.changed = true;
            if let Some(lb) = self.directory.find_lb(index) {
                tracing::info!(dns_lb = %lb.identity, ?state, "state changed");
            }
        }
        self.hand_out_if_fit(index);
    }

    /// When more than 30 % of all DNS-LBs that were handed out, and at least three, began to fail
    /// within one lease, the fault is presumed to be this server's own: they are not demoted (design
    /// section 4). One that goes on failing for longer is.
    pub(super) fn judge_all(&mut self, now: Instant) {
        let lately = |index: &LbIndex| {
            let truth = self.lbs.get(index).filter(|truth| truth.gone_since.is_none() && self.is_handed_out(*index));
            truth.is_some_and(|truth| {
                !truth.is_well(self.check.fall) && self.crowd.fails_lately(*index, truth.lease, now)
            })
        };
        // Who is gone is not handed out.
        let handed_out = self.directory.census().handed_out;
        let failing_lately = self.crowd.failing.keys().filter(|index| lately(index)).count();
        (self.crowd.handed_out, self.crowd.failing_lately) = (handed_out, failing_lately);
        let own_fault = self.crowd.blames_us();
        let turned = own_fault != self.figures.own_fault;
        if turned {
            self.figures.own_fault = own_fault;
            tracing::warn!(failing_lately, handed_out, own_fault, "many DNS-LBs fail at once: is it our own fault?");
        }
        // Whoever is well was found so when it became so.
        let open: Vec<LbIndex> = match turned {
            true => self.lbs.keys().copied().collect(),
            false => self.crowd.failing.keys().copied().collect(),
        };
        open.into_iter().for_each(|index| self.settle_state(index, now));
    }
}
