mod cut;
mod damage;

use std::{collections::BTreeMap, path::Path};

use super::*;

const A: &str = "apples";
const B: &str = "pears";

fn from_0(records: &[Record]) -> Result<Batch, String> {
    let mut batch = Batch::default();
    for record in records {
        match &record.value[..] {
            b"rotten" => return Err("an apple is rotten".to_owned()),
            value => batch.put(A, record.key.as_slice(), [value, b"!"].concat()),
        }
    }
    Ok(batch)
}

fn from_1(records: &[Record]) -> Result<Batch, String> {
    let mut batch = Batch::default();
    for record in records.iter().filter(|record| record.key.starts_with(b"p")) {
        batch.remove(A, record.key.as_slice());
        batch.put(B, record.key.as_slice(), record.value.as_slice());
    }
    Ok(batch)
}

static SCHEMA: Schema = Schema { kind: "test", format: 2, tables: &[A, B], upgrades: &[from_0, from_1] };
static OTHER: Schema = Schema { kind: "other", format: 2, tables: &[A], upgrades: &[from_0, from_1] };
static OLD: Schema = Schema { kind: "test", format: 0, tables: &[A], upgrades: &[] };
static NEW: Schema = Schema { kind: "test", format: 3, tables: &[A, B], upgrades: &[] };

/// Everything in a store, as `table/key` to value.
fn all(store: &Store) -> BTreeMap<String, String> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut all = BTreeMap::new();
    for table in store.schema.tables {
        let each = |key: &[u8], value: &[u8]| {
            all.insert(format!("{table}/{}", text(key)), text(value));
            true
        };
        store.read(table, each).unwrap();
    }
    all
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn opened(path: &Path, schema: &'static Schema) -> Store {
    let opened = Store::open(path, schema).unwrap();
    assert_eq!(opened.set_aside, None);
    opened.store
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.redb");
    (directory, path)
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let (directory, path) = file();
    let store = opened(&path, &SCHEMA);
    let mut batch = Batch::default();
    batch.put(A, *b"x", *b"1");
    batch.put(A, *b"y", *b"2");
    batch.put(B, *b"x", *b"3");
    store.commit(&batch).unwrap();
    let mut batch = Batch::default();
    batch.remove(A, *b"x");
    batch.remove(A, *b"never");
    store.commit(&batch).unwrap();
    assert_eq!((store.count(A).unwrap(), store.count(B).unwrap()), (1, 1));
    drop(store);
    assert_eq!(all(&opened(&path, &SCHEMA)), pairs(&[("apples/y", "2"), ("pears/x", "3")]));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying about");
}

#[test]
fn one_process_at_a_time() {
    let (_directory, path) = file();
    let store = opened(&path, &SCHEMA);
    let error = Store::open(&path, &SCHEMA).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path: locked } if *locked == path), "{error}");
    assert!(matches!(check(&path), Err(TransferError::Open(OpenError::Locked { .. }))));
    drop(store);
    opened(&path, &SCHEMA);
}

