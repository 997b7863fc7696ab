//! What dns-bs say of probing: VERDICT and BUDGET (design sections 5 and 6).
//!
//! Invariant: no dns-b's word marks a site down. A verdict makes this DNS-LB look for itself, once more
//! than half of the dns-bs that it is linked to say so; a budget only slows probing down.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Instant,
};

use dglb_core::{
    catalogue::{Probe, Service},
    identity::Identity,
    name::Name,
    proto::message::{Budget, BudgetAck, Message, Verdict},
};
use dglb_probe::{
    pace::{Effective, effective},
    shares::{InForce, Share, Shares},
};

use super::{Effects, Keeper};

/// What the dns-bs say of probing.
#[derive(Debug, Default)]
pub(super) struct Steering {
    shares: Shares,
    connected: BTreeSet<Identity>,
    /// Who calls which site of which service down.
    down: HashMap<(Name, String), BTreeSet<Identity>>,
}

impl Keeper {
    pub(super) fn steering_up(&mut self, server: &Identity) {
        self.steering.connected.insert(server.clone());
        self.steering.shares.up(server);
    }

    pub(super) fn steering_down(&mut self, server: &Identity) {
        self.steering.connected.remove(server);
        self.steering.shares.down(server);
        self.steering.down.retain(|_, by| {
            by.remove(server);
            !by.is_empty()
        });
    }

    /// A quorum of POPs, as a dns-b sees it, says something of a site.
    pub(super) fn verdict(&mut self, server: &Identity, verdict: Verdict, now: Instant, effects: &mut Effects) {
        self.metrics.verdicts.inc();
        let Verdict { service, site, down, .. } = verdict;
        // Only of what is measured here: there is no end of other names.
        let has_it = |s: &Service| s.name == service && s.sites.iter().any(|held| held.name == site);
        if !self.catalogues.values().flat_map(|zone| &zone.services).any(has_it) {
            return;
        }
        let connected = self.steering.connected.len();
        let key = (service, site);
        if !down {
            if let Some(by) = self.steering.down.get_mut(&key) {
                by.remove(server);
                if by.is_empty() {
                    self.steering.down.remove(&key);
                }
            }
            return;
        }
        let by = self.steering.down.entry(key.clone()).or_default();
        let before = by.len();
        by.insert(server.clone());
        if by.len() * 2 > connected && before * 2 <= connected && self.asked.probe(&key, now) {
            let (service, site) = &key;
            tracing::info!(%service, site, by = by.len(), of = connected, "called down: it is probed at once");
            self.metrics.probed_at_once.inc();
            effects.probe_now.push(key);
        }
    }

    /// A dns-b's shares. What is acknowledged is what the prober is told before the message goes.
    pub(super) fn budget(&mut self, server: &Identity, budget: &Budget, now: Instant, effects: &mut Effects) {
        self.steering.shares.give(server, budget);
        self.settle_shares(now, effects);
        let ack = BudgetAck { generation: budget.generation };
        effects.send.push((server.clone(), Message::BudgetAck(ack)));
    }

    /// After a change of a catalogue.
    pub(super) fn renew_ceilings(&mut self, now: Instant, effects: &mut Effects) {
        let services = self.catalogues.values().flat_map(|zone| &zone.services);
        let limited: BTreeSet<_> = services.flat_map(Service::probe_ceilings).map(|(address, _)| address).collect();
        self.steering.shares.limit(limited, now);
        let catalogues = &self.catalogues;
        let has_it = |service: &Name, site: &String| {
            let services = catalogues.values().filter_map(|zone| zone.service(service));
            services.flat_map(|s| &s.sites).any(|held| held.name == *site)
        };
        self.steering.down.retain(|(service, site), _| has_it(service, site));
        self.calm.retain(|service, _| catalogues.values().any(|zone| zone.service(service).is_some()));
        self.settle_shares(now, effects);
    }

    /// What holds for the addresses that have a ceiling.
    pub(super) fn settle_shares(&mut self, now: Instant, effects: &mut Effects) {
        if let Some(in_force) = self.steering.shares.settle(now) {
            let waiting = in_force.values().filter(|share| share.interval().is_none()).count();
            self.metrics.ceilings.set(in_force.len() as i64);
            self.metrics.without_share.set(waiting as i64);
            effects.shares = Some(in_force);
        }
    }

    /// What was read back from before a restart has its ceilings, too.
    pub fn ceilings(&mut self, now: Instant) -> Option<InForce> {
        let mut effects = Effects::default();
        self.renew_ceilings(now, &mut effects);
        effects.shares
    }

    /// The shares of the addresses that have a ceiling, with how many probes go to each.
    pub fn shares(&self) -> Vec<(IpAddr, Share, u32)> {
        let targets = self.targets_of_addresses();
        let in_force = self.steering.shares.in_force().iter();
        let mut shares: Vec<_> =
            in_force.map(|(address, share)| (*address, *share, targets.get(address).copied().unwrap_or(0))).collect();
        shares.sort_unstable_by_key(|(address, ..)| *address);
        shares
    }

    /// The sites of each service that need not be probed often.
    pub fn calm(&self) -> impl Iterator<Item = (&Name, &BTreeSet<String>)> {
        self.calm.iter()
    }

    /// What each probe of a service comes to, at the address where it takes longest; `None` where an
    /// address may not be probed at all. `targets` is [`Keeper::targets_of_addresses`].
    pub fn effective<'s>(
        &self,
        service: &'s Service,
        targets: &HashMap<IpAddr, u32>,
    ) -> Vec<(&'s Probe, Option<Effective>)> {
        let shares = self.steering.shares.in_force();
        let of_probe = |probe: &'s Probe| {
            let addresses = service.sites.iter().flat_map(|site| &site.addresses);
            let each = addresses.map(|address| {
                effective(probe, shares.get(address).copied(), targets.get(address).copied().unwrap_or(1))
            });
            let worst = each.reduce(|a, b| a.zip(b).map(|(a, b)| if a.until_down >= b.until_down { a } else { b }));
            (probe, worst.flatten())
        };
        service.probes.iter().map(of_probe).collect()
    }

    /// How many probes go to each address.
    pub fn targets_of_addresses(&self) -> HashMap<IpAddr, u32> {
        let mut targets: HashMap<_, u32> = HashMap::new();
        for target in self.measurements.targets() {
            *targets.entry(target.address).or_default() += 1;
        }
        targets
    }

    /// The sites that a dns-b calls down, by how many.
    pub fn called_down(&self) -> impl Iterator<Item = (&Name, &str, usize)> {
        self.steering.down.iter().map(|((service, site), by)| (service, site.as_str(), by.len()))
    }
}
