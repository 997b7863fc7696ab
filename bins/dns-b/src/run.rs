//! The keeper's task: the only place where events, the clock and the keeper meet.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dglb_core::{
    directory::Directory,
    proto::message::{Bye, ByeReason},
    published::Publisher,
};
use dglb_node::{
    admin::Readiness,
    link::{Decision, LinkEvent, LinkId, LinkSendError, LinkSender},
};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::check,
    config::{CheckConfig, Config},
    keeper::{Checked, Figures, Keeper, Outgoing, Verdict},
    networks::{Networks, Sources},
};

/// How often leases, liveness and due checks are looked at.
const TICK: Duration = Duration::from_millis(200);
/// What needs no more than a second's care is done every so many ticks.
const TICKS_A_SECOND: u32 = 5;
/// Messages that may wait for a peer beside its link's own queue; more, and it starts over.
const BACKLOG: usize = 100_000;
/// Events handled before the directory is published: a burst costs one publication.
const BURST: usize = 256;
/// Checks under way at a time.
const CHECKS: usize = 256;

/// What the admin endpoint shows, renewed by the task.
#[derive(Debug, Default)]
pub struct Shown {
    /// `/api/v1/status`.
    pub status: Value,
    /// Behind the metrics.
    pub figures: Figures,
}

/// Shared with the admin thread, which only reads it.
pub type SharedShown = Arc<Mutex<Shown>>;

/// Everything that the task owns.
#[derive(Debug)]
pub struct Run {
    /// The truth.
    pub keeper: Keeper,
    /// To the serving threads.
    pub publisher: Publisher<Directory>,
    /// What links say.
    pub events: mpsc::Receiver<(LinkId, LinkEvent)>,
    /// New configurations, already found to be acceptable.
    pub reloads: mpsc::Receiver<Config>,
    /// What the files about networks say, whenever that changes.
    pub networks: mpsc::Receiver<Networks>,
    /// Which files that are.
    pub sources: watch::Sender<Sources>,
    /// How DNS-LBs are checked.
    pub check: CheckConfig,
    /// To the admin endpoint.
    pub shown: SharedShown,
    /// Ready once there is something to answer.
    pub readiness: Readiness,
}

/// A peer on a link that is up.
struct Peer {
    sender: LinkSender,
    /// What its link has had no room for.
    backlog: VecDeque<Outgoing>,
}

impl Peer {
    /// Hands over as much as there is room for.
    fn flush(&mut self) {
        while let Some(next) = self.backlog.front() {
            let sent = match next {
                Outgoing::One(message) => self.sender.try_send(message.clone()),
                Outgoing::Shared(encoded) => self.sender.try_send_encoded(encoded.clone()),
                Outgoing::Leave(bye) => {
                    self.sender.close(bye.clone());
                    Ok(())
                }
            };
            match sent {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(LinkSendError::Full) => return,
                // The link's end is on its way.
                Err(LinkSendError::Closed) => self.backlog.clear(),
            }
        }
    }
}

impl Run {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (checked, mut outcomes) = mpsc::channel(CHECKS);
        let permits = Arc::new(Semaphore::new(CHECKS));
        let mut senders = HashMap::new();
        let mut ticks = 0_u32;
        let mut batch = Vec::with_capacity(BURST);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                got = self.events.recv_many(&mut batch, BURST) => {
                    if got == 0 {
                        return;
                    }
                    for (link, event) in batch.drain(..) {
                        self.event(link, event, &mut senders);
                    }
                }
                Some(config) = self.reloads.recv() => {
                    self.keeper.reconfigure(&config, Instant::now());
                    self.check = config.check;
                    self.sources.send_replace(config.prove.sources);
                }
                Some(networks) = self.networks.recv() => self.keeper.set_networks(networks),
                Some(outcome) = outcomes.recv() => self.keeper.checked(outcome, Instant::now()),
                _ = tick.tick() => {
                    self.keeper.tick(Instant::now());
                    self.start_checks(&permits, &checked);
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_A_SECOND) {
                        self.keeper.slow_tick(Instant::now());
                        show(&self.keeper, &self.shown);
                    }
                }
            }
            // First what is answered, then the word that it is.
            self.publish();
            self.queue(&mut senders);
            senders.values_mut().for_each(Peer::flush);
        }
    }

    fn event(&mut self, link: LinkId, event: LinkEvent, senders: &mut HashMap<LinkId, Peer>) {
        let now = Instant::now();
        match event {
            LinkEvent::Hello { hello, remote, decision } => {
                let verdict = self.keeper.hello(link, &hello, remote, now);
                // The link may have ended meanwhile; then its end is reported, too.
                let _ = decision.send(match verdict {
                    Verdict::Welcome(welcome) => Decision::Welcome(welcome),
                    Verdict::Refuse(refuse) => Decision::Refuse(refuse),
                });
            }
            LinkEvent::Up { link: sender, .. } => {
                let peer = senders.entry(link).or_insert_with(|| Peer { sender, backlog: VecDeque::new() });
                if self.keeper.knows(link) {
                    self.keeper.established(link);
                } else {
                    let text = "a newer link of the same identity has come".to_owned();
                    peer.sender.close(Bye { reason: ByeReason::Duplicate, text });
                }
            }
            LinkEvent::Message(message) => self.keeper.message(link, message, now),
            LinkEvent::Down(down) => {
                senders.remove(&link);
                tracing::info!(link = link.0, reason = %down.reason, "link down");
                self.keeper.closed(link, down.last_heard.unwrap_or(now));
            }
        }
    }

    fn queue(&mut self, senders: &mut HashMap<LinkId, Peer>) {
        for (link, message) in self.keeper.take_outbox() {
            let Some(peer) = senders.get_mut(&link) else { continue };
            match message {
                Outgoing::Leave(bye) => peer.sender.close(bye),
                // A peer that does not read as fast as it is spoken to starts over: on its next link
                // it gets everything.
                _ if peer.backlog.len() >= BACKLOG => {
                    peer.sender.close(Bye { reason: ByeReason::Slow, text: "the queue is full".into() });
                }
                message => peer.backlog.push_back(message),
            }
        }
    }

    fn publish(&mut self) {
        if self.keeper.take_changed() {
            self.publisher.publish(self.keeper.directory().clone());
            if self.keeper.directory().has_zones() {
                self.readiness.met("catalogue");
            }
        }
    }

    fn start_checks(&mut self, permits: &Arc<Semaphore>, checked: &mpsc::Sender<Checked>) {
        for target in self.keeper.take_due_checks(Instant::now()) {
            let (permits, checked, timeout) = (Arc::clone(permits), checked.clone(), self.check.timeout);
            tokio::spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                // Nobody listens any more when the daemon stops.
                let _ = checked.send(check(target, timeout).await).await;
            });
        }
    }
}

/// Renews what the admin endpoint shows.
pub fn show(keeper: &Keeper, shown: &SharedShown) {
    let new = Shown { status: keeper.status(Instant::now()), figures: keeper.figures() };
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = new;
}
