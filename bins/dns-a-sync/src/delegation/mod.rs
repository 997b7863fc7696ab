//! Keeps the delegation in DNS-A as the dns-bs want it (claim 4; design section 7): read, compare,
//! change what is ours and differs, read again. What is not ours is never touched; what does not
//! differ is not written.

pub mod plan;
pub mod read;
pub mod records;
pub mod update;
pub mod wanted;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{catalogue::ZoneStyle, name::Name};
use hickory_proto::rr::RecordType;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{Config, DelegationMode, ZoneConfig},
    dns_a::{DnsA, UpdateError},
    metrics::Metrics,
};
use plan::{Conflict, Update, plan_alias, plan_cut};
use read::{ReadError, read_cut, read_host};
use records::{Data, RrSet};

pub use wanted::{BadDelegation, Offer, Wanted, check, merge};

/// The shortest and the longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What became of one zone's delegation.
#[derive(Clone, Debug)]
pub struct ZoneDelegation {
    /// In a word.
    pub state: State,
    /// What keeps it from being right, for people.
    pub problems: Vec<String>,
    /// What a person should know all the same.
    pub notes: Vec<String>,
    /// What is still to be changed, as master-file lines; a removal is a comment.
    pub lines: Vec<String>,
    /// When DNS-A was looked at last.
    pub checked: Instant,
}

/// What became of one zone's delegation, in a word. Later ones are worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// DNS-A serves what it should.
    InPlace,
    /// A person has lines to paste.
    Printed,
    /// Something that is not ours is in the way.
    Conflict,
    /// DNS-A did not answer or did not take the update; it is tried again.
    Failed,
}

impl State {
    /// For status and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            Self::Printed => "printed",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

/// What became of every zone that some dns-b serves.
pub type Delegations = BTreeMap<Name, ZoneDelegation>;

#[derive(Debug, Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error("DNS-A took the update of {0} and serves something else all the same")]
    NotTaken(Name),
    #[error("{host} is outside {zone}: add \"{host} CNAME {target}\" to its own zone by hand")]
    Outside { host: Name, zone: Name, target: Name },
}

impl StepError {
    fn state(&self) -> State {
        match self {
            Self::Conflict(_) | Self::Outside { .. } => State::Conflict,
            Self::Read(_) | Self::Update(_) | Self::NotTaken(_) => State::Failed,
        }
    }
}

/// The task that keeps the delegation.
#[derive(Debug)]
pub struct Delegator {
    /// As it is at the moment; may be replaced while running.
    pub config: watch::Receiver<Arc<Config>>,
    /// How the zones shall be delegated; a zone is missing while no dns-b serves it.
    pub wanted: watch::Receiver<BTreeMap<Name, Wanted>>,
    /// Where the outcome goes.
    pub outcome: watch::Sender<Delegations>,
    /// Where it is counted.
    pub metrics: Metrics,
}

impl Delegator {
    /// Looks at once, whenever something changes, and at the configured interval; after a failure
    /// earlier, with growing pauses.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let config = Arc::clone(&self.config.borrow_and_update());
            let wanted = self.wanted.borrow_and_update().clone();
            let Some(failed) = stop.run_until_cancelled(self.look(&config, &wanted)).await else { return };
            failures = if failed { failures + 1 } else { 0 };
            let pause = pause(failures, config.delegation.interval);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.config.changed() => if changed.is_err() { return },
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at every wanted zone. Returns whether one of them failed.
    async fn look(&self, config: &Config, wanted: &BTreeMap<Name, Wanted>) -> bool {
        if config.delegation.mode == DelegationMode::Off {
            self.outcome.send_replace(Delegations::new());
            return false;
        }
        let dns_a = DnsA::new(config.dns_a.server, config.dns_a.timeout, config.dns_a.key.clone());
        let mut delegations = Delegations::new();
        for zone in &config.zones {
            let Some(wanted) = wanted.get(&zone.name) else { continue };
            let mut step = Step { config, dns_a: &dns_a, metrics: &self.metrics, done: ZoneDelegation::fresh() };
            step.zone(zone, wanted).await;
            let before = self.outcome.borrow().get(&zone.name).cloned();
            report(&zone.name, before.as_ref(), &step.done);
            delegations.insert(zone.name.clone(), step.done);
        }
        let failed = delegations.values().any(|d| d.state == State::Failed);
        self.metrics.delegations(&delegations);
        self.outcome.send_replace(delegations);
        failed
    }
}

/// Doubles from failure to failure, with up to a quarter more so that agents do not march in step.
fn pause(failures: u32, regular: Duration) -> Duration {
    if failures == 0 {
        return regular;
    }
    let pause = BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF.1);
    pause.mul_f64(1.0 + rand::random_range(0.0..0.25))
}

