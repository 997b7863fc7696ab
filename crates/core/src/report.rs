//! What a DNS-LB reports per service: its sites best to worst with the figures behind the order
//! (design sections 5 and 6).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{catalogue::ForcedState, load::Stated, name::Name};

/// A DNS-LB's ranking of one service. The key of a figure is (service, site, address).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The service, by its name in the zone.
    pub service: Name,
    /// The catalogue generation that was ranked.
    pub catalogue: u64,
    /// Best first; every site of the service that has a measurement, at least one.
    pub sites: Vec<RankedSite>,
    /// Whether the choice may soon be another, so that answers are short-lived ([`Service::least_ttl`]).
    ///
    /// [`Service::least_ttl`]: crate::catalogue::Service::least_ttl
    #[serde(default)]
    pub unsettled: bool,
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
    /// The client networks that go there, in thousandths. 0 at all sites: all go to the first.
    #[serde(default)]
    pub share: u16,
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

/// What is known of an address, from the best to the worst: what probes say, unless the site itself says
/// worse, or a person something else ([`Forced`](crate::catalogue::Forced)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Answering.
    Up,
    /// Not probed often enough to say.
    Unknown,
    /// It serves who is there and wants nobody new.
    Draining,
    /// Failing, or it says so.
    Down,
}

impl Health {
    /// What probes found, made worse by what the site says of itself; what somebody forces counts instead,
    /// but nobody drains a site that is down.
    #[must_use]
    pub fn by_word(self, stated: Option<Stated>, forced: Option<ForcedState>) -> Self {
        let stated = stated.map_or(Self::Up, |stated| match stated {
            Stated::Draining => Self::Draining,
            Stated::Down => Self::Down,
        });
        match forced {
            None => self.max(stated),
            Some(ForcedState::Up) => Self::Up,
            Some(ForcedState::Draining) => self.max(stated).max(Self::Draining),
            Some(ForcedState::Down) => Self::Down,
        }
    }
}

impl RankedSite {
    /// The best health among the site's addresses.
    pub fn health(&self) -> Health {
        self.addresses.iter().map(|f| f.health).min().unwrap_or(Health::Unknown)
    }
}
