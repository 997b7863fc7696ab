//! The keeper's task: the only place where events, the clock and the keeper meet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dglb_core::{
    directory::Directory,
    proto::message::{Bye, ByeReason, Message},
    published::Publisher,
};
use dglb_node::{
    admin::Readiness,
    link::{Decision, LinkEvent, LinkId, LinkSender},
};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::check,
    config::CheckConfig,
    keeper::{Checked, Figures, Keeper, Verdict},
};

/// How often leases, liveness and due checks are looked at.
const TICK: Duration = Duration::from_millis(200);
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
    /// How DNS-LBs are checked.
    pub check: CheckConfig,
    /// To the admin endpoint.
    pub shown: SharedShown,
    /// Ready once there is something to answer.
    pub readiness: Readiness,
}

impl Run {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (checked, mut outcomes) = mpsc::channel(CHECKS);
        let permits = Arc::new(Semaphore::new(CHECKS));
        let mut senders = HashMap::new();
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
                Some(outcome) = outcomes.recv() => self.keeper.checked(outcome, Instant::now()),
                _ = tick.tick() => {
                    self.keeper.tick(Instant::now());
                    self.start_checks(&permits, &checked);
                    self.show();
                }
            }
            self.send(&mut senders);
            self.publish();
        }
    }

    fn event(&mut self, link: LinkId, event: LinkEvent, senders: &mut HashMap<LinkId, LinkSender>) {
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
                senders.insert(link, sender);
                self.keeper.established(link);
            }
            LinkEvent::Message(message) => self.keeper.message(link, message, now),
            LinkEvent::Down(down) => {
                senders.remove(&link);
                tracing::info!(link = link.0, reason = %down.reason, "link down");
                self.keeper.closed(link, down.last_heard.unwrap_or(now));
            }
        }
    }

    /// A peer that does not read as fast as it is spoken to starts over: on its next link it gets
    /// everything.
    fn send(&mut self, senders: &mut HashMap<LinkId, LinkSender>) {
        for (link, message) in self.keeper.take_outbox() {
            let Some(sender) = senders.get(&link) else { continue };
            if let Message::Bye(bye) = message {
                sender.close(bye);
            } else if sender.try_send(message).is_err() {
                sender.close(Bye { reason: ByeReason::Slow, text: "the queue is full".into() });
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

    fn show(&self) {
        let shown = Shown { status: self.keeper.status(Instant::now()), figures: self.keeper.figures() };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}
