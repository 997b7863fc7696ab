//! What an operator may see of the truth.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use dglb_core::{
    directory::{Directory, Lb, LbIndex, LbState},
    identity::Identity,
    name::Name,
    net::Prefix,
    proto::message::{BootId, PeerRole, RefusedReason},
    residence::Counts,
};
use serde_json::{Value, json};

use super::{Keeper, QUOTAS, duplicates::Process, lb::LbTruth};

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
    /// Verdicts of the POPs on sites, for and against.
    pub verdicts: u64,
    /// Addresses whose ceiling of probes leaves nothing to a DNS-LB.
    pub budgets_starved: u64,
    /// Reports taken in.
    pub reports: u64,
    /// Rankings of services that no zone has (yet).
    pub unknown_rankings: u64,
    /// Rankings not kept: too many, or too many of services that no zone has.
    pub rankings_refused: u64,
    /// What was too much for one peer, in the order of [`QUOTAS`].
    pub over_quota: [u64; QUOTAS.len()],
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
    /// Challenges not sent: too many were under way.
    pub challenges_withheld: u64,
    /// Proofs of residence that led to a mapping, or renewed one.
    pub proofs_accepted: u64,
    /// Those that did not, in the order of [`PROOF_REFUSALS`].
    pub proofs_refused: [u64; PROOF_REFUSALS.len()],
    /// Proven prefixes that were not seen any more.
    pub proofs_lapsed: u64,
    /// What became of nonces.
    pub nonces: Counts,
    /// Prefixes that are mapped by proof.
    pub proven: u64,
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
    /// Linked peers that hold a newer fleet document.
    pub fleet_newer: u64,
    /// Linked peers that hold another fleet document of the same serial.
    pub fleet_other: u64,
}

/// Why proofs of residence are refused, as the metric's `reason` has it.
pub const PROOF_REFUSALS: [&str; 8] =
    ["unknown-nonce", "expired", "wrong-secret", "open-resolver", "outside-bounds", "not-allowed", "limit", "other"];

impl Figures {
    pub(super) fn count_refused_proof(&mut self, reason: RefusedReason) {
        let number = match reason {
            RefusedReason::UnknownNonce => 0,
            RefusedReason::Expired => 1,
            RefusedReason::WrongSecret => 2,
            RefusedReason::OpenResolver => 3,
            RefusedReason::OutsideBounds => 4,
            RefusedReason::NotAllowed => 5,
            RefusedReason::Limit => 6,
            _ => 7,
        };
        self.proofs_refused[number] += 1;
    }
}

impl Keeper {
    /// Counts and present values.
    pub fn figures(&self) -> Figures {
        let mut figures = self.figures;
        figures.lbs = self.directory.census().states.map(|count| count as u64);
        figures.nonces = self.nonces().lock().counts();
        figures.proven = self.lbs.values().map(|truth| truth.learnt.len() as u64).sum();
        figures.links = self.links.len() as u64;
        figures.prefixes = self.all.len() as u64;
        figures.zones = self.directory.zones().count() as u64;
        (figures.fleet_newer, figures.fleet_other) = self.count_fleets();
        figures
    }

    /// What `/api/v1/status` says, not yet written out: with thousands of DNS-LBs that takes longer
    /// than the keeper may be away.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            now,
            identity: self.identity.clone(),
            boot: self.boot,
            fleet: self.fleet_status(),
            own_fault: self.figures.own_fault,
            duplicates: self.alarming_duplicates(now),
            steering: (self.standing_verdicts(), self.probe_budget()),
            prefixes: self.all.len(),
            directory: self.directory.clone(),
            links: self.links.values().map(|l| (l.identity.clone(), l.role, l.from, l.since)).collect(),
            lbs: self.lbs.iter().map(|(index, truth)| (*index, LbRow::of(truth))).collect(),
        }
    }
}

impl Keeper {
    fn standing_verdicts(&self) -> Vec<Value> {
        let verdict = |(service, site, pops, of): (&Name, &str, u32, u32)| json!({ "service": service, "site": site, "down_for": pops, "of": of });
        self.verdicts.standing().map(verdict).collect()
    }

    fn probe_budget(&self) -> Value {
        let (addresses, parts, holders) = self.budgets.summary();
        json!({ "addresses": addresses, "parts": parts, "dns_lbs": holders, "starved": self.figures.budgets_starved })
    }

