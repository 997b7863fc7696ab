//! Looks through a protobuf body before anything is decoded. What passes can be decoded without
//! surprise: every field has its wire type and its range, no field stands more often than its cap,
//! the whole has no more elements than the limit, and nothing was allocated to find that out.
//! Fields that version 1 does not know are counted and skipped.

use super::body::BodyError;

/// A message as the scan sees it; `docs/map-protocol.proto` says the same to the world.
pub(super) struct Shape {
    /// The message's name in the published file.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test against the published file reads it"))]
    pub name: &'static str,
    /// Its fields, in ascending order of number.
    pub fields: &'static [Field],
}

/// One field of a [`Shape`].
pub(super) struct Field {
    pub number: u32,
    pub name: &'static str,
    pub kind: Kind,
    /// Most occurrences in one message; 1 for a field that is not repeated.
    pub cap: usize,
}

/// What a field holds, with its range.
pub(super) enum Kind {
    /// A varint up to this value.
    Number(u64),
    /// A finite number of 8 octets.
    Double,
    /// UTF-8 of at most so many octets.
    Text(usize),
    /// At most so many octets.
    Octets(usize),
    /// Exactly 4 or 16 octets.
    Address,
    /// Another message.
    Message(&'static Shape),
}

/// A field that occurs at most once.
pub(super) const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, cap: 1 }
}

/// A field that occurs up to `cap` times.
pub(super) const fn many(number: u32, name: &'static str, kind: Kind, cap: usize) -> Field {
    Field { number, name, kind, cap }
}

/// What a scan found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Length-delimited values, all levels together: what decoding may allocate for.
    pub elements: usize,
    /// Fields that this version does not know.
    pub unknown: u32,
}

/// Most fields of one [`Shape`].
pub(super) const MOST_FIELDS: usize = 16;

/// Scans `body` as a message of `shape`, allowing `elements` length-delimited values in all.
pub(super) fn scan(shape: &Shape, body: &[u8], elements: usize) -> Result<Scan, BodyError> {
    let mut found = Scan::default();
    walk(shape, body, elements, &mut found)?;
    Ok(found)
}

/// Recursion is as deep as shapes are nested, not as the body likes.
fn walk(shape: &Shape, body: &[u8], elements: usize, found: &mut Scan) -> Result<(), BodyError> {
    let mut seen = [0_usize; MOST_FIELDS];
    let mut rest = Octets(body);
    while !rest.0.is_empty() {
        let (number, value) = rest.field()?;
        if matches!(value, Value::Octets(_)) {
            found.elements += 1;
            if found.elements > elements {
                return Err(BodyError::Elements { limit: elements });
            }
        }
        let Some((index, field)) = shape.fields.iter().enumerate().find(|(_, f)| f.number == number) else {
            found.unknown = found.unknown.saturating_add(1);
            continue;
        };
        // Shapes with more fields than MOST_FIELDS fail their test.
        if let Some(count) = seen.get_mut(index) {
            *count += 1;
            if *count > field.cap {
                return Err(BodyError::TooMany { field: field.name, cap: field.cap });
            }
        }
        match (&field.kind, value) {
            (Kind::Message(inner), Value::Octets(octets)) => walk(inner, octets, elements, found)?,
            (kind, value) => check(field.name, kind, &value)?,
        }
    }
    Ok(())
}

fn check(field: &'static str, kind: &Kind, value: &Value<'_>) -> Result<(), BodyError> {
    match (kind, value) {
        (Kind::Number(limit), Value::Varint(value)) if value > limit => {
            Err(BodyError::Range { field, value: *value, limit: *limit })
        }
        (Kind::Number(_), Value::Varint(_)) => Ok(()),
        (Kind::Double, Value::Fixed64(bits)) if !f64::from_bits(*bits).is_finite() => {
            Err(BodyError::NotFinite { field })
        }
        (Kind::Double, Value::Fixed64(_)) => Ok(()),
        (Kind::Text(limit) | Kind::Octets(limit), Value::Octets(octets)) if octets.len() > *limit => {
            Err(BodyError::TooLong { field, length: octets.len(), limit: *limit })
        }
        (Kind::Text(_), Value::Octets(octets)) if str::from_utf8(octets).is_err() => Err(BodyError::NotText { field }),
        (Kind::Text(_) | Kind::Octets(_), Value::Octets(_)) => Ok(()),
        (Kind::Address, Value::Octets(octets)) if !matches!(octets.len(), 4 | 16) => {
            Err(BodyError::Address { field, length: octets.len() })
        }
        (Kind::Address, Value::Octets(_)) => Ok(()),
        _ => Err(BodyError::WireType { field }),
    }
}

enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Octets(&'a [u8]),
}

/// What is left of a message.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), BodyError> {
        let key = u32::try_from(self.varint()?).map_err(|_| BodyError::Key)?;
        let number = key >> 3;
        if number == 0 {
            return Err(BodyError::Key);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (octets, rest) = self.0.split_first_chunk().ok_or(BodyError::Cut)?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*octets))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| BodyError::Cut)?;
                let (octets, rest) = self.0.split_at_checked(length).ok_or(BodyError::Cut)?;
                self.0 = rest;
                Value::Octets(octets)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(BodyError::Cut)?;
                Value::Fixed32
            }
            // Groups were given up before protobuf 3; skipping them would need recursion.
            _ => return Err(BodyError::Key),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, BodyError> {
        let mut value = 0_u64;
        for (index, &octet) in self.0.iter().enumerate().take(10) {
            if index == 9 && octet > 1 {
                return Err(BodyError::Key);
            }
            value |= u64::from(octet & 0x7f) << (7 * index);
            if octet < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { BodyError::Cut } else { BodyError::Key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Shape =
        Shape { name: "Inner", fields: &[one(1, "address", Kind::Address), one(2, "share", Kind::Double)] };
    const OUTER: Shape = Shape {
        name: "Outer",
        fields: &[
            one(1, "port", Kind::Number(65_535)),
            one(2, "text", Kind::Text(4)),
            many(3, "inner", Kind::Message(&INNER), 2),
            one(4, "raw", Kind::Octets(2)),
        ],
    };

    fn outer(body: &[u8]) -> Result<Scan, BodyError> {
        scan(&OUTER, body, 5)
    }

    #[test]
    fn sound_bodies_pass_and_unknown_fields_are_counted() {
        assert_eq!(outer(&[]), Ok(Scan { elements: 0, unknown: 0 }));
        assert_eq!(outer(&[0x08, 0x35, 0x12, 1, b'x']), Ok(Scan { elements: 1, unknown: 0 }));
        // Field 15 as varint, 16 as octets, 17 as 4 and 18 as 8 octets.
        let unknown = [0x78, 1, 0x82, 1, 1, 0, 0x8d, 1, 1, 2, 3, 4, 0x91, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(outer(&unknown), Ok(Scan { elements: 1, unknown: 4 }));
    }

    #[test]
    fn every_fault_has_its_error() {
        let cases: [(&[u8], BodyError); 15] = [
            (&[0x08], BodyError::Cut),
            (&[0x12, 5, b'x'], BodyError::Cut),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], BodyError::Cut),
            (&[0x00, 0], BodyError::Key),
            (&[0x0b, 0x0c], BodyError::Key),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], BodyError::Key),
            (&[0x08, 0x80, 0x80, 4], BodyError::Range { field: "port", value: 65_536, limit: 65_535 }),
            (&[0x08, 1, 0x08, 1], BodyError::TooMany { field: "port", cap: 1 }),
            (&[0x1a, 0, 0x1a, 0, 0x1a, 0], BodyError::TooMany { field: "inner", cap: 2 }),
            (&[0x10, 1], BodyError::WireType { field: "text" }),
            (&[0x12, 5, 1, 1, 1, 1, 1], BodyError::TooLong { field: "text", length: 5, limit: 4 }),
            (&[0x12, 1, 0xff], BodyError::NotText { field: "text" }),
            (&[0x1a, 3, 0x0a, 1, 9], BodyError::Address { field: "address", length: 1 }),
            (&[0x1a, 9, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f], BodyError::NotFinite { field: "share" }),
            (&[0x7a, 0, 0x7a, 0, 0x7a, 0, 0x7a, 0, 0x7a, 0, 0x7a, 0], BodyError::Elements { limit: 5 }),
        ];
        for (body, error) in cases {
            assert_eq!(outer(body), Err(error), "{body:02x?}");
        }
    }
}
