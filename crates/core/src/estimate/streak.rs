//! Up and down, by how many probes in a row went well or failed.

use crate::{catalogue::Probe, load::Stated, report::Health};

/// The verdict of one probe kind on one address: it takes `fall` failures or `rise` successes in
/// a row to reach one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    pub(super) state: Health,
    fall: u8,
    rise: u8,
    goods: u8,
    pub(super) failures: u8,
    /// What the site said of itself last.
    pub(super) stated: Option<Stated>,
}

impl Streak {
    pub(super) fn new(probe: &Probe) -> Self {
        Self { state: Health::Unknown, fall: probe.fall, rise: probe.rise, goods: 0, failures: 0, stated: None }
    }

    pub(super) fn good(&mut self) {
        self.failures = 0;
        self.goods = self.goods.saturating_add(1);
        if self.goods >= self.rise {
            self.state = Health::Up;
        }
    }

    pub(super) fn failed(&mut self) {
        self.goods = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.fall {
            self.state = Health::Down;
        }
    }
    /// As if nothing was probed yet; what the site said stands.
    pub(super) fn forget(&mut self) {
        (self.state, self.goods, self.failures) = (Health::Unknown, 0, 0);
    }
}
