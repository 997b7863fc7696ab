//! What an operator may see of the truth.

use std::time::Instant;

use dglb_core::directory::LbState;
use serde_json::{Value, json};

use super::{Keeper, duplicates::Process};

/// Counts since the start, and a few present values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Links refused for who they were.
    pub refused_links: u64,
    /// Map entries refused.
    pub refused_entries: u64,
    /// Messages with an older generation than the one held.
    pub stale: u64,
    /// Times that two processes of one identity were found at work.
    pub duplicates: u64,
    /// Identities of which two processes were at work lately, or whose present one is kept for it.
    pub duplicated: u64,
    /// Reports taken in.
    pub reports: u64,
    /// Rankings of services that no zone has (yet).
    pub unknown_rankings: u64,
    /// Rankings not kept: too many, or too many of services that no zone has.
    pub rankings_refused: u64,
    /// Leases that ran out.
    pub leases_ended: u64,
    /// Rounds of checks that went well.
    pub checks_passed: u64,
    /// Rounds of checks that did not.
    pub checks_failed: u64,
    /// Catalogues taken in, or held already.
    pub catalogues_adopted: u64,
    /// Catalogues refused.
    pub catalogues_refused: u64,
    /// Catalogues, deltas and withdrawals sent to DNS-LBs.
    pub catalogues_sent: u64,
    /// Names that DNS-LBs were asked for and did not know.
    pub wants: u64,
    /// Those of them that are in no zone that is served here.
    pub wants_unknown: u64,
    /// Catalogues that a DNS-LB would not take.
    pub catalogues_refused_by_lb: u64,
    /// Messages that have no meaning here.
    pub unexpected: u64,
    /// So many DNS-LBs fail that the fault is presumed to be here.
    pub own_fault: bool,
    /// DNS-LBs by state: alive, suspect, gone.
    pub lbs: [u64; 3],
    /// Links that are up.
    pub links: u64,
    /// Prefixes mapped.
    pub prefixes: u64,
    /// Zones served.
    pub zones: u64,
}

impl Keeper {
    /// Counts and present values.
    pub fn figures(&self) -> Figures {
        let mut figures = self.figures;
        for (_, lb) in self.directory.lbs() {
            figures.lbs[lb.state as usize] += 1;
        }
        figures.links = self.links.len() as u64;
        figures.prefixes = self.all.len() as u64;
        figures.zones = self.directory.zones().count() as u64;
        figures
    }

    /// The document behind `/api/v1/status`.
    pub fn status(&self, now: Instant) -> Value {
        let seconds = |at: Instant| now.duration_since(at).as_secs();
        let zones: Vec<Value> = self
            .directory
            .zones()
            .map(|z| {
                let services: Vec<String> = z.catalogue().services.iter().map(|s| s.name.to_string()).collect();
                json!({ "zone": z.name(), "generation": z.catalogue().generation, "style": z.catalogue().style, "services": services })
            })
            .collect();
        let links: Vec<Value> = self
            .links
            .values()
            .map(|l| json!({ "identity": l.identity, "role": role(l.role), "from": l.from, "up_seconds": seconds(l.since) }))
            .collect();
        json!({
            "daemon": "dns-b",
            "identity": self.identity,
            "boot": self.boot.to_string(),
            "fleet": { "serial": self.fleet.serial, "dns_bs": self.fleet.servers.len() },
            "presumed_own_fault": self.figures.own_fault,
            "filling": self.directory.is_filling(),
            "duplicates": self.duplicates(now),
            "prefixes": self.all.len(),
            "zones": zones,
            "links": links,
            "dns_lbs": self.lb_status(now),
        })
    }

    /// Identities that two hosts have, and where those are.
    fn duplicates(&self, now: Instant) -> Vec<Value> {
        let process = |p: &Process| json!({ "boot": p.boot.to_string(), "from": p.from, "displaced": p.displaced });
        let alarming = self.duplicates.alarming(now).map(|twins| {
            json!({
                "identity": twins.identity,
                "processes": twins.processes.iter().map(process).collect::<Vec<_>>(),
                "seen_seconds_ago": twins.age.map(|age| age.as_secs()),
                "replaced": twins.replaced,
                "present_kept_seconds": twins.kept.map(|left| left.as_secs()),
            })
        });
        alarming.collect()
    }

    fn lb_status(&self, now: Instant) -> Vec<Value> {
        let seconds = |at: Instant| now.duration_since(at).as_secs();
        self.directory
            .lbs()
            .map(|(index, lb)| {
                let truth = self.lbs.get(&index);
                json!({
                    "identity": lb.identity,
                    "state": state(lb.state),
                    "handed_out": lb.handed_out,
                    "drained": lb.drained,
                    "addresses": lb.addresses,
                    "linked": truth.is_some_and(|t| t.link.is_some()),
                    "ready": truth.is_some_and(|t| t.ready),
                    "check": truth.map(|t| json!({ "passed": t.check.passed, "problem": t.check.problem })),
                    "entries": truth.map(|t| t.entries),
                    "map_generation": truth.map(|t| t.map_generation),
                    "report_generation": truth.map(|t| t.report_generation),
                    "services_ranked": truth.map(|t| t.rankings.len()),
                    "report_age_seconds": truth.and_then(|t| t.last_report).map(seconds),
                    "borrows_from": lb.borrows.and_then(|b| self.directory.find_lb(b)).map(|b| &b.identity),
                })
            })
            .collect()
    }
}

fn state(state: LbState) -> &'static str {
    match state {
        LbState::Alive => "alive",
        LbState::Suspect => "suspect",
        LbState::Gone => "gone",
    }
}

fn role(role: dglb_core::proto::message::PeerRole) -> &'static str {
    use dglb_core::proto::message::PeerRole;
    match role {
        PeerRole::DnsB => "dns-b",
        PeerRole::DnsLb => "dns-lb",
        PeerRole::DnsASync => "dns-a-sync",
        PeerRole::Mservice => "mservice",
    }
}
