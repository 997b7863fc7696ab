//! Owns the truth: what was read, what is published, what the dns-bs said. Everything that happens
//! comes here as an event, one at a time; nobody else changes any of it. What was issued is on the
//! disk before it is on a link.

mod fleet;
mod leave;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::proto::Peer;
use dglb_core::{
    catalogue::ZoneCatalogue,
    identity::Identity,
    name::Name,
    proto::message::{FleetStamp, Message, Resync},
};
use dglb_node::{
    admin::Readiness,
    link::{LinkEvent, LinkId, LinkSender, Named},
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    compose::{Composed, Held, compose},
    config::Config,
    delegation::{Offer, Wanted, merge},
    generation::{Leaving, Origin},
    metrics::Metrics,
    snapshot::{Snapshot, ZoneView},
    source::{Reading, SourceError},
    state::State,
    uplink::Uplink,
};

/// How often what had no room on a link is tried again, and what depends on time is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The conditions of being ready.
pub const READ: &str = "dns-a";
/// See [`READ`].
pub const PUBLISHED: &str = "dns-b";

/// The keeper's inbox.
#[derive(Debug)]
pub struct Inbox {
    /// As it is at the moment; may be replaced while running.
    pub config: watch::Receiver<Arc<Config>>,
    /// What was read.
    pub readings: mpsc::Receiver<Result<Reading, SourceError>>,
    /// What happens on the links; a link's id is its dns-b's place in the configuration.
    pub links: mpsc::Receiver<(LinkId, LinkEvent)>,
    /// Which fleet document the last HELLO of each link named.
    pub named: Vec<Named>,
}

/// Where the keeper's results go.
#[derive(Debug)]
pub struct Outbox {
    /// How zones shall be delegated.
    pub wanted: watch::Sender<BTreeMap<Name, Wanted>>,
    /// What the status shows.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// The fleet document that the next HELLO names.
    pub fleet: watch::Sender<FleetStamp>,
    /// Whether we are ready.
    pub readiness: Readiness,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// What became of a zone's last reading.
#[derive(Debug, Default)]
struct Outcome {
    changed: Option<Instant>,
    error: Option<String>,
    held: Vec<Held>,
    unreadable: Vec<String>,
}

/// The keeper's own.
#[derive(Debug)]
pub struct Keeper {
    config: Arc<Config>,
    origins: BTreeMap<Name, Origin>,
    leaving: BTreeMap<Name, Leaving>,
    outcomes: BTreeMap<Name, Outcome>,
    uplinks: Vec<Uplink>,
    /// The newest fleet document.
    fleet: FleetStamp,
    /// The dns-bs that it names and that are not configured.
    not_dialled: Vec<Identity>,
    /// Those that are linked and have another document.
    disagree: Vec<Identity>,
    read: Option<(u32, Instant)>,
    source_error: Option<String>,
    state: Option<State>,
    state_error: Option<String>,
    /// Something is not on the disk.
    unsaved: bool,
    /// Let the next reading past the guard rails.
    force: bool,
    started: Instant,
    out: Outbox,
}

impl Keeper {
    /// A keeper that goes on after `origins`, which `state` had kept.
    pub fn new(config: Arc<Config>, origins: BTreeMap<Name, Origin>, state: Option<State>, out: Outbox) -> Self {
        out.readiness.wait(READ, "DNS-A was not read yet");
        out.readiness.wait(PUBLISHED, "no dns-b has accepted every zone yet");
        let mut keeper = Self {
            uplinks: config.servers.iter().map(|s| Uplink::new(s.clone(), out.metrics.clone())).collect(),
            force: config.force,
            config,
            origins,
            leaving: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            fleet: FleetStamp::default(),
            not_dialled: Vec::new(),
            disagree: Vec::new(),
            read: None,
            source_error: None,
            state,
            state_error: None,
            unsaved: false,
            started: Instant::now(),
            out,
        };
        keeper.let_leave();
        keeper
    }

