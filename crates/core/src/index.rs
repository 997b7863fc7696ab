//! From a name, or a part of one, to the number of what it stands for: open addressing over short
//! entries, so that a look-up reads one cache line and then the thing itself.

use crate::chunked::Chunked;

/// What hashes begin with. Whoever may publish names must not be able to choose such as fall into
/// one place, so every process draws its own; the default is for tests and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Default for Seed {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

/// The part of a product of two words that depends on all of both.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Seed {
    /// A hash of octets, eight at a time.
    pub(crate) fn hash(self, octets: &[u8]) -> u32 {
        const FACTORS: [u64; 2] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];
        let (words, rest) = octets.as_chunks::<8>();
        let mut state = self.0 ^ octets.len() as u64;
        for word in words {
            state = fold(state ^ u64::from_le_bytes(*word), FACTORS[0]);
        }
        (fold(state ^ tail(rest), FACTORS[1]) >> 16) as u32
    }
}

/// Less than eight octets as a number, without a loop over them.
fn tail(rest: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    match rest {
        [] => 0,
        [first, .., last] => u64::from(*first) << 16 | u64::from(rest[rest.len() / 2]) << 8 | u64::from(*last),
        [only] => 1 << 24 | u64::from(*only),
    }
}

/// A persistent index that only grows; see [`Chunked`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    slots: Chunked<Slot>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Slot {
    const FREE: Self = Self { hash: 0, number: u32::MAX };
}

impl Index {
    /// The number with this hash of which `is` says that it is meant.
    pub(crate) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        loop {
            let slot = self.slots.get(at & self.slots.len().wrapping_sub(1))?;
            if slot.number == Slot::FREE.number {
                return None;
            }
            if slot.hash == hash && is(slot.number) {
                return Some(slot.number);
            }
            at += 1;
        }
    }

    /// Adds a number, which is not there yet and below [`u32::MAX`].
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        // At most half full, or a search could become long.
        if 2 * (self.used + 1) > self.slots.len() {
            let old = std::mem::take(self);
            self.slots = std::iter::repeat_n(Slot::FREE, (2 * old.slots.len()).max(8)).collect();
            old.slots.iter().filter(|slot| slot.number != Slot::FREE.number).for_each(|slot| self.put(*slot));
        }
        self.put(Slot { hash, number });
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots.get(at).is_some_and(|other| other.number != Slot::FREE.number) {
            at = (at + 1) & mask;
        }
        self.slots.set(at, slot);
        self.used += 1;
    }
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
        // A full circle of one hash still ends.
        let mut same = Index::default();
        (0..100).for_each(|n| same.insert(7, n));
        assert!((0..100).all(|n| same.find(7, |found| found == n) == Some(n)));
        assert_eq!(same.find(7, |_| false), None);
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
