//! The catalogue: what an enterprise wants balanced. One [`ZoneCatalogue`] per zone, made by
//! dns-a-sync, carried unchanged through every hop (design sections 2, 4 to 7).

mod forced;
mod https;
mod location;
mod policy;
mod probe;
mod site;
mod update;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    num::NonZeroU32,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use forced::{Forced, ForcedState, ForcedStateError, MAX_REASON};
pub use https::{HttpsRecord, MAX_ALPN};
pub use location::{FARTHEST_KM, Location};
pub use policy::{AllDown, Form, Policy, Terms};
pub use probe::{
    HttpProbe, MAX_BODY_MATCH, MAX_HEADERS, MAX_STATUS_RANGES, Method, PhaseLimits, Probe, ProbeKind, ProbeTls,
    StatusRange,
};
pub use site::{MAX_GROUPS, Site, is_group};
pub use update::{CatalogueDelta, CatalogueUpdate, DeltaError, Withdrawal};

use crate::{
    dns::rtype,
    name::{MAX_NAME, Name, labels},
};

/// The longest identity, with its length octet: what a label zone adds to a service's name.
const LONGEST_LABEL: usize = 33;
/// What the longest of our own names has in front of a label zone: a check's nonce and `_dglb`.
const LONGEST_OWN: usize = 17 + 6;
/// Most addresses of one site.
pub const MAX_ADDRESSES: usize = 16;
/// The largest time to live (RFC 2181 section 8).
const MAX_TTL: u32 = (1 << 31) - 1;
/// Most octets of RDATA in one static RRset: it must fit a message together with its names.
const MAX_RRSET: usize = 16_384;
/// What an error says of times to live.
const TTL_RANGE: &str = "at most 2147483647 s";
/// Types that the apex of a zone answers for itself (design section 2).
const APEX_TYPES: [u16; 6] = [rtype::DS, rtype::NSEC, rtype::DNSKEY, rtype::CDS, rtype::CDNSKEY, rtype::ZONEMD];

/// Everything about one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneCatalogue {
    /// The name that DNS-A delegates to the dns-bs.
    pub zone: Name,
    /// Set by the origin, strictly increasing, carried unchanged.
    pub generation: u64,
    /// The serial of the zone's SOA.
    pub soa_serial: u32,
    /// Which of the two styles of design section 2.
    pub style: ZoneStyle,
    /// Seconds that the CNAME to a mapped, living DNS-LB may be cached. Default 3 600.
    pub cname_ttl: u32,
    /// The services, at least one.
    pub services: Vec<Service>,
    /// Records that are simply served.
    pub records: Vec<StaticRecord>,
}

/// How the zone was cut out of the enterprise's own (design section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneStyle {
    /// `glb.foobar.com` is delegated; services are below it.
    SubZone,
    /// `www.foobar.com` itself is delegated; the service is the apex.
    Host,
}

/// One balanced host name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the zone: the apex in host style, below it in sub-zone style.
    pub name: Name,
    /// The name that clients use, which sites expect as HTTP host name.
    pub host: Name,
    /// Who answers with what.
    pub mode: Mode,
    /// Seconds that a site's address may be cached. Default 300.
    pub ttl: u32,
    /// Most addresses in one answer, 1 to 16. Default 1.
    pub answers: u8,
    /// How sites are compared.
    pub policy: Policy,
    /// How sites are measured; at least one.
    pub probes: Vec<Probe>,
    /// The sites in the customer's order of preference, at least one.
    pub sites: Vec<Site>,
    /// What is answered to questions of type HTTPS; without it they are NODATA.
    #[serde(default)]
    pub https: Option<HttpsRecord>,
    /// Most probes on each of its sites over all POPs, in thousandths of a probe in a second; without it
    /// the probes' intervals alone say how often.
    #[serde(default)]
    pub probe_ceiling: Option<NonZeroU32>,
    /// Seconds that a site's address may be cached while it may soon be another: the next site is within
    /// the margin, or a probe of the present one has failed. Without it, and where it is longer, `ttl`.
    #[serde(default)]
    pub least_ttl: Option<u32>,
}

impl Service {
    /// The addresses that have a ceiling, and that.
    pub fn probe_ceilings(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        let sites = self.sites.iter().filter(|_| self.probe_ceiling.is_some());
        let ceiling = self.probe_ceiling.map_or(0, NonZeroU32::get);
        sites.flat_map(|site| &site.addresses).map(move |address| (*address, ceiling))
    }
}

