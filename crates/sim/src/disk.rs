//! A dns-b's store: what was committed survives any end of its process, what was handed over and not
//! committed may not.

use std::collections::{BTreeMap, VecDeque};

use dglb_core::{identity::Identity, proto::message::Message};
use dns_b::{
    keeper::{Keeper, Restored, RestoredReport},
    record::{self, FLEET, LBS, LbRecord, REPORTS, ZONES},
};

use crate::{Ms, random::Random};

type Table = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(&'static str, Vec<u8>, Option<Vec<u8>>)>;

/// What is on the disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(BTreeMap<&'static str, Table>);

/// The store of a process that runs: one batch under way at a time, and what waits for it.
#[derive(Debug)]
pub struct Store {
    disk: Disk,
    /// When it is on the disk, with its number.
    under_way: Option<(Ms, u64, Changes)>,
    durable: u64,
    waiting: VecDeque<(u64, u64, Message)>,
    random: Random,
}

impl Disk {
    fn apply(&mut self, changes: Changes) {
        for (table, key, value) in changes {
            let table = self.0.entry(table).or_default();
            match value {
                Some(value) => drop(table.insert(key, value)),
                None => drop(table.remove(&key)),
            }
        }
    }

    fn records(&self, table: &'static str) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.0.get(table).into_iter().flatten()
    }

    /// Gives a keeper that has just started what is here, as `dns_b::stored` does.
    pub fn restore(&self, keeper: &mut Keeper, now: std::time::Instant) {
        let lb = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let identity: Identity = std::str::from_utf8(key).ok()?.parse().ok()?;
            Some((identity, LbRecord::decode(value).ok()?))
        };
        let restored = Restored {
            fleet: self.records(FLEET).find_map(|(_, value)| record::fleet(value).ok()),
            zones: self.records(ZONES).filter_map(|(_, value)| record::catalogue(value).ok()).collect(),
            lbs: self.records(LBS).filter_map(lb).collect(),
        };
        keeper.restore(restored, now);
        keeper.keep();
        let mut reports: Vec<RestoredReport> = Vec::new();
        for (key, value) in self.records(REPORTS) {
            let (Some(owner), Ok(report)) = (record::report_owner(key), record::report(value)) else { continue };
            match reports.last_mut().filter(|(last, _)| *last == owner) {
                Some((_, parts)) => parts.push(report),
                None => reports.push((owner, vec![report])),
            }
        }
        keeper.restore_reports(reports, now);
    }
}

impl Store {
    /// Around what is on the disk.
    pub fn new(disk: Disk, random: Random) -> Self {
        Self { disk, under_way: None, durable: 0, waiting: VecDeque::new(), random }
    }

    /// Begins to write what has changed, unless something is under way. Returns when it is done.
    pub fn write(&mut self, keeper: &mut Keeper, now: Ms) -> Option<Ms> {
        if self.under_way.is_some() {
            return None;
        }
        let (number, batch) = keeper.take_writes()?;
        let changes = batch
            .tables()
            .flat_map(|(table, writes)| writes.iter().map(move |(key, value)| (table, key.clone(), value.clone())));
        // A disk that is busy takes its time now and then.
        let takes = if self.random.chance(10) { self.random.between(50, 400) } else { self.random.between(1, 15) };
        self.under_way = Some((now + takes, number, changes.collect()));
        Some(takes)
    }

    /// What was under way is on the disk, if its time has come. Returns what waited for it, by link.
    pub fn written(&mut self, now: Ms) -> Vec<(u64, Message)> {
        if let Some((_, number, changes)) = self.under_way.take_if(|(at, ..)| *at <= now) {
            self.disk.apply(changes);
            self.durable = number;
        }
        let mut free = Vec::new();
        while let Some((_, link, message)) = self.waiting.pop_front_if(|(number, ..)| *number <= self.durable) {
            free.push((link, message));
        }
        free
    }

    /// Keeps a message back until the change of this number is on the disk. Returns it if it is.
    pub fn hold(&mut self, number: u64, link: u64, message: Message) -> Option<Message> {
        if number <= self.durable {
            return Some(message);
        }
        self.waiting.push_back((number, link, message));
        None
    }

    /// Writes everything, as a process does that is told to stop.
    pub fn finish(&mut self, keeper: &mut Keeper) {
        let last = keeper.take_last_writes();
        let changes = last
            .iter()
            .flat_map(|(_, batch)| batch.tables())
            .flat_map(|(table, writes)| writes.iter().map(move |(key, value)| (table, key.clone(), value.clone())));
        let under_way = self.under_way.take().map(|(.., changes)| changes);
        let all: Changes = under_way.into_iter().flatten().chain(changes).collect();
        self.disk.apply(all);
    }

    /// What a process leaves behind that ends now: of what was under way all or nothing.
    pub fn end(mut self) -> Disk {
        if let Some((_, _, changes)) = self.under_way.take()
            && self.random.chance(50)
        {
            self.disk.apply(changes);
        }
        self.disk
    }
}
