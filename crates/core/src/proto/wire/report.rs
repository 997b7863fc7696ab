//! REPORT, REPORT-ACK, GET-REPORT.

use bytes::Bytes;

use super::{address, convert, from_address, from_name, name, name_field, narrow, u32_field, u64_field};
use crate::{
    proto::{
        body::BodyError,
        message,
        scan::{Kind, Shape, many, one},
    },
    report::{self, Health},
};

/// Most services in one report.
pub(super) const MAX_RANKINGS: usize = 65_536;
/// Most sites of one service; like the catalogue's.
pub(super) const MAX_SITES: usize = 1_000;
/// Most addresses of one site; like the catalogue's.
pub(super) const MAX_ADDRESSES: usize = 16;
/// All client networks, in thousandths.
const MAX_SHARE: u64 = 1_000;
/// Longest name of a site, in octets.
pub(super) const MAX_SITE_NAME: usize = 255;

pub(in crate::proto) const REPORT: Shape = Shape {
    name: "Report",
    fields: &[
        u64_field(1, "generation"),
        u64_field(2, "base"),
        many(3, "rankings", Kind::Message(&RANKING), MAX_RANKINGS),
        many(4, "removed", Kind::Octets(crate::name::MAX_NAME), MAX_RANKINGS),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Report {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint64, tag = "2")]
    base: u64,
    #[prost(message, repeated, tag = "3")]
    rankings: Vec<Ranking>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    removed: Vec<Bytes>,
}

pub(super) const RANKING: Shape = Shape {
    name: "Ranking",
    fields: &[
        name_field(1, "service"),
        u64_field(2, "catalogue"),
        many(3, "sites", Kind::Message(&RANKED_SITE), MAX_SITES),
        one(4, "unsettled", Kind::Number(1)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Ranking {
    #[prost(bytes = "bytes", tag = "1")]
    service: Bytes,
    #[prost(uint64, tag = "2")]
    catalogue: u64,
    #[prost(message, repeated, tag = "3")]
    sites: Vec<RankedSite>,
    #[prost(bool, tag = "4")]
    unsettled: bool,
}

const RANKED_SITE: Shape = Shape {
    name: "RankedSite",
    fields: &[
        one(1, "site", Kind::Text(MAX_SITE_NAME)),
        one(2, "score", Kind::Double),
        many(3, "addresses", Kind::Message(&FIGURES), MAX_ADDRESSES),
        one(4, "share", Kind::Number(MAX_SHARE)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct RankedSite {
    #[prost(string, tag = "1")]
    site: String,
    #[prost(double, optional, tag = "2")]
    score: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    addresses: Vec<Figures>,
    #[prost(uint32, tag = "4")]
    share: u32,
}

const FIGURES: Shape = Shape {
    name: "Figures",
    fields: &[one(1, "address", Kind::Address), u32_field(2, "health"), u32_field(3, "latency_us")],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Figures {
    #[prost(bytes = "bytes", tag = "1")]
    address: Bytes,
    #[prost(uint32, tag = "2")]
    health: u32,
    #[prost(uint32, optional, tag = "3")]
    latency_us: Option<u32>,
}

impl From<&message::Report> for Report {
    fn from(report: &message::Report) -> Self {
        Self {
            generation: report.generation,
            base: report.base,
            rankings: report.rankings.iter().map(Ranking::from).collect(),
            removed: report.removed.iter().map(from_name).collect(),
        }
    }
}

impl From<&report::Ranking> for Ranking {
    fn from(ranking: &report::Ranking) -> Self {
        let figures = |f: &report::Figures| Figures {
            address: from_address(f.address),
            health: match f.health {
                Health::Up => 1,
                Health::Down => 2,
                Health::Unknown => 3,
                Health::Draining => 4,
            },
            latency_us: f.latency_us,
        };
        let site = |s: &report::RankedSite| RankedSite {
            site: s.site.clone(),
            score: s.score,
            addresses: s.addresses.iter().map(figures).collect(),
            share: s.share.into(),
        };
        Self {
            service: from_name(&ranking.service),
            catalogue: ranking.catalogue,
            sites: ranking.sites.iter().map(site).collect(),
            unsettled: ranking.unsettled,
        }
    }
}

impl TryFrom<Figures> for report::Figures {
    type Error = BodyError;

    fn try_from(wire: Figures) -> Result<Self, BodyError> {
        Ok(Self {
            address: address("address", &wire.address)?,
            health: match wire.health {
                1 => Health::Up,
                2 => Health::Down,
                4 => Health::Draining,
                // A verdict of a later version is none that this one could act on.
                _ => Health::Unknown,
            },
            latency_us: wire.latency_us,
        })
    }
}

impl TryFrom<RankedSite> for report::RankedSite {
    type Error = BodyError;

    fn try_from(wire: RankedSite) -> Result<Self, BodyError> {
        let share = narrow("share", wire.share)?;
        Ok(Self { site: wire.site, score: wire.score, addresses: convert(wire.addresses)?, share })
    }
}

impl TryFrom<Ranking> for report::Ranking {
    type Error = BodyError;

    fn try_from(wire: Ranking) -> Result<Self, BodyError> {
        Ok(Self {
            service: name("service", &wire.service)?,
            catalogue: wire.catalogue,
            sites: convert(wire.sites)?,
            unsettled: wire.unsettled,
        })
    }
}

impl TryFrom<Report> for message::Report {
    type Error = BodyError;

    fn try_from(wire: Report) -> Result<Self, BodyError> {
        Ok(Self {
            generation: wire.generation,
            base: wire.base,
            rankings: convert(wire.rankings)?,
            removed: wire.removed.iter().map(|n| name("removed", n)).collect::<Result<_, _>>()?,
        })
    }
}

pub(in crate::proto) const REPORT_ACK: Shape =
    Shape { name: "ReportAck", fields: &[u64_field(1, "generation"), u32_field(2, "refused")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReportAck {
    #[prost(uint64, tag = "1")]
    pub(super) generation: u64,
    #[prost(uint32, tag = "2")]
    pub(super) refused: u32,
}

impl From<ReportAck> for message::ReportAck {
    fn from(wire: ReportAck) -> Self {
        Self { generation: wire.generation, refused: wire.refused }
    }
}

pub(in crate::proto) const GET_REPORT: Shape = Shape { name: "GetReport", fields: &[] };
