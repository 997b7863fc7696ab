//! The store's side of a start: what must be known before the first answer is read at once, reports
//! while questions are answered already. Peers are let in after that, so none is told of less than is
//! held.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dglb_node::{
    lifecycle::{StartError, Tasks},
    store::{Committer, Store, StoreError, StoreFigures, record::RecordError},
};
use tokio::sync::mpsc;

use crate::{
    keeper::{Keeper, Restored, RestoredReport},
    record::{self, FILE, FLEET, LBS, LbRecord, REPORTS, SCHEMA, ZONES},
};

/// DNS-LBs whose reports go to the keeper at a time.
const CHUNK: usize = 64;
/// Such portions that may wait for it.
const CHUNKS: usize = 8;

/// How long a start waits for reports before it answers without the rest of them, …
const FIRST: Duration = Duration::from_millis(250);
/// … if it has not read the store for longer than this already; …
const SOON: Duration = Duration::from_millis(600);
/// … but for so long in any case.
const LEAST: Duration = Duration::from_millis(50);

/// The store of a daemon that runs.
#[derive(Debug)]
pub struct Keeping {
    /// Where changes go.
    pub committer: Committer,
    /// Where the reports of before the restart come from; it ends when they have all come.
    pub reports: mpsc::Receiver<Vec<RestoredReport>>,
    /// How long the first answer waits for them.
    pub wait: Duration,
}

/// Opens the store in `directory`, and gives the keeper what is in it.
///
/// # Errors
/// [`StartError`] when another process has it, or the file system says no.
pub fn start(
    directory: &Path,
    keeper: &mut Keeper,
    figures: &StoreFigures,
    tasks: &mut Tasks,
) -> Result<Keeping, StartError> {
    let begin = Instant::now();
    let opened = Store::open(&directory.join(FILE), &SCHEMA)?;
    if let Some(aside) = &opened.set_aside {
        figures.set_aside.inc();
        let (from, to, reason) = (aside.from.display(), aside.to.display(), &aside.reason);
        tracing::error!(%from, %to, %reason, "the store cannot be read and was set aside; this dns-b starts with nothing");
    }
    let store = opened.store;
    let unreadable = |error: StoreError| StartError::Internal(error.to_string());
    let read = begin.elapsed();
    let restored = load(&store, figures).map_err(unreadable)?;
    let (zones, lbs) = (restored.zones.len(), restored.lbs.len());
    keeper.restore(restored, Instant::now());
    keeper.keep();
    let entries = keeper.figures().prefixes;
    let (opened_in, took) = (read, begin.elapsed());
    tracing::info!(zones, lbs, entries, ?opened_in, ?took, file = %store.path().display(), "the store is open");
    let (sender, reports) = mpsc::channel(CHUNKS);
    let counted = figures.clone();
    let first = move |store: &Store| {
        if let Err(error) = load_reports(store, &counted, &sender) {
            tracing::error!(%error, "the reports of before the restart cannot be read");
        }
    };
    let committer = Committer::start(store, figures.clone(), first, tasks);
    let committer = committer.map_err(|error| StartError::Internal(error.to_string()))?;
    let wait = SOON.saturating_sub(begin.elapsed()).clamp(LEAST, FIRST);
    Ok(Keeping { committer, reports, wait })
}

/// Takes reports back for as long as a client would hardly notice; with few of them these are all.
pub async fn first_reports(keeping: &mut Keeping, keeper: &mut Keeper) {
    let end = tokio::time::Instant::now() + keeping.wait;
    // What is there already never waits, so it would never be too late either.
    while tokio::time::Instant::now() < end
        && let Ok(Some(reports)) = tokio::time::timeout_at(end, keeping.reports.recv()).await
    {
        keeper.restore_reports(reports, Instant::now());
    }
}

/// Everything but the reports. A record that is none is passed over, logged and counted.
fn load(store: &Store, figures: &StoreFigures) -> Result<Restored, StoreError> {
    let mut restored = Restored::default();
    store.read(FLEET, |_, value| {
        restored.fleet = passed(FLEET, b"", record::fleet(value), figures);
        true
    })?;
    store.read(ZONES, |key, value| {
        restored.zones.extend(passed(ZONES, key, record::catalogue(value), figures));
        true
    })?;
    store.read(LBS, |key, value| {
        let identity = std::str::from_utf8(key).ok().and_then(|key| key.parse().ok());
        let identity = identity.ok_or_else(|| RecordError::Content("its key is no identity".to_owned()));
        let lb = identity.and_then(|identity| Ok((identity, LbRecord::decode(value)?)));
        restored.lbs.extend(passed(LBS, key, lb, figures));
        true
    })?;
    Ok(restored)
}

/// Every DNS-LB's report, all parts of one together, until nobody wants them any more.
fn load_reports(
    store: &Store,
    figures: &StoreFigures,
    sender: &mpsc::Sender<Vec<RestoredReport>>,
) -> Result<(), StoreError> {
    let mut chunk: Vec<RestoredReport> = Vec::with_capacity(CHUNK);
    store.read(REPORTS, |key, value| {
        let owner = record::report_owner(key).ok_or_else(|| RecordError::Content("its key".to_owned()));
        let report = owner.and_then(|owner| Ok((owner, record::report(value)?)));
        let Some((owner, report)) = passed(REPORTS, key, report, figures) else { return true };
        if let Some((last, parts)) = chunk.last_mut()
            && *last == owner
        {
            parts.push(report);
            return true;
        }
        let full = chunk.len() == CHUNK;
        let sent = !full || sender.blocking_send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK))).is_ok();
        chunk.push((owner, vec![report]));
        sent
    })?;
    // Nobody listens any more when the daemon stops.
    let _ = sender.blocking_send(chunk);
    Ok(())
}

fn passed<T>(table: &str, key: &[u8], record: Result<T, RecordError>, figures: &StoreFigures) -> Option<T> {
    record
        .inspect_err(|error| {
            figures.unreadable.inc();
            tracing::error!(table, key = %key.escape_ascii(), %error, "a record of the store is passed over");
        })
        .ok()
}
