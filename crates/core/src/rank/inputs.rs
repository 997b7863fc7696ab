//! All that a decision follows from, as one plain value: it can be written down, and decided again.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Policy, Service, Site},
    estimate::Measured,
    name::Name,
    report::Ranking,
};

/// What [`rank`](super::rank) goes by; there is nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The service, by its name in the zone.
    pub service: Name,
    /// The catalogue generation that it is of.
    pub catalogue: u64,
    /// How sites are compared.
    pub policy: Policy,
    /// The sites in the customer's order.
    pub sites: Vec<Candidate>,
    /// The sites as they were ranked before, best first; empty if they never were.
    pub previous: Vec<String>,
}

/// One site with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name, unique in the service.
    pub site: String,
    /// What the customer pays for traffic there, in units of the policy's choosing.
    pub cost: f64,
    /// Its addresses in the customer's order; without any it is not ranked.
    pub addresses: Vec<Measured>,
}

impl Inputs {
    /// Those of `service` in catalogue generation `catalogue`, as `measured` knows its addresses, ranked as
    /// `previous` before.
    pub fn new(
        service: &Service,
        catalogue: u64,
        measured: impl Fn(&Site, IpAddr) -> Measured,
        previous: Option<&Ranking>,
    ) -> Self {
        let candidate = |site: &Site| Candidate {
            site: site.name.clone(),
            cost: site.cost,
            addresses: site.addresses.iter().map(|a| measured(site, *a)).collect(),
        };
        Self {
            service: service.name.clone(),
            catalogue,
            policy: service.policy,
            sites: service.sites.iter().map(candidate).collect(),
            previous: previous.into_iter().flat_map(|r| &r.sites).map(|s| s.site.clone()).collect(),
        }
    }
}
