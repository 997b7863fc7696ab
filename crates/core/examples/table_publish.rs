//! How long until a change to a table of 1 250 000 prefixes can be seen by readers: 10 000 changes
//! of one entry each, published while two threads look up addresses. Fails where the 99th
//! percentile is 1 ms or more.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

#[path = "../benches/support/mod.rs"]
mod support;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use dglb_core::{
    published::{Published, Publisher},
    table::{Claim, LbIndex, MapTable, Registry},
};

use support::{DNS_LBS, Random};

const UPDATES: usize = 10_000;
const READERS: u64 = 2;
const LB: LbIndex = LbIndex(DNS_LBS);
const BOUND: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    let before = support::resident();
    let start = Instant::now();
    let mut registry = support::registry(1_000_000, 250_000);
    let prefixes = registry.table().len();
    println!("{prefixes} prefixes in {} groups, filled in {:.1?}", registry.groups(), start.elapsed());
    let (table, all) = (registry.table().bytes(), support::resident() - before);
    println!("bytes per prefix: {} in the table, {} with the registry", table / prefixes, all / prefixes);

    let mut publisher = Publisher::new(registry.table().clone());
    let (stop, looked_up) = (AtomicBool::new(false), AtomicU64::new(0));
    let times = thread::scope(|scope| {
        for seed in 0..READERS {
            let reader = publisher.reader();
            let (stop, looked_up) = (&stop, &looked_up);
            scope.spawn(move || read(&reader, Random(seed), stop, looked_up));
        }
        let times = write(&mut registry, &mut publisher);
        stop.store(true, Relaxed);
        times
    });
    println!("{} lookups by {READERS} readers meanwhile", looked_up.load(Relaxed));
    println!("{} old versions still held", publisher.retired());
    let permille = |n| times[times.len() * n / 1000];
    println!("seen after: median {:?}, 99 % {:?}, 99.9 % {:?}", permille(500), permille(990), permille(999));
    if permille(990) < BOUND { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Batches of questions against whatever is published, as a serving thread does it.
fn read(published: &Published<MapTable>, mut random: Random, stop: &AtomicBool, looked_up: &AtomicU64) {
    while !stop.load(Relaxed) {
        let table = published.load();
        let scopes = (0..32).map(|i| if i % 4 == 0 { random.v6() } else { random.v4() });
        let scopes = scopes.map(|a| u32::from(table.lookup(a, if a.is_ipv4() { 32 } else { 128 }).scope));
        std::hint::black_box(scopes.sum::<u32>());
        looked_up.fetch_add(32, Relaxed);
    }
}

/// Adds, alters and removes single entries. The times, sorted, from the start of each change until
/// a reader that asks for the table is given one with the change.
fn write(registry: &mut Registry, publisher: &mut Publisher<MapTable>) -> Vec<Duration> {
    let mut random = Random(9);
    let reader = publisher.reader();
    let mut held: Vec<Claim> = Vec::new();
    let mut times = Vec::new();
    for i in 0..UPDATES {
        let mut claim = match i % 3 {
            0 => random.claim(i % 4 == 0),
            _ => held.swap_remove(random.below(held.len())),
        };
        let start = Instant::now();
        let removed = i % 3 == 2;
        if removed {
            registry.remove(LB, [claim.prefix]);
        } else {
            claim.preference += 3;
            registry.add(LB, 1, None, [claim]).expect("far within the bound");
        }
        publisher.publish(registry.table().clone());
        let table = reader.load();
        times.push(start.elapsed());

        let group = table.exact(claim.prefix);
        let member = group.and_then(|g| g.members().iter().find(|m| m.lb == LB));
        assert_eq!(member.map(|m| m.preference), (!removed).then_some(claim.preference), "change {i} is not seen");
        held.extend((!removed).then_some(claim));
    }
    times.sort();
    times
}
