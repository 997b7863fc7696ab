//! What of the truth goes to the store, and what is taken back from there after a restart (design
//! section 6). The keeper marks what has changed; records are made of it when somebody comes for them,
//! so a change that is followed by another is written once.
//!
//! Invariant: every change has a number when its ACK is queued, and [`Outgoing::After`] that number
//! lets the ACK out only once the change is on the disk. Without a store nothing waits.
//!
//! Reports are the exception: they come by the hundred a second and say everything again at the next
//! digest. They are written in turn, every DNS-LB's about once in [`ROUND`], and their ACK says that
//! they are in use. After a restart WELCOME names the generation that was written, and the DNS-LB
//! goes on from there.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Instant,
};

use dglb_core::{
    catalogue::CatalogueUpdate,
    directory::LbIndex,
    fleet::Fleet,
    identity::Identity,
    name::Name,
    proto::message::{Message, PeerRole, Report},
    report::Ranking,
    table::{Claim, Source},
};
use dglb_node::store::{Batch, record::body};

use super::{Keeper, LinkId, Outgoing, lb::LbTruth};
use crate::record::{self, FLEET, LBS, LbRecord, RANKINGS, REPORTS, ZONES};

/// Seconds in which the reports of all DNS-LBs are written once, if all of them change.
const ROUND: usize = 60;
/// Reports written in one second at least, while there are any that have changed.
const LEAST: usize = 16;
/// Reports that go with one batch of records: making them takes the keeper's time, and a MAP must not wait
/// for all that are due in a second.
const AT_ONCE: usize = 4;
/// So many-th of them go together where more have come to be due than that.
const PART: usize = 32;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whether there is a store.
    on: bool,
    /// Of the last change.
    number: u64,
    /// Whether something has changed since records were taken last.
    changed: bool,
    lbs: BTreeSet<LbIndex>,
    zones: BTreeSet<Name>,
    fleet: bool,
    reports: Reports,
}

/// Whose report differs from the one in the store.
#[derive(Debug, Default)]
struct Reports {
    /// In the order in which they changed.
    waiting: VecDeque<LbIndex>,
    /// The same.
    known: HashSet<LbIndex>,
    /// Go with the next records.
    due: BTreeSet<LbIndex>,
    /// How many records there are of each DNS-LB.
    parts: HashMap<LbIndex, u32>,
}

impl Kept {
    fn change(&mut self) -> u64 {
        self.changed = true;
        self.number += 1;
        self.number
    }
}

/// What is in the store, but for the reports.
#[derive(Debug, Default)]
pub struct Restored {
    /// The fleet document that was in use.
    pub fleet: Option<Fleet>,
    /// Catalogues, and zones that are gone; no deltas.
    pub zones: Vec<CatalogueUpdate>,
    /// DNS-LBs.
    pub lbs: Vec<(Identity, LbRecord)>,
}

/// Of which DNS-LB all records of a report are, and those.
pub type RestoredReport = (Identity, Vec<Report>);

impl Keeper {
    /// From now on everything is kept.
    pub fn keep(&mut self) {
        self.kept.on = true;
        self.keep_fleet();
    }

    /// What has to be written, with the number under which that is acknowledged. Of the reports that are
    /// due a few; the others follow with the next batches.
    pub fn take_writes(&mut self) -> Option<(u64, Batch)> {
        self.take_some(AT_ONCE.max(self.kept.reports.due.len() / PART))
    }

    fn take_some(&mut self, most_reports: usize) -> Option<(u64, Batch)> {
        if !std::mem::take(&mut self.kept.changed) {
            return None;
        }
        let mut batch = Batch::default();
        for index in std::mem::take(&mut self.kept.lbs) {
            let Some(lb) = self.directory.find_lb(index) else { continue };
            let key = lb.identity.as_str();
            match self.lb_record(index) {
                Some(record) => batch.put(LBS, key, record.encode()),
                None => batch.remove(LBS, key),
            }
        }
        for zone in std::mem::take(&mut self.kept.zones) {
            match self.distribution.zone(&zone) {
                Some(held) => batch.put(ZONES, zone.wire(), body(held.whole().body())),
                None => batch.remove(ZONES, zone.wire()),
            }
        }
        if std::mem::take(&mut self.kept.fleet) {
            match Message::Fleet(Box::new(self.fleet.clone())).encode() {
                Ok(encoded) => batch.put(FLEET, [], body(encoded.body())),
                Err(error) => tracing::error!(%error, "the fleet document cannot be kept"),
            }
        }
        let number = self.kept.number;
        for _ in 0..most_reports {
            let Some(index) = self.kept.reports.due.pop_first() else { break };
            self.write_report(index, &mut batch);
        }
        if !self.kept.reports.due.is_empty() {
            // Nobody waits for this number.
            self.kept.change();
        }
        Some((number, batch))
    }

