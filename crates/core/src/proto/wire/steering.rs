//! WANT, LABEL-RANKING, VERDICT, BUDGET, BUDGET-ACK.

use bytes::Bytes;

use super::{
    address, addresses, convert, from_address, from_addresses, from_name, identity_field, name, name_field,
    report::{MAX_ADDRESSES, MAX_RANKINGS, MAX_SITE_NAME, RANKING, Ranking},
    u32_field, u64_field,
};
use crate::proto::{
    body::BodyError,
    message,
    scan::{Kind, Shape, many, one},
};

/// Most addresses in one budget.
const MAX_SHARES: usize = 65_536;

pub(in crate::proto) const WANT: Shape = Shape { name: "Want", fields: &[name_field(1, "service")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Want {
    #[prost(bytes = "bytes", tag = "1")]
    service: Bytes,
}

impl From<&message::Want> for Want {
    fn from(want: &message::Want) -> Self {
        Self { service: from_name(&want.service) }
    }
}

impl TryFrom<Want> for message::Want {
    type Error = BodyError;

    fn try_from(wire: Want) -> Result<Self, BodyError> {
        Ok(Self { service: name("service", &wire.service)? })
    }
}

pub(in crate::proto) const LABEL_RANKING: Shape = Shape {
    name: "LabelRanking",
    fields: &[
        identity_field(1, "identity"),
        many(2, "addresses", Kind::Address, MAX_ADDRESSES),
        u64_field(3, "generation"),
        many(4, "rankings", Kind::Message(&RANKING), MAX_RANKINGS),
        one(5, "withdrawn", Kind::Number(1)),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LabelRanking {
    #[prost(string, tag = "1")]
    identity: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    addresses: Vec<Bytes>,
    #[prost(uint64, tag = "3")]
    generation: u64,
    #[prost(message, repeated, tag = "4")]
    rankings: Vec<Ranking>,
    #[prost(bool, tag = "5")]
    withdrawn: bool,
}

impl From<&message::LabelRanking> for LabelRanking {
    fn from(label: &message::LabelRanking) -> Self {
        Self {
            identity: label.identity.to_string(),
            addresses: from_addresses(&label.addresses),
            generation: label.generation,
            rankings: label.rankings.iter().map(Ranking::from).collect(),
            withdrawn: label.withdrawn,
        }
    }
}

impl TryFrom<LabelRanking> for message::LabelRanking {
    type Error = BodyError;

    fn try_from(wire: LabelRanking) -> Result<Self, BodyError> {
        if wire.withdrawn && !wire.rankings.is_empty() {
            return Err(BodyError::Contradiction { field: "rankings" });
        }
        Ok(Self {
            identity: wire.identity.parse()?,
            addresses: addresses("addresses", &wire.addresses)?,
            generation: wire.generation,
            rankings: convert(wire.rankings)?,
            withdrawn: wire.withdrawn,
        })
    }
}

pub(in crate::proto) const VERDICT: Shape = Shape {
    name: "Verdict",
    fields: &[
        name_field(1, "service"),
        one(2, "site", Kind::Text(MAX_SITE_NAME)),
        one(3, "down", Kind::Number(1)),
        u32_field(4, "pops"),
        u32_field(5, "of"),
    ],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Verdict {
    #[prost(bytes = "bytes", tag = "1")]
    service: Bytes,
    #[prost(string, tag = "2")]
    site: String,
    #[prost(bool, tag = "3")]
    down: bool,
    #[prost(uint32, tag = "4")]
    pops: u32,
    #[prost(uint32, tag = "5")]
    of: u32,
}

impl From<&message::Verdict> for Verdict {
    fn from(verdict: &message::Verdict) -> Self {
        let message::Verdict { service, site, down, pops, of } = verdict;
        Self { service: from_name(service), site: site.clone(), down: *down, pops: *pops, of: *of }
    }
}

impl TryFrom<Verdict> for message::Verdict {
    type Error = BodyError;

    fn try_from(wire: Verdict) -> Result<Self, BodyError> {
        let Verdict { service, site, down, pops, of } = wire;
        Ok(Self { service: name("service", &service)?, site, down, pops, of })
    }
}

pub(in crate::proto) const BUDGET: Shape = Shape {
    name: "Budget",
    fields: &[u64_field(1, "generation"), u32_field(2, "of"), many(3, "shares", Kind::Message(&SHARE), MAX_SHARES)],
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Budget {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint32, tag = "2")]
    of: u32,
    #[prost(message, repeated, tag = "3")]
    shares: Vec<BudgetShare>,
}

const SHARE: Shape =
    Shape { name: "BudgetShare", fields: &[one(1, "address", Kind::Address), u32_field(2, "milliprobes_per_second")] };

#[derive(Clone, PartialEq, prost::Message)]
struct BudgetShare {
    #[prost(bytes = "bytes", tag = "1")]
    address: Bytes,
    #[prost(uint32, tag = "2")]
    milliprobes_per_second: u32,
}

impl From<&message::Budget> for Budget {
    fn from(budget: &message::Budget) -> Self {
        let share = |s: &message::BudgetShare| BudgetShare {
            address: from_address(s.address),
            milliprobes_per_second: s.milliprobes_per_second,
        };
        Self { generation: budget.generation, of: budget.of, shares: budget.shares.iter().map(share).collect() }
    }
}

impl TryFrom<BudgetShare> for message::BudgetShare {
    type Error = BodyError;

    fn try_from(wire: BudgetShare) -> Result<Self, BodyError> {
        Ok(Self { address: address("address", &wire.address)?, milliprobes_per_second: wire.milliprobes_per_second })
    }
}

impl TryFrom<Budget> for message::Budget {
    type Error = BodyError;

    fn try_from(wire: Budget) -> Result<Self, BodyError> {
        Ok(Self { generation: wire.generation, of: wire.of, shares: convert(wire.shares)? })
    }
}

pub(in crate::proto) const BUDGET_ACK: Shape = Shape { name: "BudgetAck", fields: &[u64_field(1, "generation")] };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BudgetAck {
    #[prost(uint64, tag = "1")]
    pub(super) generation: u64,
}

impl From<BudgetAck> for message::BudgetAck {
    fn from(wire: BudgetAck) -> Self {
        Self { generation: wire.generation }
    }
}
