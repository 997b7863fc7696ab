//! Domain names in wire form (RFC 1035 section 3.1), lower-cased (RFC 4343).

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name in octets, its root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// The longest label in octets (RFC 1035 section 2.3.4).
pub const MAX_LABEL: usize = 63;

/// An absolute domain name: uncompressed wire form, ASCII letters in lower case, with its root
/// label, at most [`MAX_NAME`] octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<[u8]>);

/// Why a text or wire form is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// A label is empty or longer than [`MAX_LABEL`].
    #[error("\"{0}\": a label has 1 to 63 octets")]
    Label(String),
    /// The whole is longer than [`MAX_NAME`].
    #[error("\"{0}\": a name has at most 255 octets")]
    Length(String),
    /// A backslash not followed by three digits up to 255 or by a character.
    #[error("\"{0}\": a backslash wants three digits or a character after it")]
    Escape(String),
    /// The octets do not end with the root label, or run beyond it.
    #[error("the octets are no uncompressed name")]
    Wire,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// A name from its uncompressed wire form, lower-cased.
    ///
    /// # Errors
    /// [`NameError::Wire`] unless `wire` is exactly one uncompressed name.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            match wire.get(at) {
                Some(0) if at + 1 == wire.len() && wire.len() <= MAX_NAME => break,
                Some(&len) if (1..=63).contains(&len) => at += 1 + usize::from(len),
                _ => return Err(NameError::Wire),
            }
        }
        // Length octets are below 0x40 and thus unharmed by lower-casing.
        Ok(Self(wire.to_ascii_lowercase().into()))
    }

    /// The uncompressed wire form with its root label.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The wire form without the root label: what precedes a parent's wire form.
    pub fn relative_wire(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }

    /// The labels, leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    /// Number of labels without the root.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.strip(other).is_some()
    }

    /// The wire octets in front of `parent`, empty when equal; `None` when not within it.
    pub fn strip(&self, parent: &Self) -> Option<&[u8]> {
        let cut = self.0.len().checked_sub(parent.0.len())?;
        if self.0[cut..] != *parent.0 {
            return None;
        }
        let mut at = 0;
        while at < cut {
            at += 1 + usize::from(self.0[at]);
        }
        (at == cut).then(|| &self.0[..cut])
    }

    /// `label` in front of this name.
    ///
    /// # Errors
    /// [`NameError::Label`], [`NameError::Length`].
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(NameError::Label(label.to_owned()));
        }
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.to_ascii_lowercase().as_bytes());
        wire.extend_from_slice(&self.0);
        if wire.len() > MAX_NAME {
            return Err(NameError::Length(format!("{label}.{self}")));
        }
        Ok(Self(wire.into()))
    }

    /// The name without its leftmost label; the root has none.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(self.0[0]);
        (first > 0).then(|| Self(self.0[first + 1..].into()))
    }
}

/// The labels of an uncompressed wire form, with or without its root label.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        if len == 0 || tail.len() < usize::from(len) {
            return None;
        }
        let (label, tail) = tail.split_at(usize::from(len));
        rest = tail;
        Some(label)
    })
}

impl FromStr for Name {
    type Err = NameError;

    /// Presentation form (RFC 1035 section 5.1), always taken as absolute, the final dot optional.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::new();
        let mut octets = text.bytes();
        let mut ended = false;
        while let Some(octet) = octets.next() {
            ended = false;
            match octet {
                b'.' => {
                    push_label(&mut wire, &mut label, text)?;
                    ended = true;
                }
                b'\\' => label.push(unescape(&mut octets).ok_or_else(|| NameError::Escape(text.to_owned()))?),
                _ => label.push(octet.to_ascii_lowercase()),
            }
        }
        if !ended {
            push_label(&mut wire, &mut label, text)?;
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::Length(text.to_owned()));
        }
        Ok(Self(wire.into()))
    }
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>, text: &str) -> Result<(), NameError> {
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err(NameError::Label(text.to_owned()));
    }
    wire.push(label.len() as u8);
    wire.append(label);
    Ok(())
}

fn unescape(octets: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = octets.next()?;
    if !first.is_ascii_digit() {
        return Some(first.to_ascii_lowercase());
    }
    let digit = |o: Option<u8>| o.filter(u8::is_ascii_digit).map(|d| u32::from(d - b'0'));
    let value = u32::from(first - b'0') * 100 + digit(octets.next())? * 10 + digit(octets.next())?;
    u8::try_from(value).ok().map(|v| v.to_ascii_lowercase())
}

// Looked up by a suffix of a question's name.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_agree() {
        let name: Name = "WWW.Glb.foobar.COM".parse().unwrap();
        assert_eq!(name.wire(), b"\x03www\x03glb\x06foobar\x03com\0");
        assert_eq!(name.to_string(), "www.glb.foobar.com.");
        assert_eq!(Name::from_wire(b"\x03WWW\x03glb\x06foobar\x03com\0").unwrap(), name);
        assert_eq!(".".parse::<Name>().unwrap(), Name::root());
        let odd: Name = "a\\.b.c\\032d.test.".parse().unwrap();
        assert_eq!(odd.wire(), b"\x03a.b\x03c d\x04test\0");
        assert_eq!(odd.to_string().parse::<Name>().unwrap(), odd);
        for bad in ["", "a..b", ".a", "a\\", "a\\25", "a\\256.", &"x".repeat(64), &"abcdefg.".repeat(32)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for bad in [&b""[..], b"\x03www", b"\x03www\0x", b"\xc0\x0c", b"\0\0"] {
            assert!(Name::from_wire(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stripping_respects_label_borders() {
        let zone: Name = "foobar.com".parse().unwrap();
        assert_eq!("www.foobar.com".parse::<Name>().unwrap().strip(&zone), Some(&b"\x03www"[..]));
        assert_eq!(zone.strip(&zone), Some(&b""[..]));
        assert_eq!("xfoobar.com".parse::<Name>().unwrap().strip(&zone), None);
        // A label whose content looks like the parent's wire form.
        let trick = Name::from_wire(b"\x0cx\x06foobar\x03com\0").unwrap_or_else(|_| Name::root());
        assert!(!trick.is_within(&zone));
    }
}
