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

/// What of that is another for one peer, `[peer.quota]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldOf {
    /// Entries.
    pub entries: Option<usize>,
    /// Services.
    pub services: Option<usize>,
    /// Sites.
    pub sites: Option<usize>,
    /// Octets.
    pub octets: Option<usize>,
}

impl Held {
    /// With what is another for one peer.
    #[must_use]
    pub fn but(self, of: &HeldOf) -> Self {
        Self {
            entries: of.entries.unwrap_or(self.entries),
            services: of.services.unwrap_or(self.services),
            sites: of.sites.unwrap_or(self.sites),
            octets: of.octets.unwrap_or(self.octets),
        }
    }
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
    let link = LinkQuota {
        frames_per_second: quota.or("frames-per-second", integer(10..=1_000_000), default.link.frames_per_second),
        octets_per_second: quota.or("octets-per-second", size(256 << 10..=1 << 40), 1 << 20),
        patience: quota.or("patience", duration("1s", "1h"), Duration::from_secs(60)),
    };
    let message = quota.or("message", size(128 << 10..=64 << 20), default.message as u64);
    let message = usize::try_from(message).unwrap_or(default.message);
    Quotas { link, message, held: default.held.but(&read_held(&quota)) }
}

/// Reads `[peer.quota]`.
pub(super) fn read_peer(peer: &Section<'_>) -> HeldOf {
    peer.table("quota").map_or_else(HeldOf::default, |quota| read_held(&quota))
}

fn read_held(quota: &Section<'_>) -> HeldOf {
    let octets = quota.optional("held", size(64 << 10..=1 << 40));
    HeldOf {
        entries: quota.optional("entries", integer(1..=65_536)),
        services: quota.optional("services", integer(1..=1_000_000)),
        sites: quota.optional("sites", integer(1..=100_000_000)),
        octets: octets.map(|octets| usize::try_from(octets).unwrap_or(usize::MAX)),
    }
}