/// Who answers (design section 4). What is answered is the site; the cache is not built yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// dns-b refers, the DNS-LB answers.
    #[default]
    Referral,
    /// dns-b answers from what the located DNS-LB reported.
    Direct,
}

/// A record that is served as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRecord {
    /// Owner, within the zone.
    pub name: Name,
    /// TYPE (RFC 1035 section 3.2.2).
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// RDATA in uncompressed wire form.
    pub rdata: Vec<u8>,
}

/// Why a [`ZoneCatalogue`] cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CatalogueError {
    /// Nothing to balance.
    #[error("zone {0} has no service")]
    NoService(Name),
    /// A service that cannot be answered.
    #[error("service {0} has no site with an address")]
    NoSite(Name),
    /// A service that cannot be measured.
    #[error("service {0} has no probe")]
    NoProbe(Name),
    /// Two services or two sites with one name.
    #[error("{0} stands twice")]
    Twice(String),
    /// A service or record outside its zone, or at a place that the style does not allow.
    #[error("{name} does not belong into zone {zone}, which has {style} style")]
    Misplaced {
        /// The offending owner.
        name: Name,
        /// The zone.
        zone: Name,
        /// `sub-zone` or `host`.
        style: &'static str,
    },
    /// With the longest label in front the name would exceed 255 octets.
    #[error("{0} is too long: with a DNS-LB's label it would exceed 255 octets")]
    TooLong(Name),
    /// A value outside its range.
    #[error("service {service}: {what} must be {range}, not {value}")]
    Range {
        /// The service.
        service: Name,
        /// Which setting.
        what: &'static str,
        /// What is allowed.
        range: &'static str,
        /// What was found.
        value: String,
    },
    /// A service at a name that every label zone has.
    #[error("{0} cannot be a service: every DNS-LB's label zone has this name already")]
    Reserved(Name),
    /// A static RRset that fits no message.
    #[error("the records of type {rtype} at {name} have {size} octets, more than an answer can hold")]
    TooLarge {
        /// Owner.
        name: Name,
        /// TYPE.
        rtype: u16,
        /// Octets of all its records.
        size: usize,
    },
    /// A static record of a type or at a place that DGLB answers itself, or that nobody can ask for.
    #[error("a static record of type {rtype} at {name} would collide with DGLB's own records")]
    Collision {
        /// Owner.
        name: Name,
        /// TYPE.
        rtype: u16,
    },
}

impl ZoneCatalogue {
    /// Whether the catalogue can be served: the checks that hold wherever it comes from. Returns
    /// every mistake, none if it is sound.
    pub fn check(&self) -> Vec<CatalogueError> {
        let mut errors = Vec::new();
        if self.services.is_empty() {
            errors.push(CatalogueError::NoService(self.zone.clone()));
        }
        let mut names = HashSet::new();
        for service in &self.services {
            if !names.insert(&service.name) {
                errors.push(CatalogueError::Twice(service.name.to_string()));
            }
            self.check_service(service, &mut errors);
        }
        if self.zone.wire().len() + LONGEST_LABEL + LONGEST_OWN > MAX_NAME {
            errors.push(CatalogueError::TooLong(self.zone.clone()));
        }
        if self.cname_ttl > MAX_TTL {
            let (service, value) = (self.zone.clone(), self.cname_ttl.to_string());
            errors.push(CatalogueError::Range { service, what: "CNAME TTL", range: TTL_RANGE, value });
        }
        self.check_records(&mut errors);
        errors
    }

