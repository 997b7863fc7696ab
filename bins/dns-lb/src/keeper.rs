//! Owns what this DNS-LB knows: catalogues, fleet document, samples, rankings; and what follows
//! from it: what is probed, answered and reported. Pure: events and the time come in, effects
//! go out.
//!
//! Invariant: nobody else changes any of it, and whatever dns-b said, newer wins over older and a
//! refused message changes nothing.

mod adopt;
mod asked;
mod cut_off;
mod decisions;
mod demand;
mod events;
mod keep;
mod known;
mod ranked;
mod residence;
mod steering;
mod want;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::ZoneCatalogue,
    directory::{Directory, FirstQuestion, LbIndex, LbState},
    fleet::Fleet,
    identity::Identity,
    index::Seed,
    name::Name,
    proto::message::{FleetStamp, Message, Resync, Welcome},
    rank::Here,
};
use dglb_probe::prober::Sample;

pub use events::{Effects, Event};
pub use keep::{FILE, Restored, SCHEMA};

use crate::{
    measurements::Measurements,
    metrics::{Metrics, ProbeLabels},
    proof::Proofs,
    registration::{Claim, Registration},
    reports::Reports,
    self_check::SelfCheck,
};
use asked::{Asked, Wish};
use decisions::PutDown;
use demand::Demand;
use steering::Steering;
use want::Wanted;

/// What the keeper is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this DNS-LB is.
    pub identity: Identity,
    /// What it claims.
    pub claim: Claim,
    /// Every dns-b.
    pub servers: Vec<Identity>,
    /// How long a service's first ranking waits for its slowest address.
    pub settle: Duration,
    /// Between two reports of everything.
    pub digest: Duration,
    /// Between two checks whether the ISP's users reach this DNS-LB; zero for none.
    pub self_check: Duration,
    /// What is answered for a service that was not ranked yet.
    pub first_question: FirstQuestion,
    /// A question for figures older than this makes them new before their time.
    pub on_demand_after: Duration,
    /// Where it is, and in which groups.
    pub here: Here,
}

/// See the module's description.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    directory: Directory,
    own: LbIndex,
    catalogues: BTreeMap<Name, ZoneCatalogue>,
    /// Zones that are gone, with the generation in which they went.
    withdrawn: BTreeMap<Name, u64>,
    /// The dns-bs whose link is up.
    linked: BTreeSet<Identity>,
    wanted: Wanted,
    fleet: Option<Arc<Fleet>>,
    /// Which document that is.
    stamp: FleetStamp,
    /// The fleet document of every dns-b that is connected.
    fleets: BTreeMap<Identity, FleetStamp>,
    /// The dns-bs whose operator drains this DNS-LB.
    drained_by: BTreeSet<Identity>,
    /// The dns-bs of the fleet document that this DNS-LB is not told to dial.
    not_dialled: Vec<Identity>,
    /// The generations that connected dns-bs offer of zones of which a newer one is in use.
    behind: BTreeMap<(Identity, Name), u64>,
    /// Some dns-b has told all of its catalogues; until then nobody knows which names are ours.
    told: bool,
    measurements: Measurements,
    registration: Registration,
    reports: Reports,
    proofs: Proofs,
    self_check: SelfCheck,
    next_digest: Instant,
    metrics: Metrics,
    kept: keep::Kept,
    steering: Steering,
    /// The sites of each service that need not be probed often.
    calm: BTreeMap<Name, BTreeSet<String>>,
    asked: Asked,
    demand: Demand,
    put_down: PutDown,
}

impl Keeper {
    /// A DNS-LB that knows nothing and answers "not ready".
    pub fn new(settings: Settings, metrics: Metrics, now: Instant) -> Self {
        let first_question = settings.first_question;
        let of_directory = dglb_core::directory::Settings { first_question, ..Default::default() };
        let mut directory = Directory::seeded(of_directory, Seed(rand::random()));
        let own = directory.upsert_lb(&settings.identity, &settings.claim.addresses);
        directory.set_own(own);
        directory.set_awaiting_any(true);
        directory.update_lb(own, |lb| lb.state = LbState::Alive);
        let mut measurements = Measurements::new(settings.settle);
        // Nothing is ranked yet.
        let _ = measurements.move_to(settings.here.clone(), now);
        let keeper = Self {
            directory,
            own,
            catalogues: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            linked: BTreeSet::new(),
            wanted: Wanted::default(),
            fleet: None,
            stamp: FleetStamp::default(),
            fleets: BTreeMap::new(),
            drained_by: BTreeSet::new(),
            not_dialled: Vec::new(),
            behind: BTreeMap::new(),
            told: false,
            measurements,
            registration: Registration::new(settings.claim.clone(), settings.servers.clone()),
            reports: Reports::new(metrics.reports_sent.clone(), metrics.reports_acknowledged.clone()),
            proofs: Proofs::default(),
            self_check: SelfCheck::new(settings.self_check),
            next_digest: now + settings.digest,
            metrics,
            settings,
            kept: keep::Kept::default(),
            steering: Steering::default(),
            calm: BTreeMap::new(),
            asked: Asked::default(),
            demand: Demand::default(),
            put_down: PutDown::default(),
        };
        keeper.gauge();
        keeper
    }

