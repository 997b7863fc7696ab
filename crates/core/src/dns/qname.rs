//! The name in a question: lower-cased once, with the places of its labels, so that every name that
//! it ends with can be looked up and pointed at without walking through it again.

use std::{fmt, ops::Deref};

use crate::name::{MAX_NAME, Name};

/// Most labels of a name, its root label included: all but the root have two octets or more.
const MAX_LABELS: usize = MAX_NAME.div_ceil(2);

/// Octets that are lower-cased at a time.
const STEP: usize = 32;

/// A name in wire form, lower-cased; empty until one was read.
#[derive(Clone)]
pub struct QName {
    octets: [u8; (MAX_NAME + 1).next_multiple_of(STEP)],
    length: u8,
    /// Number of labels without the root.
    labels: u8,
    /// Where the labels are, the root label included.
    starts: [u8; MAX_LABELS],
}

impl QName {
    /// None was read yet.
    pub(super) const EMPTY: Self =
        Self { octets: [0; (MAX_NAME + 1).next_multiple_of(STEP)], length: 0, labels: 0, starts: [0; MAX_LABELS] };

    /// Reads an uncompressed name at the start of `octets` and returns its length; `None` if there
    /// is none.
    #[inline]
    pub fn read(&mut self, octets: &[u8]) -> Option<usize> {
        (self.length, self.labels) = (0, 0);
        let (mut at, mut labels) = (0, 0);
        loop {
            let length = usize::from(*octets.get(at)?);
            // RFC 1035 section 2.3.4; a pointer would have nothing before it to point at.
            if length > 63 || at >= MAX_NAME {
                return None;
            }
            self.starts[labels] = at as u8;
            at += 1 + length;
            if length == 0 {
                break;
            }
            labels += 1;
        }
        // Length octets are below 0x40, so lower-casing the whole leaves them alone, and what follows the name is
        // nobody's. The name is no longer than allowed, since its root label begins within [`MAX_NAME`].
        let (whole, rest) = octets.as_chunks::<STEP>();
        for (step, to) in self.octets.as_chunks_mut::<STEP>().0.iter_mut().take(at.div_ceil(STEP)).enumerate() {
            match whole.get(step) {
                Some(from) => *to = *from,
                None => to[..rest.len()].copy_from_slice(rest),
            }
            to.make_ascii_lowercase();
        }
        (self.length, self.labels) = (at as u8, labels as u8);
        Some(at)
    }

    /// Number of labels without the root.
    #[inline]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// Octets in front of the label of this number, leftmost first; that of the number
    /// [`QName::labels`] is the root. Meaningless beyond that.
    #[inline]
    pub fn start(&self, label: usize) -> usize {
        self.starts.get(label).map_or(0, |start| usize::from(*start))
    }
}

impl Default for QName {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for QName {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl fmt::Debug for QName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name::from_wire(self).fmt(f)
    }
}

impl From<&Name> for QName {
    fn from(name: &Name) -> Self {
        let mut read = Self::default();
        read.read(name.wire());
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_cased_and_their_labels_found() {
        let mut name = QName::default();
        assert_eq!(name.read(b"\x03WwW\x01b\x04TEST\0rest"), Some(12));
        assert_eq!(&*name, b"\x03www\x01b\x04test\0");
        assert_eq!((name.labels(), [0, 1, 2, 3, 4].map(|n| name.start(n))), (3, [0, 4, 6, 11, 0]));
        assert_eq!(name.read(b"\0"), Some(1));
        assert_eq!((name.labels(), name.start(0)), (0, 0));
    }

    #[test]
    fn the_longest_name_is_read_and_no_longer_one() {
        let mut name = QName::default();
        let most: Vec<u8> = [1, b'x'].repeat(127).into_iter().chain([0]).collect();
        assert_eq!((name.read(&most), name.labels()), (Some(255), 127));
        let most: Vec<u8> = [&[63; 64].repeat(3)[..], &[61; 62], &[0]].concat();
        assert_eq!((most.len(), name.read(&most)), (255, Some(255)));
        for bad in [
            [[63; 64].repeat(3), [62; 63].to_vec(), vec![0]].concat(),
            [[63; 64].repeat(4), vec![0]].concat(),
            [[1, b'x'].repeat(128), vec![0]].concat(),
            [[1, b'x'].repeat(126), vec![2, 1, 1, 0]].concat(),
            vec![],
            vec![3, 1, 2],
            vec![0xc0, 0x0c],
            vec![64, 0],
        ] {
            assert_eq!(name.read(&bad), None, "{bad:?}");
        }
    }
}
