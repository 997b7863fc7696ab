//! Files that are not what was written: flipped bits, cut, overwritten, somebody else's.

use std::fs;

use super::*;

/// Enough for a tree of several levels, and values of several pages.
fn filled(path: &Path) -> BTreeMap<String, String> {
    let store = opened(path, &SCHEMA);
    for part in 0..4_usize {
        let mut batch = Batch::default();
        for number in 0..150_usize {
            let value = vec![b'a' + (number % 26) as u8; (number * 37 + part) % 900];
            batch.put(A, format!("{part}-{number}"), value);
        }
        batch.put(B, format!("{part}"), vec![b'x'; 20_000]);
        store.commit(&batch).unwrap();
    }
    all(&store)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Opens what `damage` has made of the file: all of it is there, or it was set aside with a reason.
/// Says whether it was set aside.
fn open_damaged(name: &str, whole: &[u8], held: &BTreeMap<String, String>, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
    let (directory, path) = file();
    let mut content = whole.to_vec();
    damage(&mut content);
    fs::write(&path, &content).unwrap();
    let opened = Store::open(&path, &SCHEMA).unwrap_or_else(|error| panic!("{name}: {error}"));
    let Some(aside) = opened.set_aside else {
        assert_eq!(all(&opened.store), *held, "{name}");
        return false;
    };
    assert!(!aside.reason.is_empty() && aside.to.exists(), "{name}");
    assert_eq!(all(&opened.store), BTreeMap::new(), "{name}");
    assert_eq!(fs::metadata(&aside.to).unwrap().len(), content.len() as u64, "{name}: what was there is there");
    let mut batch = Batch::default();
    batch.put(A, *b"new", *b"1");
    opened.store.commit(&batch).unwrap();
    drop(directory);
    true
}

#[test]
fn a_file_that_is_none_is_set_aside() {
    let (_directory, path) = file();
    let held = filled(&path);
    let whole = fs::read(&path).unwrap();
    assert!(!open_damaged("untouched", &whole, &held, |_| {}));
    assert!(open_damaged("empty", &whole, &held, Vec::clear));
    assert!(open_damaged("text", &whole, &held, |c| *c = b"identity = 'b1'\n".to_vec()));
    assert!(open_damaged("zeros", &whole, &held, |c| c.fill(0)));
    assert!(open_damaged("noise", &whole, &held, |c| {
        let mut random = Random(1);
        c.iter_mut().for_each(|octet| *octet = random.below(256) as u8);
    }));
    for eighth in 0..8 {
        let length = whole.len() * eighth / 8;
        assert!(open_damaged(&format!("cut to {length}"), &whole, &held, |c| c.truncate(length)));
    }
}

#[test]
fn flipped_bits_are_noticed_before_anything_is_read() {
    let (_directory, path) = file();
    let held = filled(&path);
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let flips = 1 + random.below(4);
        // A third of them near the beginning, where the file says how it is laid out.
        let end = if seed % 3 == 0 { 512 } else { whole.len() };
        let aside = open_damaged(&format!("seed {seed}"), &whole, &held, |c| {
            for _ in 0..flips {
                c[random.below(end)] ^= 1 << random.below(8);
            }
        });
        noticed += usize::from(aside);
    }
    assert!(noticed >= 30, "only {noticed} of 300 did any harm");
}

#[test]
fn a_page_of_zeros_is_noticed() {
    let (_directory, path) = file();
    let held = filled(&path);
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4_096;
    let used = |page: &usize| whole[page * 4_096..][..4_096].iter().any(|octet| *octet != 0);
    let mut noticed = 0;
    for page in (0..pages).filter(used) {
        let aside = open_damaged(&format!("page {page}"), &whole, &held, |c| c[page * 4_096..][..4_096].fill(0));
        noticed += usize::from(aside);
    }
    assert!(noticed >= 10, "only {noticed} pages did any harm");
}
