//! Changing and reading a running lab's wire by the names of hosts. A change holds for every packet
//! that has not arrived when the call returns.

use std::time::Duration;

use crate::{
    lab::{HostError, Lab},
    wire::{Counters, Link},
};

impl Lab {
    /// Cuts the link between two hosts, both directions, silently.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn cut(&self, a: &str, b: &str) -> Result<(), HostError> {
        self.change_link(a, b, |link| link.cut = true)
    }

    /// Undoes [`Lab::cut`]. A host that [`Lab::cut_host`] has cut off stays so.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn heal(&self, a: &str, b: &str) -> Result<(), HostError> {
        self.change_link(a, b, |link| link.cut = false)
    }

    /// Cuts a host off from all others, silently. Its processes go on.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn cut_host(&self, host: &str) -> Result<(), HostError> {
        self.number(host).map(|number| self.wire.isolate(number, true))
    }

    /// Undoes [`Lab::cut_host`]. Links that [`Lab::cut`] has cut stay so.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn heal_host(&self, host: &str) -> Result<(), HostError> {
        self.number(host).map(|number| self.wire.isolate(number, false))
    }

    /// Sets the delay of each direction between two hosts: half the round trip.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn set_delay(&self, a: &str, b: &str, one_way: Duration) -> Result<(), HostError> {
        self.change_link(a, b, |link| link.delay = one_way)
    }

    /// Sets the part of packets lost in each direction between two hosts, 0.0 to 1.0.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn set_loss(&self, a: &str, b: &str, loss: f64) -> Result<(), HostError> {
        self.change_link(a, b, |link| link.loss = loss)
    }

    /// Changes both directions between two hosts.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn change_link(&self, a: &str, b: &str, change: impl Fn(&mut Link)) -> Result<(), HostError> {
        self.change_one_way(a, b, &change)?;
        self.change_one_way(b, a, &change)
    }

    /// Changes one direction.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn change_one_way(&self, from: &str, to: &str, change: impl FnOnce(&mut Link)) -> Result<(), HostError> {
        let (from, to) = (self.number(from)?, self.number(to)?);
        self.wire.change(from, to, change);
        Ok(())
    }

    /// The link from one host to another as it is now.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn link(&self, from: &str, to: &str) -> Result<Link, HostError> {
        Ok(self.wire.link(self.number(from)?, self.number(to)?))
    }

    /// What became of all packets from one host to another.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn counters(&self, from: &str, to: &str) -> Result<Counters, HostError> {
        Ok(self.wire.counters(self.number(from)?, self.number(to)?))
    }

    /// Whether [`Lab::cut_host`] has cut the host off.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn is_cut_off(&self, host: &str) -> Result<bool, HostError> {
        Ok(self.wire.is_isolated(self.number(host)?))
    }
}