#[test]
fn a_directory_that_is_not_there_is_no_fresh_start() {
    let (_directory, path) = file();
    let error = Store::open(&path.join("deeper"), &SCHEMA).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn older_formats_are_brought_up_to_date_step_by_step() {
    let (_directory, path) = file();
    let store = opened(&path, &OLD);
    let mut batch = Batch::default();
    batch.put(A, *b"apple", *b"1");
    batch.put(A, *b"pear", *b"2");
    store.commit(&batch).unwrap();
    drop(store);
    for _ in 0..2 {
        let store = opened(&path, &SCHEMA);
        assert_eq!(all(&store), pairs(&[("apples/apple", "1!"), ("pears/pear", "2!")]), "once");
    }
}

#[test]
fn what_cannot_be_brought_up_to_date_is_set_aside_as_it_was() {
    let (_directory, path) = file();
    let store = opened(&path, &OLD);
    let mut batch = Batch::default();
    batch.put(A, *b"apple", *b"rotten");
    store.commit(&batch).unwrap();
    drop(store);
    let opened = Store::open(&path, &SCHEMA).unwrap();
    let aside = opened.set_aside.unwrap();
    assert!(aside.reason.contains("format 0: an apple is rotten"), "{}", aside.reason);
    assert_eq!(all(&opened.store), BTreeMap::new());
    assert_eq!(all(&self::opened(&aside.to, &OLD)), pairs(&[("apples/apple", "rotten")]));
}

#[test]
fn newer_and_foreign_files_are_set_aside_beside_one_another() {
    let (_directory, path) = file();
    let mut names = Vec::new();
    for (schema, reason) in [(&NEW, "format 3"), (&OTHER, "of other"), (&NEW, "newest known here is 2")] {
        drop(Store::open_existing(&path, &SCHEMA).ok());
        let _ = std::fs::remove_file(&path);
        drop(opened(&path, schema));
        let opened = Store::open(&path, &SCHEMA).unwrap();
        let aside = opened.set_aside.unwrap();
        assert!(aside.reason.contains(reason), "{}", aside.reason);
        assert_eq!(aside.from, path);
        drop(self::opened(&aside.to, schema));
        names.push(aside.to.file_name().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(names, ["test.redb.set-aside-1", "test.redb.set-aside-2", "test.redb.set-aside-3"]);
}

#[test]
fn an_export_can_be_imported() {
    let (_directory, path) = file();
    let store = opened(&path, &SCHEMA);
    let mut batch = Batch::default();
    batch.put(A, *b"plain", *b"\x00\xff");
    batch.put(A, *b"not plain \x00", *b"");
    batch.put(B, *b"", *b"no key");
    store.commit(&batch).unwrap();
    let held = all(&store);
    drop(store);
    let mut text = Vec::new();
    let contents = export(&path, &mut text).unwrap();
    assert_eq!(contents.to_string(), "test format 2, 2 apples, 1 pears");
    assert_eq!(check(&path).unwrap(), contents);
    assert!(text.is_ascii() && text.iter().filter(|c| **c == b'\n').count() == 4);
    assert!(matches!(import(&path, &text[..]), Err(TransferError::Exists { .. })));
    let copy = path.with_file_name("copy.redb");
    assert_eq!(import(&copy, &text[..]).unwrap(), contents);
    let mut again = Vec::new();
    export(&copy, &mut again).unwrap();
    assert_eq!(again, text);
    assert_eq!(all(&opened(&copy, &SCHEMA)), held);
}

#[test]
fn half_an_export_is_no_store() {
    let (directory, path) = file();
    let head = r#"{"store":"test","format":2,"records":{"apples":1,"pears":0}}"#;
    let apple = r#"{"table":"apples","key":"x","value64":"MQ=="}"#;
    for (text, said) in [
        (String::new(), "line 1: there is nothing"),
        (head.to_owned(), "announces test format 2, 1 apples, 0 pears, and has test format 2, 0 apples"),
        (format!("{head}\n{apple}\n{{"), "line 3: EOF"),
        (format!("{head}\n{}", apple.replace("apples", "plums")), "line 2: the first line names no table \"plums\""),
        (format!("{head}\n{}", apple.replace("MQ==", "?")), "line 2: invalid"),
        (format!("{head}\n{}", apple.replace("key", "key64")), "line 2: invalid"),
        (format!("{head}\n{}", r#"{"table":"apples","value64":"MQ=="}"#), "line 2: one of \"key\" and \"key64\""),
        ("[]".to_owned(), "line 1: "),
    ] {
        let error = import(&path, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{error}");
    }
}

#[tokio::test]
async fn batches_become_durable_in_order_and_together() {
    let (_directory, path) = file();
    let (mut tasks, figures) = (crate::lifecycle::Tasks::new(), StoreFigures::default());
    let (gate, opens) = std::sync::mpsc::channel::<()>();
    let first = move |store: &Store| {
        assert_eq!(store.count(A).unwrap(), 0);
        opens.recv().unwrap();
    };
    let mut committer = Committer::start(opened(&path, &SCHEMA), figures.clone(), first, &mut tasks).unwrap();
    assert!(committer.is_idle() && committer.durable() == 0);
    let batch = |key: &[u8]| {
        let mut batch = Batch::default();
        batch.put(A, key, *b"1");
        batch.put(A, *b"last", key);
        batch
    };
    committer.try_commit(3, batch(b"x")).unwrap();
    assert!(!committer.is_idle() && committer.try_commit(4, batch(b"y")).is_err(), "one at a time");
    gate.send(()).unwrap();
    assert_eq!(committer.progress().await, 3);
    assert!(committer.is_idle());
    committer.try_commit(7, batch(b"y")).unwrap();
    committer.finish(8, batch(b"z")).await;
    assert_eq!((figures.commits.get(), figures.failures.get(), figures.failing.get()), (3, 0, 0));
    assert_eq!(tasks.stop(std::time::Duration::from_secs(5)).await, crate::lifecycle::Stopped::default());
    let held = all(&opened(&path, &SCHEMA));
    assert_eq!(held, pairs(&[("apples/last", "z"), ("apples/x", "1"), ("apples/y", "1"), ("apples/z", "1")]));
}

/// The file is not there for a while, as on a disk that fails.
#[tokio::test]
async fn what_cannot_be_written_is_tried_again_until_it_can() {
    let (_directory, path) = file();
    let (mut tasks, figures) = (crate::lifecycle::Tasks::new(), StoreFigures::default());
    drop(opened(&path, &SCHEMA));
    let broken = cut::broken(&path, &SCHEMA);
    let mut committer = Committer::start(broken, figures.clone(), |_| {}, &mut tasks).unwrap();
    let mut batch = Batch::default();
    batch.put(A, *b"x", *b"1");
    committer.try_commit(1, batch).unwrap();
    assert_eq!(committer.progress().await, 1);
    assert_eq!((figures.commits.get(), figures.failing.get()), (1, 0));
    assert!(figures.failures.get() >= 1, "the first attempt failed");
    drop(committer);
    assert_eq!(tasks.stop(std::time::Duration::from_secs(5)).await, crate::lifecycle::Stopped::default());
    assert_eq!(all(&opened(&path, &SCHEMA)), pairs(&[("apples/x", "1")]));
}
