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
    keeper::{Checked, Figures, Keeper, Verdict, explain::ROLES},
    look::Look,
    networks::{Networks, Sources},
    peers::Peers,
    stored::Keeping,
};

/// How often leases and liveness are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often some of the DNS-LBs have their turn for what is done for each again and again.
const TURN: Duration = Duration::from_millis(25);
/// What needs no more than a second's care is done every so many ticks.
const TICKS_A_SECOND: u32 = 5;
/// For how long events are taken in before the directory is published: a burst costs one publication, and
/// no change waits for all of it.
const BURST: Duration = Duration::from_millis(5);
/// Checks under way at a time.
const CHECKS: usize = 256;

/// What is behind the metrics, renewed every second; shared with the admin thread, which only reads it.
pub type SharedFigures = Arc<Mutex<Figures>>;

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
    /// To the metrics.
    pub figures: SharedFigures,
    /// Who wants to see the status.
    pub looks: mpsc::Receiver<Look>,
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
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                first = self.events.recv() => {
                    let Some(first) = first else { return };
                    self.burst(first, &mut peers);
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
                Some(look) = self.looks.recv() => self.look(look),
                _ = turn.tick() => {
                    self.keeper.turn(Instant::now());
                    self.start_checks(&permits, &checked);
                }
                _ = tick.tick() => {
                    peers.flush();
                    self.keeper.tick(Instant::now());
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_A_SECOND) {
                        self.keeper.slow_tick(Instant::now());
                        self.renew_figures();
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

    /// Whoever has seen something in the status finds it in the metrics, too.
    fn look(&self, look: Look) {
        self.renew_figures();
        // Whoever asked may have gone.
        let _ = look.send(self.keeper.status(Instant::now()));
    }

    fn renew_figures(&self) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = self.keeper.figures();
    }

    /// Takes in what has come, for a moment.
    fn burst(&mut self, first: (LinkId, LinkEvent), peers: &mut Peers) {
        let begin = Instant::now();
        let mut next = Some(first);
        while let Some((link, event)) = next {
            self.event(link, event, peers);
            next = if begin.elapsed() < BURST { self.events.try_recv().ok() } else { None };
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