    /// Identities that two hosts have, and where those are.
    fn alarming_duplicates(&self, now: Instant) -> Vec<Value> {
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
}

/// Everything that the status page shows, as it was at one moment.
#[derive(Debug)]
pub struct Status {
    now: Instant,
    identity: Identity,
    boot: BootId,
    /// The fleet document, and who has another.
    fleet: Value,
    own_fault: bool,
    duplicates: Vec<Value>,
    /// Verdicts that stand, and how ceilings are shared.
    steering: (Vec<Value>, Value),
    prefixes: usize,
    directory: Directory,
    links: Vec<(Identity, PeerRole, SocketAddr, Instant)>,
    lbs: HashMap<LbIndex, LbRow>,
}

/// Of the truth about one DNS-LB what is shown.
#[derive(Debug)]
struct LbRow {
    linked: bool,
    ready: bool,
    check: (bool, Option<String>),
    entries: usize,
    /// When each was seen last.
    proven: Vec<(Prefix, Instant)>,
    map_generation: u64,
    report_generation: u64,
    services_ranked: usize,
    last_report: Option<Instant>,
}

impl LbRow {
    fn of(truth: &LbTruth) -> Self {
        Self {
            linked: truth.link.is_some(),
            ready: truth.ready,
            check: (truth.check.passed, truth.check.problem.clone()),
            entries: truth.entries,
            proven: truth.learnt.iter().map(|(prefix, at)| (*prefix, at)).collect(),
            map_generation: truth.map_generation,
            report_generation: truth.report_generation,
            services_ranked: truth.rankings.len(),
            last_report: truth.last_report,
        }
    }
}

impl Status {
    /// The document behind `/api/v1/status`.
    pub fn document(&self) -> Value {
        let zones: Vec<Value> = self
            .directory
            .zones()
            .map(|z| {
                let services: Vec<String> = z.catalogue().services.iter().map(|s| s.name.to_string()).collect();
                json!({ "zone": z.name(), "generation": z.catalogue().generation, "style": z.catalogue().style, "services": services })
            })
            .collect();
        let link = |(identity, of, from, since): &(Identity, PeerRole, SocketAddr, Instant)| json!({ "identity": identity, "role": role(*of), "from": from, "up_seconds": self.seconds(*since) });
        json!({
            "daemon": "dns-b",
            "identity": self.identity,
            "boot": self.boot.to_string(),
            "fleet": self.fleet,
            "presumed_own_fault": self.own_fault,
            "filling": self.directory.is_filling(),
            "duplicates": self.duplicates,
            "verdicts": self.steering.0,
            "probe_budget": self.steering.1,
            "prefixes": self.prefixes,
            "prove_delegation": self.prove_delegation(),
            "zones": zones,
            "links": self.links.iter().map(link).collect::<Vec<_>>(),
            "dns_lbs": self.directory.lbs().map(|(index, lb)| self.lb(index, lb)).collect::<Vec<_>>(),
        })
    }

    fn lb(&self, index: LbIndex, lb: &Lb) -> Value {
        let row = self.lbs.get(&index);
        json!({
            "identity": lb.identity,
            "state": state(lb.state),
            "handed_out": lb.handed_out,
            "drained": lb.drained,
            "addresses": lb.addresses,
            "linked": row.is_some_and(|r| r.linked),
            "ready": row.is_some_and(|r| r.ready),
            "check": row.map(|r| json!({ "passed": r.check.0, "problem": r.check.1 })),
            "entries": row.map(|r| r.entries),
            "proven": row.map(|r| self.proven(r)),
            "map_generation": row.map(|r| r.map_generation),
            "report_generation": row.map(|r| r.report_generation),
            "services_ranked": row.map(|r| r.services_ranked),
            "report_age_seconds": row.and_then(|r| r.last_report).map(|at| self.seconds(at)),
            "borrows_from": lb.borrows.and_then(|b| self.directory.find_lb(b)).map(|b| &b.identity),
        })
    }

    /// What the operator zone has to hold of this dns-b, in master-file form.
    fn prove_delegation(&self) -> Vec<String> {
        let ttl = self.directory.fleet().map_or(0, |fleet| fleet.ttl.label_ns);
        let lines = self.directory.prove_zones().iter().flat_map(move |zone| {
            let name = &zone.name;
            let glue = zone.addresses.iter().map(move |address| {
                let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
                format!("ns.{name} {ttl} IN {rtype} {address}")
            });
            std::iter::once(format!("{name} {ttl} IN NS ns.{name}")).chain(glue)
        });
        lines.collect()
    }

    /// What a DNS-LB has proven, with the seconds since each was seen.
    fn proven(&self, row: &LbRow) -> Vec<Value> {
        let seen =
            |(prefix, at): &(Prefix, Instant)| json!({ "prefix": prefix, "seen_seconds_ago": self.seconds(*at) });
        row.proven.iter().map(seen).collect()
    }

    fn seconds(&self, at: Instant) -> u64 {
        self.now.duration_since(at).as_secs()
    }
}

pub(super) fn state(state: LbState) -> &'static str {
    match state {
        LbState::Alive => "alive",
        LbState::Suspect => "suspect",
        LbState::Gone => "gone",
    }
}

fn role(role: PeerRole) -> &'static str {
    match role {
        PeerRole::DnsB => "dns-b",
        PeerRole::DnsLb => "dns-lb",
        PeerRole::DnsASync => "dns-a-sync",
        PeerRole::Mservice => "mservice",
    }
}