    /// Everything that has not been written, at the end.
    pub fn take_last_writes(&mut self) -> Option<(u64, Batch)> {
        self.let_reports_go(usize::MAX);
        self.take_some(usize::MAX)
    }

    /// Lets the reports go that have waited for longest. Called once a second.
    pub(super) fn keep_reports(&mut self) {
        let share = self.lbs.len() / ROUND;
        self.let_reports_go(share.max(LEAST));
    }

    fn let_reports_go(&mut self, most: usize) {
        let reports = &mut self.kept.reports;
        let count = most.min(reports.waiting.len());
        for index in reports.waiting.drain(..count) {
            reports.known.remove(&index);
            reports.due.insert(index);
        }
        if count > 0 {
            self.kept.change();
        }
    }

    /// The truth about a DNS-LB has changed.
    pub(super) fn keep_lb(&mut self, index: LbIndex) {
        if self.kept.on {
            self.kept.lbs.insert(index);
            self.kept.change();
        }
    }

    /// So has a zone.
    pub(super) fn keep_zone(&mut self, zone: &Name) {
        if self.kept.on {
            self.kept.zones.insert(zone.clone());
            self.kept.change();
        }
    }

    /// So has the fleet document.
    pub(super) fn keep_fleet(&mut self) {
        if self.kept.on {
            self.kept.fleet = true;
            self.kept.change();
        }
    }

    /// So has a report, which can wait.
    pub(super) fn keep_report(&mut self, index: LbIndex) {
        if self.kept.on && self.kept.reports.known.insert(index) {
            self.kept.reports.waiting.push_back(index);
        }
    }

    /// Sends an ACK once everything that has changed until now is on the disk.
    pub(super) fn send_kept(&mut self, link: LinkId, message: Message) {
        match self.kept.on {
            true => self.outbox.push((link, Outgoing::After(self.kept.number, message))),
            false => self.send(link, message),
        }
    }

    /// Nothing for a DNS-LB of which nothing is known that somebody might still need.
    fn lb_record(&self, index: LbIndex) -> Option<LbRecord> {
        let (truth, lb) = (self.lbs.get(&index)?, self.directory.find_lb(index)?);
        let nothing = truth.map_generation == 0 && truth.report_generation == 0 && truth.rankings.is_empty();
        if nothing && !lb.drained {
            return None;
        }
        let clients: HashSet<_> = self.clients.held(index).map(|held| held.claim.prefix).collect();
        let claims = self.all.held(index).map(|held| (held.claim, clients.contains(&held.claim.prefix)));
        Some(LbRecord {
            boot: truth.boot,
            map_generation: truth.map_generation,
            lease_ms: u64::try_from(truth.lease.as_millis()).unwrap_or(u64::MAX),
            ready: truth.ready,
            handed_out: lb.handed_out,
            drained: lb.drained,
            addresses: lb.addresses.clone(),
            claims: claims.collect(),
        })
    }

    fn write_report(&mut self, index: LbIndex, batch: &mut Batch) {
        let (Some(truth), Some(lb)) = (self.lbs.get(&index), self.directory.find_lb(index)) else { return };
        let mut rankings = truth.rankings.iter();
        let mut parts = 0;
        loop {
            let part: Vec<Ranking> = rankings.by_ref().take(RANKINGS).collect();
            if part.is_empty() {
                break;
            }
            let report = Report { generation: truth.report_generation, base: 0, rankings: part, removed: Vec::new() };
            match Message::Report(report).encode() {
                Ok(encoded) => batch.put(REPORTS, record::report_key(&lb.identity, parts), body(encoded.body())),
                Err(error) => return tracing::error!(dns_lb = %lb.identity, %error, "its report cannot be kept"),
            }
            parts += 1;
        }
        let before = self.kept.reports.parts.insert(index, parts).unwrap_or(0);
        for part in parts..before {
            batch.remove(REPORTS, record::report_key(&lb.identity, part));
        }
    }

