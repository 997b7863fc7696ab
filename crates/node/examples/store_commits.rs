//! How long a commit of the store takes, by the number of records in it: what an acknowledgement waits
//! for. The store has 10 000 records of 500 octets, as dns-b has of as many DNS-LBs with 25 entries.
//!
//! `cargo run --release -p dglb-node --example store_commits [DIRECTORY]`; the directory is on the disk
//! that is to be measured, by default the present one.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use dglb_node::store::{Batch, Schema, Store};

const TABLE: &str = "records";
static SCHEMA: Schema = Schema { kind: "measurement", format: 1, tables: &[TABLE], upgrades: &[] };

const RECORDS: u32 = 10_000;
const OCTETS: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let beside = env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let directory = tempfile::tempdir_in(beside)?;
    let path = directory.path().join("measured.redb");
    let store = Store::open(&path, &SCHEMA)?.store;
    let mut next = 1_u32;
    let mut batch = |records: u32, all: bool| {
        let mut batch = Batch::default();
        for n in 0..records {
            // A multiplicative generator: every number below the modulus once in its period.
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = if all { n } else { (next >> 8) % RECORDS };
            batch.put(TABLE, format!("lb{number}"), vec![next as u8; OCTETS]);
        }
        batch
    };
    store.commit(&batch(RECORDS, true))?;
    println!("records    commits   median      99 %   records a second");
    for (records, commits) in [(1, 300), (10, 300), (100, 200), (1_000, 50), (10_000, 10)] {
        let mut times = Vec::with_capacity(commits);
        for _ in 0..commits {
            let batch = batch(records, false);
            let begin = Instant::now();
            store.commit(&batch)?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        let (median, most) = (times[commits / 2], times[commits * 99 / 100]);
        let total: Duration = times.iter().sum();
        let rate = f64::from(records) * commits as f64 / total.as_secs_f64();
        println!("{records:>7} {commits:>10} {median:>8.1?} {most:>9.1?} {rate:>18.0}");
    }
    drop(store);
    let begin = Instant::now();
    drop(Store::open(&path, &SCHEMA)?);
    println!(
        "opened and checked again, {} MB, in {:.1?}",
        std::fs::metadata(&path)?.len() / 1_000_000,
        begin.elapsed()
    );
    Ok(())
}
