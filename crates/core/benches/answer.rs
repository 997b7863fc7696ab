//! Packet in, packet out, over a directory of the size that the design asks for: 1 000 000 IPv4 and
//! 250 000 IPv6 prefixes, 10 000 DNS-LBs, 1 000 services, 100 000 rankings. Fails where that takes
//! 1.5 GiB of memory or more.
//!
//! With `DGLB_BENCH_FULL=1` in the environment every DNS-LB ranks every service: 10 000 000
//! rankings, and a minute until the first figure.

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use dglb_core::{
    directory::Directory,
    dns::{Exchange, Handled, Responder},
};

use support::{
    DNS_LBS,
    content::{self, Sent, Size, Sort},
};

const SIZE: Size =
    Size { prefixes_v4: 1_000_000, prefixes_v6: 250_000, dns_lbs: DNS_LBS, zones: 100, services: 1_000, ranked: 10 };
/// Questions that a thread takes from its socket at once.
const BATCH: usize = 32;
/// Questions in turn: enough that what they need is seldom in a cache when it comes again.
const QUESTIONS: usize = 2_048 * BATCH;
/// Most memory for everything at that size.
const MOST_MEMORY: usize = 3 << 29;

fn answers(c: &mut Criterion) {
    let full = std::env::var_os("DGLB_BENCH_FULL").is_some_and(|v| v == "1");
    let size = if full { Size { ranked: SIZE.services, ..SIZE } } else { SIZE };
    let before = support::resident();
    let directory = size.directory();
    let memory = support::resident() - before;
    println!("memory with {} rankings: {} MiB", size.dns_lbs as usize * size.ranked, memory >> 20);
    assert!(full || memory < MOST_MEMORY, "{memory} octets are too many");
    let mut group = c.benchmark_group("answer");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    for sort in Sort::ALL {
        let questions = size.questions(&directory, sort, QUESTIONS);
        single(&mut group, sort.name(), &directory, &questions);
        batch(&mut group, sort.name(), &directory, &questions);
    }
    group.finish();
}

/// Which question comes next depends on the last answer, so nothing overlaps.
fn single(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}, single"), |b| {
        let (mut at, mut length, mut reply) = (0, 0, [0; 1_232]);
        b.iter(|| {
            at = (at + 1 + (length & 1)) % questions.len();
            length = content::ask(directory, &questions[at], &mut reply).length;
            length
        });
    });
}

/// As a serving thread does it.
fn batch(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("{name}, batch of {BATCH}"), |b| {
        let responder = Responder::with_defaults(directory);
        let mut batches = questions.chunks_exact(BATCH).cycle();
        let mut replies = vec![[0; 1_232]; BATCH];
        b.iter(|| {
            let batch = batches.next().unwrap_or_default();
            let mut exchanges: arrayvec::ArrayVec<Exchange<'_>, BATCH> = batch
                .iter()
                .zip(&mut replies)
                .map(|(sent, reply)| Exchange { asked: sent.asked(), reply, handled: Handled::DROPPED })
                .collect();
            responder.respond_batch(&mut exchanges);
            black_box(&exchanges);
        });
    });
}

criterion_group!(benches, answers);
criterion_main!(benches);
