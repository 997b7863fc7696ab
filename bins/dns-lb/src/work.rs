//! The one task that owns the keeper: it waits for whatever happens next and carries out what
//! follows.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dglb_core::{directory::Directory, name::Name, published::Publisher};
use dglb_node::{
    admin::{Readiness, Request},
    decisions::Record,
    explain::Question,
    journal::Journal,
    serve::Content,
    store::Committer,
};
use dglb_probe::{
    prober::{Prober, Sample},
    trust::Trust,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    addresses,
    config::{Config, Isp},
    explain::{ROLES, explained},
    force,
    isp::Asker,
    keeper::{Event, Keeper},
    metrics::Metrics,
    registration::{Claim, Outgoing},
    resolver,
    status::status,
    uplink::Uplink,
};

/// How often the keeper hears that time goes by.
const TICK: Duration = Duration::from_millis(250);
/// How old the figures in the status may be; changes of any other kind are shown at the next tick.
const REFRESH: Duration = Duration::from_secs(2);
/// Samples that wait for the keeper; while it is full, probing waits.
const SAMPLES: usize = 1_024;

/// Acknowledgements that may wait for the store.
const WAITING: usize = 1_000;

/// Conditions of readiness.
const LINK: &str = "link";
const RANKING: &str = "ranking";

/// Where things come from that happen.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) uplink: Uplink,
    /// Names that somebody asked for and that had to be relayed.
    pub(crate) asked: mpsc::Receiver<Name>,
    /// What the operator wants explained.
    pub(crate) requests: mpsc::Receiver<Request>,
    /// What serving threads answer from, to explain it.
    pub(crate) content: Content,
}

/// Where the keeper's truth is shown.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) publisher: Publisher<Directory>,
    /// Whom questions are relayed to.
    pub(crate) relay: watch::Sender<Arc<[SocketAddr]>>,
    pub(crate) shown: watch::Sender<Arc<Value>>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

/// What of the configuration says where this DNS-LB is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    isp: Isp,
    addresses: addresses::Source,
}

impl Place {
    pub(crate) fn of(config: &Config) -> Self {
        Self { isp: config.isp.clone(), addresses: config.dns.advertise.clone() }
    }
}

/// What is watched of the host; each watcher ends with its handle.
struct Watched {
    resolvers: mpsc::Receiver<Vec<IpAddr>>,
    addresses: mpsc::Receiver<Vec<IpAddr>>,
    _watchers: [AbortOnDropHandle<()>; 2],
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Work {
    keeper: Keeper,
    uplink: Uplink,
    prober: Prober,
    samples: mpsc::Receiver<Sample>,
    /// Names that somebody asked for and that had to be relayed.
    asked: mpsc::Receiver<Name>,
    requests: mpsc::Receiver<Request>,
    content: Content,
    place: Place,
    asker: Asker,
    answers: mpsc::Receiver<Event>,
    outputs: Outputs,
    /// Where everything is kept; nowhere without a state directory.
    committer: Option<Committer>,
    /// What waits for the store, in the order of the numbers that it waits for.
    waiting: VecDeque<(u64, Outgoing)>,
    /// Where decisions are put down, if anywhere.
    journal: Option<Journal<Record>>,
    /// Whether anything but figures has changed since the status was shown.
    changed: bool,
    shown_at: Instant,
}

impl Work {
    pub(crate) fn new(
        keeper: Keeper,
        Inputs { uplink, asked, requests, content }: Inputs,
        config: &Config,
        outputs: Outputs,
        (committer, journal): (Option<Committer>, Option<Journal<Record>>),
    ) -> Self {
        let (sender, samples) = mpsc::channel(SAMPLES);
        let (asker, answers) = Asker::new();
        outputs.readiness.wait(LINK, "no dns-b was ever reached");
        outputs.readiness.wait(RANKING, "no catalogue yet");
        let mut work = Self {
            keeper,
            uplink,
            prober: Prober::new(config.probe.settings, trust(config), sender),
            samples,
            asked,
            requests,
            content,
            place: Place::of(config),
            asker,
            answers,
            outputs,
            committer,
            waiting: VecDeque::new(),
            journal,
            changed: true,
            shown_at: Instant::now(),
        };
        work.keeper.set_clock(unix());
        if let Some(in_force) = work.keeper.ceilings(Instant::now()) {
            work.prober.set_shares(in_force);
        }
        // What is known from before the restart is measured again from the first moment on.
        work.prober.set_targets(work.keeper.targets());
        work.show();
        work
    }

