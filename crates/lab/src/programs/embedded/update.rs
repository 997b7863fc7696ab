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

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn zone() -> Zone {
        let text = "$TTL 300\n@ SOA ns1 h 4294967295 300 60 604800 60\n@ NS ns1\n@ TXT x\nns1 A 192.0.2.1\nwww CNAME ns1\n\
                    two A 192.0.2.2\ntwo A 192.0.2.3\n";
        Zone::parse(&name("z.test."), text).unwrap()
    }

    fn a(last: u8) -> RData {
        RData::A(A([192, 0, 2, last].into()))
    }

    fn of_class(class: DNSClass, owner: &str, ttl: u32, data: RData) -> Record {
        let mut record = Record::from_rdata(name(owner), ttl, data);
        record.dns_class = class;
        record
    }

    fn adding(owner: &str, data: RData) -> Record {
        of_class(DNSClass::IN, owner, 60, data)
    }

    fn deleting(owner: &str, kind: RecordType) -> Record {
        of_class(DNSClass::ANY, owner, 0, RData::Update0(kind))
    }

    fn serial(zone: &Zone) -> u32 {
        zone.soa().unwrap().1.serial
    }

    #[test]
    fn the_serial_moves_with_changes_only_and_skips_zero() {
        let zone = zone();
        let next = apply(&zone, &[], &[adding("new.z.test.", a(9))]).unwrap().unwrap();
        assert_eq!(serial(&next), 1, "one more than the greatest, without 0");
        assert_eq!(next.node(&LowerName::from(name("NEW.z.test."))).unwrap()[&RecordType::A].data, [a(9)]);
        for nothing in [deleting("nope.z.test.", RecordType::A), of_class(DNSClass::NONE, "ns1.z.test.", 0, a(7))] {
            assert!(apply(&zone, &[], &[nothing]).unwrap().is_none());
        }
    }

    #[test]
    fn a_serial_of_the_senders_is_taken_if_it_is_newer() {
        let soa = |serial| {
            adding("z.test.", RData::SOA(SOA::new(name("ns1.z.test."), name("h.z.test."), serial, 1, 1, 1, 1)))
        };
        let next = apply(&zone(), &[], &[soa(77)]).unwrap().unwrap();
        assert_eq!(serial(&next), 77);
        assert!(apply(&zone(), &[], &[soa(4_294_967_290)]).unwrap().is_none(), "an older one is left out");
        let mut elsewhere = soa(77);
        elsewhere.name = name("two.z.test.");
        assert!(apply(&zone(), &[], &[elsewhere]).unwrap().is_none());
    }

    #[test]
    fn the_apex_keeps_soa_and_ns() {
        let zone = zone();
        let all = apply(&zone, &[], &[deleting("z.test.", RecordType::ANY)]).unwrap().unwrap();
        let left: Vec<_> = all.node(zone.origin()).unwrap().keys().copied().collect();
        assert_eq!(left, [RecordType::NS, RecordType::SOA]);
        for kept in [
            deleting("z.test.", RecordType::NS),
            deleting("z.test.", RecordType::SOA),
            of_class(DNSClass::NONE, "z.test.", 0, RData::NS(NS(name("ns1.z.test.")))),
        ] {
            assert!(apply(&zone, &[], &[kept]).unwrap().is_none());
        }
    }

    #[test]
    fn an_alias_and_other_records_exclude_each_other() {
        let zone = zone();
        let alias = |target: &str| RData::CNAME(CNAME(name(target)));
        assert!(apply(&zone, &[], &[adding("www.z.test.", a(1))]).unwrap().is_none());
        assert!(apply(&zone, &[], &[adding("ns1.z.test.", alias("www.z.test."))]).unwrap().is_none());
        let next = apply(&zone, &[], &[adding("www.z.test.", alias("two.z.test."))]).unwrap().unwrap();
        let www = &next.node(&LowerName::from(name("www.z.test."))).unwrap()[&RecordType::CNAME];
        assert_eq!(www.data, [alias("two.z.test.")], "one alias replaces another");
    }

    #[test]
    fn prerequisites_are_told_apart() {
        let any = |owner: &str, kind| deleting(owner, kind);
        let none = |owner: &str, kind| of_class(DNSClass::NONE, owner, 0, RData::Update0(kind));
        let exact = |owner: &str, data| of_class(DNSClass::IN, owner, 0, data);
        let verdict = |prerequisites: &[Record]| apply(&zone(), prerequisites, &[]).map(|_| ());
        let (txt, every) = (RecordType::TXT, RecordType::ANY);
        assert_eq!(verdict(&[any("www.z.test.", every), any("two.z.test.", RecordType::A)]), Ok(()));
        assert_eq!(verdict(&[any("nope.z.test.", every)]), Err(ResponseCode::NXDomain));
        assert_eq!(verdict(&[any("two.z.test.", txt)]), Err(ResponseCode::NXRRSet));
        assert_eq!(verdict(&[none("nope.z.test.", every), none("two.z.test.", txt)]), Ok(()));
        assert_eq!(verdict(&[none("two.z.test.", every)]), Err(ResponseCode::YXDomain));
        assert_eq!(verdict(&[none("two.z.test.", RecordType::A)]), Err(ResponseCode::YXRRSet));
        assert_eq!(verdict(&[exact("two.z.test.", a(3)), exact("two.z.test.", a(2))]), Ok(()));
        assert_eq!(verdict(&[exact("two.z.test.", a(2))]), Err(ResponseCode::NXRRSet), "not all of them");
        assert_eq!(verdict(&[any("other.test.", every)]), Err(ResponseCode::NotZone));
        assert_eq!(verdict(&[adding("two.z.test.", a(2))]), Err(ResponseCode::FormErr), "with a TTL");
    }

    #[test]
    fn one_bad_record_refuses_all() {
        let good = adding("new.z.test.", a(9));
        let verdict = |bad: Record| apply(&zone(), &[], &[good.clone(), bad]).map(|_| ());
        assert_eq!(verdict(adding("other.test.", a(1))), Err(ResponseCode::NotZone));
        assert_eq!(verdict(adding("x.z.test.", RData::Update0(RecordType::A))), Err(ResponseCode::FormErr));
        assert_eq!(verdict(adding("x.z.test.", RData::Update0(RecordType::AXFR))), Err(ResponseCode::FormErr));
        assert_eq!(verdict(of_class(DNSClass::ANY, "x.z.test.", 0, a(1))), Err(ResponseCode::FormErr));
        assert_eq!(verdict(of_class(DNSClass::NONE, "x.z.test.", 5, a(1))), Err(ResponseCode::FormErr));
        assert_eq!(verdict(of_class(DNSClass::CH, "x.z.test.", 5, a(1))), Err(ResponseCode::FormErr));
    }
}
