//! The shapes say what `docs/map-protocol.proto` says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PUBLISHED: &str = include_str!("../../../../../docs/map-protocol.proto");

/// One `message` or `enum` of the file: number → (label, type, name, comment).
type Entries = BTreeMap<u32, (String, String, String, String)>;

/// A reader for the part of the language that the file uses.
fn published() -> (BTreeMap<String, Entries>, BTreeMap<String, Entries>) {
    let (mut messages, mut enums) = (BTreeMap::new(), BTreeMap::new());
    let mut open: Option<(bool, String, Entries)> = None;
    for line in PUBLISHED.lines() {
        let (code, comment) = line.split_once("//").map_or((line, ""), |(c, t)| (c, t.trim()));
        let words: Vec<&str> = code.split([' ', ';', '=']).filter(|w| !w.is_empty()).collect();
        match words[..] {
            [kind @ ("message" | "enum"), name, "{"] => {
                assert!(open.is_none(), "{name} inside another");
                open = Some((kind == "message", name.to_owned(), BTreeMap::new()));
            }
            ["message", name, "{}"] => assert!(messages.insert(name.to_owned(), BTreeMap::new()).is_none()),
            ["}"] => {
                let (message, name, entries) = open.take().expect("something to close");
                let whole = if message { &mut messages } else { &mut enums };
                assert!(whole.insert(name, entries).is_none());
            }
            [.., name, number] if open.is_some() => {
                let (label, kind) = match words[..] {
                    [label, kind, _, _] => (label, kind),
                    [kind, _, _] => ("", kind),
                    _ => ("", ""),
                };
                let entry = (label.to_owned(), kind.to_owned(), name.to_owned(), comment.to_owned());
                let entries = &mut open.as_mut().expect("checked").2;
                assert!(entries.insert(number.parse().unwrap(), entry).is_none(), "{name} has a number twice");
            }
            [] | ["syntax" | "package", ..] => {}
            _ => panic!("cannot read {line:?}"),
        }
    }
    (messages, enums)
}

/// The number after "at most" in a comment, the `n`th of them.
fn at_most(comment: &str, n: usize) -> Option<usize> {
    let after = comment.split("at most ").nth(n + 1)?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn compare(shape: &Shape, messages: &BTreeMap<String, Entries>, enums: &BTreeMap<String, Entries>) -> usize {
    let name = shape.name;
    let entries = messages.get(name).unwrap_or_else(|| panic!("{name} is not published"));
    assert!(shape.fields.len() <= super::super::scan::MOST_FIELDS, "{name}: occurrences would go uncounted");
    let ours: Vec<_> = shape.fields.iter().map(|f| f.number).collect();
    assert_eq!(ours, entries.keys().copied().collect::<Vec<_>>(), "{name}");
    let mut checked = 1;
    for (field, (label, kind, published, comment)) in shape.fields.iter().zip(entries.values()) {
        let place = format!("{name}.{published}");
        assert_eq!(field.name, published, "{place}");
        assert_eq!(field.cap > 1, label == "repeated", "{place}");
        if label == "repeated" {
            assert_eq!(Some(field.cap), at_most(comment, 0), "{place}");
        }
        let limit = at_most(comment, usize::from(label == "repeated"));
        match &field.kind {
            Kind::Number(1) => assert_eq!(kind, "bool", "{place}"),
            Kind::Number(u64::MAX) => assert_eq!(kind, "uint64", "{place}"),
            Kind::Number(most) if *most == u64::from(u32::MAX) => {
                assert!(kind == "uint32" || enums.contains_key(kind), "{place}");
                assert_eq!(limit, None, "{place}");
            }
            Kind::Number(most) => {
                assert_eq!((kind.as_str(), limit.map(|l| l as u64)), ("uint32", Some(*most)), "{place}");
            }
            Kind::Double => assert!(kind == "double" && comment.contains("finite"), "{place}"),
            Kind::Text(most) => assert_eq!((kind.as_str(), limit), ("string", Some(*most)), "{place}"),
            Kind::Octets(most) => assert_eq!((kind.as_str(), limit), ("bytes", Some(*most)), "{place}"),
            Kind::Address => assert!(kind == "bytes" && comment.contains("4 or 16 octets"), "{place}"),
            Kind::Message(inner) => {
                assert_eq!(kind, inner.name, "{place}");
                checked += compare(inner, messages, enums);
            }
        }
    }
    checked
}

#[test]
fn shapes_and_published_file_agree() {
    let (messages, enums) = published();
    let mut checked = 0;
    for number in Number::ALL {
        if let Some(shape) = shape(*number) {
            checked += compare(shape, &messages, &enums);
        }
    }
    assert!(checked >= messages.len(), "{checked} compared, {} published", messages.len());

    fn names(shape: &Shape, into: &mut BTreeSet<&'static str>) {
        into.insert(shape.name);
        for field in shape.fields {
            if let Kind::Message(inner) = field.kind {
                names(inner, into);
            }
        }
    }
    let mut ours = BTreeSet::new();
    Number::ALL.iter().filter_map(|n| shape(*n)).for_each(|s| names(s, &mut ours));
    assert_eq!(ours, messages.keys().map(String::as_str).collect(), "every published message is used");
}

#[test]
fn numbers_and_published_file_agree() {
    let (_, enums) = published();
    let published: Vec<_> = enums["MessageType"].iter().skip(1).collect();
    assert_eq!(published.len(), Number::ALL.len());
    for (number, (value, (_, _, name, comment))) in Number::ALL.iter().zip(published) {
        assert_eq!(u32::from(number.0), *value);
        assert_eq!(number.to_string().replace('-', "_"), *name);
        assert_eq!(shape(*number).is_none(), comment.contains("reserved in 1.0"), "{name}");
    }
}
