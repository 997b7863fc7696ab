//! Which decisions are put down: every one that leads to other answers, at once; and with each report of
//! everything those that were confirmed for another reason, or by figures that lead to other addresses.
//!
//! Invariant: one for each change of the order or of a verdict, and at most one more for each service in an
//! interval of reports; never one for each probe.

use std::collections::BTreeMap;

use dglb_core::{
    decided::{Answered, Decided},
    name::Name,
    rank::Rule,
};

use super::{Effects, Keeper};

/// What was put down last of each service.
#[derive(Debug, Default)]
pub(super) struct PutDown(BTreeMap<Name, (Rule, Answered)>);

impl Keeper {
    /// The decision behind the present ranking of a service, unless that is of an earlier run.
    pub fn decided(&self, service: &Name) -> Option<Decided> {
        self.measurements.decided(service)
    }

    /// The order of this service's sites, or a verdict on one, has changed.
    pub(super) fn put_down(&mut self, service: &Name, effects: &mut Effects) {
        let Some(decided) = self.measurements.decided(service) else { return };
        self.put_down.0.insert(service.clone(), (decided.outcome.rule, decided.answer.clone()));
        effects.decided.push(decided);
    }

    /// Everything has been ranked again, and is answered by its newest figures.
    pub(super) fn put_down_confirmed(&mut self, effects: &mut Effects) {
        let services: Vec<Name> = self.measurements.rankings().map(|(name, _)| name.clone()).collect();
        self.put_down.0.retain(|name, _| services.binary_search(name).is_ok());
        for service in services {
            let Some(decided) = self.measurements.decided(&service) else { continue };
            let last = self.put_down.0.get(&service);
            if last.is_none_or(|(rule, answer)| (*rule, answer) != (decided.outcome.rule, &decided.answer)) {
                self.put_down.0.insert(service, (decided.outcome.rule, decided.answer.clone()));
                effects.decided.push(decided);
            }
        }
    }
}
