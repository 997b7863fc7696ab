//! What must be so, from what was said: a second account of the map, kept beside the keepers by
//! reading their messages, and compared with what they answer from.

use std::collections::{BTreeMap, BTreeSet};

use dglb_core::{
    directory::Directory,
    identity::Identity,
    net::Prefix,
    proto::message::{BootId, EntryKind, Map, MapAck, RefusedReason},
};

use crate::{Invariant, Ms, content::LEASE};

/// Prefixes with what they are: those of resolvers are in one table, those of clients in both.
type Entries = BTreeSet<(Prefix, bool)>;

/// The account.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What a process said in each generation of its.
    said: BTreeMap<(u128, u64), Entries>,
    /// Of each dns-b that runs.
    seen: BTreeMap<usize, BTreeMap<Identity, Held>>,
    /// What each dns-b has acknowledged to the outside, which holds over a restart.
    promised: BTreeMap<usize, BTreeMap<Identity, Held>>,
    /// Labels that were given to resolvers, and until when one may have them in its cache.
    handed: BTreeMap<Identity, Ms>,
    /// Of these, the ones that are new since the last look.
    fresh: BTreeSet<Identity>,
    /// The dns-bs of which the account has changed since it was compared.
    stirred: BTreeSet<usize>,
    /// What happened, to be counted.
    pub counts: Counts,
}

/// How often what is worth testing has come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// MAPs that were acknowledged as in use.
    pub acknowledged: u64,
    /// MAPs that were refused as stale.
    pub stale: u64,
    /// Leases that ended.
    pub expired: u64,
    /// Links that were up.
    pub links: u64,
    /// Links that were refused to an older process.
    pub duplicates: u64,
    /// Links that a newer one replaced.
    pub replaced: u64,
    /// Links that were given up because the peer was slow.
    pub slow: u64,
    /// Links that were given up because the peer was silent.
    pub silent: u64,
    /// CNAMEs that were answered.
    pub referred: u64,
    /// Catalogues that came into use at a dns-b or a DNS-LB.
    pub editions: u64,
    /// Deltas of a catalogue that came to a DNS-LB.
    pub deltas: u64,
    /// DNS-LBs that a dns-b knew from its disk.
    pub restored: u64,
    /// Looks at all that must be so.
    pub looks: u64,
}

/// What one dns-b holds of one DNS-LB.
#[derive(Clone, Debug, Default)]
struct Held {
    entries: Entries,
    boot: u128,
    generation: u64,
    /// The link that it is heard over.
    link: Option<u64>,
    /// When its lease ends, while there is no link.
    until: Option<Ms>,
}

/// A difference between what must be so and what is.
pub type Difference = (Invariant, String);

impl Oracle {
    /// A DNS-LB's process says this to somebody.
    pub fn says(&mut self, boot: BootId, map: &Map) {
        let entries = map.entries.iter().map(|e| (e.prefix, e.kind == EntryKind::Client)).collect();
        self.said.insert((number(boot), map.generation), entries);
    }

    /// A dns-b let somebody in.
    pub fn linked(&mut self, b: usize, identity: &Identity, link: u64) {
        self.counts.links += 1;
        self.stirred.insert(b);
        let held = self.seen.entry(b).or_default().entry(identity.clone()).or_default();
        self.counts.replaced += u64::from(held.link.is_some());
        (held.link, held.until) = (Some(link), None);
    }

    /// A link of a dns-b is over; the last word on it came at `heard`.
    pub fn unlinked(&mut self, b: usize, link: u64, heard: Ms) {
        self.stirred.insert(b);
        for held in self.seen.entry(b).or_default().values_mut().filter(|held| held.link == Some(link)) {
            (held.link, held.until) = (None, Some(heard + LEASE.as_millis() as Ms));
        }
    }

    /// A dns-b acknowledges a MAP.
    pub fn acknowledges(&mut self, b: usize, (identity, boot): (&Identity, BootId), ack: &MapAck) {
        if ack.refused.iter().any(|r| r.reason == RefusedReason::Stale) {
            self.counts.stale += 1;
            return;
        }
        let Some(entries) = self.taken(boot, ack) else { return };
        let held = self.seen.entry(b).or_default().entry(identity.clone()).or_default();
        held.entries = entries;
        (held.boot, held.generation) = (number(boot), ack.generation);
        self.stirred.insert(b);
        self.counts.acknowledged += 1;
    }

    /// The entries of a MAP that were not refused.
    fn taken(&self, boot: BootId, ack: &MapAck) -> Option<Entries> {
        let said = self.said.get(&(number(boot), ack.generation))?;
        let refused: BTreeSet<Prefix> = ack.refused.iter().map(|r| r.prefix).collect();
        Some(said.iter().filter(|(prefix, _)| !refused.contains(prefix)).copied().collect())
    }

    /// An acknowledgement leaves a dns-b.
    pub fn promises(&mut self, b: usize, (identity, boot): (&Identity, BootId), ack: &MapAck) {
        let stale = ack.refused.iter().any(|r| r.reason == RefusedReason::Stale);
        if let Some(entries) = self.taken(boot, ack).filter(|_| !stale) {
            let held = Held { entries, boot: number(boot), generation: ack.generation, ..Held::default() };
            self.promised.entry(b).or_default().insert(identity.clone(), held);
        }
    }

    /// A dns-b's disk is empty.
    pub fn wiped(&mut self, b: usize) {
        self.promised.remove(&b);
    }

