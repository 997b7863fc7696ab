//! A DNS-LB's process: the real keeper, with registration and reports, and what is around it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::FirstQuestion,
    identity::Identity,
    load::Told,
    proto::message::{BootId, FleetStamp, Message, Welcome},
    rank::Here,
};
use dglb_probe::{
    probe::{Failure, Outcome, Times},
    prober::{Sample, Target},
};
use dns_lb::{
    keeper::{Effects, Event, Keeper, Settings},
    metrics::Metrics,
    registration::Claim,
};

/// See the module's description.
#[derive(Debug)]
pub struct DnsLb {
    /// What it knows.
    pub keeper: Keeper,
    /// This run.
    pub boot: BootId,
    /// The link to each dns-b that is up.
    pub links: BTreeMap<Identity, u64>,
    /// What is to be sent.
    pub outbox: Vec<(Identity, Message)>,
    targets: Vec<Arc<Target>>,
    /// The directory has changed.
    pub changed: bool,
}

impl DnsLb {
    /// Just started.
    pub fn new(identity: Identity, claim: Claim, servers: Vec<Identity>, (boot, now): (BootId, Instant)) -> Self {
        let (settle, digest) = (Duration::from_secs(2), Duration::from_secs(4));
        let self_check = Duration::ZERO;
        let (first_question, on_demand_after) = (FirstQuestion::default(), Duration::from_secs(60));
        let here = Here::default();
        let settings =
            Settings { identity, claim, servers, settle, digest, self_check, first_question, on_demand_after, here };
        Self {
            keeper: Keeper::new(settings, Metrics::default(), now),
            boot,
            links: BTreeMap::new(),
            outbox: Vec::new(),
            targets: Vec::new(),
            changed: true,
        }
    }

    /// The link to a dns-b is up.
    pub fn up(&mut self, link: u64, welcome: Box<Welcome>, now: Instant) {
        let server = welcome.identity.clone();
        self.links.insert(server.clone(), link);
        self.handle(Event::Up(server, welcome, FleetStamp::default()), now);
    }

    /// A dns-b said something.
    pub fn said(&mut self, server: &Identity, message: Message, now: Instant) {
        self.handle(Event::Said(server.clone(), message), now);
    }

    /// The link to a dns-b is down, or could not be had.
    pub fn down(&mut self, server: &Identity, now: Instant) {
        self.links.remove(server);
        self.handle(Event::Down(server.clone()), now);
    }

    /// Time went by.
    pub fn tick(&mut self, now: Instant) {
        self.handle(Event::Tick, now);
    }

    /// The DNS-ISP has other addresses.
    pub fn remap(&mut self, claim: Claim, now: Instant) {
        self.handle(Event::Claim(claim), now);
    }

    /// Probes everything once; `latency` says how far an address is, `None` if it does not answer.
    pub fn probe(&mut self, latency: impl Fn(IpAddr) -> Option<Duration>, now: Instant) {
        for target in self.targets.clone() {
            let outcome = match latency(target.address) {
                Some(connect) => Outcome::Good(Times { connect, whole: connect, ..Times::default() }),
                None => Outcome::Failed(Failure::Refused),
            };
            self.handle(Event::Sample(Sample { target, outcome, told: Told::default(), at: now }), now);
        }
    }

    fn handle(&mut self, event: Event, now: Instant) {
        let Effects { send, answers, targets, .. } = self.keeper.handle(event, now);
        self.outbox.extend(send);
        self.changed |= answers;
        if targets {
            self.targets = self.keeper.targets().into_iter().map(Arc::new).collect();
        }
    }
}