    /// Works until told to stop.
    pub async fn run(mut self, mut inbox: Inbox, stop: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut changed = true;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(reading) = inbox.readings.recv() => self.reading(reading),
                Some((link, event)) = inbox.links.recv() => self.link(link, event, &inbox.named),
                Ok(()) = inbox.config.changed() => self.configure(Arc::clone(&inbox.config.borrow_and_update())),
                _ = tick.tick() => changed = self.uplinks.iter().any(Uplink::is_behind),
            }
            if changed {
                self.save().await;
                self.flush();
                self.save().await;
                self.out.snapshot.send_replace(Arc::new(self.snapshot()));
            }
            // Waiting for dns-bs to speak ends by itself, so it is looked at on every tick.
            self.want();
            self.ready();
        }
    }

    fn reading(&mut self, reading: Result<Reading, SourceError>) {
        self.out.metrics.reading(reading.as_ref().ok().map(|r| r.serial));
        match reading {
            Ok(reading) => {
                if self.source_error.take().is_some() {
                    info!(serial = reading.serial, "DNS-A can be read again");
                }
                self.read = Some((reading.serial, Instant::now()));
                self.out.readiness.met(READ);
                self.publish(&reading);
            }
            Err(error) => {
                let error = error.to_string();
                if self.source_error.as_ref() != Some(&error) {
                    warn!("DNS-A cannot be read, what was published stays: {error}");
                    self.source_error = Some(error);
                }
            }
        }
    }

    fn publish(&mut self, reading: &Reading) {
        let force = std::mem::take(&mut self.force);
        let config = Arc::clone(&self.config);
        for zone in &config.zones {
            let last = self.origins.get(&zone.name).and_then(Origin::content);
            let outcome = self.outcomes.entry(zone.name.clone()).or_default();
            match compose(zone, reading, last, force) {
                Ok(Composed { content, held, unreadable }) => {
                    for news in held.iter().filter(|h| !outcome.held.contains(h)) {
                        error!(zone = %zone.name, "{news}");
                    }
                    for news in unreadable.iter().filter(|u| !outcome.unreadable.contains(u)) {
                        warn!(zone = %zone.name, "{news}");
                    }
                    self.out.metrics.held(&zone.name, held.len());
                    self.out.metrics.unreadable(&zone.name, unreadable.len());
                    (outcome.held, outcome.unreadable, outcome.error) = (held, unreadable, None);
                    let issued = self.origins.entry(zone.name.clone()).or_default().offer(&content);
                    self.issued(issued);
                }
                Err(error) => {
                    let error = error.to_string();
                    if outcome.error.as_ref() != Some(&error) {
                        error!(zone = %zone.name, "not published: {error}");
                        outcome.error = Some(error);
                    }
                }
            }
        }
    }

    /// A new generation is to go to everybody.
    fn issued(&mut self, issued: Option<Arc<ZoneCatalogue>>) {
        let Some(catalogue) = issued else { return };
        let (zone, generation) = (&catalogue.zone, catalogue.generation);
        info!(%zone, generation, "publishing");
        self.out.metrics.publication(zone, generation);
        self.outcomes.entry(zone.clone()).or_default().changed = Some(Instant::now());
        self.uplinks.iter_mut().for_each(|uplink| uplink.want(zone));
        self.unsaved = true;
    }

    fn link(&mut self, link: LinkId, event: LinkEvent, named: &[Named]) {
        let Some(index) = usize::try_from(link.0).ok().filter(|i| *i < self.uplinks.len()) else { return };
        let knows = |zone: &Name| self.origins.contains_key(zone) || self.leaving.contains_key(zone);
        let uplink = &mut self.uplinks[index];
        match event {
            LinkEvent::Up { peer, link, .. } => {
                let named = named.get(index).map(Named::stamp).unwrap_or_default();
                self.up(index, (peer, named), link);
            }
            LinkEvent::Down(down) => uplink.down(&down),
            LinkEvent::Message(Message::CatalogueAck(ack)) if knows(&ack.zone) => {
                uplink.acknowledge(ack);
            }
            LinkEvent::Message(Message::Resync(Resync::Catalogue { zone, .. })) if knows(&zone) => {
                self.out.metrics.resync(uplink.identity());
                uplink.want(&zone);
            }
            LinkEvent::Message(Message::Fleet(fleet)) => {
                uplink.fleet(fleet.stamp());
                self.fleet(&fleet);
            }
            LinkEvent::Message(Message::Delegation(delegation)) if self.origins.contains_key(&delegation.zone) => {
                uplink.delegation(delegation);
            }
            // Nobody dials us, and what else a dns-b may say is for other roles.
            LinkEvent::Hello { .. } | LinkEvent::Message(_) => {}
        }
        self.compare_fleets();
    }

    fn up(&mut self, index: usize, peer: (Peer, FleetStamp), link: LinkSender) {
        if let Some(fleet) = self.uplinks[index].up(peer, link) {
            fleet.iter().for_each(|fleet| self.fleet(fleet));
            let zones: Vec<Name> = self.config.zones.iter().map(|z| z.name.clone()).collect();
            self.learn(index, &zones);
            self.say_goodbye(index);
        }
    }

    /// Learns what a dns-b holds of these zones, and sees to it that it gets what it lacks.
    fn learn(&mut self, index: usize, zones: &[Name]) {
        let identity = self.uplinks[index].identity().clone();
        for zone in zones {
            let Some(generation) = self.uplinks[index].held(zone) else { return };
            let origin = self.origins.entry(zone.clone()).or_default();
            match origin.heard(&identity, generation) {
                Ok(Some(issued)) => self.issued(Some(issued)),
                Ok(None) if origin.current().is_some_and(|c| c.generation == generation) => {
                    self.uplinks[index].holds(zone, generation);
                }
                Ok(None) => self.uplinks[index].want(zone),
                Err(absurd) => error!(peer = %identity, %zone, "{absurd}"),
            }
        }
    }

    /// Takes over another configuration; a reading of its names follows by itself.
    fn configure(&mut self, config: Arc<Config>) {
        self.force |= config.force;
        let before = std::mem::replace(&mut self.config, config);
        let zones: BTreeSet<&Name> = self.config.zones.iter().map(|z| &z.name).collect();
        self.outcomes.retain(|zone, _| zones.contains(zone));
        // Links that came up without a zone have brought nothing of it, even if it is an old one.
        let old: BTreeSet<&Name> = before.zones.iter().map(|z| &z.name).collect();
        let new: Vec<Name> = zones.difference(&old).copied().cloned().collect();
        self.let_leave();
        for index in 0..self.uplinks.len() {
            self.learn(index, &new);
        }
    }

    fn flush(&mut self) {
        for uplink in &mut self.uplinks {
            let current = |zone: &Name| leave::current(zone, &self.origins, &self.leaving);
            for zone in uplink.flush(current) {
                if let Some(origin) = self.origins.get_mut(&zone).filter(|_| !self.leaving.contains_key(&zone)) {
                    self.unsaved |= origin.sent(uplink.identity());
                }
            }
        }
    }

    async fn save(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        let Some(state) = self.state.clone() else { return };
        let outcome = match state.encode(&self.origins) {
            Ok(octets) => tokio::task::spawn_blocking(move || state.save(&octets)).await.unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        let failed = outcome.err().map(|e| e.to_string());
        if let Some(error) = failed.as_ref().filter(|e| self.state_error.as_ref() != Some(e)) {
            error!("what was published is not kept: {error}");
        }
        self.unsaved = failed.is_some();
        self.state_error = failed;
    }

    /// Says how the zones shall be delegated: those that at least one dns-b serves, and not before
    /// every dns-b has spoken or had its time, since one alone may be behind the others.
    fn want(&self) {
        let settled = self.started.elapsed() >= self.config.delegation.settle;
        let mut wanted = BTreeMap::new();
        for zone in self.config.zones.iter().map(|z| &z.name) {
            let offers: Vec<&Offer> = self.uplinks.iter().filter_map(|u| u.offer(zone)).collect();
            let served = self.uplinks.iter().any(|u| u.serves(zone));
            if served
                && (settled || offers.len() == self.uplinks.len())
                && let Some(merged) = merge(offers.into_iter())
            {
                wanted.insert(zone.clone(), merged);
            }
        }
        self.out.wanted.send_if_modified(|old| {
            let modified = *old != wanted;
            *old = wanted;
            modified
        });
    }

    fn ready(&self) {
        let zones = || self.config.zones.iter().map(|z| &z.name);
        if self.uplinks.iter().any(|uplink| zones().all(|zone| uplink.serves(zone))) {
            self.out.readiness.met(PUBLISHED);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let zone = |name: &Name| {
            let outcome = self.outcomes.get(name);
            ZoneView {
                name: name.clone(),
                catalogue: self.origins.get(name).and_then(Origin::current).cloned(),
                changed: outcome.and_then(|o| o.changed),
                error: outcome.and_then(|o| o.error.clone()),
                held: outcome.map(|o| o.held.clone()).unwrap_or_default(),
                unreadable: outcome.map(|o| o.unreadable.clone()).unwrap_or_default(),
            }
        };
        Snapshot {
            read: self.read,
            source_error: self.source_error.clone(),
            state_error: self.state_error.clone(),
            fleet: self.fleet.serial,
            disagree: self.disagree.clone(),
            not_dialled: self.not_dialled.clone(),
            zones: self.config.zones.iter().map(|z| zone(&z.name)).collect(),
            leaving: self.leaving.iter().map(|(zone, leaving)| (zone.clone(), leaving.current())).collect(),
            uplinks: self.uplinks.iter().map(Uplink::view).collect(),
        }
    }
}
