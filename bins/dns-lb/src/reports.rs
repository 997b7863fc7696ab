//! What every dns-b is told about the sites: REPORT (design section 6). Pure: links come and go
//! by method calls, messages come out.
//!
//! Invariant: a delta is only ever sent to a dns-b that holds its base, and at most one REPORT is
//! under way to each; what changes meanwhile goes with the next one. What a dns-b holds of an
//! earlier run of this process is only taken away by a ranking for a ranking, until all services
//! are ranked: one that takes long keeps the others from nothing and loses nothing.

use std::collections::BTreeMap;

use dglb_core::{
    identity::Identity,
    name::Name,
    proto::message::{Message, Report, ReportAck},
    report::Ranking,
};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::registration::Outgoing;

/// Generations beyond this are nonsense and not learnt.
const MAX_GENERATION: u64 = u64::MAX >> 1;

/// The rankings as they are reported, and who knows how much of them.
#[derive(Debug, Default)]
pub struct Reports {
    /// Of the newest change; 0 before the first.
    generation: u64,
    /// With the generation that last changed it; `None` for one that is no longer ranked.
    rankings: BTreeMap<Name, (u64, Option<Ranking>)>,
    /// Whether there ever was a ranking; until then what a dns-b holds of an earlier run is better.
    started: bool,
    /// Whether there is a ranking for every service, so that what is not ranked is not there.
    complete: bool,
    servers: BTreeMap<Identity, Server>,
    sent: Counter,
    acknowledged: Counter,
}

/// What one dns-b holds, as far as this process can tell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// Whether its link is up.
    pub connected: bool,
    /// The newest generation that this process sent it; 0 for none.
    pub sent: u64,
    /// The newest generation that it acknowledged; 0 for none.
    pub acknowledged: u64,
    /// How many rankings of that it did not keep, being too many.
    pub refused: u32,
    /// What the next REPORT builds on.
    #[serde(skip)]
    basis: Basis,
    /// Whether it may hold rankings that this process never sent.
    #[serde(skip)]
    leftovers: bool,
}

/// What a REPORT builds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Basis {
    /// Nothing: it is everything, and what it does not name is gone.
    #[default]
    Nothing,
    /// What this process sent last.
    Sent,
    /// This generation, of which every ranking is to be replaced by the one of now, if there is one.
    Refreshed(u64),
}

impl Reports {
    /// Nothing to report yet; `sent` and `acknowledged` count REPORTs over all dns-bs.
    pub fn new(sent: Counter, acknowledged: Counter) -> Self {
        Self { sent, acknowledged, ..Self::default() }
    }

    /// These rankings lead to other answers than before; `gone` are no longer ranked. `complete`:
    /// whether every service has a ranking now.
    pub fn change(&mut self, changed: Vec<Ranking>, gone: Vec<Name>, complete: bool) -> Vec<Outgoing> {
        self.started |= !changed.is_empty();
        let completed = complete && !std::mem::replace(&mut self.complete, complete);
        let clears = completed && self.servers.values().any(|s| s.leftovers);
        if !self.started || changed.is_empty() && gone.is_empty() && !clears {
            return Vec::new();
        }
        self.generation += 1;
        let generation = self.generation;
        self.rankings.extend(changed.into_iter().map(|r| (r.service.clone(), (generation, Some(r)))));
        self.rankings.extend(gone.into_iter().map(|name| (name, (generation, None))));
        self.tell()
    }

    /// The same order with newer figures: nobody is told before the next digest.
    pub fn refresh(&mut self, ranking: Ranking) {
        if let Some((_, held)) = self.rankings.get_mut(&ranking.service) {
            *held = Some(ranking);
        }
    }

    /// Everything to everybody, to prove agreement and to bring the figures up to date.
    pub fn digest(&mut self) -> Vec<Outgoing> {
        if !self.started {
            return Vec::new();
        }
        self.generation += 1;
        let complete = self.complete;
        let keeps = |server: &Server| server.leftovers && !complete;
        if !self.servers.values().any(keeps) {
            // Who gets everything need not be told what is gone.
            self.rankings.retain(|_, (_, ranking)| ranking.is_some());
        }
        for server in self.servers.values_mut() {
            if server.basis != Basis::Sent && server.acknowledged < server.sent {
                // Nothing was acknowledged for a whole interval: do not wait for it any longer.
                server.acknowledged = server.sent;
            }
            server.basis = match server.basis {
                Basis::Sent if keeps(server) => Basis::Refreshed(server.sent),
                Basis::Refreshed(base) if keeps(server) => Basis::Refreshed(base.max(server.sent)),
                _ => Basis::Nothing,
            };
        }
        self.tell()
    }

