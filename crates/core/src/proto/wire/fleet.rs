//! FLEET, also inside WELCOME.

use bytes::Bytes;

use super::{addresses, from_addresses, from_name, identity_field, name, name_field, required, u32_field};
use crate::{
    fleet,
    proto::{
        body::BodyError,
        scan::{Kind, Shape, many, one},
    },
};

/// Most dns-bs in a fleet document.
const MAX_SERVERS: usize = 256;
/// Most DNS-LBs whose addresses the operator states.
const MAX_LABELS: usize = 65_536;
/// Most addresses of one host.
const MAX_ADDRESSES: usize = 16;

pub(in crate::proto) const FLEET: Shape = Shape {
    name: "Fleet",
    fields: &[
        u32_field(1, "serial"),
        name_field(2, "operator_zone"),
        name_field(3, "hostmaster"),
        many(4, "servers", Kind::Message(&SERVER), MAX_SERVERS),
        many(5, "labels", Kind::Message(&LABEL), MAX_LABELS),
        one(6, "ttl", Kind::Message(&TTLS)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Fleet {
    #[prost(uint32, tag = "1")]
    serial: u32,
    #[prost(bytes = "bytes", tag = "2")]
    operator_zone: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    hostmaster: Bytes,
    #[prost(message, repeated, tag = "4")]
    servers: Vec<FleetServer>,
    #[prost(message, repeated, tag = "5")]
    labels: Vec<FleetLabel>,
    #[prost(message, optional, tag = "6")]
    ttl: Option<FleetTtls>,
}

const SERVER: Shape = Shape {
    name: "FleetServer",
    fields: &[
        identity_field(1, "identity"),
        many(2, "referral", Kind::Address, MAX_ADDRESSES),
        many(3, "fallback", Kind::Address, MAX_ADDRESSES),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct FleetServer {
    #[prost(string, tag = "1")]
    identity: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    referral: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    fallback: Vec<Bytes>,
}

const LABEL: Shape = Shape {
    name: "FleetLabel",
    fields: &[identity_field(1, "identity"), many(2, "addresses", Kind::Address, MAX_ADDRESSES)],
};

#[derive(Clone, PartialEq, prost::Message)]
struct FleetLabel {
    #[prost(string, tag = "1")]
    identity: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    addresses: Vec<Bytes>,
}

const TTLS: Shape = Shape {
    name: "FleetTtls",
    fields: &[
        u32_field(1, "apex_ns"),
        u32_field(2, "label_ns"),
        u32_field(3, "refresh"),
        u32_field(4, "retry"),
        u32_field(5, "expire"),
        u32_field(6, "negative"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct FleetTtls {
    #[prost(uint32, tag = "1")]
    apex_ns: u32,
    #[prost(uint32, tag = "2")]
    label_ns: u32,
    #[prost(uint32, tag = "3")]
    refresh: u32,
    #[prost(uint32, tag = "4")]
    retry: u32,
    #[prost(uint32, tag = "5")]
    expire: u32,
    #[prost(uint32, tag = "6")]
    negative: u32,
}

impl From<&fleet::Fleet> for Fleet {
    fn from(fleet: &fleet::Fleet) -> Self {
        let server = |s: &fleet::FleetServer| FleetServer {
            identity: s.identity.to_string(),
            referral: from_addresses(&s.referral),
            fallback: from_addresses(&s.fallback),
        };
        let label = |l: &fleet::FleetLabel| FleetLabel {
            identity: l.identity.to_string(),
            addresses: from_addresses(&l.addresses),
        };
        let fleet::FleetTtls { apex_ns, label_ns, refresh, retry, expire, negative } = fleet.ttl;
        Self {
            serial: fleet.serial,
            operator_zone: from_name(&fleet.operator_zone),
            hostmaster: from_name(&fleet.hostmaster),
            servers: fleet.servers.iter().map(server).collect(),
            labels: fleet.labels.iter().map(label).collect(),
            ttl: Some(FleetTtls { apex_ns, label_ns, refresh, retry, expire, negative }),
        }
    }
}

impl TryFrom<Fleet> for fleet::Fleet {
    type Error = BodyError;

    fn try_from(wire: Fleet) -> Result<Self, BodyError> {
        let server = |s: FleetServer| {
            Ok(fleet::FleetServer {
                identity: s.identity.parse()?,
                referral: addresses("referral", &s.referral)?,
                fallback: addresses("fallback", &s.fallback)?,
            })
        };
        let label = |l: FleetLabel| {
            Ok(fleet::FleetLabel { identity: l.identity.parse()?, addresses: addresses("addresses", &l.addresses)? })
        };
        let FleetTtls { apex_ns, label_ns, refresh, retry, expire, negative } = required("ttl", wire.ttl)?;
        Ok(Self::new(Self {
            serial: wire.serial,
            operator_zone: name("operator_zone", &wire.operator_zone)?,
            hostmaster: name("hostmaster", &wire.hostmaster)?,
            servers: wire.servers.into_iter().map(server).collect::<Result<_, BodyError>>()?,
            labels: wire.labels.into_iter().map(label).collect::<Result<_, BodyError>>()?,
            ttl: fleet::FleetTtls { apex_ns, label_ns, refresh, retry, expire, negative },
        })?)
    }
}
