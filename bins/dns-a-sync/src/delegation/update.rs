//! A planned update as a message of RFC 2136.

use dglb_core::name::Name;
use hickory_proto::{
    op::{Message, OpCode, Query, UpdateMessage},
    rr::{DNSClass, RData, Record, RecordType},
};

use super::{
    plan::{Change, Prerequisite, Update},
    records::RrSet,
};
use crate::wire::to_hickory;

/// The message that makes `update` in the zone `parent`.
pub fn message(parent: &Name, update: &Update) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_zone(Query::query(to_hickory(parent), RecordType::SOA));
    for prerequisite in &update.prerequisites {
        message.add_pre_requisites(demand(prerequisite));
    }
    for change in &update.changes {
        message.add_updates(removals(change));
    }
    // Additions come after every removal, so none of them can be taken back.
    for after in update.changes.iter().filter_map(|c| c.after.as_ref()) {
        message.add_updates(after.records());
    }
    message
}

fn demand(prerequisite: &Prerequisite) -> Vec<Record> {
    match prerequisite {
        Prerequisite::Absent(name, rtype) => vec![empty(name, *rtype)],
        Prerequisite::Unused(name) => vec![empty(name, RecordType::ANY)],
        Prerequisite::Exactly(set) => RrSet { ttl: 0, ..set.clone() }.records().collect(),
    }
}

/// No record of this type at this name: class NONE, no RDATA.
fn empty(name: &Name, rtype: RecordType) -> Record {
    let mut record = Record::from_rdata(to_hickory(name), 0, RData::Update0(rtype));
    record.dns_class = DNSClass::NONE;
    record
}

/// Deletes, one by one, the records that shall not stay; those that stay are left alone, even when
/// their TTL changes, which adding them again does (RFC 2136 section 3.4.2.2).
fn removals(change: &Change) -> Vec<Record> {
    let Some(before) = &change.before else { return Vec::new() };
    let mut gone = RrSet { ttl: 0, ..before.clone() };
    if let Some(after) = &change.after {
        gone.data.retain(|d| !after.data.contains(d));
    }
    let mut records: Vec<_> = gone.records().collect();
    records.iter_mut().for_each(|r| r.dns_class = DNSClass::NONE);
    records
}
