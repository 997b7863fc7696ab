//! What is to be written next. A later word on a key takes the place of an earlier one, so a batch
//! never has more entries than there are keys, however long it waits for the disk.

use std::collections::BTreeMap;

/// Values by key; `None` for a key that is to go.
type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes that reach the file together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(BTreeMap<&'static str, Writes>);

impl Batch {
    /// `key` has this value from now on.
    pub fn put(&mut self, table: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.entry(table).or_default().insert(key.into(), Some(value.into()));
    }

    /// `key` is there no longer.
    pub fn remove(&mut self, table: &'static str, key: impl Into<Vec<u8>>) {
        self.0.entry(table).or_default().insert(key.into(), None);
    }

    /// How many keys it changes.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// The changes of each table, in the order of their keys.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, &Writes)> {
        self.0.iter().map(|(table, writes)| (*table, writes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_key_counts() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.put("a", *b"x", *b"1");
        batch.remove("a", *b"x");
        batch.put("b", *b"x", *b"1");
        batch.put("b", *b"x", *b"2");
        assert_eq!((batch.len(), batch.is_empty()), (2, false));
        let told: Vec<_> = batch.tables().flat_map(|(t, w)| w.values().map(move |v| (t, v.as_deref()))).collect();
        assert_eq!(told, [("a", None), ("b", Some(&b"2"[..]))]);
    }
}
