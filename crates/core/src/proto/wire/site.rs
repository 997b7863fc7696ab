//! Where a service runs, inside CATALOGUE.

use bytes::Bytes;

use super::{
    addresses, from_addresses, narrow,
    report::{MAX_ADDRESSES, MAX_SITE_NAME},
    u16_field, u32_field, u64_field,
};
use crate::{
    catalogue::{self, ForcedState, MAX_GROUPS},
    proto::{
        body::BodyError,
        scan::{Kind, Shape, many, one},
    },
};

/// Longest name of a group, in octets.
const MAX_GROUP: usize = 63;

pub(super) const SITE: Shape = Shape {
    name: "Site",
    fields: &[
        one(1, "name", Kind::Text(MAX_SITE_NAME)),
        many(2, "addresses", Kind::Address, MAX_ADDRESSES),
        one(3, "cost", Kind::Double),
        one(4, "forced", Kind::Message(&FORCED)),
        one(5, "capacity", Kind::Double),
        u16_field(6, "weight"),
        one(7, "location", Kind::Message(&LOCATION)),
        many(8, "groups", Kind::Text(MAX_GROUP), MAX_GROUPS),
        many(9, "not_groups", Kind::Text(MAX_GROUP), MAX_GROUPS),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Site {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    addresses: Vec<Bytes>,
    #[prost(double, tag = "3")]
    cost: f64,
    #[prost(message, optional, tag = "4")]
    forced: Option<Forced>,
    #[prost(double, optional, tag = "5")]
    capacity: Option<f64>,
    /// Absent is 1, so that a site without a weight has the octets that it always had.
    #[prost(uint32, tag = "6")]
    weight: u32,
    #[prost(message, optional, tag = "7")]
    location: Option<Location>,
    #[prost(string, repeated, tag = "8")]
    groups: Vec<String>,
    #[prost(string, repeated, tag = "9")]
    not_groups: Vec<String>,
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

const LOCATION: Shape =
    Shape { name: "Location", fields: &[one(1, "latitude", Kind::Double), one(2, "longitude", Kind::Double)] };

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(double, tag = "1")]
    latitude: f64,
    #[prost(double, tag = "2")]
    longitude: f64,
}

impl From<&catalogue::Site> for Site {
    fn from(site: &catalogue::Site) -> Self {
        let location = |l: catalogue::Location| Location { latitude: l.latitude, longitude: l.longitude };
        Self {
            name: site.name.clone(),
            addresses: from_addresses(&site.addresses),
            cost: site.cost,
            forced: site.forced.as_ref().map(Forced::from),
            capacity: site.capacity,
            weight: if site.weight == 1 { 0 } else { site.weight.into() },
            location: site.location.map(location),
            groups: site.groups.clone(),
            not_groups: site.not_groups.clone(),
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

impl TryFrom<Site> for catalogue::Site {
    type Error = BodyError;

    fn try_from(wire: Site) -> Result<Self, BodyError> {
        let location = |l: Location| catalogue::Location { latitude: l.latitude, longitude: l.longitude };
        Ok(Self {
            name: wire.name,
            addresses: addresses("addresses", &wire.addresses)?,
            cost: wire.cost,
            forced: wire.forced.and_then(forced),
            capacity: wire.capacity,
            weight: if wire.weight == 0 { 1 } else { narrow("weight", wire.weight)? },
            location: wire.location.map(location),
            groups: wire.groups,
            not_groups: wire.not_groups,
        })
    }
}
