//! Zones that the configuration withdraws: no dns-b is to serve them any longer.
//!
//! Invariant: only a zone that is named under `withdraw` leaves; one that is merely no longer
//! configured stays as it was published.

use std::collections::BTreeMap;

use dglb_core::{
    catalogue::{CatalogueUpdate, Withdrawal, ZoneCatalogue},
    name::Name,
    proto::message::Message,
};
use tracing::{error, info};

use super::Keeper;
use crate::generation::{Leaving, Origin};

impl Keeper {
    /// Takes over which zones leave. One that stays after all is published with a generation above
    /// that of its withdrawal.
    pub(super) fn let_leave(&mut self) {
        let before = std::mem::take(&mut self.leaving);
        for zone in &self.config.withdraw {
            let leaving = || Leaving::after(self.origins.get(zone));
            self.leaving.entry(zone.clone()).or_insert_with(leaving);
        }
        for (zone, leaving) in before {
            if let Some(now) = self.leaving.get_mut(&zone) {
                *now = leaving;
            } else if let (Some(gone), Some(uplink)) = (leaving.current(), self.uplinks.first()) {
                let identity = uplink.identity().clone();
                if let Ok(issued) = self.origins.entry(zone).or_default().heard(&identity, gone) {
                    self.issued(issued);
                }
            }
        }
        (0..self.uplinks.len()).for_each(|index| self.say_goodbye(index));
    }

    /// Sees to it that a dns-b whose link is up serves none of the zones that leave.
    pub(super) fn say_goodbye(&mut self, index: usize) {
        let uplink = &mut self.uplinks[index];
        let mut renewed = Vec::new();
        for (zone, leaving) in &mut self.leaving {
            let Some(held) = uplink.held(zone) else { return };
            match leaving.heard(held) {
                Ok(true) => renewed.push(zone.clone()),
                Ok(false) if leaving.current().is_some_and(|gone| gone > held) => uplink.want(zone),
                Ok(false) => {}
                Err(absurd) => error!(peer = %uplink.identity(), %zone, "{absurd}"),
            }
        }
        for zone in renewed {
            info!(%zone, "withdrawing");
            self.uplinks.iter_mut().for_each(|uplink| uplink.want(&zone));
        }
    }
}

/// What is to be said of a zone now.
pub(super) fn current(
    zone: &Name,
    origins: &BTreeMap<Name, Origin>,
    leaving: &BTreeMap<Name, Leaving>,
) -> Option<Message> {
    if let Some(leaving) = leaving.get(zone) {
        let gone = Withdrawal { zone: zone.clone(), generation: leaving.current()? };
        return Some(Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(gone))));
    }
    let catalogue = origins.get(zone).and_then(Origin::current)?;
    Some(Message::snapshot(ZoneCatalogue::clone(catalogue)))
}
