//! What every dns-b is told about this DNS-LB's place: MAP, and READY once all of them know it
//! (design sections 3 and 6). Pure: links come and go by method calls, messages come out.
//!
//! Invariant: one generation stands for one claim in one run of this process, generations only
//! grow, and READY goes out only when it is known which dns-bs are reached, and all those have
//! acknowledged the claim of now.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use dglb_core::{
    identity::Identity,
    net::Prefix,
    proto::message::{EntryKind, Map, MapAck, MapEntry, Message, Ready, Refused, RefusedReason},
};
use serde::Serialize;

/// Generations beyond this are nonsense and not learnt, so that counting on from what was learnt
/// never ends.
const MAX_GENERATION: u64 = u64::MAX >> 1;

/// What this DNS-LB claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its own DNS addresses.
    pub addresses: Vec<IpAddr>,
    /// The DNS-ISP's.
    pub resolvers: Vec<IpAddr>,
    /// Networks of the clients, for ECS.
    pub networks: Vec<Prefix>,
    /// Of every entry; lower is taken first.
    pub preference: u16,
    /// Of every entry; share among equals, at least 1.
    pub weight: u16,
    /// How long entries outlive the link.
    pub lease: Duration,
}

/// A message and the dns-b it is for.
pub type Outgoing = (Identity, Message);

/// The state of the claim at every dns-b.
#[derive(Debug)]
pub struct Registration {
    claim: Claim,
    generation: u64,
    servers: BTreeMap<Identity, Server>,
}

/// What one dns-b knows, as far as this process can tell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// Whether its link is up.
    pub connected: bool,
    /// Whether a link to it was ever tried to its end: until then it may well be reached.
    pub tried: bool,
    /// The newest generation that this process sent it, over whichever link; 0 for none.
    pub sent: u64,
    /// The newest generation that it acknowledged; 0 for none.
    pub acknowledged: u64,
    /// How many entries of that it accepted.
    pub accepted: u32,
    /// Which entries it refused, and why.
    pub refused: Vec<String>,
    /// Whether a MAP was refused as stale on this link and said again by a greater number.
    #[serde(skip)]
    renumbered: bool,
    /// The generation and the dns-bs of the READY that it was told on this link.
    #[serde(skip)]
    ready: Option<(u64, Vec<Identity>)>,
}

impl Registration {
    /// A claim that none of `servers` was told yet.
    pub fn new(claim: Claim, servers: impl IntoIterator<Item = Identity>) -> Self {
        let servers = servers.into_iter().map(|identity| (identity, Server::default())).collect();
        Self { claim, generation: 1, servers }
    }

    /// Claims something else from now on.
    pub fn set_claim(&mut self, claim: Claim) -> Vec<Outgoing> {
        if claim == self.claim {
            return Vec::new();
        }
        self.claim = claim;
        self.generation += 1;
        self.tell()
    }

    /// The link to `server` is up, which holds generation `held` of this DNS-LB, 0 for none.
    pub fn up(&mut self, server: &Identity, held: u64) -> Vec<Outgoing> {
        let ours = self.servers.entry(server.clone()).or_default();
        (ours.connected, ours.tried) = (true, true);
        (ours.ready, ours.renumbered) = (None, false);
        // It is said again even if the number is the one of now: another process of this identity may
        // have used it, at a dns-b that had forgotten ours.
        let foreign = held > self.generation || held == self.generation && held != ours.sent;
        (ours.sent, ours.acknowledged) = (0, 0);
        if foreign && held < MAX_GENERATION {
            // A number of an earlier run of this process: count on from there.
            self.generation = held + 1;
        }
        self.tell()
    }

    /// The link to `server` is down, or could not be had.
    pub fn down(&mut self, server: &Identity) -> Vec<Outgoing> {
        if let Some(server) = self.servers.get_mut(server) {
            (server.connected, server.tried) = (false, true);
            server.ready = None;
        }
        self.tell()
    }

    /// `server` has acknowledged a MAP.
    pub fn acknowledged(&mut self, server: &Identity, ack: &MapAck) -> Vec<Outgoing> {
        let Some(server) = self.servers.get_mut(server) else { return Vec::new() };
        let stale = ack.refused.iter().any(|r| r.reason == RefusedReason::Stale);
        // A stale one is not held: another process has used the number. WELCOME told all that are
        // greater, so the next one will do, and a second one on the same link would not help.
        let counts_on = stale && ack.generation == self.generation && !server.renumbered;
        server.renumbered |= counts_on;
        self.generation += u64::from(counts_on);
        if !stale && ack.generation <= server.sent && ack.generation >= server.acknowledged {
            server.acknowledged = ack.generation;
            server.accepted = ack.accepted;
        }
        server.refused = ack.refused.iter().map(describe).collect();
        self.tell()
    }

    /// `server` has lost the claim.
    pub fn resync(&mut self, server: &Identity) -> Vec<Outgoing> {
        if let Some(server) = self.servers.get_mut(server) {
            server.sent = 0;
            server.acknowledged = 0;
        }
        self.tell()
    }