/// Says what changed since the last look, and only that; lines to paste go to standard output.
fn report(zone: &Name, before: Option<&ZoneDelegation>, now: &ZoneDelegation) {
    let news = |old: Option<&Vec<String>>, new: &str| old.is_none_or(|old| old.iter().all(|o| o != new));
    for problem in now.problems.iter().filter(|p| news(before.map(|b| &b.problems), p)) {
        warn!(%zone, "delegation: {problem}");
    }
    for note in now.notes.iter().filter(|n| news(before.map(|b| &b.notes), n)) {
        info!(%zone, "delegation: {note}");
    }
    if now.state == State::InPlace && before.is_none_or(|b| b.state != State::InPlace) {
        info!(%zone, "delegation: DNS-A serves what it should");
    }
    if !now.lines.is_empty() && before.is_none_or(|b| b.lines != now.lines) {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        // Nobody reads: the same lines are in the status.
        let _ = writeln!(out, "; To be changed in DNS-A for {zone}\n{}", now.lines.join("\n"));
        let _ = out.flush();
    }
}

impl ZoneDelegation {
    fn fresh() -> Self {
        let (problems, notes, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { state: State::InPlace, problems, notes, lines, checked: Instant::now() }
    }
}

/// One look at one zone.
struct Step<'a> {
    config: &'a Config,
    dns_a: &'a DnsA,
    metrics: &'a Metrics,
    done: ZoneDelegation,
}

impl Step<'_> {
    async fn zone(&mut self, zone: &ZoneConfig, wanted: &Wanted) {
        if let Err(error) = self.cut(wanted).await {
            self.note(&error);
            // An alias into a zone that nobody can reach would take the service down.
            return;
        }
        if zone.style == ZoneStyle::Host {
            return;
        }
        for service in zone.services.iter().map(|s| &s.service).filter(|s| !s.host.is_within(&zone.name)) {
            let data = [Data::Cname(service.name.clone())].into();
            let ttl = self.config.delegation.cname_ttl;
            let alias = RrSet { name: service.host.clone(), rtype: RecordType::CNAME, ttl, data };
            if let Err(error) = self.alias(&alias, &service.name).await {
                self.note(&error);
            }
        }
    }

    async fn cut(&mut self, wanted: &Wanted) -> Result<(), StepError> {
        let parent = &self.config.dns_a.zone;
        let cut = read_cut(self.dns_a, parent, wanted).await?;
        if !cut.hidden.is_empty() {
            let types = cut.hidden.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.done.notes.push(format!("the delegation hides {types} records that DNS-A has at {}", wanted.zone));
        }
        let update = plan_cut(&cut, wanted)?;
        if self.make(&update).await? {
            let cut = read_cut(self.dns_a, parent, wanted).await?;
            if !plan_cut(&cut, wanted)?.is_empty() {
                return Err(StepError::NotTaken(wanted.zone.clone()));
            }
        }
        Ok(())
    }

    async fn alias(&mut self, alias: &RrSet, target: &Name) -> Result<(), StepError> {
        let parent = &self.config.dns_a.zone;
        if !alias.name.is_within(parent) {
            let (host, zone) = (alias.name.clone(), parent.clone());
            return Err(StepError::Outside { host, zone, target: target.clone() });
        }
        let zones: Vec<Name> = self.config.zones.iter().map(|z| z.name.clone()).collect();
        let host = read_host(self.dns_a, parent, &alias.name).await?;
        let update = plan_alias(&host, alias, &zones)?;
        if self.make(&update).await? {
            let host = read_host(self.dns_a, parent, &alias.name).await?;
            if !plan_alias(&host, alias, &zones)?.is_empty() {
                return Err(StepError::NotTaken(alias.name.clone()));
            }
        }
        Ok(())
    }

    /// Makes or prints the update. Returns whether something was written.
    async fn make(&mut self, update: &Update) -> Result<bool, StepError> {
        if update.is_empty() {
            return Ok(false);
        }
        if self.config.delegation.mode != DelegationMode::Update {
            self.done.lines.extend(lines(update));
            self.done.state = self.done.state.max(State::Printed);
            return Ok(false);
        }
        let outcome = self.dns_a.update(update::message(&self.config.dns_a.zone, update)).await;
        self.metrics.update(outcome.is_ok());
        outcome?;
        for line in lines(update) {
            info!("written into DNS-A: {line}");
        }
        Ok(true)
    }

    fn note(&mut self, error: &StepError) {
        self.done.state = self.done.state.max(error.state());
        self.done.problems.push(error.to_string());
    }
}

/// What changes, for a person: first what goes, then what comes.
fn lines(update: &Update) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &update.changes {
        let Some(before) = &change.before else { continue };
        let stays = |d: &Data| change.after.as_ref().is_some_and(|a| a.data.contains(d) && a.ttl == before.ttl);
        for data in before.data.iter().filter(|d| !stays(d)) {
            let gone = RrSet { data: [data.clone()].into(), ..before.clone() };
            lines.push(format!("; remove {gone}"));
        }
    }
    for after in update.changes.iter().filter_map(|c| c.after.as_ref()) {
        lines.extend(after.to_string().lines().map(str::to_owned));
    }
    lines
}
