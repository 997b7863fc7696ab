//! HELLO, WELCOME, REFUSE, PING, PONG, BYE, BEGIN, PART, COMMIT.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    MAX_TEXT, address, from_address, from_name, from_text, identity_field, name, name_field, narrow, required,
    text_field, u16_field, u32_field, u64_field,
};
use crate::proto::{
    body::BodyError,
    message::{self, BootId, ByeReason, FleetStamp, PeerRole, RefuseReason},
    scan::{Kind, Shape, many, one},
};

const _: () = assert!(MAX_TEXT < super::super::HANDSHAKE_FRAME, "a REFUSE must fit a frame before WELCOME");

/// Most zones in one WELCOME.
const MAX_ZONES: usize = 65_536;

pub(in crate::proto) const HELLO: Shape = Shape {
    name: "Hello",
    fields: &[
        u16_field(1, "version_min"),
        u16_field(2, "version_max"),
        u32_field(3, "role"),
        identity_field(4, "identity"),
        one(5, "boot", Kind::Octets(16)),
        u64_field(6, "uptime_ms"),
        u64_field(7, "features"),
        u32_field(8, "fleet_serial"),
        u64_field(9, "fleet_digest"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    version_min: u32,
    #[prost(uint32, tag = "2")]
    version_max: u32,
    #[prost(uint32, tag = "3")]
    role: u32,
    #[prost(string, tag = "4")]
    identity: String,
    #[prost(bytes = "bytes", tag = "5")]
    boot: Bytes,
    #[prost(uint64, tag = "6")]
    uptime_ms: u64,
    #[prost(uint64, tag = "7")]
    features: u64,
    #[prost(uint32, tag = "8")]
    fleet_serial: u32,
    #[prost(uint64, tag = "9")]
    fleet_digest: u64,
}

impl From<&message::Hello> for Hello {
    fn from(hello: &message::Hello) -> Self {
        Self {
            version_min: hello.version_min.into(),
            version_max: hello.version_max.into(),
            role: from_role(hello.role),
            identity: hello.identity.to_string(),
            boot: from_boot(hello.boot),
            uptime_ms: hello.uptime_ms,
            features: hello.features,
            fleet_serial: hello.fleet.serial,
            fleet_digest: hello.fleet.digest,
        }
    }
}

impl TryFrom<Hello> for message::Hello {
    type Error = BodyError;

    fn try_from(wire: Hello) -> Result<Self, BodyError> {
        Ok(Self {
            version_min: narrow("version_min", wire.version_min)?,
            version_max: narrow("version_max", wire.version_max)?,
            role: role(wire.role)?,
            identity: wire.identity.parse()?,
            boot: boot(&wire.boot)?,
            uptime_ms: wire.uptime_ms,
            features: wire.features,
            fleet: FleetStamp { serial: wire.fleet_serial, digest: wire.fleet_digest },
        })
    }
}

const ENDPOINT: Shape = Shape { name: "Endpoint", fields: &[one(1, "address", Kind::Address), u16_field(2, "port")] };

#[derive(Clone, PartialEq, prost::Message)]
struct Endpoint {
    #[prost(bytes = "bytes", tag = "1")]
    address: Bytes,
    #[prost(uint32, tag = "2")]
    port: u32,
}

const ZONE_GENERATION: Shape = Shape {
    name: "ZoneGeneration",
    fields: &[name_field(1, "zone"), u64_field(2, "generation"), one(3, "on_referral", Kind::Number(1))],
};

#[derive(Clone, PartialEq, prost::Message)]
struct ZoneGeneration {
    #[prost(bytes = "bytes", tag = "1")]
    zone: Bytes,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(bool, tag = "3")]
    on_referral: bool,
}

pub(in crate::proto) const WELCOME: Shape = Shape {
    name: "Welcome",
    fields: &[
        u16_field(1, "version"),
        identity_field(2, "identity"),
        one(3, "boot", Kind::Octets(16)),
        one(4, "observed", Kind::Message(&ENDPOINT)),
        u64_field(5, "features"),
        one(6, "fleet", Kind::Message(&super::fleet::FLEET)),
        u64_field(7, "map_generation"),
        u64_field(8, "report_generation"),
        many(9, "catalogues", Kind::Message(&ZONE_GENERATION), MAX_ZONES),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Welcome {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    identity: String,
    #[prost(bytes = "bytes", tag = "3")]
    boot: Bytes,
    #[prost(message, optional, tag = "4")]
    observed: Option<Endpoint>,
    #[prost(uint64, tag = "5")]
    features: u64,
    #[prost(message, optional, tag = "6")]
    fleet: Option<super::fleet::Fleet>,
    #[prost(uint64, tag = "7")]
    map_generation: u64,
    #[prost(uint64, tag = "8")]
    report_generation: u64,
    #[prost(message, repeated, tag = "9")]
    catalogues: Vec<ZoneGeneration>,
}

impl From<&message::Welcome> for Welcome {
    fn from(welcome: &message::Welcome) -> Self {
        let zone = |z: &message::ZoneGeneration| ZoneGeneration {
            zone: from_name(&z.zone),
            generation: z.generation,
            on_referral: z.on_referral,
        };
        Self {
            version: welcome.version.into(),
            identity: welcome.identity.to_string(),
            boot: from_boot(welcome.boot),
            observed: Some(Endpoint {
                address: from_address(welcome.observed.ip()),
                port: welcome.observed.port().into(),
            }),
            features: welcome.features,
            fleet: welcome.fleet.as_ref().map(Into::into),
            map_generation: welcome.map_generation,
            report_generation: welcome.report_generation,
            catalogues: welcome.catalogues.iter().map(zone).collect(),
        }
    }
}

impl TryFrom<Welcome> for message::Welcome {
    type Error = BodyError;

    fn try_from(wire: Welcome) -> Result<Self, BodyError> {
        let observed = required("observed", wire.observed)?;
        let zone = |z: ZoneGeneration| {
            Ok(message::ZoneGeneration {
                zone: name("zone", &z.zone)?,
                generation: z.generation,
                on_referral: z.on_referral,
            })
        };
        Ok(Self {
            version: narrow("version", wire.version)?,
            identity: wire.identity.parse()?,
            boot: boot(&wire.boot)?,
            observed: SocketAddr::new(address("observed", &observed.address)?, narrow("port", observed.port)?),
            features: wire.features,
            fleet: wire.fleet.map(TryInto::try_into).transpose()?,
            map_generation: wire.map_generation,
            report_generation: wire.report_generation,
            catalogues: wire.catalogues.into_iter().map(zone).collect::<Result<_, BodyError>>()?,
        })
    }
}

pub(in crate::proto) const REFUSE: Shape =
    Shape { name: "Refuse", fields: &[u32_field(1, "reason"), text_field(2, "text")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Refuse {
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(string, tag = "2")]
    text: String,
}

impl From<&message::Refuse> for Refuse {
    fn from(refuse: &message::Refuse) -> Self {
        let reason = match refuse.reason {
            RefuseReason::Version => 1,
            RefuseReason::Identity => 2,
            RefuseReason::Duplicate => 3,
            RefuseReason::Busy => 4,
            RefuseReason::Protocol => 5,
            RefuseReason::Other(n) => n,
        };
        Self { reason, text: from_text(&refuse.text) }
    }
}

impl From<Refuse> for message::Refuse {
    fn from(wire: Refuse) -> Self {
        let reason = match wire.reason {
            1 => RefuseReason::Version,
            2 => RefuseReason::Identity,
            3 => RefuseReason::Duplicate,
            4 => RefuseReason::Busy,
            5 => RefuseReason::Protocol,
            n => RefuseReason::Other(n),
        };
        Self { reason, text: wire.text }
    }
}

pub(in crate::proto) const BYE: Shape = Shape { name: "Bye", fields: &[u32_field(1, "reason"), text_field(2, "text")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Bye {
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(string, tag = "2")]
    text: String,
}

impl From<&message::Bye> for Bye {
    fn from(bye: &message::Bye) -> Self {
        let reason = match bye.reason {
            ByeReason::Shutdown => 1,
            ByeReason::Protocol => 2,
            ByeReason::Duplicate => 3,
            ByeReason::TimedOut => 4,
            ByeReason::Slow => 5,
            ByeReason::Identity => 6,
            ByeReason::Quota => 7,
            ByeReason::Other(n) => n,
        };
        Self { reason, text: from_text(&bye.text) }
    }
}

impl From<Bye> for message::Bye {
    fn from(wire: Bye) -> Self {
        let reason = match wire.reason {
            1 => ByeReason::Shutdown,
            2 => ByeReason::Protocol,
            3 => ByeReason::Duplicate,
            4 => ByeReason::TimedOut,
            5 => ByeReason::Slow,
            6 => ByeReason::Identity,
            7 => ByeReason::Quota,
            n => ByeReason::Other(n),
        };
        Self { reason, text: wire.text }
    }
}

/// PING and PONG.
pub(in crate::proto) const PROBE: Shape = Shape { name: "Ping", fields: &[u64_field(1, "value")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Probe {
    #[prost(uint64, tag = "1")]
    pub(super) value: u64,
}

pub(in crate::proto) const BEGIN: Shape =
    Shape { name: "Begin", fields: &[u16_field(1, "number"), u64_field(2, "length")] };

/// BEGIN.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::proto) struct Begin {
    /// The number of the message that comes in parts.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Octets of its body.
    #[prost(uint64, tag = "2")]
    pub length: u64,
}

pub(in crate::proto) const PART: Shape =
    Shape { name: "Part", fields: &[one(1, "octets", Kind::Octets(super::super::PART))] };

/// PART.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::proto) struct Part {
    /// The next octets of the body.
    #[prost(bytes = "bytes", tag = "1")]
    pub octets: Bytes,
}

pub(in crate::proto) const COMMIT: Shape = Shape { name: "Commit", fields: &[] };

fn from_boot(boot: BootId) -> Bytes {
    Bytes::copy_from_slice(&boot.0)
}

fn boot(wire: &[u8]) -> Result<BootId, BodyError> {
    wire.try_into().map(BootId).map_err(|_| BodyError::Missing { field: "boot" })
}

fn from_role(role: PeerRole) -> u32 {
    match role {
        PeerRole::DnsB => 1,
        PeerRole::DnsLb => 2,
        PeerRole::DnsASync => 3,
        PeerRole::Mservice => 4,
    }
}

fn role(wire: u32) -> Result<PeerRole, BodyError> {
    Ok(match wire {
        1 => PeerRole::DnsB,
        2 => PeerRole::DnsLb,
        3 => PeerRole::DnsASync,
        4 => PeerRole::Mservice,
        value => return Err(BodyError::Enum { field: "role", value }),
    })
}
