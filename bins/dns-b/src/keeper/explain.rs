//! What a dns-b knows besides of what it would answer: how the DNS-LB in question stands, and what it has
//! reported.

use std::time::Instant;

use dglb_core::{dns::Role, identity::Identity, name::Name};
use dglb_node::explain::Explained;
use serde_json::{Value, json};

use super::{Keeper, status::state};

/// The roles of a dns-b's addresses, the usual one first.
pub const ROLES: &[Role] = &[Role::Referral, Role::Fallback];

impl Keeper {
    /// The whole document of an explanation.
    pub fn explained(&self, explained: Explained, now: Instant) -> Value {
        let told = &explained.explanation;
        let known = told.dns_lb.as_ref().map(|lb| self.known(lb, now));
        let reported = told.ranked_by.as_ref().zip(explained.service.as_ref());
        let reported = reported.and_then(|(by, service)| self.reported(by, service, now));
        explained.document([
            ("daemon", json!("dns-b")),
            ("identity", json!(self.identity)),
            ("filling", json!(self.directory.is_filling())),
            ("dns_lb", json!(known)),
            ("report", json!(reported)),
        ])
    }

    /// How a DNS-LB stands with this dns-b.
    fn known(&self, identity: &Identity, now: Instant) -> Value {
        let index = self.directory.lb_of(identity);
        let (lb, truth) = (index.and_then(|i| self.directory.find_lb(i)), index.and_then(|i| self.lbs.get(&i)));
        let age = |at: Instant| now.saturating_duration_since(at).as_secs();
        json!({
            "identity": identity,
            "state": lb.map(|lb| state(lb.state)),
            "handed_out": lb.is_some_and(|lb| lb.handed_out),
            "drained": lb.is_some_and(|lb| lb.drained),
            "linked": truth.is_some_and(|truth| truth.link.is_some()),
            "ready": truth.is_some_and(|truth| truth.ready),
            "check_passed": truth.is_some_and(|truth| truth.check.passed),
            "problem": truth.and_then(|truth| truth.check.problem.clone()),
            "report_seconds_ago": truth.and_then(|truth| truth.last_report).map(age),
        })
    }

    /// What a DNS-LB has reported last of a service: the figures behind its order.
    fn reported(&self, by: &Identity, service: &Name, now: Instant) -> Option<Value> {
        let truth = self.lbs.get(&self.directory.lb_of(by)?)?;
        let ranking = truth.rankings.get(service)?;
        let age = truth.last_report.map(|at| now.saturating_duration_since(at).as_secs());
        Some(json!({ "by": by, "seconds_ago": age, "catalogue": ranking.catalogue, "sites": ranking.sites }))
    }
}
