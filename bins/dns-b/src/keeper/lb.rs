//! DNS-LBs: what they say of themselves, how long it holds, and whether they may be handed out.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    allowance::Allowance,
    directory::LbIndex,
    identity::Identity,
    net::Prefix,
    proto::message::{BootId, EntryKind, Map, MapAck, MapEntry, Message, Ready, Refused, RefusedReason, Unmap},
    residence::Learnt,
    table::{Claim, Source},
};

use super::{Keeper, LinkId, check::CheckState, proof, quota::Quota, reported::Reported};

/// What is known of a DNS-LB beyond the directory.
#[derive(Debug)]
pub(super) struct LbTruth {
    pub(super) link: Option<LinkId>,
    pub(super) boot: BootId,
    pub(super) map_generation: u64,
    pub(super) report_generation: u64,
    /// READY was said for `map_generation` by this boot.
    pub(super) ready: bool,
    pub(super) check: CheckState,
    /// How often it was checked at once.
    pub(super) anew: Allowance,
    /// How long it asked its entries to live without a word from it.
    pub(super) lease: Duration,
    /// When its lease was found to be over; `None` while there is a link, or a lease that runs.
    pub(super) gone_since: Option<Instant>,
    /// A hash of what its MAP of `map_generation` said, to tell the same once more from something else.
    pub(super) map_content: Option<u64>,
    pub(super) last_report: Option<Instant>,
    /// As reported, by service: re-applied when a zone's catalogue comes later than the report.
    pub(super) rankings: Reported,
    /// Of these, how many are of services that no zone has.
    pub(super) unknown: usize,
    pub(super) entries: usize,
    /// What it has proven.
    pub(super) learnt: Learnt,
    /// Preference and weight of that.
    pub(super) terms: (u16, u16),
}

/// Generations from here on are nonsense: a peer that took one over could never count on from it.
pub(super) const MAX_GENERATION: u64 = 1 << 63;
/// Most addresses of one DNS-LB.
const MAX_ADDRESSES: usize = 16;

impl LbTruth {
    /// Of a run that has said nothing.
    pub(super) fn absent(boot: BootId, lease: Duration) -> Self {
        Self {
            link: None,
            boot,
            map_generation: 0,
            report_generation: 0,
            ready: false,
            check: CheckState::default(),
            anew: Allowance::default(),
            lease,
            gone_since: None,
            map_content: None,
            last_report: None,
            rankings: Reported::default(),
            unknown: 0,
            entries: 0,
            learnt: Learnt::default(),
            terms: proof::TERMS,
        }
    }
}

impl Keeper {
    pub(super) fn lb_connected(&mut self, link: LinkId, identity: &Identity, boot: BootId, now: Instant) {
        let index = self.directory.upsert_lb(identity, &[]);
        let lease = self.max_lease;
        let truth = self.lbs.entry(index).or_insert_with(|| LbTruth::absent(boot, lease));
        truth.link = Some(link);
        truth.gone_since = None;
        truth.learnt.hurry();
        let restarted = truth.boot != boot;
        if restarted {
            // A new process measures anew: its name waits until it says READY again.
            truth.boot = boot;
            truth.ready = false;
            self.check_anew(index, now);
            self.directory.update_lb(index, |lb| lb.handed_out = false);
        }
        self.budgets.connected(index, restarted);
        self.give_voice(index, now);
        self.hold_lease(index);
        if self.default_group.iter().any(|member| member.identity == *identity) {
            self.renew_default_group();
        }
        self.changed = true;
        self.judge(index, now);
    }

    pub(super) fn lb_disconnected(&mut self, index: LbIndex, now: Instant) {
        if let Some(truth) = self.lbs.get_mut(&index) {
            truth.link = None;
            let end = now + truth.lease;
            self.let_lease_run(index, end);
        }
        self.judge(index, now);
    }

