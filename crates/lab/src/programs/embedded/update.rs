//! RFC 2136: prerequisites, checks and changes of one UPDATE, all or nothing: a refused update
//! leaves the zone as it was. Signatures are checked before anything here runs.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, LowerName, RData, Record, RecordType};

use super::zone::{RecordSet, Zone};

/// Applies an UPDATE to a copy of the zone: `None` when it asked for nothing that is not so already.
///
/// # Errors
///
/// The response code of RFC 2136 section 3 that refuses it.
pub(super) fn apply(zone: &Zone, prerequisites: &[Record], updates: &[Record]) -> Result<Option<Zone>, ResponseCode> {
    check_prerequisites(zone, prerequisites)?;
    updates.iter().try_for_each(|record| check_update(zone, record))?;
    let mut next = zone.clone();
    let changes = updates.iter().filter(|record| change(&mut next, record)).count();
    next.prune();
    if changes == 0 {
        return Ok(None);
    }
    let serial = |zone: &Zone| zone.soa().map(|(_, soa)| soa.serial);
    if serial(&next) == serial(zone) {
        bump_serial(&mut next);
    }
    Ok(Some(next))
}

/// RFC 2136 section 3.2.
fn check_prerequisites(zone: &Zone, prerequisites: &[Record]) -> Result<(), ResponseCode> {
    let mut exact: Vec<(LowerName, RecordType, Vec<&RData>)> = Vec::new();
    for record in prerequisites {
        let (name, kind) = (in_zone(zone, record)?, record.record_type());
        let empty = matches!(record.data, RData::Update0(_));
        let present = match (zone.node(&name), kind) {
            (Some(node), RecordType::ANY) => !node.is_empty(),
            (Some(node), _) => node.contains_key(&kind),
            (None, _) => false,
        };
        match (record.dns_class, empty) {
            _ if record.ttl != 0 => return Err(ResponseCode::FormErr),
            (DNSClass::ANY, true) if present => {}
            (DNSClass::ANY, true) if kind == RecordType::ANY => return Err(ResponseCode::NXDomain),
            (DNSClass::ANY, true) => return Err(ResponseCode::NXRRSet),
            (DNSClass::NONE, true) if !present => {}
            (DNSClass::NONE, true) if kind == RecordType::ANY => return Err(ResponseCode::YXDomain),
            (DNSClass::NONE, true) => return Err(ResponseCode::YXRRSet),
            (DNSClass::IN, false) => match exact.iter_mut().find(|(n, k, _)| *n == name && *k == kind) {
                Some((_, _, data)) => data.push(&record.data),
                None => exact.push((name, kind, vec![&record.data])),
            },
            _ => return Err(ResponseCode::FormErr),
        }
    }
    let holds = |(name, kind, wanted): &(LowerName, RecordType, Vec<&RData>)| {
        let set = zone.node(name).and_then(|node| node.get(kind));
        set.is_some_and(|set| {
            set.data.iter().all(|data| wanted.contains(&data)) && wanted.iter().all(|data| set.data.contains(data))
        })
    };
    if exact.iter().all(holds) { Ok(()) } else { Err(ResponseCode::NXRRSet) }
}

/// RFC 2136 section 3.4.1.
fn check_update(zone: &Zone, record: &Record) -> Result<(), ResponseCode> {
    in_zone(zone, record)?;
    let kind = record.record_type();
    let question_only = matches!(u16::from(kind), 128..=255);
    let empty = matches!(record.data, RData::Update0(_));
    let fine = match record.dns_class {
        DNSClass::IN => !question_only && !empty,
        DNSClass::ANY => record.ttl == 0 && empty && (!question_only || kind == RecordType::ANY),
        DNSClass::NONE => record.ttl == 0 && !question_only && !empty,
        _ => false,
    };
    if fine { Ok(()) } else { Err(ResponseCode::FormErr) }
}

/// RFC 2136 section 3.4.2: makes one change; tells whether the zone is different now.
fn change(zone: &mut Zone, record: &Record) -> bool {
    let name = LowerName::from(&record.name);
    let kind = record.record_type();
    let apex = name == *zone.origin();
    let kept = |kind: RecordType| apex && matches!(kind, RecordType::SOA | RecordType::NS);
    match record.dns_class {
        DNSClass::IN => add(zone, name, record),
        DNSClass::ANY if kind == RecordType::ANY => {
            let node = zone.node_mut(name);
            let before = node.len();
            node.retain(|kind, _| kept(*kind));
            node.len() != before
        }
        DNSClass::ANY => !kept(kind) && zone.node_mut(name).remove(&kind).is_some(),
        _ if kind == RecordType::SOA => false,
        _ => remove_one(zone, name, record, apex),
    }
}

fn add(zone: &mut Zone, name: LowerName, record: &Record) -> bool {
    let kind = record.record_type();
    if let RData::SOA(new) = &record.data {
        let newer = zone.soa().is_some_and(|(_, old)| is_newer(new.serial, old.serial));
        if name != *zone.origin() || !newer {
            return false;
        }
    }
    let node = zone.node_mut(name);
    // A CNAME and other data exclude each other: whoever comes second is silently left out.
    let other = |present: &RecordType| (*present == RecordType::CNAME) != (kind == RecordType::CNAME);
    if node.keys().any(other) {
        return false;
    }
    let set = node.entry(kind).or_insert_with(|| RecordSet { ttl: record.ttl, data: Vec::new() });
    let before = set.clone();
    set.ttl = record.ttl;
    if matches!(kind, RecordType::SOA | RecordType::CNAME) {
        set.data.clear();
    }
    if !set.data.contains(&record.data) {
        set.data.push(record.data.clone());
    }
    *set != before
}

fn remove_one(zone: &mut Zone, name: LowerName, record: &Record, apex: bool) -> bool {
    let kind = record.record_type();
    let node = zone.node_mut(name);
    let Some(set) = node.get_mut(&kind) else { return false };
    let before = set.data.len();
    if apex && kind == RecordType::NS && before == 1 {
        return false;
    }
    set.data.retain(|data| *data != record.data);
    let removed = set.data.len() != before;
    if set.data.is_empty() {
        node.remove(&kind);
    }
    removed
}

/// RFC 2136 section 3.6, skipping 0.
fn bump_serial(zone: &mut Zone) {
    let origin = zone.origin().clone();
    let set = zone.node_mut(origin).get_mut(&RecordType::SOA);
    if let Some(RData::SOA(soa)) = set.and_then(|set| set.data.first_mut()) {
        soa.serial = soa.serial.wrapping_add(1).max(1);
    }
}

/// RFC 1982 section 3.2.
fn is_newer(new: u32, old: u32) -> bool {
    let ahead = new.wrapping_sub(old);
    ahead != 0 && ahead < 0x8000_0000
}

fn in_zone(zone: &Zone, record: &Record) -> Result<LowerName, ResponseCode> {
    let name = LowerName::from(&record.name);
    if zone.origin().zone_of(&name) { Ok(name) } else { Err(ResponseCode::NotZone) }
}
