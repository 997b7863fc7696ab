//! Between our nouns and hickory's: the only file that knows both kinds of names.

use std::collections::BTreeMap;

use dglb_core::{catalogue::StaticRecord, name::Name};
use hickory_proto::{
    rr::{self, RData},
    serialize::{
        binary::{BinEncodable, BinEncoder, NameEncoding},
        txt::Parser,
    },
};

/// A name for hickory. The root stands in for what hickory would not take, which cannot happen:
/// both sides have the limits of RFC 1035 section 2.3.4.
pub(crate) fn to_hickory(name: &Name) -> rr::Name {
    rr::Name::from_labels(name.labels()).unwrap_or_else(|_| rr::Name::root())
}

/// A name from hickory, lower-cased; `None` beyond 255 octets.
pub(crate) fn from_hickory(name: &rr::Name) -> Option<Name> {
    let mut wire = Vec::with_capacity(64);
    for label in name.iter() {
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_wire(&wire).ok()
}

/// RDATA in uncompressed wire form.
pub(crate) fn rdata_wire(data: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).ok()?;
    Some(wire)
}

/// The records of one master-file text (RFC 1035 section 5.1); relative names are taken below
/// `origin`, and a record without a TTL is an error.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn parse_records(text: &str, origin: &Name) -> Result<Vec<StaticRecord>, String> {
    if text.lines().any(|line| line.trim_start().starts_with('$')) {
        return Err("a record is wanted here, not a $ directive".to_owned());
    }
    // The parser wants a line's end after the last record.
    let (_, sets): (_, BTreeMap<_, _>) =
        Parser::new(format!("{text}\n"), None, Some(to_hickory(origin))).parse().map_err(|e| e.to_string())?;
    let mut records = Vec::new();
    for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
        let name = from_hickory(&record.name).ok_or("the owner has more than 255 octets")?;
        let rdata = rdata_wire(&record.data).ok_or("the data do not fit a record")?;
        records.push(StaticRecord { name, rtype: u16::from(record.record_type()), ttl: record.ttl, rdata });
    }
    if records.is_empty() {
        return Err("no record here; one looks like \"_acme-challenge 300 IN TXT text\"".to_owned());
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_both_ways() {
        for text in [".", "www.foobar.com", "a\\.b.c\\032d.test", &"x".repeat(63)] {
            let name: Name = text.parse().unwrap();
            assert_eq!(from_hickory(&to_hickory(&name)), Some(name));
        }
    }

    #[test]
    fn records_are_read_like_a_master_file() {
        let zone = "glb.foobar.com".parse().unwrap();
        let txt = parse_records("_acme-challenge 300 IN TXT \"a b\"", &zone).unwrap();
        assert_eq!(txt[0].name, "_acme-challenge.glb.foobar.com".parse().unwrap());
        assert_eq!((txt[0].rtype, txt[0].ttl, &txt[0].rdata[..]), (16, 300, &b"\x03a b"[..]));
        let mx = parse_records("@ 60 IN MX 10 mail.glb.foobar.com.", &zone).unwrap();
        assert_eq!(mx[0].rdata, b"\0\x0a\x04mail\x03glb\x06foobar\x03com\0");
        let caa = parse_records("glb.foobar.com. 60 IN CAA 0 issue \"ca.example\"", &zone).unwrap();
        assert_eq!((caa[0].rtype, &caa[0].rdata[..]), (257, &b"\0\x05issueca.example"[..]));
        for bad in ["", "nonsense", "x 60 IN MX ten", "$INCLUDE /etc/passwd", "x 60 IN A 1.2.3"] {
            assert!(parse_records(bad, &zone).is_err(), "{bad}");
        }
    }
}
