//! Packet in, packet out, over a directory of the size that the design asks for: 1 000 000 IPv4 and
//! 250 000 IPv6 prefixes, 10 000 DNS-LBs, 1 000 services, 100 000 rankings. Fails where that takes
//! 1.5 GiB of memory or more.
//!
//! With `DGLB_BENCH_FULL=1` in the environment every DNS-LB ranks every service: 10 000 000
//! rankings, and a minute until the first figure.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

mod support;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use dglb_core::{
    directory::Directory,
    dns::{Asked, Exchange, Handled, Names, Responder},
};

use support::{
    DNS_LBS,
    content::{Sent, Size, Sort},
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

/// Room for what a socket hands over.
struct Received {
    buffers: Vec<[u8; 512]>,
    replies: Vec<[u8; 1_232]>,
}

impl Received {
    fn new() -> Self {
        Self { buffers: vec![[0; 512]; BATCH], replies: vec![[0; 1_232]; BATCH] }
    }

    /// Puts a batch where the kernel would have put it, and has it answered; how long that took.
    fn answered(&mut self, batch: &[Sent], answer: impl FnOnce(&mut [Exchange<'_>])) -> Duration {
        for (buffer, sent) in self.buffers.iter_mut().zip(batch) {
            buffer[..sent.packet.len()].copy_from_slice(&sent.packet);
        }
        let packets = batch.iter().zip(&self.buffers).zip(&mut self.replies);
        let mut exchanges: ArrayVec<Exchange<'_>, BATCH> = packets
            .map(|((sent, buffer), reply)| {
                let asked = Asked { packet: &buffer[..sent.packet.len()], ..sent.asked() };
                Exchange { asked, reply, handled: Handled::DROPPED }
            })
            .collect();
        let start = Instant::now();
        answer(&mut exchanges);
        let taken = start.elapsed();
        black_box(&exchanges);
        taken
    }
}

/// One question after the other, of which each waits for memory by itself: the time of one.
fn single(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    let responder = Responder::with_defaults(directory);
    let one_by_one = |exchanges: &mut [Exchange<'_>]| {
        for Exchange { asked, reply, handled } in exchanges {
            // What comes next waits for what was before, as it does between two system calls.
            *handled = black_box(responder.respond(black_box(asked), reply));
        }
    };
    measure(group, &format!("{name}, single"), questions, one_by_one);
}

/// As a serving thread does it: the time of one question in a batch.
fn batch(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Directory, questions: &[Sent]) {
    let (responder, mut names) = (Responder::with_defaults(directory), Names::default());
    measure(group, &format!("{name}, in a batch"), questions, |exchanges| {
        responder.respond_batch(exchanges, &mut names)
    });
}

/// Prints the median over all batches, which is steady even where other work interrupts, and has
/// criterion find the mean.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    questions: &[Sent],
    mut answer: impl FnMut(&mut [Exchange<'_>]),
) {
    let mut received = Received::new();
    let mut batches = questions.chunks_exact(BATCH).cycle();
    let mut next = || received.answered(batches.next().unwrap_or_default(), &mut answer);
    let mut times: Vec<Duration> = (0..QUESTIONS / BATCH).map(|_| next()).collect();
    times.sort_unstable();
    println!("{name}: median {} ns", times[times.len() / 2].as_nanos() / BATCH as u128);
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| (0..iterations).map(|_| next()).sum::<Duration>() / BATCH as u32);
    });
}

criterion_group!(benches, answers);
criterion_main!(benches);
