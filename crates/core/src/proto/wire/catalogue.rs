//! CATALOGUE: snapshot, delta or withdrawal in one message, told apart by `base` and `withdrawn`.

use bytes::Bytes;

use super::{
    convert, from_name, name, name_field, narrow,
    service::{SERVICE, Service},
    u16_field, u32_field, u64_field,
};
use crate::{
    catalogue::{self, CatalogueUpdate, Withdrawal, ZoneStyle},
    name::MAX_NAME,
    proto::{
        body::BodyError,
        scan::{Kind, Shape, many, one},
    },
};

/// Most services of one zone.
const MAX_SERVICES: usize = 16_384;
/// Most static records of one zone.
const MAX_RECORDS: usize = 16_384;

pub(in crate::proto) const CATALOGUE: Shape = Shape {
    name: "Catalogue",
    fields: &[
        name_field(1, "zone"),
        u64_field(2, "generation"),
        u32_field(3, "soa_serial"),
        u32_field(4, "style"),
        u32_field(5, "cname_ttl"),
        many(6, "services", Kind::Message(&SERVICE), MAX_SERVICES),
        many(7, "records", Kind::Message(&RECORD), MAX_RECORDS),
        u64_field(8, "base"),
        many(9, "removed", Kind::Octets(MAX_NAME), MAX_SERVICES),
        one(10, "records_changed", Kind::Number(1)),
        one(11, "withdrawn", Kind::Number(1)),
        u64_field(12, "digest"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Catalogue {
    #[prost(bytes = "bytes", tag = "1")]
    zone: Bytes,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(uint32, tag = "3")]
    soa_serial: u32,
    #[prost(uint32, tag = "4")]
    style: u32,
    #[prost(uint32, tag = "5")]
    cname_ttl: u32,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
    #[prost(message, repeated, tag = "7")]
    records: Vec<StaticRecord>,
    #[prost(uint64, tag = "8")]
    base: u64,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    removed: Vec<Bytes>,
    #[prost(bool, tag = "10")]
    records_changed: bool,
    #[prost(bool, tag = "11")]
    withdrawn: bool,
    #[prost(uint64, tag = "12")]
    digest: u64,
}

const RECORD: Shape = Shape {
    name: "StaticRecord",
    fields: &[
        name_field(1, "name"),
        u16_field(2, "rtype"),
        u32_field(3, "ttl"),
        one(4, "rdata", Kind::Octets(u16::MAX as usize)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
struct StaticRecord {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(uint32, tag = "2")]
    rtype: u32,
    #[prost(uint32, tag = "3")]
    ttl: u32,
    #[prost(bytes = "bytes", tag = "4")]
    rdata: Bytes,
}

impl From<&CatalogueUpdate> for Catalogue {
    fn from(update: &CatalogueUpdate) -> Self {
        match update {
            CatalogueUpdate::Snapshot(zone) => zone.into(),
            CatalogueUpdate::Delta(delta) => delta.into(),
            CatalogueUpdate::Withdrawn(gone) => {
                let (zone, generation) = (from_name(&gone.zone), gone.generation);
                Self { zone, generation, withdrawn: true, ..Self::default() }
            }
        }
    }
}

impl From<&catalogue::ZoneCatalogue> for Catalogue {
    fn from(zone: &catalogue::ZoneCatalogue) -> Self {
        Self {
            zone: from_name(&zone.zone),
            generation: zone.generation,
            soa_serial: zone.soa_serial,
            style: from_style(zone.style),
            cname_ttl: zone.cname_ttl,
            services: zone.services.iter().map(Service::from).collect(),
            records: zone.records.iter().map(StaticRecord::from).collect(),
            ..Self::default()
        }
    }
}

impl From<&catalogue::CatalogueDelta> for Catalogue {
    fn from(delta: &catalogue::CatalogueDelta) -> Self {
        Self {
            zone: from_name(&delta.zone),
            generation: delta.generation,
            soa_serial: delta.soa_serial,
            style: from_style(delta.style),
            cname_ttl: delta.cname_ttl,
            services: delta.services.iter().map(Service::from).collect(),
            records: delta.records.iter().flatten().map(StaticRecord::from).collect(),
            base: delta.base,
            removed: delta.removed.iter().map(from_name).collect(),
            records_changed: delta.records.is_some(),
            withdrawn: false,
            digest: delta.digest,
        }
    }
}

impl From<&catalogue::StaticRecord> for StaticRecord {
    fn from(record: &catalogue::StaticRecord) -> Self {
        Self {
            name: from_name(&record.name),
            rtype: record.rtype.into(),
            ttl: record.ttl,
            rdata: Bytes::copy_from_slice(&record.rdata),
        }
    }
}

fn from_style(style: ZoneStyle) -> u32 {
    match style {
        ZoneStyle::SubZone => 1,
        ZoneStyle::Host => 2,
    }
}

fn style(wire: u32) -> Result<ZoneStyle, BodyError> {
    match wire {
        1 => Ok(ZoneStyle::SubZone),
        2 => Ok(ZoneStyle::Host),
        value => Err(BodyError::Enum { field: "style", value }),
    }
}

impl TryFrom<Catalogue> for CatalogueUpdate {
    type Error = BodyError;

    fn try_from(wire: Catalogue) -> Result<Self, BodyError> {
        let zone = name("zone", &wire.zone)?;
        let rules_out = |field, is: bool| if is { Err(BodyError::Contradiction { field }) } else { Ok(()) };
        if wire.withdrawn {
            rules_out("base", wire.base != 0)?;
            rules_out("services", !wire.services.is_empty())?;
            return Ok(Self::Withdrawn(Withdrawal { zone, generation: wire.generation }));
        }
        let style = style(wire.style)?;
        if wire.base == 0 {
            rules_out("removed", !wire.removed.is_empty())?;
            return Ok(Self::Snapshot(catalogue::ZoneCatalogue {
                zone,
                generation: wire.generation,
                soa_serial: wire.soa_serial,
                style,
                cname_ttl: wire.cname_ttl,
                services: convert(wire.services)?,
                records: convert(wire.records)?,
            }));
        }
        rules_out("base", wire.base >= wire.generation)?;
        rules_out("records", !wire.records_changed && !wire.records.is_empty())?;
        let records = convert(wire.records)?;
        Ok(Self::Delta(catalogue::CatalogueDelta {
            zone,
            generation: wire.generation,
            base: wire.base,
            soa_serial: wire.soa_serial,
            style,
            cname_ttl: wire.cname_ttl,
            services: convert(wire.services)?,
            removed: wire.removed.iter().map(|n| name("removed", n)).collect::<Result<_, _>>()?,
            records: wire.records_changed.then_some(records),
            digest: wire.digest,
        }))
    }
}

impl TryFrom<StaticRecord> for catalogue::StaticRecord {
    type Error = BodyError;

    fn try_from(wire: StaticRecord) -> Result<Self, BodyError> {
        Ok(Self {
            name: name("name", &wire.name)?,
            rtype: narrow("rtype", wire.rtype)?,
            ttl: wire.ttl,
            rdata: wire.rdata.into(),
        })
    }
}
