//! A service, inside CATALOGUE.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::{
    addresses, convert, from_addresses, from_name, name, name_field, narrow,
    probe::{PROBE, Probe},
    report::{MAX_ADDRESSES, MAX_SITE_NAME, MAX_SITES},
    required, u8_field, u16_field, u32_field, u64_field,
};
use crate::{
    catalogue::{self, ForcedState, Form, Mode},
    proto::{
        body::BodyError,
        scan::{Kind, Shape, many, one},
    },
};

/// Most probes of one service.
const MAX_PROBES: usize = 16;
/// Most ALPN ids of one service: what a catalogue that can be served may have at one octet each.
const MAX_ALPN_IDS: usize = catalogue::MAX_ALPN / 2;
/// Longest of them, in octets (RFC 7301 section 3.1).
const MAX_ALPN_ID: usize = 255;

pub(super) const SERVICE: Shape = Shape {
    name: "Service",
    fields: &[
        name_field(1, "name"),
        name_field(2, "host"),
        u32_field(3, "mode"),
        u32_field(4, "ttl"),
        u8_field(5, "answers"),
        one(6, "policy", Kind::Message(&POLICY)),
        many(7, "probes", Kind::Message(&PROBE), MAX_PROBES),
        many(8, "sites", Kind::Message(&SITE), MAX_SITES),
        one(9, "https", Kind::Message(&HTTPS)),
        u32_field(10, "probe_ceiling"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Service {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    host: Bytes,
    #[prost(uint32, tag = "3")]
    mode: u32,
    #[prost(uint32, tag = "4")]
    ttl: u32,
    #[prost(uint32, tag = "5")]
    answers: u32,
    #[prost(message, optional, tag = "6")]
    policy: Option<Policy>,
    #[prost(message, repeated, tag = "7")]
    probes: Vec<Probe>,
    #[prost(message, repeated, tag = "8")]
    sites: Vec<Site>,
    #[prost(message, optional, tag = "9")]
    https: Option<HttpsRecord>,
    #[prost(uint32, tag = "10")]
    probe_ceiling: u32,
}

const HTTPS: Shape = Shape {
    name: "HttpsRecord",
    fields: &[
        many(1, "alpn", Kind::Text(MAX_ALPN_ID), MAX_ALPN_IDS),
        one(2, "no_default_alpn", Kind::Number(1)),
        u16_field(3, "port"),
        one(4, "hints", Kind::Number(1)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct HttpsRecord {
    #[prost(string, repeated, tag = "1")]
    alpn: Vec<String>,
    #[prost(bool, tag = "2")]
    no_default_alpn: bool,
    #[prost(uint32, optional, tag = "3")]
    port: Option<u32>,
    #[prost(bool, tag = "4")]
    hints: bool,
}

const POLICY: Shape = Shape {
    name: "Policy",
    fields: &[
        u32_field(1, "margin_ms"),
        u32_field(2, "margin_percent"),
        one(3, "latency", Kind::Double),
        one(4, "cost", Kind::Double),
        u32_field(5, "form"),
        one(6, "latency_scale_ms", Kind::Double),
        one(7, "cost_scale", Kind::Double),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Policy {
    #[prost(uint32, tag = "1")]
    margin_ms: u32,
    #[prost(uint32, tag = "2")]
    margin_percent: u32,
    #[prost(double, tag = "3")]
    latency: f64,
    #[prost(double, tag = "4")]
    cost: f64,
    #[prost(uint32, tag = "5")]
    form: u32,
    /// Absent is 1, so that what has no scale has the octets that it always had.
    #[prost(double, tag = "6")]
    latency_scale_ms: f64,
    #[prost(double, tag = "7")]
    cost_scale: f64,
}

const SITE: Shape = Shape {
    name: "Site",
    fields: &[
        one(1, "name", Kind::Text(MAX_SITE_NAME)),
        many(2, "addresses", Kind::Address, MAX_ADDRESSES),
        one(3, "cost", Kind::Double),
        one(4, "forced", Kind::Message(&FORCED)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Site {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    addresses: Vec<Bytes>,
    #[prost(double, tag = "3")]
    cost: f64,
    #[prost(message, optional, tag = "4")]
    forced: Option<Forced>,
}

const FORCED: Shape = Shape {
    name: "Forced",
    fields: &[u32_field(1, "state"), u64_field(2, "until"), one(3, "reason", Kind::Text(catalogue::MAX_REASON))],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Forced {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(uint64, tag = "2")]
    until: u64,
    #[prost(string, tag = "3")]
    reason: String,
}

impl From<&catalogue::Service> for Service {
    fn from(service: &catalogue::Service) -> Self {
        Self {
            name: from_name(&service.name),
            host: from_name(&service.host),
            mode: match service.mode {
                Mode::Referral => 1,
                Mode::Direct => 2,
            },
            ttl: service.ttl,
            answers: service.answers.into(),
            policy: Some(Policy::from(service.policy)),
            probes: service.probes.iter().map(Probe::from).collect(),
            sites: service.sites.iter().map(Site::from).collect(),
            https: service.https.as_ref().map(HttpsRecord::from),
            probe_ceiling: service.probe_ceiling.map_or(0, NonZeroU32::get),
        }
    }
}

impl From<&catalogue::Site> for Site {
    fn from(site: &catalogue::Site) -> Self {
        Self {
            name: site.name.clone(),
            addresses: from_addresses(&site.addresses),
            cost: site.cost,
            forced: site.forced.as_ref().map(Forced::from),
        }
    }
}

impl From<&catalogue::Forced> for Forced {
    fn from(forced: &catalogue::Forced) -> Self {
        let state = match forced.state {
            ForcedState::Up => 1,
            ForcedState::Down => 2,
            ForcedState::Draining => 4,
        };
        Self { state, until: forced.until, reason: forced.reason.clone() }
    }
}

impl From<catalogue::Policy> for Policy {
    fn from(policy: catalogue::Policy) -> Self {
        let catalogue::Policy { form, margin_ms, margin_percent, latency, latency_scale_ms, cost, cost_scale } = policy;
        let form = match form {
            Form::Best => 0,
            Form::Failover => 1,
        };
        let absent = |scale: f64| if scale == 1.0 { 0.0 } else { scale };
        let (latency_scale_ms, cost_scale) = (absent(latency_scale_ms), absent(cost_scale));
        Self { margin_ms, margin_percent, latency, cost, form, latency_scale_ms, cost_scale }
    }
}

impl TryFrom<Policy> for catalogue::Policy {
    type Error = BodyError;

    fn try_from(wire: Policy) -> Result<Self, BodyError> {
        let Policy { margin_ms, margin_percent, latency, cost, form, latency_scale_ms, cost_scale } = wire;
        let form = match form {
            0 => Form::Best,
            1 => Form::Failover,
            value => return Err(BodyError::Enum { field: "form", value }),
        };
        let present = |scale: f64| if scale == 0.0 { 1.0 } else { scale };
        let (latency_scale_ms, cost_scale) = (present(latency_scale_ms), present(cost_scale));
        Ok(Self { form, margin_ms, margin_percent, latency, latency_scale_ms, cost, cost_scale })
    }
}

impl From<&catalogue::HttpsRecord> for HttpsRecord {
    fn from(record: &catalogue::HttpsRecord) -> Self {
        let catalogue::HttpsRecord { alpn, no_default_alpn, port, hints } = record.clone();
        Self { alpn, no_default_alpn, port: port.map(u32::from), hints }
    }
}

impl TryFrom<Service> for catalogue::Service {
    type Error = BodyError;

    fn try_from(wire: Service) -> Result<Self, BodyError> {
        Ok(Self {
            name: name("name", &wire.name)?,
            host: name("host", &wire.host)?,
            mode: match wire.mode {
                1 => Mode::Referral,
                2 => Mode::Direct,
                value => return Err(BodyError::Enum { field: "mode", value }),
            },
            ttl: wire.ttl,
            answers: narrow("answers", wire.answers)?,
            policy: required("policy", wire.policy)?.try_into()?,
            probes: convert(wire.probes)?,
            sites: convert(wire.sites)?,
            https: wire.https.map(catalogue::HttpsRecord::try_from).transpose()?,
            probe_ceiling: NonZeroU32::new(wire.probe_ceiling),
        })
    }
}

impl TryFrom<HttpsRecord> for catalogue::HttpsRecord {
    type Error = BodyError;

    fn try_from(wire: HttpsRecord) -> Result<Self, BodyError> {
        let HttpsRecord { alpn, no_default_alpn, port, hints } = wire;
        Ok(Self { alpn, no_default_alpn, port: port.map(|port| narrow("port", port)).transpose()?, hints })
    }
}

impl TryFrom<Site> for catalogue::Site {
    type Error = BodyError;

    fn try_from(wire: Site) -> Result<Self, BodyError> {
        Ok(Self {
            name: wire.name,
            addresses: addresses("addresses", &wire.addresses)?,
            cost: wire.cost,
            forced: wire.forced.and_then(forced),
        })
    }
}

/// A state of a later version is none that this one could act on: probes alone count then.
fn forced(wire: Forced) -> Option<catalogue::Forced> {
    let state = match wire.state {
        1 => ForcedState::Up,
        2 => ForcedState::Down,
        4 => ForcedState::Draining,
        _ => return None,
    };
    Some(catalogue::Forced { state, until: wire.until, reason: wire.reason })
}
