//! Leases of the DNS-LBs and what follows their ends (design sections 2 and 6).
//!
//! Invariant: the registry of everything that is mapped holds every lease and nobody else does. It
//! runs only while its DNS-LB has no link, since a link that lives renews it with every frame.

use std::time::Instant;

use dglb_core::directory::{LbIndex, LbState};

use super::{Keeper, lb::LbTruth};

impl Keeper {
    /// A link has come: the lease does not run.
    pub(super) fn hold_lease(&mut self, index: LbIndex) {
        self.all.renew(index, None);
    }

    /// There is no link any more: the lease ends at `end` unless one comes.
    pub(super) fn let_lease_run(&mut self, index: LbIndex, end: Instant) {
        if !self.all.renew(index, Some(end)) {
            // It maps nothing, and still has a lease: its name may have been handed out. With no
            // claims and generation 0 there is nothing to refuse.
            let _ = self.all.add(index, 0, Some(end), []);
        }
    }

    /// Leases that ended: the entries go. Addresses and last rankings stay for as long as anybody may
    /// have the label in a cache, so that the fall-backs can go on answering in its name.
    pub(super) fn expire(&mut self, now: Instant) {
        for index in self.all.expire(now) {
            self.clients.remove_all(index);
            self.budgets.gone(index);
            self.silence(index, now);
            if let Some(truth) = self.lbs.get_mut(&index) {
                truth.gone_since = Some(now);
                // Whoever comes back says again where it sits: what it said before is not held.
                (truth.map_generation, truth.map_content, truth.entries, truth.ready) = (0, None, 0, false);
                truth.learnt.clear();
            }
            self.check_anew(index, now);
            self.directory.update_lb(index, |lb| (lb.handed_out, lb.state) = (false, LbState::Gone));
            self.figures.leases_ended += 1;
            self.publish_tables();
            self.keep_lb(index);
        }
    }

    /// Of those whose turn it is the labels that nobody has in a cache any more.
    pub(super) fn forget(&mut self, turn: &[LbIndex], now: Instant) {
        for &index in turn {
            let over = |since: Instant| now.duration_since(since) >= self.tombstone;
            let held = |t: &&mut LbTruth| t.report_generation > 0 || !t.rankings.is_empty();
            let forgotten = self.lbs.get_mut(&index).filter(held).filter(|t| t.gone_since.is_some_and(over));
            let Some(truth) = forgotten else { continue };
            (truth.report_generation, truth.unknown, truth.last_report) = (0, 0, None);
            truth.rankings.clear();
            let stated = self.directory.find_lb(index).map(|lb| self.stated_addresses(&lb.identity));
            self.directory.remove_rankings(index);
            self.directory.update_lb(index, |lb| (lb.addresses, lb.borrows) = (stated.unwrap_or_default(), None));
            self.changed = true;
            self.keep_lb(index);
            self.keep_report(index);
        }
    }
}
