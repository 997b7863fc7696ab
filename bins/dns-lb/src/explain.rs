//! What a DNS-LB knows besides of what it would answer: the figures behind its order of the sites.

use dglb_core::{dns::Role, report::Ranking};
use dglb_node::explain::Explained;
use serde_json::{Value, json};

use crate::keeper::Keeper;

/// The one role of a DNS-LB's addresses.
pub(crate) const ROLES: &[Role] = &[Role::DnsLb];

/// The whole document of an explanation.
pub(crate) fn explained(keeper: &Keeper, explained: Explained) -> Value {
    let service = explained.service.as_ref();
    let ranking = keeper.rankings().find(|(name, _)| Some(*name) == service).and_then(|(_, ranking)| ranking);
    let report = ranking.map(|Ranking { catalogue, sites, .. }| {
        json!({ "by": keeper.identity(), "seconds_ago": 0, "catalogue": catalogue, "sites": sites })
    });
    let decided = service.and_then(|service| keeper.decided(service));
    explained.document([
        ("daemon", json!("dns-lb")),
        ("identity", json!(keeper.identity())),
        ("drained_by", json!(keeper.drained_by())),
        ("report", json!(report)),
        ("decided", json!(decided)),
    ])
}