    /// It is so many seconds since 1970 now.
    pub fn set_clock(&mut self, unix: u64) {
        self.measurements.set_clock(unix);
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, event: Event, now: Instant) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Sample(sample) => {
                self.sample(&sample, &mut effects);
                if !effects.answers {
                    return effects;
                }
            }
            Event::Resolvers(resolvers) => {
                let claim = Claim { resolvers, ..self.registration.claim().clone() };
                self.claim(claim, &mut effects);
            }
            Event::LookedUp(look_up, text) => effects.send.extend(self.proofs.answered(look_up, text)),
            Event::Arrived(resolver, arrived) => self.arrived(resolver, arrived),
            Event::Addresses(addresses) => {
                let claim = Claim { addresses, ..self.registration.claim().clone() };
                self.claim(claim, &mut effects);
            }
            Event::Claim(claim) => self.claim(claim, &mut effects),
            Event::Forced(service, site, forced) => {
                tracing::warn!(%service, site, ?forced, "the operator forces a site");
                let change = self.measurements.force(&service, site, forced, now);
                self.ranked(change.into_iter().collect(), Vec::new(), &mut effects);
            }
            Event::Here(here) => {
                let changes = self.measurements.move_to(here, now);
                self.ranked(changes, Vec::new(), &mut effects);
            }
            Event::Up(server, welcome, named) => {
                if self.measurements.is_cut_off() {
                    self.measurements.judge_anew(now);
                    self.reached_again(&mut effects);
                }
                self.up(&server, *welcome, named, &mut effects);
            }
            Event::Said(server, message) => self.said(server, message, now, &mut effects),
            Event::Asked(name) => self.asked(&name, now, &mut effects),
            Event::Down(server) => {
                self.linked.remove(&server);
                self.fleets.remove(&server);
                self.behind.retain(|(behind, _), _| *behind != server);
                self.reports.down(&server);
                self.steering_down(&server);
                self.asked.down(&server);
                self.settle_shares(now, &mut effects);
                self.proofs.down(&server);
                effects.send.extend(self.registration.down(&server));
            }
            Event::Tick => self.tick(now, &mut effects),
        }
        self.gauge();
        effects
    }

    fn sample(&mut self, sample: &Sample, effects: &mut Effects) {
        let labels = ProbeLabels { kind: sample.target.probe.kind.as_str(), outcome: sample.outcome.as_str() };
        self.metrics.probes.get_or_create(&labels).inc();
        self.metrics.abnormal_ends.inc_by(sample.outcome.is_abnormal_end().into());
        let was_cut_off = self.measurements.is_cut_off();
        if let Some(change) = self.measurements.record(sample) {
            self.ranked(vec![change], Vec::new(), effects);
        }
        if was_cut_off && !self.measurements.is_cut_off() {
            self.reached_again(effects);
        }
    }

    fn up(&mut self, server: &Identity, welcome: Welcome, named: FleetStamp, effects: &mut Effects) {
        self.linked.insert(server.clone());
        // One that still drains this DNS-LB says so again.
        self.drained_by.remove(server);
        match welcome.fleet {
            Some(fleet) => self.adopt_fleet(server, fleet, effects),
            // It holds the document that HELLO named, which may be an older one by now.
            None => drop(self.fleets.insert(server.clone(), named)),
        }
        self.steering_up(server);
        self.compare_zones(server, &welcome.catalogues, effects);
        effects.send.extend(self.registration.up(server, welcome.map_generation));
        effects.send.extend(self.reports.up(server, welcome.report_generation));
    }

    fn said(&mut self, server: Identity, message: Message, now: Instant, effects: &mut Effects) {
        // A dns-b tells all of its catalogues before it says anything about what it was told.
        if !self.told && matches!(message, Message::MapAck(_) | Message::ReportAck(_)) {
            self.told = true;
            self.directory.set_awaiting_any(false);
            effects.answers = true;
        }
        match message {
            Message::Fleet(fleet) => self.adopt_fleet(&server, *fleet, effects),
            Message::MapAck(ack) => effects.send.extend(self.registration.acknowledged(&server, &ack)),
            Message::Challenge(challenge) => self.challenged(&server, &challenge, now, effects),
            Message::Seen(seen) => self.seen(&server, seen, now),
            Message::ReportAck(ack) => effects.send.extend(self.reports.acknowledged(&server, ack)),
            Message::Resync(Resync::Map) => self.wished(&server, Wish::Map, now, effects),
            Message::Resync(Resync::Report) | Message::GetReport => self.wished(&server, Wish::Report, now, effects),
            Message::Catalogue(update) => self.news(server, *update, now, effects),
            Message::Verdict(verdict) => self.verdict(&server, verdict, now, effects),
            Message::Budget(budget) => self.budget(&server, &budget, now, effects),
            Message::Drain(true) => drop(self.drained_by.insert(server)),
            Message::Drain(false) => drop(self.drained_by.remove(&server)),
            // The session lets nothing else through to this side; of a later version it is skipped.
            _ => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) {
        self.settle_shares(now, effects);
        self.look_after_residence(now, effects);
        self.grant_due(now, effects);
        let due = self.measurements.due(now);
        self.ranked(due, Vec::new(), effects);
        self.look_at_ourselves(effects);
        self.meet_demand(now, effects);
        if now >= self.next_digest {
            self.next_digest = now + self.settings.digest;
            effects.send.extend(self.reports.digest());
            // Answers with several addresses go by the figures, too.
            let rankings: Vec<_> = self.measurements.rankings().filter_map(|(_, r)| r.cloned()).collect();
            effects.answers |= !rankings.is_empty();
            self.answer_with(&rankings);
            self.keep_rankings(rankings.iter().map(|ranking| &ranking.service));
            self.put_down_confirmed(effects);
        }
    }
}

#[cfg(test)]
mod tests;
