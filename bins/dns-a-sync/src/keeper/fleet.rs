//! Which fleet document is the newest, and who has another one. What a DELEGATION says goes by its
//! dns-b's document, so dns-bs that disagree about it want zones delegated differently.

use dglb_core::{fleet::Fleet, proto::message::FleetStamp};
use dglb_node::link::not_dialled;
use tracing::warn;

use super::Keeper;

impl Keeper {
    /// Looks at who is in the newest fleet document.
    pub(super) fn fleet(&mut self, fleet: &Fleet) {
        if self.fleet != FleetStamp::default() && fleet.serial <= self.fleet.serial {
            return;
        }
        let dialled: Vec<_> = self.uplinks.iter().map(|u| u.identity().clone()).collect();
        let missing: Vec<_> = not_dialled(fleet, &dialled).cloned().collect();
        if self.not_dialled != missing && !missing.is_empty() {
            warn!(servers = ?missing, "the fleet document names dns-bs that are not in [[dns-b]]");
        }
        self.out.metrics.not_dialled(missing.len());
        (self.fleet, self.not_dialled) = (fleet.stamp(), missing);
        self.out.fleet.send_replace(self.fleet);
    }

    /// Dns-bs that are linked and have another fleet document than the newest: one of them lacks it, or
    /// there are two of one serial.
    pub(super) fn compare_fleets(&mut self) {
        let others = self.uplinks.iter().filter(|uplink| uplink.holds_other_than(self.fleet));
        let others: Vec<_> = others.map(|uplink| uplink.identity().clone()).collect();
        if self.disagree != others && !others.is_empty() {
            warn!(servers = ?others, newest = self.fleet.serial, "fleet documents disagree");
        }
        self.out.metrics.fleet(self.fleet.serial, others.len());
        self.disagree = others;
    }
}
