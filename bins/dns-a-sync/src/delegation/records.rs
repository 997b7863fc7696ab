//! The few kinds of records that a delegation is made of, as sets (RFC 2181 section 5).

use std::{collections::BTreeSet, fmt, net::IpAddr};

use dglb_core::name::Name;
use hickory_proto::rr::{
    RData, Record, RecordType,
    rdata::{CNAME, NS},
};

use crate::wire::{from_hickory, to_hickory};

/// RDATA of one record. The order is that of printing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// NS.
    Ns(Name),
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Cname(Name),
}

/// A whole set: one owner, one type, one TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// Owner.
    pub name: Name,
    /// TYPE, which all of `data` have.
    pub rtype: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// At least one.
    pub data: BTreeSet<Data>,
}

impl Data {
    /// The type of a record with these data.
    pub fn rtype(&self) -> RecordType {
        match self {
            Self::Ns(_) => RecordType::NS,
            Self::Address(IpAddr::V4(_)) => RecordType::A,
            Self::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Self::Cname(_) => RecordType::CNAME,
        }
    }

    fn of(record: &Record) -> Option<Self> {
        match &record.data {
            RData::NS(NS(name)) => from_hickory(name).map(Self::Ns),
            RData::CNAME(CNAME(name)) => from_hickory(name).map(Self::Cname),
            data => data.ip_addr().map(Self::Address),
        }
    }

    fn rdata(&self) -> RData {
        match self {
            Self::Ns(name) => RData::NS(NS(to_hickory(name))),
            Self::Cname(name) => RData::CNAME(CNAME(to_hickory(name))),
            Self::Address(IpAddr::V4(v4)) => RData::A((*v4).into()),
            Self::Address(IpAddr::V6(v6)) => RData::AAAA((*v6).into()),
        }
    }
}

impl RrSet {
    /// The set of `rtype` at `name` among `records`, if there is one. Its TTL is the least found.
    pub fn find(records: &[Record], name: &Name, rtype: RecordType) -> Option<Self> {
        let matching =
            || records.iter().filter(|r| r.record_type() == rtype && from_hickory(&r.name).as_ref() == Some(name));
        let data: BTreeSet<Data> = matching().filter_map(Data::of).collect();
        let ttl = matching().map(|r| r.ttl).min()?;
        (!data.is_empty()).then(|| Self { name: name.clone(), rtype, ttl, data })
    }

    /// Its records for a message.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.data.iter().map(|data| Record::from_rdata(to_hickory(&self.name), self.ttl, data.rdata()))
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ns(name) | Self::Cname(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Master-file lines (RFC 1035 section 5.1), one a record, without a last line end.
impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, data) in self.data.iter().enumerate() {
            let end = if i > 0 { "\n" } else { "" };
            write!(f, "{end}{:<32} {:>6} IN {:<5} {data}", self.name.to_string(), self.ttl, self.rtype.to_string())?;
        }
        Ok(())
    }
}
