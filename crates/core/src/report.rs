//! What a DNS-LB reports per service: its sites best to worst with the figures behind the order
//! (design sections 5 and 6).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A DNS-LB's ranking of one service. The key of a figure is (service, site, address).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The service, by its name in the zone.
    pub service: Name,
    /// The catalogue generation that was ranked.
    pub catalogue: u64,
    /// Best first; every site of the service that has a measurement, at least one.
    pub sites: Vec<RankedSite>,
}

/// One site in a [`Ranking`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedSite {
    /// The site's name in the catalogue.
    pub site: String,
    /// Composite score in the policy's unit, lower is better; `None` while nothing was measured.
    pub score: Option<f64>,
    /// Every address of the site.
    pub addresses: Vec<Figures>,
}

/// What is known of one address of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The site's address.
    pub address: IpAddr,
    /// Verdict of the probes.
    pub health: Health,
    /// Estimated round trip in microseconds; `None` while no probe came through.
    pub latency_us: Option<u32>,
}

/// What the probes say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Answering.
    Up,
    /// Not probed often enough to say.
    Unknown,
    /// Failing.
    Down,
}

impl RankedSite {
    /// The best health among the site's addresses.
    pub fn health(&self) -> Health {
        self.addresses.iter().map(|f| f.health).min().unwrap_or(Health::Unknown)
    }
}
