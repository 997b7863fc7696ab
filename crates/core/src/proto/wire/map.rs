//! MAP, MAP-ACK, UNMAP, READY, DRAIN.

use bytes::Bytes;

use super::{
    MAX_IDENTITY, PREFIX, WirePrefix, addresses, convert, from_addresses, from_text, narrow, required, text_field,
    u16_field, u32_field, u64_field,
};
use crate::proto::{
    body::BodyError,
    message::{self, EntryKind, RefusedReason},
    scan::{Kind, Shape, many, one},
};

/// Most entries of one DNS-LB.
const MAX_ENTRIES: usize = 65_536;
/// Most DNS addresses of one DNS-LB.
const MAX_ADDRESSES: usize = 16;
/// Most dns-bs in READY.
const MAX_SERVERS: usize = 256;

pub(in crate::proto) const READY: Shape = Shape {
    name: "Ready",
    fields: &[u64_field(1, "map_generation"), many(2, "servers", Kind::Text(MAX_IDENTITY), MAX_SERVERS)],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Ready {
    #[prost(uint64, tag = "1")]
    map_generation: u64,
    #[prost(string, repeated, tag = "2")]
    servers: Vec<String>,
}

impl From<&message::Ready> for Ready {
    fn from(ready: &message::Ready) -> Self {
        Self { map_generation: ready.map_generation, servers: ready.servers.iter().map(ToString::to_string).collect() }
    }
}

impl TryFrom<Ready> for message::Ready {
    type Error = BodyError;

    fn try_from(wire: Ready) -> Result<Self, BodyError> {
        let servers = wire.servers.into_iter().map(|s| Ok(s.parse()?));
        Ok(Self { map_generation: wire.map_generation, servers: servers.collect::<Result<_, BodyError>>()? })
    }
}

pub(in crate::proto) const MAP: Shape = Shape {
    name: "Map",
    fields: &[
        u64_field(1, "generation"),
        u32_field(2, "lease_ms"),
        many(3, "addresses", Kind::Address, MAX_ADDRESSES),
        many(4, "entries", Kind::Message(&ENTRY), MAX_ENTRIES),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Map {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint32, tag = "2")]
    lease_ms: u32,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    addresses: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<MapEntry>,
}

const ENTRY: Shape = Shape {
    name: "MapEntry",
    fields: &[
        one(1, "prefix", Kind::Message(&PREFIX)),
        u32_field(2, "kind"),
        u16_field(3, "preference"),
        u16_field(4, "weight"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct MapEntry {
    #[prost(message, optional, tag = "1")]
    prefix: Option<WirePrefix>,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    preference: u32,
    #[prost(uint32, tag = "4")]
    weight: u32,
}

impl From<&message::Map> for Map {
    fn from(map: &message::Map) -> Self {
        let entry = |e: &message::MapEntry| MapEntry {
            prefix: Some((&e.prefix).into()),
            kind: match e.kind {
                EntryKind::Resolver => 1,
                EntryKind::Client => 2,
            },
            preference: e.preference.into(),
            weight: e.weight.max(1).into(),
        };
        Self {
            generation: map.generation,
            lease_ms: map.lease_ms,
            addresses: from_addresses(&map.addresses),
            entries: map.entries.iter().map(entry).collect(),
        }
    }
}

impl TryFrom<MapEntry> for message::MapEntry {
    type Error = BodyError;

    fn try_from(wire: MapEntry) -> Result<Self, BodyError> {
        Ok(Self {
            prefix: required("prefix", wire.prefix)?.try_into()?,
            kind: match wire.kind {
                1 => EntryKind::Resolver,
                2 => EntryKind::Client,
                value => return Err(BodyError::Enum { field: "kind", value }),
            },
            preference: narrow("preference", wire.preference)?,
            weight: narrow("weight", wire.weight.max(1))?,
        })
    }
}

impl TryFrom<Map> for message::Map {
    type Error = BodyError;

    fn try_from(wire: Map) -> Result<Self, BodyError> {
        Ok(Self {
            generation: wire.generation,
            lease_ms: wire.lease_ms,
            addresses: addresses("addresses", &wire.addresses)?,
            entries: convert(wire.entries)?,
        })
    }
}

pub(in crate::proto) const MAP_ACK: Shape = Shape {
    name: "MapAck",
    fields: &[
        u64_field(1, "generation"),
        u32_field(2, "accepted"),
        many(3, "refused", Kind::Message(&REFUSED), MAX_ENTRIES),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MapAck {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint32, tag = "2")]
    accepted: u32,
    #[prost(message, repeated, tag = "3")]
    refused: Vec<Refused>,
}

const REFUSED: Shape = Shape {
    name: "Refused",
    fields: &[one(1, "prefix", Kind::Message(&PREFIX)), u32_field(2, "reason"), text_field(3, "text")],
};

#[derive(Clone, PartialEq, prost::Message)]
struct Refused {
    #[prost(message, optional, tag = "1")]
    prefix: Option<WirePrefix>,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(string, tag = "3")]
    text: String,
}

impl From<&message::MapAck> for MapAck {
    fn from(ack: &message::MapAck) -> Self {
        let refused = |r: &message::Refused| Refused {
            prefix: Some((&r.prefix).into()),
            reason: from_reason(r.reason),
            text: from_text(&r.text),
        };
        Self { generation: ack.generation, accepted: ack.accepted, refused: ack.refused.iter().map(refused).collect() }
    }
}

impl TryFrom<Refused> for message::Refused {
    type Error = BodyError;

    fn try_from(wire: Refused) -> Result<Self, BodyError> {
        Ok(Self { prefix: required("prefix", wire.prefix)?.try_into()?, reason: reason(wire.reason), text: wire.text })
    }
}

impl TryFrom<MapAck> for message::MapAck {
    type Error = BodyError;

    fn try_from(wire: MapAck) -> Result<Self, BodyError> {
        Ok(Self { generation: wire.generation, accepted: wire.accepted, refused: convert(wire.refused)? })
    }
}

/// Also SEEN's.
pub(super) fn from_reason(reason: RefusedReason) -> u32 {
    match reason {
        RefusedReason::NotAllowed => 1,
        RefusedReason::Limit => 2,
        RefusedReason::Stale => 3,
        RefusedReason::NotProven => 4,
        RefusedReason::Expired => 5,
        RefusedReason::UnknownNonce => 6,
        RefusedReason::WrongSecret => 7,
        RefusedReason::OpenResolver => 8,
        RefusedReason::OutsideBounds => 9,
        RefusedReason::Other(n) => n,
    }
}

/// Also SEEN's.
pub(super) fn reason(wire: u32) -> RefusedReason {
    match wire {
        1 => RefusedReason::NotAllowed,
        2 => RefusedReason::Limit,
        3 => RefusedReason::Stale,
        4 => RefusedReason::NotProven,
        5 => RefusedReason::Expired,
        6 => RefusedReason::UnknownNonce,
        7 => RefusedReason::WrongSecret,
        8 => RefusedReason::OpenResolver,
        9 => RefusedReason::OutsideBounds,
        n => RefusedReason::Other(n),
    }
}

pub(in crate::proto) const UNMAP: Shape = Shape {
    name: "Unmap",
    fields: &[u64_field(1, "generation"), many(2, "prefixes", Kind::Message(&PREFIX), MAX_ENTRIES)],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Unmap {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(message, repeated, tag = "2")]
    prefixes: Vec<WirePrefix>,
}

impl From<&message::Unmap> for Unmap {
    fn from(unmap: &message::Unmap) -> Self {
        Self { generation: unmap.generation, prefixes: unmap.prefixes.iter().map(WirePrefix::from).collect() }
    }
}

impl TryFrom<Unmap> for message::Unmap {
    type Error = BodyError;

    fn try_from(wire: Unmap) -> Result<Self, BodyError> {
        Ok(Self { generation: wire.generation, prefixes: convert(wire.prefixes)? })
    }
}

pub(in crate::proto) const DRAIN: Shape = Shape { name: "Drain", fields: &[one(1, "drained", Kind::Number(1))] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Drain {
    #[prost(bool, tag = "1")]
    pub(super) drained: bool,
}