    /// The link to `server` is up, which holds generation `held` of this DNS-LB, 0 for none.
    pub fn up(&mut self, server: &Identity, held: u64) -> Vec<Outgoing> {
        let ours = self.servers.entry(server.clone()).or_default();
        ours.connected = true;
        // What was sent and never acknowledged may have been lost, and the number used by another process of
        // this identity meanwhile.
        let is_ours = held != 0 && held == ours.sent && held == ours.acknowledged;
        if !is_ours {
            *ours = Server { connected: true, leftovers: held != 0, ..Server::default() };
            if (1..MAX_GENERATION).contains(&held) {
                ours.basis = Basis::Refreshed(held);
            }
            if held >= self.generation && held < MAX_GENERATION {
                // A number of an earlier run: count on from there.
                self.generation = if self.started { held + 1 } else { held };
            }
        }
        self.tell()
    }

    /// The link to `server` is down.
    pub fn down(&mut self, server: &Identity) {
        if let Some(server) = self.servers.get_mut(server) {
            server.connected = false;
        }
    }

    /// `server` uses a report.
    pub fn acknowledged(&mut self, server: &Identity, ack: ReportAck) -> Vec<Outgoing> {
        if let Some(server) = self.servers.get_mut(server)
            && ack.generation > server.acknowledged
            && ack.generation <= server.sent
        {
            if ack.refused > 0 && server.refused == 0 {
                tracing::warn!(refused = ack.refused, "a dns-b keeps fewer rankings than are reported to it");
            }
            (server.acknowledged, server.refused) = (ack.generation, ack.refused);
            self.acknowledged.inc();
        }
        self.tell()
    }

    /// `server` does not know the base of what it was sent, or wants to have it all now.
    pub fn resync(&mut self, server: &Identity) -> Vec<Outgoing> {
        if self.started {
            // A generation of its own, since the one of before may be held half.
            self.generation += 1;
        }
        if let Some(server) = self.servers.get_mut(server) {
            server.acknowledged = server.sent;
            server.basis = Basis::Nothing;
        }
        self.tell()
    }

    /// The newest generation; 0 before the first report.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every dns-b that was ever connected.
    pub fn servers(&self) -> &BTreeMap<Identity, Server> {
        &self.servers
    }

