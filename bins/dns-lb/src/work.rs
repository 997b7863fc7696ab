//! The one task that owns the keeper: it waits for whatever happens next and carries out what
//! follows.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{directory::Directory, name::Name, published::Publisher};
use dglb_node::admin::Readiness;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    config::{Config, Isp},
    keeper::{Event, Keeper},
    metrics::Metrics,
    prober::{Prober, Sample},
    registration::Claim,
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

/// Conditions of readiness.
const LINK: &str = "link";
const RANKING: &str = "ranking";

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

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Work {
    keeper: Keeper,
    uplink: Uplink,
    prober: Prober,
    samples: mpsc::Receiver<Sample>,
    /// Names that somebody asked for and that had to be relayed.
    asked: mpsc::Receiver<Name>,
    isp: Isp,
    outputs: Outputs,
    /// Whether anything but figures has changed since the status was shown.
    changed: bool,
    shown_at: Instant,
}

impl Work {
    pub(crate) fn new(
        keeper: Keeper,
        uplink: Uplink,
        asked: mpsc::Receiver<Name>,
        config: &Config,
        outputs: Outputs,
    ) -> Self {
        let (sender, samples) = mpsc::channel(SAMPLES);
        outputs.readiness.wait(LINK, "no dns-b was ever reached");
        outputs.readiness.wait(RANKING, "no catalogue yet");
        let mut work = Self {
            keeper,
            uplink,
            prober: Prober::new(config.probe.settings, sender),
            samples,
            asked,
            isp: config.isp.clone(),
            outputs,
            changed: true,
            shown_at: Instant::now(),
        };
        work.show();
        work
    }

    /// Works until `stop`. The links are left to their own tasks, which say BYE.
    pub(crate) async fn run(mut self, mut reloads: mpsc::Receiver<Isp>, stop: CancellationToken) {
        let (mut resolvers, mut _watcher) = self.watch_resolvers();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.uplink.next() => event,
                Some(sample) = self.samples.recv() => Event::Sample(sample),
                Some(name) = self.asked.recv() => Event::Asked(name),
                Some(resolvers) = resolvers.recv() => Event::Resolvers(resolvers),
                Some(isp) = reloads.recv() => {
                    let claim = self.claim(&isp);
                    self.isp = isp;
                    self.handle(Event::Claim(claim));
                    (resolvers, _watcher) = self.watch_resolvers();
                    continue;
                }
                _ = ticks.tick() => Event::Tick,
            };
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let ticked = matches!(event, Event::Tick);
        let measured = ticked || matches!(event, Event::Sample(_));
        let effects = self.keeper.handle(event, Instant::now());
        if effects.answers {
            self.outputs.publisher.publish(self.keeper.directory().clone());
            // There may be another fleet document.
            let relay: Arc<[SocketAddr]> = self.keeper.fallbacks().into();
            if *self.outputs.relay.borrow() != relay {
                self.outputs.relay.send_replace(relay);
            }
        }
        if effects.targets {
            self.prober.set_targets(self.keeper.targets());
        }
        self.changed |= !measured || effects.answers || !effects.send.is_empty();
        self.uplink.send(effects.send);
        if ticked && (self.changed || self.shown_at.elapsed() >= REFRESH) {
            self.show();
        }
    }

    fn show(&mut self) {
        let Outputs { shown, readiness, metrics, .. } = &self.outputs;
        shown.send_replace(Arc::new(status(&self.keeper, &self.uplink, metrics)));
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

    /// What is claimed under another `[isp]`.
    fn claim(&self, isp: &Isp) -> Claim {
        let now = self.keeper.registration().claim().clone();
        let resolvers = isp.resolvers.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "resolvers are kept as they were");
            now.resolvers.clone()
        });
        let (networks, preference, weight) = (isp.networks.clone(), isp.preference, isp.weight);
        Claim { resolvers, networks, preference, weight, ..now }
    }

    /// A watcher over the source of the DNS-ISP's addresses. It ends with its handle.
    fn watch_resolvers(&self) -> (mpsc::Receiver<Vec<IpAddr>>, AbortOnDropHandle<()>) {
        let (sender, changes) = mpsc::channel(1);
        let known = self.keeper.registration().claim().resolvers.clone();
        let watcher = resolver::watch(self.isp.resolvers.clone(), known, resolver::POLL, sender);
        (changes, AbortOnDropHandle::new(tokio::spawn(watcher)))
    }
}
