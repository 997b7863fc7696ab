//! Services that are probed seldom, and what happens when somebody asks for one: whatever answers raises a
//! flag, and what is old by then is probed before it is due. The answer itself waits for nothing.
//!
//! Invariant: questions never make more probes than one of each address in the time after which figures are
//! old, and no more than a ceiling's share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dglb_core::{catalogue::Service, name::Name};

use super::{Effects, Keeper};

/// The flags of such services.
pub(super) type Demand = BTreeMap<Name, Arc<AtomicBool>>;

impl Keeper {
    /// After a change of a catalogue.
    pub(super) fn watch_demand(&mut self) {
        let after = self.settings.on_demand_after;
        let interval = |ms: u32| Duration::from_millis(ms.into());
        let seldom = |service: &&Service| service.probes.iter().any(|probe| interval(probe.interval_ms) > after);
        let services = self.catalogues.values().flat_map(|zone| &zone.services);
        let seldom: BTreeSet<Name> = services.filter(seldom).map(|service| service.name.clone()).collect();
        let directory = &mut self.directory;
        self.demand.retain(|service, _| {
            let still = seldom.contains(service);
            if !still {
                directory.set_demand(service, None);
            }
            still
        });
        for service in seldom {
            let flag = self.demand.entry(service.clone()).or_default();
            directory.set_demand(&service, Some(Arc::clone(flag)));
        }
    }

    /// Probes what somebody has asked for and is old.
    pub(super) fn meet_demand(&mut self, now: Instant, effects: &mut Effects) {
        // It may be raised again at once; then it is seen at the next tick.
        let asked = self.demand.iter().filter(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        for (service, _) in asked {
            for site in self.measurements.old_sites(service, self.settings.on_demand_after, now) {
                let key = (service.clone(), site);
                if self.asked.probe(&key, now) {
                    self.metrics.probed_on_demand.inc();
                    effects.probe_now.push(key);
                }
            }
        }
    }
}
