//! The fleet document as a TOML file (design section 2). `docs/configuration.md` lists its keys.

use std::{collections::HashMap, net::IpAddr};

use dglb_core::{
    fleet::{Fleet, FleetLabel, FleetServer, FleetTtls},
    identity::Identity,
};

use super::{Section, integer, seconds, text};

/// The largest time to live (RFC 2181 section 8).
const MAX_TTL: u32 = (1 << 31) - 1;

/// Reads the top level of a fleet document; for [`Section::file`].
pub fn fleet(section: &Section<'_>) -> Option<Fleet> {
    let serial = section.required("serial", integer(1..=u32::MAX));
    let operator_zone = section.required("operator-zone", text);
    let hostmaster = section.required("hostmaster", text);
    let ttl = section.table("ttl").map_or_else(FleetTtls::default, |ttl| ttls(&ttl));
    let servers: Vec<_> = section.tables("dns-b").into_iter().map(Draft::server).collect();
    let labels: Vec<_> = section.tables("label").into_iter().map(Draft::label).collect();
    if !section.has("dns-b") {
        section.problem("dns-b", "the fleet document names no dns-b: write at least one [[dns-b]]");
    } else if servers.iter().all(|server| server.fallback.is_empty()) {
        section.warning("dns-b", "no dns-b has a fallback address, so a dead DNS-LB takes its clients with it");
    }
    check_identities(servers.iter().chain(&labels));
    check_addresses(servers.iter().chain(&labels));
    let fleet = Fleet {
        serial: serial?,
        operator_zone: operator_zone?,
        hostmaster: hostmaster?,
        servers: servers.into_iter().map(Draft::into_server).collect::<Option<_>>()?,
        labels: labels.into_iter().map(Draft::into_label).collect::<Option<_>>()?,
        ttl,
    };
    match Fleet::new(fleet) {
        Ok(fleet) => Some(fleet),
        // What was found above has a better position; this is for what only the type knows.
        Err(error) if section.is_sound() => {
            section.problem("dns-b", error);
            None
        }
        Err(_) => None,
    }
}

fn ttls(section: &Section<'_>) -> FleetTtls {
    let FleetTtls { apex_ns, label_ns, refresh, retry, expire, negative } = FleetTtls::default();
    let read = |key, default| section.or(key, seconds(1..=MAX_TTL), default);
    FleetTtls {
        apex_ns: read("apex-ns", apex_ns),
        label_ns: read("label-ns", label_ns),
        refresh: read("refresh", refresh),
        retry: read("retry", retry),
        expire: read("expire", expire),
        negative: read("negative", negative),
    }
}

/// A dns-b or a label as far as it could be read, so that one mistake does not hide the next.
struct Draft<'a> {
    section: Section<'a>,
    identity: Option<Identity>,
    /// The key of `addresses`: `referral` or `addresses`.
    key: &'static str,
    addresses: Option<Vec<IpAddr>>,
    fallback: Vec<IpAddr>,
}

impl<'a> Draft<'a> {
    fn server(section: Section<'a>) -> Self {
        let fallback = section.list("fallback", text);
        Self { fallback, ..Self::with_addresses(section, "referral") }
    }

    fn label(section: Section<'a>) -> Self {
        Self::with_addresses(section, "addresses")
    }

    fn with_addresses(section: Section<'a>, key: &'static str) -> Self {
        let identity = section.required("identity", text);
        let addresses = section.required_list(key, text);
        Self { section, identity, key, addresses, fallback: Vec::new() }
    }

    fn into_server(self) -> Option<FleetServer> {
        Some(FleetServer { identity: self.identity?, referral: self.addresses?, fallback: self.fallback })
    }

    fn into_label(self) -> Option<FleetLabel> {
        Some(FleetLabel { identity: self.identity?, addresses: self.addresses? })
    }
}

/// A label and a dns-b share one name space: both are labels below the zones.
fn check_identities<'d, 'a: 'd>(drafts: impl Iterator<Item = &'d Draft<'a>>) {
    let identities = drafts.filter_map(|draft| Some((draft.section.clone(), draft.identity.clone()?)));
    Section::distinct("identity", identities);
}

/// The role of a question is decided by the address asked, so every role needs its own.
fn check_addresses<'d, 'a: 'd>(drafts: impl Iterator<Item = &'d Draft<'a>>) {
    let mut owners: HashMap<IpAddr, String> = HashMap::new();
    for draft in drafts {
        let first = draft.addresses.iter().flatten().enumerate().map(|(i, a)| (draft.key, i, a));
        let second = draft.fallback.iter().enumerate().map(|(i, a)| ("fallback", i, a));
        for (key, index, address) in first.chain(second) {
            if address.is_unspecified() || address.is_multicast() {
                draft.section.problem_in(key, index, format!("{address} is not the address of one host"));
                continue;
            }
            let owner = draft.identity.as_ref().map_or("another", Identity::as_str);
            if let Some(earlier) = owners.insert(*address, format!("{key} of \"{owner}\"")) {
                let message = format!("{address} is already {earlier}; every role needs an address of its own");
                draft.section.problem_in(key, index, message);
            }
        }
    }
}
