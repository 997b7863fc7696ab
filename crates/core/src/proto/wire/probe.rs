//! A probe, inside a service. Of a kind without more than port and path only the first fields stand, as
//! they always did.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::{from_name, name, name_field, narrow, u8_field, u16_field, u32_field};
use crate::{
    catalogue::{
        self, HttpProbe, MAX_BODY_MATCH, MAX_HEADERS, MAX_STATUS_RANGES, Method, PhaseLimits, ProbeKind, ProbeTls,
    },
    name::Name,
    proto::{
        body::BodyError,
        scan::{Kind, Shape, many, one},
    },
};

/// Longest path of a probe, in octets.
const MAX_PATH: usize = 2_048;
/// Longest name and longest value of a header, in octets.
const MAX_HEADER: usize = 4_096;

pub(super) const PROBE: Shape = Shape {
    name: "Probe",
    fields: &[
        u32_field(1, "kind"),
        u16_field(2, "port"),
        one(3, "path", Kind::Text(MAX_PATH)),
        u32_field(4, "interval_ms"),
        u32_field(5, "timeout_ms"),
        u8_field(6, "fall"),
        u8_field(7, "rise"),
        one(8, "http", Kind::Message(&HTTP)),
        name_field(9, "question"),
        u16_field(10, "rtype"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Probe {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    port: u32,
    #[prost(string, tag = "3")]
    path: String,
    #[prost(uint32, tag = "4")]
    interval_ms: u32,
    #[prost(uint32, tag = "5")]
    timeout_ms: u32,
    #[prost(uint32, tag = "6")]
    fall: u32,
    #[prost(uint32, tag = "7")]
    rise: u32,
    #[prost(message, optional, tag = "8")]
    http: Option<Http>,
    #[prost(bytes = "bytes", tag = "9")]
    question: Bytes,
    #[prost(uint32, tag = "10")]
    rtype: u32,
}

const HTTP: Shape = Shape {
    name: "HttpProbe",
    fields: &[
        u32_field(1, "method"),
        name_field(2, "host"),
        many(3, "headers", Kind::Message(&HEADER), MAX_HEADERS),
        many(4, "statuses", Kind::Message(&STATUS_RANGE), MAX_STATUS_RANGES),
        one(5, "body", Kind::Text(MAX_BODY_MATCH)),
        u32_field(6, "max_body"),
        one(7, "http2", Kind::Number(1)),
        name_field(8, "server_name"),
        one(9, "unverified", Kind::Number(1)),
        one(10, "status_document", Kind::Number(1)),
        u32_field(11, "connect_ms"),
        u32_field(12, "tls_ms"),
        u32_field(13, "first_byte_ms"),
        u32_field(14, "body_ms"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Http {
    #[prost(uint32, tag = "1")]
    method: u32,
    #[prost(bytes = "bytes", tag = "2")]
    host: Bytes,
    #[prost(message, repeated, tag = "3")]
    headers: Vec<Header>,
    #[prost(message, repeated, tag = "4")]
    statuses: Vec<StatusRange>,
    #[prost(string, tag = "5")]
    body: String,
    #[prost(uint32, tag = "6")]
    max_body: u32,
    #[prost(bool, tag = "7")]
    http2: bool,
    #[prost(bytes = "bytes", tag = "8")]
    server_name: Bytes,
    #[prost(bool, tag = "9")]
    unverified: bool,
    #[prost(bool, tag = "10")]
    status_document: bool,
    #[prost(uint32, tag = "11")]
    connect_ms: u32,
    #[prost(uint32, tag = "12")]
    tls_ms: u32,
    #[prost(uint32, tag = "13")]
    first_byte_ms: u32,
    #[prost(uint32, tag = "14")]
    body_ms: u32,
}

const HEADER: Shape = Shape {
    name: "HttpHeader",
    fields: &[one(1, "name", Kind::Text(MAX_HEADER)), one(2, "value", Kind::Text(MAX_HEADER))],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

const STATUS_RANGE: Shape = Shape { name: "StatusRange", fields: &[u16_field(1, "first"), u16_field(2, "last")] };

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRange {
    #[prost(uint32, tag = "1")]
    first: u32,
    #[prost(uint32, tag = "2")]
    last: u32,
}

impl From<&catalogue::Probe> for Probe {
    fn from(probe: &catalogue::Probe) -> Self {
        let mut wire = Self {
            interval_ms: probe.interval_ms,
            timeout_ms: probe.timeout_ms,
            fall: probe.fall.into(),
            rise: probe.rise.into(),
            ..Self::default()
        };
        match &probe.kind {
            ProbeKind::Tcp { port } => (wire.kind, wire.port) = (1, (*port).into()),
            ProbeKind::Http(http) => {
                wire.kind = if http.tls.is_some() { 3 } else { 2 };
                wire.port = http.port.into();
                wire.path.clone_from(&http.path);
                wire.http = Some(Http::from(&**http)).filter(|more| *more != Http::default());
            }
            ProbeKind::Icmp => wire.kind = 4,
            ProbeKind::Dns { port, name, rtype } => {
                (wire.kind, wire.port, wire.rtype) = (5, (*port).into(), (*rtype).into());
                wire.question = name.as_ref().map(from_name).unwrap_or_default();
            }
        }
        wire
    }
}

impl From<&HttpProbe> for Http {
    fn from(http: &HttpProbe) -> Self {
        let header = |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
        let range = |r: &catalogue::StatusRange| StatusRange { first: r.first.into(), last: r.last.into() };
        let tls = http.tls.as_ref();
        Self {
            method: match http.method {
                Method::Get => 0,
                Method::Head => 1,
                Method::Options => 2,
            },
            host: http.host.as_ref().map(from_name).unwrap_or_default(),
            headers: http.headers.iter().map(header).collect(),
            statuses: http.statuses.iter().map(range).collect(),
            body: http.body.clone().unwrap_or_default(),
            max_body: http.max_body.map_or(0, NonZeroU32::get),
            http2: http.http2,
            server_name: tls.and_then(|tls| tls.server_name.as_ref()).map(from_name).unwrap_or_default(),
            unverified: tls.is_some_and(|tls| !tls.verify),
            status_document: http.status_document,
            connect_ms: limit(http.phases.connect_ms),
            tls_ms: limit(http.phases.tls_ms),
            first_byte_ms: limit(http.phases.first_byte_ms),
            body_ms: limit(http.phases.body_ms),
        }
    }
}

fn limit(milliseconds: Option<NonZeroU32>) -> u32 {
    milliseconds.map_or(0, NonZeroU32::get)
}

impl TryFrom<Probe> for catalogue::Probe {
    type Error = BodyError;

    fn try_from(wire: Probe) -> Result<Self, BodyError> {
        let port = narrow("port", wire.port)?;
        Ok(Self {
            kind: match wire.kind {
                1 => ProbeKind::Tcp { port },
                kind @ (2 | 3) => ProbeKind::Http(Box::new(http(port, wire.path, kind == 3, wire.http)?)),
                4 => ProbeKind::Icmp,
                5 => ProbeKind::Dns {
                    port,
                    name: optional_name("question", &wire.question)?,
                    rtype: narrow("rtype", wire.rtype)?,
                },
                value => return Err(BodyError::Enum { field: "kind", value }),
            },
            interval_ms: wire.interval_ms,
            timeout_ms: wire.timeout_ms,
            fall: narrow("fall", wire.fall)?,
            rise: narrow("rise", wire.rise)?,
        })
    }
}

fn http(port: u16, path: String, secured: bool, more: Option<Http>) -> Result<HttpProbe, BodyError> {
    let wire = more.unwrap_or_default();
    let range =
        |r: StatusRange| Ok(catalogue::StatusRange { first: narrow("first", r.first)?, last: narrow("last", r.last)? });
    let server_name = optional_name("server_name", &wire.server_name)?;
    Ok(HttpProbe {
        port,
        path,
        method: match wire.method {
            0 => Method::Get,
            1 => Method::Head,
            2 => Method::Options,
            value => return Err(BodyError::Enum { field: "method", value }),
        },
        host: optional_name("host", &wire.host)?,
        headers: wire.headers.into_iter().map(|h| (h.name, h.value)).collect(),
        statuses: wire.statuses.into_iter().map(range).collect::<Result<_, BodyError>>()?,
        body: Some(wire.body).filter(|text| !text.is_empty()),
        max_body: NonZeroU32::new(wire.max_body),
        http2: wire.http2,
        tls: secured.then_some(ProbeTls { server_name, verify: !wire.unverified }),
        status_document: wire.status_document,
        phases: PhaseLimits {
            connect_ms: NonZeroU32::new(wire.connect_ms),
            tls_ms: NonZeroU32::new(wire.tls_ms),
            first_byte_ms: NonZeroU32::new(wire.first_byte_ms),
            body_ms: NonZeroU32::new(wire.body_ms),
        },
    })
}

fn optional_name(field: &'static str, wire: &Bytes) -> Result<Option<Name>, BodyError> {
    (!wire.is_empty()).then(|| name(field, wire)).transpose()
}
