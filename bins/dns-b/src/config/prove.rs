//! `[prove]`, and what a `[[peer]]` may prove.

use dglb_core::{
    net::Prefix,
    residence::{MAX_LEARNT, Pace},
};
use dglb_node::config::{Section, boolean, duration, integer, text};

use crate::networks::{Networks, Sources};

/// How proofs of residence are asked for, and what is mapped by them.
#[derive(Clone, Debug)]
pub struct ProveConfig {
    /// How often, and when what was learnt lapses.
    pub pace: Pace,
    /// Leading bits of an IPv6 address that are mapped. Default 64.
    pub v6_bits: u8,
    /// Where networks are listed.
    pub sources: Sources,
    /// What stands there now.
    pub networks: Networks,
    /// What a DNS-LB may prove that is no `[[peer]]`, with `map.dns-lbs = "certified"`.
    pub unlisted: ProveBounds,
}

/// Most addresses that a DNS-LB proves that is no `[[peer]]`, unless the operator says otherwise.
const UNLISTED_MOST: usize = 8;

impl Default for ProveConfig {
    fn default() -> Self {
        let (sources, networks) = (Sources::default(), Networks::default());
        let unlisted = ProveBounds { most: UNLISTED_MOST, ..ProveBounds::default() };
        Self { pace: Pace::default(), v6_bits: 64, sources, networks, unlisted }
    }
}

/// What one DNS-LB may prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProveBounds {
    /// Whether it may prove anything.
    pub allowed: bool,
    /// Prefixes that it may have proven at a time.
    pub most: usize,
    /// Prefixes in which its resolvers are; with `numbers` empty, too: anywhere.
    pub within: Vec<Prefix>,
    /// Autonomous systems that announce its resolvers.
    pub numbers: Vec<u32>,
}

impl ProveBounds {
    /// Whether any address will do.
    pub fn is_anywhere(&self) -> bool {
        self.within.is_empty() && self.numbers.is_empty()
    }
}

impl Default for ProveBounds {
    fn default() -> Self {
        Self { allowed: true, most: MAX_LEARNT, within: Vec::new(), numbers: Vec::new() }
    }
}

/// Reads `[prove]`.
pub(super) fn read(section: &Section<'_>) -> ProveConfig {
    let default = ProveConfig::default();
    let Some(prove) = section.table("prove") else {
        let networks = Networks::read(&default.sources).unwrap_or_default();
        return ProveConfig { networks, ..default };
    };
    let sources = Sources { open_resolvers: prove.path("open-resolvers"), as_database: prove.path("as-database") };
    let networks = Networks::read(&sources).unwrap_or_else(|error| {
        let key = if matches!(&sources.as_database, Some(path) if error.is_of(path)) {
            "as-database"
        } else {
            "open-resolvers"
        };
        prove.problem(key, error);
        Networks::default()
    });
    let interval = prove.or("interval", duration("1s", "1h"), default.pace.interval);
    let lapse_after = prove.or("lapse-after", integer(2..=100), default.pace.lapse_after);
    let v6_bits = prove.or("v6-bits", integer(48..=128), default.v6_bits);
    let unlisted = read_unlisted(&prove, sources.as_database.is_some());
    ProveConfig { pace: Pace { interval, lapse_after }, v6_bits, sources, networks, unlisted }
}

fn read_unlisted(prove: &Section<'_>, has_numbers: bool) -> ProveBounds {
    let most = prove.or("unlisted-most", integer(0..=MAX_LEARNT as u32), UNLISTED_MOST as u32) as usize;
    let within: Vec<Prefix> = prove.list("unlisted-within", text);
    let numbers: Vec<u32> = prove.list("unlisted-as", integer(1..=u32::MAX));
    if prove.has("unlisted-as") && !has_numbers {
        prove.problem("unlisted-as", "needs a database of autonomous systems: as-database");
    }
    ProveBounds { allowed: most > 0, most, within, numbers }
}

/// Reads what a `[[peer]]` may prove.
pub(super) fn read_bounds(peer: &Section<'_>, is_dns_lb: bool, has_numbers: bool) -> ProveBounds {
    let allowed = peer.or("may-prove", boolean, true);
    let within: Vec<Prefix> = peer.list("prove-within", text);
    let numbers: Vec<u32> = peer.list("prove-as", integer(1..=u32::MAX));
    for key in ["may-prove", "prove-within", "prove-as"].into_iter().filter(|key| peer.has(key)) {
        if !is_dns_lb {
            peer.problem(key, "only a dns-lb proves where its resolvers are");
        } else if !allowed && key != "may-prove" {
            peer.warning(key, "may-prove is false, so this bounds nothing");
        } else if key == "prove-as" && !has_numbers {
            peer.problem(key, "needs a database of autonomous systems: as-database in [prove]");
        }
    }
    ProveBounds { allowed, most: MAX_LEARNT, within, numbers }
}