    /// A dns-b starts with what is on its disk: what it has promised, or what was said later. Whatever
    /// it is, it lives for one lease.
    ///
    /// # Errors
    /// What it has promised and does not have.
    pub fn restored(&mut self, b: usize, directory: &Directory, now: Ms) -> Result<(), Difference> {
        let found = tables(directory);
        let promised = self.promised.get(&b).cloned().unwrap_or_default();
        for (identity, promise) in &promised {
            let actual = found.get(identity).cloned().unwrap_or_default();
            let later = self.said.iter().filter(|((_, generation), _)| *generation > promise.generation);
            if actual != promise.expected() && !later.into_iter().any(|(_, said)| actual == widened(&allowed(said))) {
                return Err(self.difference(identity, promise, &actual));
            }
        }
        self.counts.restored += found.len() as u64;
        let until = Some(now + LEASE.as_millis() as Ms);
        let seen = found.into_iter().map(|(identity, entries)| {
            let generation = promised.get(&identity).map_or(0, |promise| promise.generation);
            (identity, Held { entries, generation, until, ..Held::default() })
        });
        self.seen.insert(b, seen.collect());
        Ok(())
    }

    /// A dns-b's process has ended with all that it knew.
    pub fn forgets(&mut self, b: usize) {
        self.seen.remove(&b);
    }

    /// A dns-b has looked at its leases.
    pub fn ticked(&mut self, b: usize, now: Ms) {
        for (identity, held) in self.seen.entry(b).or_default() {
            if held.until.is_some_and(|until| until <= now) && !held.entries.is_empty() {
                held.entries.clear();
                self.promised.entry(b).or_default().remove(identity);
                self.counts.expired += 1;
                self.stirred.insert(b);
            }
        }
    }

    /// A resolver was given a label; it may keep it for so long.
    pub fn handed_out(&mut self, identity: &Identity, until: Ms) {
        self.counts.referred += 1;
        if !self.handed.contains_key(identity) {
            self.fresh.insert(identity.clone());
        }
        let known = self.handed.entry(identity.clone()).or_default();
        *known = until.max(*known);
    }

    /// Whether a dns-b's account has changed since the last call.
    pub fn take_stirred(&mut self, b: usize) -> bool {
        self.stirred.remove(&b)
    }

    /// The labels that were given to resolvers for the first time since the last call.
    pub fn take_fresh(&mut self) -> BTreeSet<Identity> {
        std::mem::take(&mut self.fresh)
    }

    /// The labels that may be in a cache.
    pub fn cached(&self, now: Ms) -> impl Iterator<Item = &Identity> {
        self.handed.iter().filter(move |(_, until)| **until > now).map(|(identity, _)| identity)
    }

    /// What a dns-b has acknowledged and still has to serve, and whether it hears who said it.
    pub fn alive(&self, b: usize) -> impl Iterator<Item = (&Identity, Prefix, bool)> {
        let held = self.seen.get(&b).into_iter().flatten();
        held.flat_map(|(identity, held)| {
            held.entries.iter().map(move |(prefix, _)| (identity, *prefix, held.link.is_some()))
        })
    }

    /// Compares the tables of a dns-b's directory with the account.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, b: usize, directory: &Directory, now: Ms) -> Result<(), Difference> {
        static NOBODY: BTreeMap<Identity, Held> = BTreeMap::new();
        let seen = self.seen.get(&b).unwrap_or(&NOBODY);
        let found = tables(directory);
        let all: BTreeSet<&Identity> = found.keys().chain(seen.keys()).collect();
        for identity in all {
            let actual = found.get(identity).cloned().unwrap_or_default();
            let held = seen.get(identity).cloned().unwrap_or_default();
            if held.expected() == actual {
                continue;
            }
            // What has expired may be there until the next look at the leases.
            if held.until.is_some_and(|until| until <= now) && actual.is_empty() {
                continue;
            }
            return Err(self.difference(identity, &held, &actual));
        }
        Ok(())
    }

    fn difference(&self, identity: &Identity, held: &Held, actual: &Entries) -> Difference {
        let expected = held.expected();
        let older = self.said.range((held.boot, 0)..(held.boot, held.generation));
        let text = |entries: &mut dyn Iterator<Item = &(Prefix, bool)>| {
            entries.map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>().join(" ")
        };
        let missing = text(&mut expected.difference(actual));
        let more = text(&mut actual.difference(&expected));
        let generation = held.generation;
        let text = format!("{identity} generation {generation}: not there [{missing}], but there [{more}]");
        let undone = !more.is_empty() && older.into_iter().any(|(_, said)| actual.is_subset(&widened(said)));
        if undone && !held.entries.is_empty() {
            (Invariant::Newest, text)
        } else if !missing.is_empty() {
            (Invariant::Served, text)
        } else {
            (Invariant::Expired, text)
        }
    }
}

impl Held {
    fn expected(&self) -> Entries {
        widened(&self.entries)
    }
}

/// What a directory's tables have of each DNS-LB.
fn tables(directory: &Directory) -> BTreeMap<Identity, Entries> {
    let mut found: BTreeMap<Identity, Entries> = BTreeMap::new();
    for (table, client) in [(directory.resolvers(), false), (directory.clients(), true)] {
        for (prefix, group) in table.iter() {
            for member in group.members() {
                let Some(lb) = directory.find_lb(member.lb) else { continue };
                found.entry(lb.identity.clone()).or_default().insert((prefix, client));
            }
        }
    }
    found
}

/// Without what nobody may map.
fn allowed(said: &Entries) -> Entries {
    said.iter().filter(|(prefix, _)| crate::content::is_allowed(*prefix)).copied().collect()
}

/// As the tables have it: a network of clients is in both.
fn widened(entries: &Entries) -> Entries {
    entries.iter().flat_map(|(prefix, client)| [(*prefix, false), (*prefix, *client)]).collect()
}

/// A boot id that can be sorted.
fn number(boot: BootId) -> u128 {
    u128::from_be_bytes(boot.0)
}