    pub(super) fn map(&mut self, link: LinkId, identity: &Identity, map: &Map, now: Instant) {
        let Some(index) = self.directory.lb_of(identity) else { return };
        let Some(truth) = self.lbs.get_mut(&index) else { return };
        let content = content_of(map);
        if let Some(text) = objection(map.generation, content, truth) {
            let prefixes = map.entries.iter().map(|entry| entry.prefix);
            self.refuse_stale(link, map.generation, prefixes.collect(), &text);
            return;
        }
        if map.generation > truth.map_generation {
            truth.ready = false;
            // It may sit beside another resolver now.
            truth.learnt.hurry();
        }
        (truth.map_generation, truth.map_content) = (map.generation, Some(content));
        truth.terms = proof::terms(map);
        truth.lease = Duration::from_millis(u64::from(map.lease_ms)).min(self.max_lease);
        let (taken, beyond) = map.entries.split_at(map.entries.len().min(self.most_held(identity).entries));
        let (stated, proven, mut refused) = self.admit(index, identity, taken);
        self.figures.refused_entries += (refused.len() + beyond.len()) as u64;
        if let Some(first) = beyond.first() {
            self.over(link, Quota::Entries, beyond.len());
            let (most, after) = (taken.len(), beyond.len() - 1);
            let text = format!("{most} entries are taken; this one and the {after} behind it are too many");
            refused.push(Refused { prefix: first.prefix, reason: RefusedReason::Limit, text });
        }
        // What is still to be proven is no news.
        if let Some(first) = refused.iter().find(|r| r.reason != RefusedReason::NotProven)
            && self.may_log(link, now)
        {
            let (count, prefix, reason) = (refused.len(), first.prefix, &first.text);
            tracing::warn!(dns_lb = %identity, count, %prefix, %reason, "map entries refused, this one first");
        }
        self.claim(index, map.generation, &stated);
        self.ages.note(index, self.all.held(index).map(|held| held.claim.prefix), now);
        self.move_to(index, map, now);
        self.keep_lb(index);
        let accepted = (stated.len() + proven) as u32;
        let ack = MapAck { generation: map.generation, accepted, refused };
        self.send_kept(link, Message::MapAck(ack));
        self.judge(index, now);
    }

    /// What names no prefix is refused as if it had named all, or it would look accepted; of what names more
    /// than would be taken, the rest goes without saying.
    fn refuse_stale(&mut self, link: LinkId, generation: u64, mut prefixes: Vec<Prefix>, text: &str) {
        self.figures.stale += 1;
        prefixes.truncate(self.quotas.entries);
        if prefixes.is_empty() {
            prefixes.push(Prefix::ALL_IPV4);
        }
        let refuse = |prefix| Refused { prefix, reason: RefusedReason::Stale, text: text.to_owned() };
        let refused = prefixes.into_iter().map(refuse).collect();
        self.send(link, Message::MapAck(MapAck { generation, accepted: 0, refused }));
    }

    /// Entries that the operator's configuration allows, how many others are proven, and the rest with
    /// the reason.
    fn admit(&self, index: LbIndex, identity: &Identity, entries: &[MapEntry]) -> (Vec<MapEntry>, usize, Vec<Refused>) {
        let (allowed, may_prove) =
            (self.peers.get(identity).map_or(&[][..], |p| &p.may_map[..]), self.bounds(identity).allowed);
        let is_proven = |prefix| self.lbs.get(&index).is_some_and(|truth| truth.learnt.covers(prefix));
        let (mut accepted, mut proven, mut refused) = (Vec::new(), 0, Vec::new());
        for entry in entries {
            let refuse = |reason, text: String| Refused { prefix: entry.prefix, reason, text };
            let is_resolver = entry.kind == EntryKind::Resolver;
            if allowed.iter().any(|p| p.covers(&entry.prefix)) {
                accepted.push(entry.clone());
            } else if is_resolver && is_proven(&entry.prefix) {
                proven += 1;
            } else if is_resolver && may_prove {
                let text = "not proven: an address is mapped once its questions are seen to come from it".to_owned();
                refused.push(refuse(RefusedReason::NotProven, text));
            } else {
                let text = format!("outside of what \"{identity}\" may map");
                refused.push(refuse(RefusedReason::NotAllowed, text));
            }
        }
        (accepted, proven, refused)
    }

    fn claim(&mut self, index: LbIndex, generation: u64, entries: &[MapEntry]) {
        let claim = |e: &MapEntry| Claim {
            prefix: e.prefix,
            preference: e.preference,
            weight: e.weight.max(1),
            source: Source::Static,
        };
        // No lease runs while there is a link (see `lease.rs`). Of two claims on one prefix the operator's
        // counts, which is the later one.
        let proven = self.proven_claims(index);
        let all = self.all.set(index, generation, None, proven.into_iter().chain(entries.iter().map(claim)));
        let networks = entries.iter().filter(|e| e.kind == EntryKind::Client).map(claim);
        let clients = self.clients.set(index, generation, None, networks);
        if let Err(error) = all.and(clients) {
            tracing::error!(%error, "the map table takes no more entries");
            self.figures.refused_entries += 1;
        }
        if let Some(truth) = self.lbs.get_mut(&index) {
            truth.entries = self.all.held(index).count();
        }
        self.publish_tables();
    }

