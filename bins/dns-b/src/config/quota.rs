//! `[map.quota]`: what one peer may say, and how much of what it has said is held.

use std::time::Duration;

use dglb_node::{
    config::{Section, duration, integer, size},
    link::LinkQuota,
};

/// The bounds for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// What it may say in a second.
    pub link: LinkQuota,
    /// The longest message of a DNS-LB, in octets. Default 8 MiB.
    pub message: usize,
    /// What is held of it.
    pub held: Held,
}

/// How much of what a peer has said is held, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Entries of a DNS-LB's MAP. Default 10 000.
    pub entries: usize,
    /// Services that a DNS-LB ranks, or that a dns-a-sync publishes in all of its zones. Default 20 000.
    pub services: usize,
    /// Sites of all these services. Default 100 000.
    pub sites: usize,
    /// Octets that they take, catalogues as they are sent. Default 32 MiB.
    pub octets: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self { entries: 10_000, services: 20_000, sites: 100_000, octets: 32 << 20 }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self { link: LinkQuota::default(), message: 8 << 20, held: Held::default() }
    }
}

/// Reads `[map.quota]`.
pub(super) fn read(map: &Section<'_>) -> Quotas {
    let default = Quotas::default();
    let Some(quota) = map.table("quota") else { return default };
    let octets = |key, least: usize, most: usize, default: usize| {
        let value = quota.or(key, size(least as u64..=most as u64), default as u64);
        usize::try_from(value).unwrap_or(most)
    };
    let link = LinkQuota {
        frames_per_second: quota.or("frames-per-second", integer(10..=1_000_000), default.link.frames_per_second),
        octets_per_second: octets("octets-per-second", 256 << 10, 1 << 40, 1 << 20) as u64,
        patience: quota.or("patience", duration("1s", "1h"), Duration::from_secs(60)),
    };
    let held = Held {
        entries: quota.or("entries", integer(1..=65_536), default.held.entries),
        services: quota.or("services", integer(1..=1_000_000), default.held.services),
        sites: quota.or("sites", integer(1..=100_000_000), default.held.sites),
        octets: octets("held", 64 << 10, 1 << 40, default.held.octets),
    };
    Quotas { link, message: octets("message", 128 << 10, 64 << 20, default.message), held }
}