    /// The number of the claim of now.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is claimed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Every dns-b.
    pub fn servers(&self) -> &BTreeMap<Identity, Server> {
        &self.servers
    }

    /// Whether every dns-b was tried, and all that are reached, at least one, have acknowledged the
    /// claim of now.
    pub fn is_ready(&self) -> bool {
        if self.servers.values().any(|s| !s.tried) {
            return false;
        }
        let mut connected = self.servers.values().filter(|s| s.connected).peekable();
        connected.peek().is_some() && connected.all(|s| s.acknowledged == self.generation)
    }

    /// Everything that has to be said and was not.
    fn tell(&mut self) -> Vec<Outgoing> {
        let mut out = Vec::new();
        let map = self.map();
        for (identity, server) in self.servers.iter_mut().filter(|(_, s)| s.connected) {
            if server.sent < self.generation {
                server.sent = self.generation;
                out.push((identity.clone(), Message::Map(map.clone())));
            }
        }
        if self.is_ready() {
            let reached: Vec<Identity> =
                self.servers.iter().filter(|(_, s)| s.connected).map(|(i, _)| i.clone()).collect();
            let ready = (self.generation, reached);
            for (identity, server) in self.servers.iter_mut().filter(|(_, s)| s.connected) {
                if server.ready.as_ref() != Some(&ready) {
                    let message = Ready { map_generation: ready.0, servers: ready.1.clone() };
                    out.push((identity.clone(), Message::Ready(message)));
                    server.ready = Some(ready.clone());
                }
            }
        }
        out
    }

    fn map(&self) -> Map {
        let Claim { preference, weight, .. } = self.claim;
        let resolvers = self.claim.resolvers.iter().map(|a| (Prefix::host(*a), EntryKind::Resolver));
        let networks = self.claim.networks.iter().map(|n| (*n, EntryKind::Client));
        let entry = |(prefix, kind)| MapEntry { prefix, kind, preference, weight };
        Map {
            generation: self.generation,
            lease_ms: u32::try_from(self.claim.lease.as_millis()).unwrap_or(u32::MAX),
            addresses: self.claim.addresses.clone(),
            entries: resolvers.chain(networks).map(entry).collect(),
        }
    }
}

