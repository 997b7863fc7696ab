//! A disk that loses power: of what was not synced, any part may have reached it, in any order and
//! torn at the edge of a sector.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// One of the things that a disk is told.
#[derive(Clone, Debug)]
enum Told {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug)]
struct State {
    /// What is read.
    seen: Vec<u8>,
    /// What is there for good.
    synced: Vec<u8>,
    /// What came after.
    unsynced: Vec<Told>,
    /// Orders until the power goes.
    left: usize,
    seed: u64,
}

/// Clones are the same disk.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn new(content: Vec<u8>, left: usize, seed: u64) -> Self {
        let state = State { seen: content.clone(), synced: content, unsynced: Vec::new(), left, seed };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Tells the disk something, if there is power.
    fn tell<T>(&self, tell: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if state.left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        state.left -= 1;
        Ok(tell(&mut state))
    }

    /// What is there when the power comes back.
    fn remains(&self) -> Vec<u8> {
        let mut state = self.0.lock().unwrap();
        let mut content = state.synced.clone();
        for told in std::mem::take(&mut state.unsynced) {
            match told {
                Told::Length(length) if state.chance(2) => content.resize(length, 0),
                Told::Length(_) => {}
                Told::Write(at, octets) => {
                    for (number, sector) in octets.chunks(SECTOR).enumerate() {
                        let at = at + number * SECTOR;
                        if state.chance(2) && at + sector.len() <= content.len() {
                            content[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        content
    }
}

impl State {
    /// Once in so many times.
    fn chance(&mut self, of: u64) -> bool {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)) >> 33).is_multiple_of(of)
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let octets = state.seen.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tell(|state| {
            state.seen.resize(len as usize, 0);
            state.unsynced.push(Told::Length(len as usize));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tell(|state| {
            state.synced = state.seen.clone();
            state.unsynced.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.tell(|state| {
            state.seen[offset as usize..offset as usize + data.len()].copy_from_slice(data);
            state.unsynced.push(Told::Write(offset as usize, data.to_vec()));
        })
    }
}

fn on(disk: &Disk) -> Result<redb::Database, redb::DatabaseError> {
    open::builder().create_with_backend(disk.clone())
}

/// A store at `path` whose disk takes nothing more; the file itself is well.
pub(super) fn broken(path: &Path, schema: &'static Schema) -> Store {
    let disk = Disk::new(Vec::new(), usize::MAX, 0);
    let store = Store::initialize(on(&disk).unwrap(), path, schema).unwrap();
    disk.0.lock().unwrap().left = 0;
    store
}

/// Keys and values of one commit; a value of nothing removes.
fn commits() -> impl Strategy<Value = Vec<Vec<(u8, Option<u16>)>>> {
    let write = (0..40_u8, prop::option::weighted(0.8, 0..3_000_u16));
    prop::collection::vec(prop::collection::vec(write, 1..12), 1..12)
}

fn batch(writes: &[(u8, Option<u16>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in writes {
        let table = if key.is_multiple_of(2) { A } else { B };
        match value {
            // Long ones take pages of their own.
            Some(value) => batch.put(table, [*key], vec![*key; usize::from(*value)]),
            None => batch.remove(table, [*key]),
        }
    }
    batch
}

type Held = BTreeMap<u8, u16>;

fn apply(held: &Held, writes: &[(u8, Option<u16>)]) -> Held {
    let mut held = held.clone();
    for (key, value) in writes {
        match value {
            Some(value) => drop(held.insert(*key, *value)),
            None => drop(held.remove(key)),
        }
    }
    held
}

fn held(store: &Store) -> Held {
    let mut held = Held::new();
    for table in [A, B] {
        let each = |key: &[u8], value: &[u8]| {
            assert!(value.iter().all(|octet| *octet == key[0]), "a value that nobody wrote");
            held.insert(key[0], value.len() as u16);
            true
        };
        store.read(table, each).unwrap();
    }
    held
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whenever the power goes, everything acknowledged is there, and of the commit that was under
    /// way all or nothing.
    #[test]
    fn nothing_acknowledged_is_lost_with_the_power(
        rounds in prop::collection::vec((commits(), 1..120_usize, any::<u64>()), 1..4),
    ) {
        let path = Path::new("disk");
        let disk = Disk::new(Vec::new(), usize::MAX, 0);
        drop(Store::initialize(on(&disk).unwrap(), path, &SCHEMA).unwrap());
        let (mut content, mut acknowledged) = (disk.remains(), Held::new());
        for (commits, left, seed) in rounds {
            let disk = Disk::new(content, usize::MAX, seed);
            let store = Store::prepare(on(&disk).unwrap(), path, &SCHEMA).unwrap();
            disk.0.lock().unwrap().left = left;
            let mut under_way = None;
            for writes in &commits {
                if store.commit(&batch(writes)).is_err() {
                    under_way = Some(apply(&acknowledged, writes));
                    break;
                }
                acknowledged = apply(&acknowledged, writes);
            }
            // The process goes with the power: nothing is written when it closes.
            disk.0.lock().unwrap().left = 0;
            drop(store);
            content = disk.remains();
            let database = on(&Disk::new(content.clone(), usize::MAX, seed)).unwrap();
            let found = held(&Store::prepare(database, path, &SCHEMA).unwrap());
            prop_assert!(found == acknowledged || Some(&found) == under_way.as_ref(), "{found:?} instead of {acknowledged:?}");
            acknowledged = found;
        }
    }
}
