//! The keeper's task: the only place where events, the clock and the keeper meet.

use std::{
    collections::{HashMap, VecDeque},
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
    link::{Decision, LinkEvent, LinkId, LinkSendError, LinkSender},
};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::check,
    config::{CheckConfig, Config},
    keeper::{Checked, Figures, Keeper, Outgoing, Verdict},
    stored::Keeping,
};

/// How often leases, liveness and due checks are looked at.
const TICK: Duration = Duration::from_millis(200);
/// What needs no more than a second's care is done every so many ticks.
const TICKS_A_SECOND: u32 = 5;
/// Messages that may wait for a peer beside its link's own queue; more, and it starts over.
const BACKLOG: usize = 100_000;
/// Acknowledgements of one peer that may wait for the store; more, and it starts over. One that goes
/// by the protocol has one or two under way.
const WAITING: usize = 1_000;
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
    /// How DNS-LBs are checked.
    pub check: CheckConfig,
    /// To the admin endpoint.
    pub shown: SharedShown,
    /// Ready once there is something to answer.
    pub readiness: Readiness,
    /// Where everything is kept; nowhere without a state directory.
    pub keeping: Option<Keeping>,
}

/// A peer on a link that is up.
struct Peer {
    sender: LinkSender,
    /// What its link has had no room for.
    backlog: VecDeque<Outgoing>,
    /// How many of its messages wait for the store.
    waiting: usize,
}

/// Messages that wait for the store, in the order of the numbers that they wait for.
type Waiting = VecDeque<(u64, LinkId, Message)>;

impl Peer {
    /// Hands over as much as there is room for.
    fn flush(&mut self) {
        while let Some(next) = self.backlog.front() {
            let sent = match next {
                Outgoing::One(message) | Outgoing::After(_, message) => self.sender.try_send(message.clone()),
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
        let mut waiting = Waiting::new();
        let restored = tokio::select! {
            () = stop.cancelled() => false,
            () = self.restore_reports() => true,
        };
        if !restored {
            return;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.keep_the_last().await,
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
                }
                durable = progress(&mut self.keeping) => release(durable, &mut waiting, &mut senders),
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
            self.write();
            self.queue(&mut senders, &mut waiting);
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
                let peer = senders.entry(link).or_insert_with(|| Peer { sender, backlog: VecDeque::new(), waiting: 0 });
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

    /// Takes back the reports of before the restart. Peers wait meanwhile, questions do not.
    async fn restore_reports(&mut self) {
        while let Some(keeping) = &mut self.keeping
            && let Some(reports) = keeping.reports.recv().await
        {
            self.keeper.restore_reports(reports, Instant::now());
            self.publish();
        }
    }

    /// Hands over what has changed, as soon as what was handed over before is on the disk.
    fn write(&mut self) {
        let Some(Keeping { committer, .. }) = &mut self.keeping else { return };
        if committer.is_idle()
            && let Some((number, batch)) = self.keeper.take_writes()
            && committer.try_commit(number, batch).is_err()
        {
            tracing::error!("the store's thread has ended");
        }
    }

    async fn keep_the_last(mut self) {
        if let Some(keeping) = self.keeping.take()
            && let Some((number, batch)) = self.keeper.take_last_writes()
        {
            keeping.committer.finish(number, batch).await;
        }
    }

    fn queue(&mut self, senders: &mut HashMap<LinkId, Peer>, waiting: &mut Waiting) {
        let durable = self.keeping.as_ref().map_or(u64::MAX, |keeping| keeping.committer.durable());
        for (link, message) in self.keeper.take_outbox() {
            let Some(peer) = senders.get_mut(&link) else { continue };
            match message {
                Outgoing::Leave(bye) => peer.sender.close(bye),
                Outgoing::After(number, message) if number > durable => {
                    if peer.waiting >= WAITING {
                        let text = "too many of its messages wait for the store".to_owned();
                        peer.sender.close(Bye { reason: ByeReason::Slow, text });
                        continue;
                    }
                    peer.waiting += 1;
                    waiting.push_back((number, link, message));
                }
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

/// Waits until more is on the disk; for ever where nothing is kept.
async fn progress(keeping: &mut Option<Keeping>) -> u64 {
    match keeping {
        Some(keeping) => keeping.committer.progress().await,
        None => std::future::pending().await,
    }
}

/// Lets out what waited for what is on the disk now.
fn release(durable: u64, waiting: &mut Waiting, senders: &mut HashMap<LinkId, Peer>) {
    while let Some((_, link, message)) = waiting.pop_front_if(|(number, ..)| *number <= durable) {
        if let Some(peer) = senders.get_mut(&link) {
            peer.waiting -= 1;
            peer.backlog.push_back(Outgoing::One(message));
        }
    }
}

/// Renews what the admin endpoint shows.
pub fn show(keeper: &Keeper, shown: &SharedShown) {
    let new = Shown { status: keeper.status(Instant::now()), figures: keeper.figures() };
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = new;
}
