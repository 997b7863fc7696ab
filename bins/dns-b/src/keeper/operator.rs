//! What the operator asks of a running dns-b, or tells it: the map, and to drain a DNS-LB.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use dglb_core::{
    directory::LbIndex,
    identity::Identity,
    net::Prefix,
    proto::message::{BootId, Message, PeerRole},
    table::{Held, Source},
};
use serde_json::{Value, json};

use super::{Keeper, lb::LbTruth, status::state};

/// Paths that only ask.
pub const LOOK: &[&str] = &[MAP, dglb_node::explain::PATH];
/// Paths that change something.
pub const CHANGE: &[&str] = &[DRAIN];

const MAP: &str = "/api/v1/map";
const DRAIN: &str = "/api/v1/drain";
/// Entries in one answer, unless fewer or more are wanted.
const ENTRIES: usize = 1_000;
/// The most that can be wanted.
const MOST_ENTRIES: usize = 1_000_000;

/// Since when every claim has stood.
#[derive(Debug, Default)]
pub(super) struct Ages(HashMap<LbIndex, BTreeMap<Prefix, Instant>>);

impl Ages {
    /// A DNS-LB holds these and nothing else.
    pub(super) fn note(&mut self, lb: LbIndex, held: impl Iterator<Item = Prefix>, now: Instant) {
        let mut before = self.0.remove(&lb).unwrap_or_default();
        let after: BTreeMap<_, _> = held.map(|prefix| (prefix, before.remove(&prefix).unwrap_or(now))).collect();
        if !after.is_empty() {
            self.0.insert(lb, after);
        }
    }

    fn since(&self, lb: LbIndex, prefix: &Prefix) -> Option<Instant> {
        self.0.get(&lb)?.get(prefix).copied()
    }
}

impl Keeper {
    /// Answers a request of the operator.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn request(
        &mut self,
        path: &str,
        parameters: &BTreeMap<String, String>,
        now: Instant,
    ) -> Result<Value, String> {
        let known: &[&str] = if path == MAP { &["prefix", "limit"] } else { &["dns-lb", "drained"] };
        if let Some(unknown) = parameters.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("there is no parameter \"{unknown}\" here"));
        }
        let get = |key: &str| parameters.get(key).map(String::as_str);
        match path {
            MAP => {
                let prefix = get("prefix").map(read_prefix).transpose()?;
                let limit = get("limit").map(str::parse).transpose().map_err(|_| "limit is a number".to_owned())?;
                Ok(self.map_listing(prefix, limit.unwrap_or(ENTRIES).min(MOST_ENTRIES), now))
            }
            DRAIN => {
                let identity = get("dns-lb").ok_or("dns-lb=IDENTITY is missing")?;
                let identity: Identity = identity.parse().map_err(|error| format!("dns-lb: {error}"))?;
                let drained = get("drained").unwrap_or("true").parse().map_err(|_| "drained is true or false")?;
                let changed = self.drain(&identity, drained)?;
                Ok(json!({ "dns_lb": identity, "drained": drained, "changed": changed }))
            }
            _ => Err("nothing is known of this".to_owned()),
        }
    }

    /// Drains a DNS-LB, or no longer: while it is drained nobody is sent there who could be sent
    /// elsewhere. It is told, now and whenever it comes back. Returns whether that is another state
    /// than before.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn drain(&mut self, identity: &Identity, drained: bool) -> Result<bool, String> {
        self.admission(identity, PeerRole::DnsLb)?;
        let index = self.directory.upsert_lb(identity, &[]);
        if self.directory.find_lb(index).is_none_or(|lb| lb.drained == drained) {
            return Ok(false);
        }
        let lease = self.max_lease;
        // One that never came is remembered, too.
        self.lbs.entry(index).or_insert_with(|| LbTruth::absent(BootId([0; 16]), lease));
        self.directory.update_lb(index, |lb| lb.drained = drained);
        self.changed = true;
        self.keep_lb(index);
        tracing::warn!(dns_lb = %identity, drained, "the operator drains a DNS-LB, or no longer");
        if let Some(link) = self.lbs.get(&index).and_then(|truth| truth.link) {
            self.send(link, Message::Drain(drained));
        }
        Ok(true)
    }

    /// Whether the operator drains a DNS-LB.
    pub(super) fn is_drained(&self, identity: &Identity) -> bool {
        self.directory.lb_of(identity).and_then(|index| self.directory.find_lb(index)).is_some_and(|lb| lb.drained)
    }

    /// The claims on prefixes that overlap with `prefix`, or all, in the order of prefixes.
    fn map_listing(&self, prefix: Option<Prefix>, limit: usize, now: Instant) -> Value {
        let overlaps =
            |held: &Held| prefix.is_none_or(|p| p.covers(&held.claim.prefix) || held.claim.prefix.covers(&p));
        let mut found = self.all.iter().filter(overlaps);
        let entries: Vec<Value> = found.by_ref().take(limit).map(|held| self.map_entry(&held, now)).collect();
        json!({ "entries": entries, "more": found.count() })
    }

    fn map_entry(&self, held: &Held, now: Instant) -> Value {
        let Held { lb: index, claim, .. } = held;
        let (lb, truth) = (self.directory.find_lb(*index), self.lbs.get(index));
        let age = self.ages.since(*index, &claim.prefix).map(|since| now.saturating_duration_since(since).as_secs());
        let lease = held.lease.map(|end| end.saturating_duration_since(now).as_secs());
        json!({
            "prefix": claim.prefix.to_string(),
            "dns_lb": lb.map(|lb| &lb.identity),
            "preference": claim.preference,
            "weight": claim.weight,
            "source": match claim.source { Source::Proven => "proven", Source::Static => "static" },
            "age_seconds": age,
            // While there is a link no lease runs.
            "lease_left_seconds": lease,
            "linked": truth.is_some_and(|truth| truth.link.is_some()),
            "state": lb.map(|lb| if lb.drained { "drained" } else { state(lb.state) }),
            "handed_out": lb.is_some_and(|lb| lb.handed_out),
        })
    }
}

/// A prefix, or an address alone.
fn read_prefix(text: &str) -> Result<Prefix, String> {
    let address = text.parse().ok().map(|address: std::net::IpAddr| if address.is_ipv4() { 32 } else { 128 });
    let whole = address.map_or_else(|| text.to_owned(), |bits| format!("{text}/{bits}"));
    whole.parse().map_err(|error| format!("prefix: {error}"))
}
