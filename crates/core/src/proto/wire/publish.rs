//! What goes with a catalogue: CATALOGUE-ACK, RESYNC, DELEGATION.

use std::net::IpAddr;

use bytes::Bytes;

use super::{
    addresses, from_addresses, from_name, from_text, name, name_field, report::MAX_ADDRESSES, text_field, u32_field,
    u64_field,
};
use crate::{
    name::Name,
    proto::{
        body::BodyError,
        message,
        scan::{Kind, Shape, many},
    },
};

/// Most name servers of one zone.
const MAX_SERVERS: usize = 256;

pub(in crate::proto) const CATALOGUE_ACK: Shape = Shape {
    name: "CatalogueAck",
    fields: &[name_field(1, "zone"), u64_field(2, "generation"), text_field(3, "refused"), u64_field(4, "held")],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CatalogueAck {
    #[prost(bytes = "bytes", tag = "1")]
    zone: Bytes,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(string, optional, tag = "3")]
    refused: Option<String>,
    #[prost(uint64, tag = "4")]
    held: u64,
}

impl From<&message::CatalogueAck> for CatalogueAck {
    fn from(ack: &message::CatalogueAck) -> Self {
        let message::CatalogueAck { zone, generation, held, refused } = ack;
        Self { zone: from_name(zone), generation: *generation, refused: refused.as_deref().map(from_text), held: *held }
    }
}

impl TryFrom<CatalogueAck> for message::CatalogueAck {
    type Error = BodyError;

    fn try_from(wire: CatalogueAck) -> Result<Self, BodyError> {
        let CatalogueAck { zone, generation, refused, held } = wire;
        Ok(Self { zone: name("zone", &zone)?, generation, held, refused })
    }
}

pub(in crate::proto) const RESYNC: Shape =
    Shape { name: "Resync", fields: &[u32_field(1, "subject"), name_field(2, "zone"), u64_field(3, "held")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Resync {
    #[prost(uint32, tag = "1")]
    subject: u32,
    #[prost(bytes = "bytes", tag = "2")]
    zone: Bytes,
    #[prost(uint64, tag = "3")]
    held: u64,
}

impl From<&message::Resync> for Resync {
    fn from(resync: &message::Resync) -> Self {
        match resync {
            message::Resync::Map => Self { subject: 1, zone: Bytes::new(), held: 0 },
            message::Resync::Report => Self { subject: 2, zone: Bytes::new(), held: 0 },
            message::Resync::Catalogue { zone, held } => Self { subject: 3, zone: from_name(zone), held: *held },
        }
    }
}

impl TryFrom<Resync> for message::Resync {
    type Error = BodyError;

    fn try_from(wire: Resync) -> Result<Self, BodyError> {
        Ok(match wire.subject {
            1 => Self::Map,
            2 => Self::Report,
            3 => Self::Catalogue { zone: name("zone", &wire.zone)?, held: wire.held },
            value => return Err(BodyError::Enum { field: "subject", value }),
        })
    }
}

pub(in crate::proto) const DELEGATION: Shape = Shape {
    name: "Delegation",
    fields: &[name_field(1, "zone"), u32_field(2, "ttl"), many(3, "servers", Kind::Message(&NAME_SERVER), MAX_SERVERS)],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Delegation {
    #[prost(bytes = "bytes", tag = "1")]
    zone: Bytes,
    #[prost(uint32, tag = "2")]
    ttl: u32,
    #[prost(message, repeated, tag = "3")]
    servers: Vec<NameServer>,
}

const NAME_SERVER: Shape =
    Shape { name: "NameServer", fields: &[name_field(1, "name"), many(2, "addresses", Kind::Address, MAX_ADDRESSES)] };

#[derive(Clone, PartialEq, prost::Message)]
struct NameServer {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    addresses: Vec<Bytes>,
}

impl From<&message::Delegation> for Delegation {
    fn from(delegation: &message::Delegation) -> Self {
        let server = |(name, addresses): &(Name, Vec<IpAddr>)| NameServer {
            name: from_name(name),
            addresses: from_addresses(addresses),
        };
        Self {
            zone: from_name(&delegation.zone),
            ttl: delegation.ttl,
            servers: delegation.servers.iter().map(server).collect(),
        }
    }
}

impl TryFrom<Delegation> for message::Delegation {
    type Error = BodyError;

    fn try_from(wire: Delegation) -> Result<Self, BodyError> {
        let server = |s: NameServer| Ok((name("name", &s.name)?, addresses("addresses", &s.addresses)?));
        Ok(Self {
            zone: name("zone", &wire.zone)?,
            ttl: wire.ttl,
            servers: wire.servers.into_iter().map(server).collect::<Result<_, BodyError>>()?,
        })
    }
}