    pub(super) fn publish_tables(&mut self) {
        self.directory.set_tables(self.all.table().clone(), self.clients.table().clone());
        self.changed = true;
    }

    /// Its addresses, where they are others than before: then they are checked anew. Those that the
    /// operator states in the fleet document stand.
    fn move_to(&mut self, index: LbIndex, map: &Map, now: Instant) {
        let Some(lb) = self.directory.find_lb(index) else { return };
        let stated = !self.stated_addresses(&lb.identity).is_empty();
        let addresses = &map.addresses[..map.addresses.len().min(MAX_ADDRESSES)];
        if !stated && lb.addresses != addresses {
            self.directory.update_lb(index, |lb| {
                lb.addresses = addresses.to_vec();
                lb.handed_out = false;
            });
            self.check_anew(index, now);
        }
    }

    pub(super) fn unmap(&mut self, link: LinkId, identity: &Identity, unmap: &Unmap) {
        let Some(index) = self.directory.lb_of(identity) else { return };
        let Some(truth) = self.lbs.get_mut(&index) else { return };
        let newer = unmap.generation > truth.map_generation && unmap.generation < MAX_GENERATION;
        if newer {
            (truth.map_generation, truth.map_content) = (unmap.generation, None);
            if unmap.prefixes.is_empty() {
                self.all.remove_all(index);
                self.clients.remove_all(index);
                truth.learnt.clear();
            } else {
                self.all.remove(index, unmap.prefixes.iter().copied());
                self.clients.remove(index, unmap.prefixes.iter().copied());
                truth.learnt.retain(|prefix| !unmap.prefixes.contains(prefix));
            }
            truth.entries = self.all.held(index).count();
            self.publish_tables();
            self.keep_lb(index);
        } else {
            let text = format!("generation {} is not greater than {}", unmap.generation, truth.map_generation);
            return self.refuse_stale(link, unmap.generation, unmap.prefixes.clone(), &text);
        }
        let accepted = self.lbs.get(&index).map_or(0, |t| t.entries as u32);
        let ack = MapAck { generation: unmap.generation, accepted, refused: Vec::new() };
        self.send_kept(link, Message::MapAck(ack));
    }

    pub(super) fn ready(&mut self, identity: &Identity, ready: &Ready) {
        let Some(index) = self.directory.lb_of(identity) else { return };
        if let Some(truth) = self.lbs.get_mut(&index)
            && ready.map_generation == truth.map_generation
            && ready.servers.contains(&self.identity)
        {
            let news = !std::mem::replace(&mut truth.ready, true);
            self.hand_out_if_fit(index);
            if news {
                self.keep_lb(index);
            }
        }
    }

    /// What the fleet document says of it; nothing for most.
    pub(super) fn stated_addresses(&self, identity: &Identity) -> Vec<IpAddr> {
        let stated = self.fleet.labels.iter().find(|l| l.identity == *identity);
        stated.map_or_else(Vec::new, |l| l.addresses.clone())
    }
}

/// Why a MAP of this generation and content cannot replace what is held; `None` if it can.
fn objection(generation: u64, content: u64, held: &LbTruth) -> Option<String> {
    if generation < held.map_generation {
        return Some(format!("generation {generation} is older than {}, which is held", held.map_generation));
    }
    if generation >= MAX_GENERATION {
        return Some(format!("generation {generation} is beyond all that are used"));
    }
    let other = generation == held.map_generation && held.map_content.is_some_and(|c| c != content);
    other.then(|| format!("generation {generation} is held already with another content"))
}

fn content_of(map: &Map) -> u64 {
    let mut hasher = DefaultHasher::new();
    map.addresses.hash(&mut hasher);
    for MapEntry { prefix, kind, preference, weight } in &map.entries {
        (prefix, kind, preference, weight).hash(&mut hasher);
    }
    hasher.finish()
}
