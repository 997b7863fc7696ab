//! The name in a question: lower-cased once, with the places of its labels, so that every name that
//! it ends with can be looked up and pointed at without walking through it again.

use std::ops::Deref;

use arrayvec::ArrayVec;

use crate::name::{MAX_NAME, Name};

/// Most labels of a name, its root label included.
const MAX_LABELS: usize = MAX_NAME.div_ceil(2);

/// A name in wire form, lower-cased; empty until one was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QName {
    octets: ArrayVec<u8, MAX_NAME>,
    /// Where the labels are, the root label included.
    starts: ArrayVec<u8, MAX_LABELS>,
}

impl QName {
    /// Reads an uncompressed name at the start of `octets` and returns its length; `None` if there
    /// is none.
    pub fn read(&mut self, octets: &[u8]) -> Option<usize> {
        self.octets.clear();
        self.starts.clear();
        let mut at = 0;
        loop {
            let length = usize::from(*octets.get(at)?);
            // RFC 1035 section 2.3.4; a pointer would have nothing before it to point at.
            if length > 63 || at >= MAX_NAME {
                return None;
            }
            self.starts.try_push(at as u8).ok()?;
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
        self.octets.try_extend_from_slice(octets.get(..at)?).ok()?;
        // Length octets are below 0x40, so lower-casing the whole leaves them alone.
        self.octets.make_ascii_lowercase();
        Some(at)
    }

    /// Number of labels without the root.
    pub fn labels(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Octets in front of the label of this number, leftmost first; that of the number
    /// [`QName::labels`] is the root, and so is any beyond it.
    pub fn start(&self, label: usize) -> usize {
        self.starts.get(label).or(self.starts.last()).map_or(0, |start| usize::from(*start))
    }
}

impl Deref for QName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
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
        assert_eq!((name.labels(), [0, 1, 2, 3, 4].map(|n| name.start(n))), (3, [0, 4, 6, 11, 11]));
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