    /// Works until `stop`. The links are left to their own tasks, which say BYE.
    pub(crate) async fn run(mut self, mut reloads: mpsc::Receiver<Place>, stop: CancellationToken) {
        let mut watched = self.watch();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return self.keep_the_last().await,
                durable = progress(&mut self.committer) => {
                    self.release(durable);
                    self.write();
                    continue;
                }
                Some(event) = self.uplink.next() => event,
                Some(sample) = self.samples.recv() => Event::Sample(sample),
                Some(name) = self.asked.recv() => Event::Asked(name),
                Some(answer) = self.answers.recv() => answer,
                Some(request) = self.requests.recv() => {
                    self.request(request);
                    continue;
                }
                Some(resolvers) = watched.resolvers.recv() => Event::Resolvers(resolvers),
                Some(addresses) = watched.addresses.recv() => Event::Addresses(addresses),
                Some(place) = reloads.recv() => {
                    let claim = self.claim(&place);
                    self.place = place;
                    self.handle(Event::Claim(claim));
                    self.handle(Event::Here(self.place.isp.here.clone()));
                    watched = self.watch();
                    continue;
                }
                _ = ticks.tick() => Event::Tick,
            };
            self.handle(event);
        }
    }

    fn request(&mut self, Request { path, parameters, reply }: Request) {
        if path == force::PATH {
            let _ = reply.send(self.force(&parameters));
            return;
        }
        let question = Question::read(&parameters, ROLES);
        let answer = question.and_then(|question| question.explain(&self.content));
        // Whoever asked may have gone.
        let _ = reply.send(answer.map(|answer| explained(&self.keeper, answer)));
    }

    fn force(&mut self, parameters: &BTreeMap<String, String>) -> Result<Value, String> {
        let force::Wanted { service, site, forced } = force::Wanted::read(parameters, unix())?;
        if !self.keeper.has_site(&service, &site) {
            return Err(format!("service {service} with a site \"{site}\" is in no catalogue here"));
        }
        let until = forced.as_ref().map(|forced| forced.until);
        self.handle(Event::Forced(service, site, forced));
        Ok(json!({ "until": until }))
    }

    fn handle(&mut self, event: Event) {
        let ticked = matches!(event, Event::Tick);
        let measured = ticked || matches!(event, Event::Sample(_));
        if ticked {
            self.keeper.set_clock(unix());
        }
        let effects = self.keeper.handle(event, Instant::now());
        if effects.answers {
            self.outputs.publisher.publish(self.keeper.directory().clone());
            // There may be another fleet document.
            self.uplink.hold(self.keeper.fleet_stamp());
            let relay: Arc<[SocketAddr]> = self.keeper.fallbacks().into();
            if *self.outputs.relay.borrow() != relay {
                self.outputs.relay.send_replace(relay);
            }
        }
        // First how fast, then what: a new target must not start before its share is known.
        if let Some(in_force) = effects.shares {
            self.prober.set_shares(in_force);
        }
        if effects.targets {
            self.prober.set_targets(self.keeper.targets());
            self.keeper.calm().for_each(|(service, calm)| self.prober.set_calm(service, calm));
        }
        for (service, site) in effects.probe_now {
            self.prober.probe_now(&service, &site);
        }
        for (service, calm) in effects.calm {
            self.prober.set_calm(&service, &calm);
        }
        for decided in effects.decided {
            if let Some(journal) = &self.journal {
                journal.write(Record::now(self.keeper.identity().clone(), decided));
            }
        }
        let identity = self.keeper.identity().as_str();
        effects.look_ups.into_iter().for_each(|look_up| self.asker.look_up(look_up));
        effects.checks.into_iter().for_each(|check| self.asker.check(check, identity.to_owned()));
        self.changed |= !measured || effects.answers || !effects.send.is_empty();
        self.uplink.send(effects.send);
        self.waiting.extend(effects.after);
        // An ACK that is not heard is asked for again; a disk that hangs must not fill the memory.
        self.waiting.truncate(WAITING);
        self.write();
        if ticked && (self.changed || self.shown_at.elapsed() >= REFRESH) {
            self.show();
        }
    }

    /// Hands over what has changed, as soon as what was handed over before is on the disk.
    fn write(&mut self) {
        let Some(committer) = &mut self.committer else { return };
        if committer.is_idle()
            && let Some((number, batch)) = self.keeper.take_writes()
            && committer.try_commit(number, batch).is_err()
        {
            tracing::error!("the store's thread has ended");
        }
        let durable = self.committer.as_ref().map_or(u64::MAX, Committer::durable);
        self.release(durable);
    }

    fn release(&mut self, durable: u64) {
        let mut send = Vec::new();
        while let Some((_, message)) = self.waiting.pop_front_if(|(number, _)| *number <= durable) {
            send.push(message);
        }
        self.uplink.send(send);
    }

    async fn keep_the_last(mut self) {
        if let Some(committer) = self.committer.take()
            && let Some((number, batch)) = self.keeper.take_writes()
        {
            committer.finish(number, batch).await;
        }
    }

    fn show(&mut self) {
        let Outputs { shown, readiness, metrics, .. } = &self.outputs;
        shown.send_replace(Arc::new(status(&self.keeper, &self.uplink, metrics, Instant::now())));
        if self.uplink.is_up() {
            readiness.met(LINK);
        }
        if self.keeper.can_answer() {
            readiness.met(RANKING);
        } else if !self.keeper.catalogues().is_empty() {
            let open: Vec<_> =
                self.keeper.rankings().filter(|(_, r)| r.is_none()).map(|(name, _)| name.to_string()).collect();
            readiness.wait(RANKING, format!("not measured yet: {}", open.join(" ")));
        }
        self.changed = false;
        self.shown_at = Instant::now();
    }

    /// What is claimed at another place.
    fn claim(&self, place: &Place) -> Claim {
        let (isp, now) = (&place.isp, self.keeper.registration().claim().clone());
        let resolvers = isp.resolvers.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "resolvers are kept as they were");
            now.resolvers.clone()
        });
        let addresses = Some(place.addresses.read()).filter(|list| !list.is_empty()).unwrap_or(now.addresses);
        let (networks, preference, weight) = (isp.networks.clone(), isp.preference, isp.weight);
        Claim { addresses, resolvers, networks, preference, weight, lease: now.lease }
    }

    fn watch(&self) -> Watched {
        let claim = self.keeper.registration().claim();
        let (resolvers_sender, resolvers) = mpsc::channel(1);
        let (addresses_sender, addresses) = mpsc::channel(1);
        let (known, source) = (claim.resolvers.clone(), self.place.isp.resolvers.clone());
        let of_resolvers = resolver::watch(source, known, resolver::POLL, resolvers_sender);
        let (known, source) = (claim.addresses.clone(), self.place.addresses.clone());
        let of_addresses = addresses::watch(source, known, addresses::POLL, addresses_sender);
        let watchers = [tokio::spawn(of_resolvers), tokio::spawn(of_addresses)];
        Watched { resolvers, addresses, _watchers: watchers.map(AbortOnDropHandle::new) }
    }
}

/// Seconds since 1970; 0 before.
fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whose certificates HTTPS probes believe. The file was read when the configuration was.
fn trust(config: &Config) -> Trust {
    let file = config.probe.ca.as_deref().map(|file| Trust::read(file).map_err(|error| (file.to_owned(), error)));
    file.unwrap_or_else(Trust::of_system).unwrap_or_else(|(file, error)| {
        let file = file.display();
        tracing::warn!(%file, %error, "no certificate is believed: HTTPS probes that verify them will fail");
        Trust::nobody()
    })
}

/// Waits until more is on the disk; for ever where nothing is kept.
async fn progress(committer: &mut Option<Committer>) -> u64 {
    match committer {
        Some(committer) => committer.progress().await,
        None => std::future::pending().await,
    }
}
