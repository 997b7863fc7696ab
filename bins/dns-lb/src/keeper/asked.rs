//! How often a dns-b gets what it asks for: whatever it says, this DNS-LB does not do much more than it
//! would have done anyhow.
//!
//! Invariant: of each thing a dns-b gets three at once and then one in [`PAUSE`] seconds; what it asks
//! for meanwhile it gets once, when that time is over.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use dglb_core::{
    allowance::{Allowance, Rate},
    identity::Identity,
    name::Name,
};

use super::{Effects, Keeper};

/// Seconds between two times, in the long run.
const PAUSE: u64 = 10;
/// A second earns one, and one time takes [`PAUSE`] of them.
const RATE: Rate = Rate { per_second: 1, at_once: 3 * PAUSE };

/// What a dns-b may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// MAP.
    Map,
    /// REPORT with everything.
    Report,
}

/// What was asked for, and how often.
#[derive(Debug, Default)]
pub(super) struct Asked {
    wishes: BTreeMap<(Identity, Wish), Turn>,
    /// Sites of services that were probed at once.
    probed: HashMap<(Name, String), Allowance>,
}

#[derive(Debug, Default)]
struct Turn {
    used: Allowance,
    /// It was asked for too soon.
    owed: bool,
}

impl Asked {
    /// A dns-b asks for something; whether it gets it now.
    fn ask(&mut self, server: &Identity, wish: Wish, now: Instant) -> bool {
        let turn = self.wishes.entry((server.clone(), wish)).or_default();
        turn.owed = turn.used.try_take(RATE, PAUSE, now).is_err();
        !turn.owed
    }

    /// Who gets now what it has asked for before.
    fn due(&mut self, now: Instant) -> Vec<(Identity, Wish)> {
        let owed = self.wishes.iter_mut().filter(|(_, turn)| turn.owed);
        let due = owed.filter_map(|(key, turn)| {
            turn.owed = turn.used.try_take(RATE, PAUSE, now).is_err();
            (!turn.owed).then(|| key.clone())
        });
        due.collect()
    }

    /// The link to a dns-b is down: the next one brings both sides together anyhow.
    pub(super) fn down(&mut self, server: &Identity) {
        self.wishes.iter_mut().filter(|((of, _), _)| of == server).for_each(|(_, turn)| turn.owed = false);
    }

    /// Whether a site of a service is probed at once one more time.
    pub(super) fn probe(&mut self, site: &(Name, String), now: Instant) -> bool {
        self.probed.entry(site.clone()).or_default().try_take(RATE, PAUSE, now).is_ok()
    }

    fn forget(&mut self, now: Instant) {
        self.probed.retain(|_, used| !used.is_full(now));
    }
}

impl Keeper {
    /// A dns-b wants everything about something.
    pub(super) fn wished(&mut self, server: &Identity, wish: Wish, now: Instant, effects: &mut Effects) {
        if self.asked.ask(server, wish, now) {
            self.grant(server, wish, effects);
        } else {
            self.metrics.put_off.inc();
        }
    }

    /// What was put off and is due.
    pub(super) fn grant_due(&mut self, now: Instant, effects: &mut Effects) {
        for (server, wish) in self.asked.due(now) {
            self.grant(&server, wish, effects);
        }
        self.asked.forget(now);
    }

    fn grant(&mut self, server: &Identity, wish: Wish, effects: &mut Effects) {
        effects.send.extend(match wish {
            Wish::Map => self.registration.resync(server),
            Wish::Report => self.reports.resync(server),
        });
    }
}
