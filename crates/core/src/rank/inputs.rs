//! All that a decision follows from, as one plain value: it can be written down, and decided again.
//!
//! Invariant: what an earlier version did not put down is taken for what it went by then, so that its decisions are
//! decided again as they were.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{FARTHEST_KM, Location, Policy, Service, Site},
    estimate::Measured,
    load::Told,
    name::Name,
    report::{RankedSite, Ranking},
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
    /// Whether answers are to live shorter while the choice may soon be another.
    #[serde(default)]
    pub may_be_unsettled: bool,
    /// Where it is decided.
    #[serde(default)]
    pub here: Here,
    /// The sites in the customer's order.
    pub sites: Vec<Candidate>,
    /// The sites as they were ranked before, best first; empty if they never were.
    pub previous: Vec<Placed>,
    /// Whether the choice might soon have been another then.
    #[serde(default)]
    pub was_unsettled: bool,
    /// How long ago its shares were changed, in milliseconds.
    #[serde(default)]
    pub shares_stood_ms: u64,
    /// How long a step stands at least: until clients have followed it and sites have told what they have to do
    /// since, in milliseconds.
    #[serde(default)]
    pub shares_stand_ms: u64,
}

/// The point of presence that decides for its clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Here {
    /// The groups that the DNS-LB is in.
    pub groups: Vec<String>,
    /// Where it is, if it knows.
    pub location: Option<Location>,
}

/// One site with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What the customer says of it. Its addresses stand below; without any it is not ranked.
    pub site: Site,
    /// Its addresses in the customer's order.
    pub addresses: Vec<Measured>,
}

/// What a site had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its name.
    pub site: String,
    /// Its share of the client networks, in thousandths; 0 at all: all went to the first.
    #[serde(default)]
    pub share: u16,
}

impl Inputs {
    /// Those of `service` in catalogue generation `catalogue`, as `measured` knows its addresses, ranked as
    /// `previous` before; somewhere on earth, in no group.
    pub fn new(
        service: &Service,
        catalogue: u64,
        measured: impl Fn(&Site, IpAddr) -> Measured,
        previous: Option<&Ranking>,
    ) -> Self {
        let candidate = |site: &Site| Candidate {
            addresses: site.addresses.iter().map(|a| measured(site, *a)).collect(),
            site: Site { addresses: Vec::new(), ..site.clone() },
        };
        let placed = |ranked: &RankedSite| Placed { site: ranked.site.clone(), share: ranked.share };
        Self {
            service: service.name.clone(),
            catalogue,
            policy: service.policy,
            may_be_unsettled: service.least_ttl.is_some_and(|least| least < service.ttl),
            here: Here::default(),
            sites: service.sites.iter().map(candidate).collect(),
            previous: previous.into_iter().flat_map(|r| &r.sites).map(placed).collect(),
            was_unsettled: previous.is_some_and(|r| r.unsettled),
            shares_stood_ms: 0,
            shares_stand_ms: stand_ms(service),
        }
    }

    /// The same, so many milliseconds after the shares were changed.
    #[must_use]
    pub fn stood(self, shares_stood_ms: u64) -> Self {
        Self { shares_stood_ms, ..self }
    }

    /// The same, decided at `here`.
    #[must_use]
    pub fn at(self, here: &Here) -> Self {
        Self { here: here.clone(), ..self }
    }
}

/// As long as an answer lives, and two intervals of the probes for what comes of it. While clients are shared
/// out answers live for the shorter time.
fn stand_ms(service: &Service) -> u64 {
    let ttl = service.least_ttl.unwrap_or(service.ttl).min(service.ttl);
    let longest = service.probes.iter().map(|probe| probe.interval_ms).max().unwrap_or(0);
    u64::from(ttl) * 1_000 + 2 * u64::from(longest)
}

impl Candidate {
    /// How much of what it can do it does, in thousandths, if it tells: its utilization, else its requests
    /// by its capacity. Of several addresses the one that says most.
    pub fn load(&self) -> Option<u32> {
        let of = |told: &Told| {
            let requests = || {
                let capacity = self.site.capacity.filter(|capacity| *capacity > 0.0)?;
                // A cast saturates, so figures out of every range are just very large.
                Some((told.requests? as f64 / capacity) as u32)
            };
            told.utilization.or_else(requests)
        };
        self.addresses.iter().filter_map(|m| of(&m.told)).max()
    }

    /// How far it is from `here`, in kilometres: 0 where that is unknown, and the farthest there is for a
    /// site that nobody knows the place of.
    pub fn distance_km(&self, here: &Here) -> f64 {
        let Some(here) = here.location else { return 0.0 };
        self.site.location.map_or(FARTHEST_KM, |site| here.distance_km(&site))
    }
}
