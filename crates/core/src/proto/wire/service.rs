//! A service, inside CATALOGUE.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::{
    convert, from_name, name, name_field, narrow,
    policy::{POLICY, Policy},
    probe::{PROBE, Probe},
    report::MAX_SITES,
    required,
    site::{SITE, Site},
    u8_field, u16_field, u32_field,
};
use crate::{
    catalogue::{self, Mode},
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
        u32_field(11, "least_ttl"),
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
    #[prost(uint32, optional, tag = "11")]
    least_ttl: Option<u32>,
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
            least_ttl: service.least_ttl,
        }
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
            least_ttl: wire.least_ttl,
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