fn describe(refused: &Refused) -> String {
    let reason = match refused.reason {
        RefusedReason::NotAllowed => "not allowed".to_owned(),
        RefusedReason::Limit => "too many".to_owned(),
        RefusedReason::Stale => "not newer".to_owned(),
        RefusedReason::NotProven => "not proven".to_owned(),
        RefusedReason::Expired => "too late".to_owned(),
        RefusedReason::UnknownNonce => "unknown nonce".to_owned(),
        RefusedReason::WrongSecret => "wrong secret".to_owned(),
        RefusedReason::OpenResolver => "open resolver".to_owned(),
        RefusedReason::OutsideBounds => "outside bounds".to_owned(),
        RefusedReason::Other(code) => format!("reason {code}"),
    };
    format!("{}: {reason}: {}", refused.prefix, refused.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(servers: &[&str]) -> Registration {
        let claim = Claim {
            addresses: vec!["192.0.2.53".parse().unwrap()],
            resolvers: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            preference: 3,
            weight: 7,
            lease: Duration::from_secs(60),
        };
        Registration::new(claim, servers.iter().map(|s| id(s)))
    }

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    fn ack(generation: u64) -> MapAck {
        MapAck { generation, accepted: 3, refused: vec![] }
    }

    /// `b1 MAP 4`, `b2 READY 4 b1 b2`.
    fn said(out: &[Outgoing]) -> Vec<String> {
        out.iter()
            .map(|(to, message)| match message {
                Message::Map(map) => format!("{to} MAP {}", map.generation),
                Message::Ready(ready) => {
                    let servers: Vec<_> = ready.servers.iter().map(Identity::as_str).collect();
                    format!("{to} READY {} {}", ready.map_generation, servers.join(" "))
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn the_claim_is_the_whole_of_it() {
        let mut r = registration(&["b1"]);
        let out = r.up(&id("b1"), 0);
        let Message::Map(map) = &out[0].1 else { panic!("{out:?}") };
        assert_eq!((map.generation, map.lease_ms), (1, 60_000));
        assert_eq!(map.addresses, r.claim().addresses);
        let entries: Vec<_> =
            map.entries.iter().map(|e| (e.prefix.to_string(), e.kind, e.preference, e.weight)).collect();
        let expected = [
            ("192.0.2.1/32".to_owned(), EntryKind::Resolver, 3, 7),
            ("2001:db8::1/128".to_owned(), EntryKind::Resolver, 3, 7),
            ("10.0.0.0/8".to_owned(), EntryKind::Client, 3, 7),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn ready_when_all_that_are_reached_know() {
        let mut r = registration(&["b1", "b2"]);
        let (b1, b2) = (id("b1"), id("b2"));
        assert!(!r.is_ready(), "nobody is reached");
        assert_eq!(said(&r.up(&b1, 0)), ["b1 MAP 1"]);
        assert_eq!(said(&r.up(&b2, 0)), ["b2 MAP 1"]);
        assert_eq!(said(&r.acknowledged(&b2, &ack(1))), NONE);
        assert_eq!(said(&r.acknowledged(&b1, &ack(1))), ["b1 READY 1 b1 b2", "b2 READY 1 b1 b2"]);
        assert_eq!(said(&r.acknowledged(&b1, &ack(1))), NONE, "said once");
        assert_eq!(said(&r.down(&b2)), ["b1 READY 1 b1"]);
        // Back on a new link: what it holds is what this process sent, or another one by that number.
        assert_eq!(said(&r.up(&b2, 1)), ["b2 MAP 1"]);
        assert_eq!(said(&r.acknowledged(&b2, &ack(1))), ["b1 READY 1 b1 b2", "b2 READY 1 b1 b2"]);
        assert_eq!(said(&r.down(&b1)), ["b2 READY 1 b2"]);
        assert_eq!(said(&r.down(&b2)), NONE);
        assert!(!r.is_ready());
    }

    #[test]
    fn not_ready_while_it_is_open_who_is_reached() {
        let mut r = registration(&["b1", "b2"]);
        let (b1, b2) = (id("b1"), id("b2"));
        r.up(&b1, 0);
        assert_eq!(said(&r.acknowledged(&b1, &ack(1))), NONE, "b2 may be just about to connect");
        assert_eq!(said(&r.down(&b2)), ["b1 READY 1 b1"], "it cannot be reached");
        assert_eq!(said(&r.down(&b2)), NONE, "tried again");
    }

    #[test]
    fn a_change_goes_to_all_and_old_acknowledgements_do_not_count() {
        let mut r = registration(&["b1", "b2"]);
        let (b1, b2) = (id("b1"), id("b2"));
        r.up(&b1, 0);
        r.up(&b2, 0);
        r.acknowledged(&b1, &ack(1));
        let other = Claim { resolvers: vec!["192.0.2.9".parse().unwrap()], ..r.claim().clone() };
        assert_eq!(said(&r.set_claim(other.clone())), ["b1 MAP 2", "b2 MAP 2"]);
        assert_eq!(said(&r.set_claim(other)), NONE, "no change");
        assert_eq!(said(&r.acknowledged(&b2, &ack(1))), NONE, "that was the old claim");
        assert_eq!(said(&r.acknowledged(&b2, &ack(2))), NONE);
        assert_eq!(said(&r.acknowledged(&b1, &ack(3))), NONE, "never sent");
        assert_eq!(said(&r.acknowledged(&b1, &ack(2))), ["b1 READY 2 b1 b2", "b2 READY 2 b1 b2"]);
    }

    #[test]
    fn after_a_restart_it_counts_on_from_what_they_hold() {
        let mut r = registration(&["b1", "b2"]);
        let (b1, b2, b3) = (id("b1"), id("b2"), id("b3"));
        assert_eq!(said(&r.up(&b1, 5)), ["b1 MAP 6"]);
        // Held 6 is not ours, though the number is the same: it is of an earlier run.
        assert_eq!(said(&r.up(&b2, 6)), ["b1 MAP 7", "b2 MAP 7"]);
        assert_eq!(said(&r.up(&b3, u64::MAX)), ["b3 MAP 7"], "nonsense is not learnt");
        assert_eq!(r.generation(), 7);
    }

    #[test]
    fn a_dns_b_that_forgot_is_told_again() {
        let mut r = registration(&["b1"]);
        let b1 = id("b1");
        r.up(&b1, 0);
        assert_eq!(said(&r.acknowledged(&b1, &ack(1))), ["b1 READY 1 b1"]);
        assert_eq!(said(&r.resync(&b1)), ["b1 MAP 1"]);
        assert!(!r.is_ready());
        r.acknowledged(&b1, &ack(1));
        r.down(&b1);
        assert_eq!(said(&r.up(&b1, 0)), ["b1 MAP 1"], "restarted without its store");
    }

    #[test]
    fn refusals_are_kept_and_a_stale_claim_is_not_held() {
        let mut r = registration(&["b1"]);
        let b1 = id("b1");
        r.up(&b1, 0);
        let refused = |reason| Refused { prefix: "10.0.0.0/8".parse().unwrap(), reason, text: "no".to_owned() };
        let stale = |generation| MapAck { generation, accepted: 0, refused: vec![refused(RefusedReason::Stale)] };
        assert_eq!(said(&r.acknowledged(&b1, &stale(1))), ["b1 MAP 2"], "another process has used the number");
        assert_eq!(said(&r.acknowledged(&b1, &stale(1))), NONE, "that is known");
        assert_eq!(said(&r.acknowledged(&b1, &stale(2))), NONE, "once on one link");
        let part = MapAck { generation: 2, accepted: 2, refused: vec![refused(RefusedReason::NotAllowed)] };
        assert_eq!(said(&r.acknowledged(&b1, &part)), ["b1 READY 2 b1"]);
        let server = &r.servers()[&b1];
        assert_eq!((server.accepted, server.refused.as_slice()), (2, &["10.0.0.0/8: not allowed: no".to_owned()][..]));
    }
}