    /// Takes back what was kept. Every DNS-LB has one lease from now on, within which it comes back
    /// or not; whoever may not be here any more has none.
    pub fn restore(&mut self, restored: Restored, now: Instant) {
        if let Some(kept) = restored.fleet.filter(|kept| kept.serial > self.fleet.serial) {
            let (kept, file) = (kept.serial, self.fleet.serial);
            tracing::warn!(kept, file, "the fleet document is older than the one that was in use before the restart");
        }
        restored.zones.into_iter().for_each(|zone| self.restore_zone(zone));
        let (mut all, mut clients, mut leases) = (Vec::new(), Vec::new(), Vec::new());
        for (identity, record) in restored.lbs {
            // One that is let in by its certificate alone has no bounds of its own.
            let admitted = self.admission(&identity, PeerRole::DnsLb).is_ok();
            let bounds = || self.peers.get(&identity).map_or(&[][..], |peer| &peer.may_map);
            let bounds = admitted.then(bounds);
            let may = |claim: &Claim| match claim.source {
                Source::Proven => self.may_still_hold(&identity, &claim.prefix),
                Source::Static => bounds.is_some_and(|b| b.iter().any(|p| p.covers(&claim.prefix))),
            };
            let held: Vec<(Claim, bool)> = match bounds {
                Some(_) => record.claims.iter().filter(|(claim, _)| may(claim)).copied().collect(),
                None => Vec::new(),
            };
            let live = bounds.is_some() && record.map_generation > 0;
            let index = self.restore_lb(&identity, &record, live, now);
            let entries = held.len();
            if live {
                self.restore_proofs(index, &held, now);
            }
            if live && entries > 0 {
                let networks: Vec<Claim> = held.iter().filter(|(_, client)| *client).map(|(claim, _)| *claim).collect();
                clients.push((index, record.map_generation, networks));
                all.push((index, record.map_generation, held.into_iter().map(|(claim, _)| claim).collect()));
            }
            if let Some(truth) = self.lbs.get_mut(&index) {
                truth.entries = if live { entries } else { 0 };
                leases.extend(live.then_some((index, now + truth.lease)));
                if live {
                    self.budgets.connected(index, false);
                }
            }
        }
        if let Err(error) = self.all.restore(all).and(self.clients.restore(clients)) {
            tracing::error!(%error, "the map table does not hold what was kept");
        }
        for (index, end) in leases {
            self.ages.note(index, self.all.held(index).map(|held| held.claim.prefix), now);
            self.let_lease_run(index, end);
        }
        self.publish_tables();
        self.renew_default_group();
        self.judge_all(now);
    }

    fn restore_zone(&mut self, update: CatalogueUpdate) {
        let (zone, generation) = (update.zone().clone(), update.generation());
        if !self.peers.values().any(|peer| peer.may_publish.contains(&zone)) {
            return tracing::warn!(%zone, generation, "nobody may publish this zone any more; it is not served");
        }
        let served = match update {
            CatalogueUpdate::Snapshot(catalogue) => self.serve_zone(catalogue),
            CatalogueUpdate::Withdrawn(gone) => self.withdraw(gone),
            CatalogueUpdate::Delta(_) => Err("it is a delta".to_owned()),
        };
        match served {
            Ok(()) => {}
            Err(reason) => tracing::error!(%zone, generation, %reason, "the catalogue that was kept cannot be used"),
        }
    }

    fn restore_lb(&mut self, identity: &Identity, record: &LbRecord, live: bool, now: Instant) -> LbIndex {
        let index = self.directory.upsert_lb(identity, &[]);
        let stated = self.stated_addresses(identity);
        let lease = std::time::Duration::from_millis(record.lease_ms).min(self.max_lease);
        let mut truth = LbTruth::absent(record.boot, lease);
        truth.gone_since = (!live).then_some(now);
        self.crowd.fails(index, now);
        if live {
            (truth.map_generation, truth.ready) = (record.map_generation, record.ready);
            truth.check.passed = record.handed_out;
        }
        self.lbs.insert(index, truth);
        self.give_voice(index, now);
        self.directory.update_lb(index, |lb| {
            lb.addresses = if stated.is_empty() { record.addresses.clone() } else { stated };
            (lb.handed_out, lb.drained) = (record.handed_out && live, record.drained);
        });
        index
    }

    /// Takes back reports. They count as if they had come now; nobody has said anything newer yet.
    pub fn restore_reports(&mut self, reports: Vec<RestoredReport>, now: Instant) {
        for (identity, parts) in reports {
            let index = self.directory.lb_of(&identity);
            let Some(index) = index.filter(|index| self.lbs.get(index).is_some_and(|t| t.report_generation == 0))
            else {
                continue;
            };
            self.kept.reports.parts.insert(index, parts.len() as u32);
            let generation = parts.iter().map(|part| part.generation).max().unwrap_or(0);
            let rankings = parts.into_iter().flat_map(|part| part.rankings);
            self.take_rankings(index, generation, rankings, now);
        }
        self.changed = true;
    }
}