    fn check_service(&self, service: &Service, errors: &mut Vec<CatalogueError>) {
        let name = &service.name;
        let placed = match self.style {
            ZoneStyle::SubZone => name.is_within(&self.zone) && *name != self.zone,
            ZoneStyle::Host => *name == self.zone,
        };
        if !placed {
            errors.push(self.misplaced(name));
        }
        if self.is_ours(name) {
            errors.push(CatalogueError::Reserved(name.clone()));
        }
        if name.wire().len() + LONGEST_LABEL > MAX_NAME {
            errors.push(CatalogueError::TooLong(name.clone()));
        }
        if service.sites.iter().all(|s| s.addresses.is_empty()) {
            errors.push(CatalogueError::NoSite(name.clone()));
        }
        if service.probes.is_empty() {
            errors.push(CatalogueError::NoProbe(name.clone()));
        }
        let mut sites = HashSet::new();
        for site in service.sites.iter().filter(|s| !sites.insert(&s.name)) {
            errors.push(CatalogueError::Twice(format!("site {} of {name}", site.name)));
        }
        let mut range = |what, range, value: String, good: bool| {
            if !good {
                errors.push(CatalogueError::Range { service: name.clone(), what, range, value });
            }
        };
        for (what, wanted, found) in service.https.iter().flat_map(HttpsRecord::check) {
            range(what, wanted, found, false);
        }
        range("TTL", TTL_RANGE, service.ttl.to_string(), service.ttl <= MAX_TTL);
        let least = service.least_ttl.unwrap_or(0);
        range("least TTL", TTL_RANGE, least.to_string(), least <= MAX_TTL);
        range("answers", "1 to 16", service.answers.to_string(), (1..=16).contains(&service.answers));
        range("number of sites", "at most 1000", service.sites.len().to_string(), service.sites.len() <= 1000);
        service.policy.check(&mut range);
        for site in &service.sites {
            site.check(&mut range);
        }
        for probe in &service.probes {
            probe::check_probe(probe, &mut range);
        }
    }

    /// Whether a service of this name would hide what every label zone has (`ns`, `f1`, `f2`, and
    /// the names of checks below `_dglb`).
    fn is_ours(&self, name: &Name) -> bool {
        let Some(relative) = name.strip(&self.zone) else { return false };
        let last = labels(relative).last();
        last == Some(b"_dglb") || (labels(relative).count() == 1 && matches!(last, Some(b"ns" | b"f1" | b"f2")))
    }

    fn check_records(&self, errors: &mut Vec<CatalogueError>) {
        let mut seen = HashSet::new();
        let mut sizes: HashMap<(&Name, u16), usize> = HashMap::new();
        for record in &self.records {
            self.check_record(record, errors);
            // RFC 2181 section 5: no record stands twice in an RRset.
            if !seen.insert((&record.name, record.rtype, &record.rdata)) {
                errors.push(CatalogueError::Twice(format!("record {} of type {}", record.name, record.rtype)));
            }
            *sizes.entry((&record.name, record.rtype)).or_default() += 12 + record.rdata.len();
        }
        for ((name, rtype), size) in sizes.into_iter().filter(|(_, size)| *size > MAX_RRSET) {
            errors.push(CatalogueError::TooLarge { name: name.clone(), rtype, size });
        }
    }

    fn check_record(&self, record: &StaticRecord, errors: &mut Vec<CatalogueError>) {
        if !record.name.is_within(&self.zone) {
            errors.push(self.misplaced(&record.name));
        }
        let service = self.services.iter().any(|s| s.name == record.name);
        // SOA, NS and CNAME are DGLB's; so is everything at a service's own name, and what is no data.
        let ours = matches!(record.rtype, rtype::NS | rtype::CNAME | rtype::SOA) || service;
        let no_data = matches!(record.rtype, 0 | rtype::OPT | rtype::FIRST_META..=rtype::ANY);
        let apex = record.name == self.zone && APEX_TYPES.contains(&record.rtype);
        // A wildcard would be served to nobody but who asks for the asterisk itself.
        let wildcard = labels(record.name.wire()).any(|label| label == b"*");
        if record.ttl > MAX_TTL {
            let (service, value) = (record.name.clone(), record.ttl.to_string());
            errors.push(CatalogueError::Range { service, what: "TTL", range: TTL_RANGE, value });
        }
        if ours || no_data || apex || wildcard {
            errors.push(CatalogueError::Collision { name: record.name.clone(), rtype: record.rtype });
        }
    }

    fn misplaced(&self, name: &Name) -> CatalogueError {
        let style = match self.style {
            ZoneStyle::SubZone => "sub-zone",
            ZoneStyle::Host => "host",
        };
        CatalogueError::Misplaced { name: name.clone(), zone: self.zone.clone(), style }
    }

    /// The service of this name.
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.services.iter().find(|s| s.name == *name)
    }

    /// The same content in the one order that every copy has: services by name, static records by
    /// owner, type, data.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.services.sort_by(|a, b| a.name.cmp(&b.name));
        self.records.sort_by(|a, b| (&a.name, a.rtype, &a.rdata).cmp(&(&b.name, b.rtype, &b.rdata)));
        self
    }
}
