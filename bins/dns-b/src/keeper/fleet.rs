//! Whether those who are linked hold the fleet document that is held here: each names its own in HELLO.
//!
//! Invariant: nothing of a document is taken over from a peer. The operator's file is the operator's word;
//! a newer one elsewhere shows that this file is old, another of the same serial that somebody changed
//! it without raising that. Both are for the operator to mend, so both are an alarm.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use dglb_core::{
    fleet::Fleet,
    identity::Identity,
    proto::message::{FleetStamp, Message},
};
use serde_json::{Value, json};

use super::{Keeper, LinkId};

/// Between two lines of the log about it: a peer that dials again and again is one alarm.
const QUIET: Duration = Duration::from_secs(600);
/// Most peers that the status names.
const NAMED: usize = 10;

/// What the documents of others are compared with.
#[derive(Debug)]
pub(super) struct Agreement {
    /// The document in use; computed once, as every HELLO is compared with it.
    stamp: FleetStamp,
    /// When a line of the log last said that somebody has another.
    told: Option<Instant>,
}

/// What a peer's document is beside the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Same,
    /// Or it has none.
    Older,
    Newer,
    /// Of the same serial.
    Other,
}

impl Agreement {
    /// About this document.
    pub(super) fn on(fleet: &Fleet) -> Self {
        Self { stamp: fleet.stamp(), told: None }
    }

    /// Whether a peer has to be told of the document in use.
    pub(super) fn is_other(&self, theirs: FleetStamp) -> bool {
        theirs != self.stamp
    }

    fn beside(&self, theirs: FleetStamp) -> Beside {
        let ours = self.stamp;
        match theirs.serial.cmp(&ours.serial) {
            _ if theirs.digest == 0 => Beside::Older,
            Ordering::Less => Beside::Older,
            Ordering::Greater => Beside::Newer,
            Ordering::Equal if theirs.digest == ours.digest => Beside::Same,
            Ordering::Equal => Beside::Other,
        }
    }

    /// What a peer holds that was just told of the document in use: an older one gives way.
    pub(super) fn held_after(&self, theirs: FleetStamp) -> FleetStamp {
        if self.beside(theirs) == Beside::Older { self.stamp } else { theirs }
    }
}

impl Keeper {
    /// A peer that is let in names its document.
    pub(super) fn compare_fleet(&mut self, identity: &Identity, theirs: FleetStamp, now: Instant) {
        let what = match self.agreement.beside(theirs) {
            Beside::Same | Beside::Older => return,
            Beside::Newer => "a peer holds a newer fleet document; the file here is old",
            Beside::Other => "a peer holds another fleet document of the same serial",
        };
        if self.agreement.told.is_none_or(|at| now.duration_since(at) >= QUIET) {
            self.agreement.told = Some(now);
            tracing::error!(peer = %identity, theirs = theirs.serial, ours = self.fleet.serial, "{what}");
        }
    }

    /// From now on this document is in use, and everybody is told.
    pub(super) fn use_fleet(&mut self, fleet: &Fleet) {
        self.fleet.clone_from(fleet);
        self.agreement = Agreement::on(fleet);
        self.directory.set_fleet(fleet.clone());
        self.keep_fleet();
        for link in self.links.values_mut() {
            link.fleet = self.agreement.held_after(link.fleet);
        }
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, Message::Fleet(Box::new(fleet.clone())));
            self.send_delegations(link, |_| true);
        }
    }

    /// How many of those who are linked hold a newer document, and another of the same serial.
    pub(super) fn count_fleets(&self) -> (u64, u64) {
        let count = |what| self.holding(what).count() as u64;
        (count(Beside::Newer), count(Beside::Other))
    }

    /// The same for the status, some of them by name.
    pub(super) fn fleet_status(&self) -> Value {
        let names = |what| {
            let mut names: Vec<_> = self.holding(what).collect();
            names.sort();
            names.truncate(NAMED);
            names
        };
        json!({
            "serial": self.fleet.serial,
            "dns_bs": self.fleet.servers.len(),
            "newer_at": names(Beside::Newer),
            "other_at": names(Beside::Other),
        })
    }

    fn holding(&self, what: Beside) -> impl Iterator<Item = &Identity> {
        self.links.values().filter(move |link| self.agreement.beside(link.fleet) == what).map(|link| &link.identity)
    }
}
