//! From a name, or a part of one, to the number of what it stands for: open addressing over short
//! entries, so that a look-up reads one cache line and then the thing itself.

use std::{fmt, sync::Arc};

/// What hashes begin with. Whoever may publish names must not be able to choose such as fall into
/// one place, so every process draws its own; the default is for tests and tools.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

/// The part of a product of two words that depends on all of both.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Seed {
    /// A hash of octets, eight at a time.
    #[inline]
    pub(crate) fn hash(self, octets: &[u8]) -> u32 {
        const FACTORS: [u64; 2] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];
        let mut state = self.0 ^ octets.len() as u64;
        for word in octets.as_chunks::<8>().0 {
            state = fold(state ^ u64::from_le_bytes(*word), FACTORS[0]);
        }
        (fold(state ^ end(octets), FACTORS[1]) >> 16) as u32
    }
}

/// Whether both are the same, without the call that a comparison of slices is: names are short.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let (words, others) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    a.len() == b.len() && end(a) == end(b) && words.iter().zip(others).all(|(a, b)| a == b)
}

/// The last eight octets, or what there is of them, as a number: of those of one length each has another one.
#[inline]
fn end(octets: &[u8]) -> u64 {
    if let Some(last) = octets.last_chunk::<8>() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (octets.first_chunk::<4>(), octets.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    match octets {
        [] => 0,
        [first, .., last] => u64::from(*first) << 16 | u64::from(octets[octets.len() / 2]) << 8 | u64::from(*last),
        [only] => 1 << 24 | u64::from(*only),
    }
}

/// A persistent index that only grows. A change copies all of it where a reader holds the old one:
/// eight octets for each of two to eight places a name, and for 64 at least, and names seldom come.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Hash and number in one word; a power of two of them.
    slots: Arc<[u64]>,
    used: usize,
}

/// Places that there are at least. Where nearly all of few are free, nobody has to guess whether one is.
const FEWEST: usize = 64;

/// A place that is free: no number is as large.
const FREE: u64 = u32::MAX as u64;

impl Default for Index {
    fn default() -> Self {
        Self { slots: Arc::from([FREE]), used: 0 }
    }
}

impl Index {
    /// The number with this hash of which `is` says that it is meant.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        loop {
            // At least every second place is free.
            let slot = *self.slots.get(at & (self.slots.len() - 1))?;
            let number = slot as u32;
            if number == u32::MAX {
                return None;
            }
            if (slot >> 32) as u32 == hash && is(number) {
                return Some(number);
            }
            at += 1;
        }
    }

    /// A number that [`Index::find`] would look at first, so that what it stands for can be read
    /// beforehand.
    pub(crate) fn guess(&self, hash: u32) -> u32 {
        self.slots.get(hash as usize & (self.slots.len() - 1)).map_or(u32::MAX, |slot| *slot as u32)
    }

    /// Adds a number, which is not there yet and below [`u32::MAX`].
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        self.used += 1;
        // At most half full, or a search could become long.
        if 2 * self.used > self.slots.len() {
            let old =
                std::mem::replace(&mut self.slots, vec![FREE; (4 * self.used).next_power_of_two().max(FEWEST)].into());
            let slots = Arc::make_mut(&mut self.slots);
            old.iter().filter(|slot| **slot as u32 != u32::MAX).for_each(|slot| put(slots, *slot));
        }
        put(Arc::make_mut(&mut self.slots), u64::from(hash) << 32 | u64::from(number));
    }
}

fn put(slots: &mut [u64], slot: u64) {
    let mask = slots.len() - 1;
    let mut at = (slot >> 32) as usize & mask;
    while slots[at] as u32 != u32::MAX {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut index = Index::default();
        let seed = Seed::default();
        assert_eq!(index.find(seed.hash(b"x"), |_| true), None);
        let name = |n: u32| format!("name{n}").into_bytes();
        for n in 0..1_000 {
            index.insert(seed.hash(&name(n)), n);
        }
        let find = |n: u32| index.find(seed.hash(&name(n)), |found| name(found) == name(n));
        assert!((0..1_000).all(|n| find(n) == Some(n)));
        assert!((1_000..2_000).all(|n| find(n).is_none()));
        // A search among many of one hash still ends.
        let mut same = Index::default();
        (0..100).for_each(|n| same.insert(7, n));
        assert!((0..100).all(|n| same.find(7, |found| found == n) == Some(n)));
        assert_eq!(same.find(7, |_| false), None);
    }

    #[test]
    fn what_is_the_same_is_told_from_what_is_not() {
        for length in 0..40 {
            let octets: Vec<u8> = (1..=length).collect();
            assert!(same(&octets, &octets.clone()));
            assert!(!same(&octets, &[&octets[..], &[0]].concat()) && !same(&[&octets[..], &[7]].concat(), &octets));
            for at in 0..octets.len() {
                for bit in 0..8 {
                    let mut other = octets.clone();
                    other[at] ^= 1 << bit;
                    assert!(!same(&octets, &other), "{at} of {length}");
                }
            }
        }
    }

    #[test]
    fn hashes_depend_on_every_octet_and_on_the_seed() {
        for length in 1..40 {
            let octets = vec![b'a'; length];
            let hash = Seed::default().hash(&octets);
            assert_ne!(hash, Seed(1).hash(&octets));
            for at in 0..length {
                let mut other = octets.clone();
                other[at] ^= 1;
                assert_ne!(hash, Seed::default().hash(&other), "{at} of {length}");
            }
        }
    }
}
