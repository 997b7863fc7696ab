//! The map table at 1 000 000 IPv4 and 250 000 IPv6 prefixes.

mod support;

use std::{hint::black_box, net::IpAddr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dglb_core::table::{LbIndex, Located};

use support::{DNS_LBS, Random};

const V4: usize = 1_000_000;
const V6: usize = 250_000;

/// Questions that a thread takes from its socket at once.
const BATCH: usize = 32;

/// Addresses in turn: enough that none is still in a cache when it comes again.
const ADDRESSES: usize = 4096 * BATCH;

fn lookup(c: &mut Criterion) {
    let registry = support::registry(V4, V6);
    let table = registry.table();
    let mut random = Random(3);
    let (v4, v6) = (support::mapped(table, false, ADDRESSES), support::mapped(table, true, ADDRESSES));
    let sets: [(&str, Vec<IpAddr>, u8); 6] = [
        ("ipv4, anywhere", (0..ADDRESSES).map(|_| random.v4()).collect(), 32),
        ("ipv4, mapped", v4.clone(), 32),
        ("ipv4, mapped, source 24", v4, 24),
        ("ipv6, anywhere", (0..ADDRESSES).map(|_| random.v6()).collect(), 128),
        ("ipv6, mapped", v6.clone(), 128),
        ("ipv6, mapped, source 56", v6, 56),
    ];
    let mut group = c.benchmark_group("table/lookup");
    let value = |located: Located<'_>| u32::from(located.scope) + located.group.map_or(0, |g| g.members()[0].lb.0);
    for (name, addresses, source) in &sets {
        let asked: Vec<_> = addresses.iter().map(|address| (*address, *source)).collect();
        group.throughput(Throughput::Elements(1));
        // Which address comes next depends on the last answer, so nothing overlaps.
        group.bench_function(format!("{name}, single"), |b| {
            let (mut at, mut last) = (0, 0);
            b.iter(|| {
                at = (at + 1 + (last as usize & 1)) % asked.len();
                last = value(table.lookup(asked[at].0, asked[at].1));
                last
            });
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("{name}, batch of {BATCH}"), |b| {
            let mut batches = asked.chunks_exact(BATCH).cycle();
            let mut located = [Located::default(); BATCH];
            b.iter(|| {
                table.lookup_batch(batches.next().unwrap_or_default(), &mut located);
                located.iter().fold(0, |sum, l| sum ^ value(*l))
            });
        });
    }
    group.finish();
}

fn update(c: &mut Criterion) {
    let mut registry = support::registry(V4, V6);
    let mut random = Random(4);
    let mut group = c.benchmark_group("table/update");
    for (name, v6) in [("ipv4", false), ("ipv6", true)] {
        // The clones stand for readers: what they can see is copied and not changed in place.
        group.bench_function(format!("{name}, one entry added and removed"), |b| {
            b.iter(|| {
                let seen = registry.table().clone();
                let claim = random.claim(v6);
                registry.add(LbIndex(DNS_LBS), 1, None, [claim]).expect("far within the bound");
                let next = registry.table().clone();
                registry.remove(LbIndex(DNS_LBS), [claim.prefix]);
                black_box((seen, next))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, update);
criterion_main!(benches);