    /// A report to everybody who lacks something and owes no acknowledgement.
    fn tell(&mut self) -> Vec<Outgoing> {
        let mut out = Vec::new();
        if !self.started {
            return out;
        }
        let waiting = |s: &Server| s.connected && s.acknowledged == s.sent && s.sent < self.generation;
        for (identity, server) in self.servers.iter_mut().filter(|(_, s)| waiting(s)) {
            let (base, known) = match server.basis {
                _ if server.leftovers && self.complete => (0, 0),
                Basis::Nothing => (0, 0),
                Basis::Sent => (server.sent, server.sent),
                Basis::Refreshed(base) => (base, 0),
            };
            server.sent = self.generation;
            server.basis = Basis::Sent;
            server.leftovers &= base != 0;
            self.sent.inc();
            let newer = || self.rankings.iter().filter(|(_, (changed, _))| *changed > known);
            let report = Report {
                generation: self.generation,
                base,
                rankings: newer().filter_map(|(_, (_, ranking))| ranking.clone()).collect(),
                removed: newer().filter(|(_, (_, r))| r.is_none() && base > 0).map(|(n, _)| n.clone()).collect(),
            };
            out.push((identity.clone(), Message::Report(report)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::report::RankedSite;

    use super::*;

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    fn ranking(service: &str, site: &str) -> Ranking {
        let site = RankedSite { site: site.to_owned(), score: None, addresses: vec![], share: 0 };
        Ranking { service: service.parse().unwrap(), catalogue: 1, sites: vec![site], unsettled: false }
    }

    fn ack(generation: u64) -> ReportAck {
        ReportAck { generation, refused: 0 }
    }

    /// `b1 3←2 a=x b=y -c`.
    fn said(out: &[Outgoing]) -> Vec<String> {
        let text = |(to, message): &Outgoing| {
            let Message::Report(report) = message else { panic!("{message:?}") };
            let mut text = format!("{to} {}←{}", report.generation, report.base);
            for ranking in &report.rankings {
                text += &format!(" {}={}", ranking.service, ranking.sites[0].site);
            }
            for name in &report.removed {
                text += &format!(" -{name}");
            }
            text
        };
        out.iter().map(text).collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn all_at_first_then_what_changed() {
        let mut r = Reports::default();
        let b1 = id("b1");
        assert_eq!(said(&r.up(&b1, 0)), NONE, "nothing was measured");
        assert_eq!(said(&r.change(vec![ranking("a", "x"), ranking("b", "x")], vec![], true)), ["b1 1←0 a.=x b.=x"]);
        assert_eq!(said(&r.acknowledged(&b1, ack(1))), NONE);
        assert_eq!(said(&r.change(vec![ranking("b", "y")], vec![], true)), ["b1 2←1 b.=y"]);
        assert_eq!(said(&r.change(vec![ranking("a", "y")], vec![], true)), NONE, "one at a time");
        assert_eq!(said(&r.change(vec![ranking("c", "z")], vec!["b".parse().unwrap()], true)), NONE);
        assert_eq!(said(&r.acknowledged(&b1, ack(2))), ["b1 4←2 a.=y c.=z -b."]);
        assert_eq!((r.sent.get(), r.acknowledged.get()), (3, 2));
    }

    #[test]
    fn a_digest_carries_all_with_fresh_figures() {
        let mut r = Reports::default();
        let b1 = id("b1");
        assert_eq!(said(&r.digest()), NONE);
        r.up(&b1, 0);
        r.change(vec![ranking("a", "x"), ranking("b", "x")], vec![], true);
        r.acknowledged(&b1, ack(1));
        r.refresh(ranking("a", "fresh"));
        r.refresh(ranking("unknown", "x"));
        assert_eq!(said(&r.change(vec![], vec!["b".parse().unwrap()], true)), ["b1 2←1 -b."]);
        r.acknowledged(&b1, ack(2));
        assert_eq!(said(&r.digest()), ["b1 3←0 a.=fresh"]);
        assert_eq!(said(&r.digest()), NONE, "the one before is under way");
        assert_eq!(said(&r.digest()), ["b1 5←0 a.=fresh"], "but not waited for for ever");
    }

    #[test]
    fn a_reconnect_goes_on_from_what_is_held() {
        let mut r = Reports::default();
        let (b1, b2) = (id("b1"), id("b2"));
        r.up(&b1, 0);
        r.change(vec![ranking("a", "x"), ranking("b", "x")], vec![], true);
        r.acknowledged(&b1, ack(1));
        r.down(&b1);
        assert_eq!(said(&r.change(vec![ranking("b", "y")], vec![], true)), NONE);
        assert_eq!(said(&r.up(&b1, 1)), ["b1 2←1 b.=y"]);
        r.down(&b1);
        // It restarted without its store, or with an older one.
        assert_eq!(said(&r.up(&b1, 0)), ["b1 2←0 a.=x b.=y"]);
        assert_eq!(said(&r.up(&b2, 0)), ["b2 2←0 a.=x b.=y"]);
    }

    /// What was never acknowledged may be another process's by that number.
    #[test]
    fn a_number_that_was_not_acknowledged_is_not_believed_to_be_ours() {
        let mut r = Reports::default();
        let b1 = id("b1");
        r.up(&b1, 0);
        assert_eq!(said(&r.change(vec![ranking("a", "x")], vec![], true)), ["b1 1←0 a.=x"]);
        r.down(&b1);
        assert_eq!(said(&r.up(&b1, 1)), ["b1 2←0 a.=x"], "all of it, by a number of its own");
        assert_eq!(r.servers()[&b1].acknowledged, 0);
        r.acknowledged(&b1, ack(2));
        r.down(&b1);
        assert_eq!(said(&r.up(&b1, 2)), NONE, "that one is");
    }

    #[test]
    fn after_a_restart_it_counts_on_and_the_old_report_stands_until_there_is_a_new_one() {
        let mut r = Reports::default();
        let (b1, b2) = (id("b1"), id("b2"));
        assert_eq!(said(&r.up(&b1, 41)), NONE);
        assert_eq!(said(&r.change(vec![ranking("a", "x")], vec![], true)), ["b1 42←0 a.=x"]);
        // Another one got further in the earlier run.
        assert_eq!(said(&r.up(&b2, 42)), ["b2 43←0 a.=x"]);
        assert_eq!(said(&r.acknowledged(&b1, ack(42))), ["b1 43←42"], "all hold one generation in the end");
        assert_eq!(said(&r.up(&id("b3"), u64::MAX)), ["b3 43←0 a.=x"], "nonsense is not learnt");
    }

    #[test]
    fn what_is_not_ranked_yet_is_neither_waited_for_nor_taken_away() {
        let mut r = Reports::default();
        let (b1, b2) = (id("b1"), id("b2"));
        r.up(&b1, 41);
        r.up(&b2, 0);
        // Of an earlier run b1 holds a, b and c; b2 holds nothing that could be lost.
        assert_eq!(said(&r.change(vec![ranking("a", "x")], vec![], false)), ["b1 42←41 a.=x", "b2 42←0 a.=x"]);
        r.acknowledged(&b1, ack(42));
        assert_eq!(said(&r.change(vec![ranking("a", "y")], vec![], false)), ["b1 43←42 a.=y"], "b2 owes an answer");
        r.acknowledged(&b1, ack(43));
        assert_eq!(said(&r.digest()), ["b1 44←43 a.=y"], "no digest wipes either");
        assert_eq!(said(&r.acknowledged(&b2, ack(42))), ["b2 44←0 a.=y"]);
        r.acknowledged(&b2, ack(44));
        assert_eq!(said(&r.change(vec![ranking("b", "x")], vec![], true)), ["b2 45←44 b.=x"], "b1 owes an answer");
        // Everything is ranked: c is of no service any more.
        assert_eq!(said(&r.acknowledged(&b1, ack(44))), ["b1 45←0 a.=y b.=x"]);
        r.acknowledged(&b1, ack(45));
        assert_eq!(said(&r.change(vec![ranking("b", "y")], vec![], true)), ["b1 46←45 b.=y"]);
    }

    #[test]
    fn what_was_never_ranked_may_go_away_too() {
        let mut r = Reports::default();
        let b1 = id("b1");
        r.up(&b1, 7);
        assert_eq!(said(&r.change(vec![], vec!["b".parse().unwrap()], false)), NONE, "nothing was measured");
        r.change(vec![ranking("a", "x")], vec![], false);
        r.acknowledged(&b1, ack(8));
        assert_eq!(said(&r.change(vec![], vec![], false)), NONE);
        assert_eq!(said(&r.change(vec![], vec![], true)), ["b1 9←0 a.=x"]);
        r.acknowledged(&b1, ack(9));
        assert_eq!(said(&r.change(vec![], vec![], false)), NONE);
        assert_eq!(said(&r.change(vec![], vec![], true)), NONE, "nothing is left over");
    }

    #[test]
    fn whoever_asks_for_everything_gets_it_in_any_case() {
        let mut r = Reports::default();
        let b1 = id("b1");
        r.up(&b1, 41);
        r.change(vec![ranking("a", "x")], vec![], false);
        assert_eq!(said(&r.resync(&b1)), ["b1 43←0 a.=x"]);
    }

    #[test]
    fn an_unknown_base_is_answered_with_everything() {
        let mut r = Reports::default();
        let b1 = id("b1");
        r.up(&b1, 0);
        assert_eq!(said(&r.resync(&b1)), NONE);
        r.change(vec![ranking("a", "x")], vec![], true);
        r.acknowledged(&b1, ack(1));
        r.change(vec![ranking("b", "x")], vec![], true);
        assert_eq!(said(&r.resync(&b1)), ["b1 3←0 a.=x b.=x"]);
        assert_eq!(said(&r.acknowledged(&b1, ack(2))), NONE, "an answer to what was given up");
        assert_eq!(said(&r.acknowledged(&b1, ack(9))), NONE, "never sent");
        assert_eq!(said(&r.acknowledged(&b1, ack(3))), NONE);
    }
}
