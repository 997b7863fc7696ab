//! The configuration, checked: what could be known to be wrong from the file alone is not in it.

mod key;
mod probe;
mod read;
mod zone;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use dglb_core::{
    catalogue::{Service, Site, StaticRecord, ZoneStyle},
    identity::Identity,
    name::Name,
};

use dglb_node::{admin::Address, link::LinkSecurity};

use crate::dns_a::Key;

pub use read::config;

/// Everything that dns-a-sync is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are to the dns-bs.
    pub identity: Identity,
    /// The enterprise's authoritative server.
    pub dns_a: DnsAConfig,
    /// What is balanced; at least one zone, unless one is withdrawn.
    pub zones: Vec<ZoneConfig>,
    /// Zones that no dns-b is to serve any longer; none of them is in `zones`.
    pub withdraw: Vec<Name>,
    /// Whom to publish to; at least one.
    pub servers: Vec<ServerConfig>,
    /// By what links are secured.
    pub security: LinkSecurity,
    /// What becomes of the delegation.
    pub delegation: DelegationConfig,
    /// Where status and metrics are served.
    pub admin: Address,
    /// Where to keep what was published last, so that generations and guard rails outlive a restart.
    pub state_dir: Option<PathBuf>,
    /// Publish the first reading even if it is much smaller than what was published before.
    pub force: bool,
}

/// The enterprise's authoritative server.
#[derive(Clone, Debug)]
pub struct DnsAConfig {
    /// Where it answers, and takes updates.
    pub server: SocketAddr,
    /// The enterprise's zone, which holds the delegations and the aliases.
    pub zone: Name,
    /// From one reading to the next. Default 10 s.
    pub interval: Duration,
    /// Longest wait for one answer. Default 3 s.
    pub timeout: Duration,
    /// The key that signs updates.
    pub key: Option<Key>,
}

/// One zone that DNS-A delegates to the dns-bs.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// Its name, below the enterprise's zone.
    pub name: Name,
    /// How it is cut out.
    pub style: ZoneStyle,
    /// Seconds that dns-b's CNAME may be cached.
    pub cname_ttl: u32,
    /// Served as they are.
    pub records: Vec<StaticRecord>,
    /// At least one.
    pub services: Vec<ServiceConfig>,
}

/// One balanced host name.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// As it will be published, but for the sites, of which it has none yet.
    pub service: Service,
    /// In the customer's order of preference; at least one.
    pub sites: Vec<SiteConfig>,
}

/// One site of a service.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// As it will be published, but for its addresses.
    pub site: Site,
    /// Where DNS-A holds those.
    pub dns_name: Name,
}

/// One dns-b.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Who it must be.
    pub identity: Identity,
    /// Where it takes map links.
    pub address: SocketAddr,
}

/// What becomes of the delegation.
#[derive(Clone, Copy, Debug)]
pub struct DelegationConfig {
    /// Write, print or nothing.
    pub mode: DelegationMode,
    /// Seconds that the alias of a service may be cached. Default 1 h.
    pub cname_ttl: u32,
    /// From one look at what DNS-A serves to the next. Default 1 min.
    pub interval: Duration,
    /// How long after the start every dns-b is waited for before what the others say is written.
    /// Default 10 s.
    pub settle: Duration,
}

impl Default for DelegationConfig {
    fn default() -> Self {
        Self {
            mode: DelegationMode::Print,
            cname_ttl: 3600,
            interval: Duration::from_secs(60),
            settle: Duration::from_secs(10),
        }
    }
}

/// What becomes of the delegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelegationMode {
    /// Written into DNS-A by dynamic update.
    Update,
    /// Printed for a person.
    Print,
    /// Left alone.
    Off,
}
