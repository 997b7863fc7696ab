//! The keeper's thread: the only place where events, the clock and the keeper meet.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dglb_core::{
    directory::Directory,
    proto::message::{Bye, ByeReason},
    published::Publisher,
};
use dglb_node::{
    admin::{Readiness, Request},
    ask::Asker,
    explain::{self, Question},
    lifecycle::Tasks,
    link::{Decision, LinkEvent, LinkId},
    serve::Content,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::check,
    config::{CheckConfig, Config},
    keeper::{Checked, Figures, Keeper, Status, Verdict, explain::ROLES},
    networks::{Networks, Sources},
    peers::Peers,
    stored::Keeping,
};

/// How often leases, liveness and due checks are looked at.
const TICK: Duration = Duration::from_millis(200);
/// What needs no more than a second's care is done every so many ticks.
const TICKS_A_SECOND: u32 = 5;
/// Events handled before the directory is published: a burst costs one publication.
const BURST: usize = 256;
/// Checks under way at a time.
const CHECKS: usize = 256;

/// What the admin endpoint shows, renewed by the task.
#[derive(Debug)]
pub struct Shown {
    /// `/api/v1/status`; shared, so that it is written out by who asks for it.
    pub status: Arc<Status>,
    /// Behind the metrics.
    pub figures: Figures,
}

impl Shown {
    /// The keeper as it is now.
    pub fn of(keeper: &Keeper) -> Self {
        Self { status: Arc::new(keeper.status(Instant::now())), figures: keeper.figures() }
    }
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
    /// What those answer from, to explain it.
    pub content: Content,
    /// What links say.
    pub events: mpsc::Receiver<(LinkId, LinkEvent)>,
    /// New configurations, already found to be acceptable.
    pub reloads: mpsc::Receiver<Config>,
    /// What the operator asks.
    pub requests: mpsc::Receiver<Request>,
    /// What the files about networks say, whenever that changes.
    pub networks: mpsc::Receiver<Networks>,
    /// Which files that are.
    pub sources: watch::Sender<Sources>,
    /// How DNS-LBs are checked.
    pub check: CheckConfig,
    /// Asks them.
    pub asker: Arc<Asker>,
    /// To the admin endpoint.
    pub shown: SharedShown,
    /// Ready once there is something to answer.
    pub readiness: Readiness,
    /// Where everything is kept; nowhere without a state directory.
    pub keeping: Option<Keeping>,
    /// Cancelled when everything that was kept is back, and peers may come.
    pub restored: CancellationToken,
    /// Where links and checks run.
    pub runtime: Handle,
}

impl Run {
    /// Runs until the daemon stops, in a thread of its own: what waits for the keeper would else wait for
    /// every handshake, too, when thousands of links come together.
    ///
    /// # Errors
    /// When the system has no room for a thread or its runtime.
    pub fn start(self, tasks: &mut Tasks) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let stop = tasks.stop_token();
        tasks.spawn_thread("keeper", move || runtime.block_on(self.run(stop)))
    }

    /// Runs until `stop`.
    async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (checked, mut outcomes) = mpsc::channel(CHECKS);
        let permits = Arc::new(Semaphore::new(CHECKS));
        let mut peers = Peers::default();
        let mut ticks = 0_u32;
        let mut batch = Vec::with_capacity(BURST);
        let restored = tokio::select! {
            () = stop.cancelled() => false,
            () = self.restore_reports() => true,
        };
        if !restored {
            return;
        }
        self.restored.cancel();
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.keep_the_last().await,
                got = self.events.recv_many(&mut batch, BURST) => {
                    if got == 0 {
                        return;
                    }
                    for (link, event) in batch.drain(..) {
                        self.event(link, event, &mut peers);
                    }
                }
                Some(config) = self.reloads.recv() => {
                    self.keeper.reconfigure(&config, Instant::now());
                    self.check = config.check;
                    self.sources.send_replace(config.prove.sources);
                }
                Some(request) = self.requests.recv() => self.request(request),
                Some(networks) = self.networks.recv() => self.keeper.set_networks(networks, Instant::now()),
                durable = progress(&mut self.keeping) => peers.release(durable),
                Some(outcome) = outcomes.recv() => self.keeper.checked(outcome, Instant::now()),
                _ = tick.tick() => {
                    peers.flush();
                    self.keeper.tick(Instant::now());
                    self.start_checks(&permits, &checked);
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_A_SECOND) {
                        self.keeper.slow_tick(Instant::now());
                        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown::of(&self.keeper);
                    }
                }
            }
            // First what is answered, then the word that it is.
            self.publish();
            self.write();
            let durable = self.keeping.as_ref().map_or(u64::MAX, |keeping| keeping.committer.durable());
            self.keeper.take_outbox().into_iter().for_each(|(link, message)| peers.say(link, message, durable));
        }
    }

    fn event(&mut self, link: LinkId, event: LinkEvent, peers: &mut Peers) {
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
                peers.insert(link, sender);
                if self.keeper.knows(link) {
                    self.keeper.established(link);
                } else {
                    let text = "a newer link of the same identity has come".to_owned();
                    peers.close(link, Bye { reason: ByeReason::Duplicate, text });
                }
            }
            LinkEvent::Message(message) => self.keeper.message(link, message, now),
            LinkEvent::Down(down) => {
                peers.remove(link);
                tracing::info!(link = link.0, reason = %down.reason, "link down");
                self.keeper.closed(link, down.last_heard.unwrap_or(now));
            }
        }
    }

    fn request(&mut self, Request { path, parameters, reply }: Request) {
        let now = Instant::now();
        let answer = if path == explain::PATH {
            let question = Question::read(&parameters, ROLES);
            let explained = question.and_then(|question| question.explain(&self.content));
            explained.map(|explained| self.keeper.explained(explained, now))
        } else {
            self.keeper.request(path, &parameters, now)
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
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
            let asker = Arc::clone(&self.asker);
            self.runtime.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                // Nobody listens any more when the daemon stops.
                let _ = checked.send(check(target, &asker, timeout).await).await;
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
