//! A fixed piece of work for counting instructions: a dns-b of middling size answers batches of 32
//! questions of all common sorts, mixed, or of one sort alone, the same in every run. Takes the number
//! of batches, and the sort by its name.
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*answer_batch*' target/release/examples/answer_workload 1000
//! ```
//!
//! What is collected is the answering alone; divided by the number of questions, which is printed, it
//! is the same in every run but for a hair.

#[path = "../benches/support/mod.rs"]
mod support;

use std::{hint::black_box, process::ExitCode};

use dglb_core::dns::{DECISIONS, Decision, Exchange, Handled, Names, Responder};

use support::content::{Sent, Size, Sort};

const SIZE: Size =
    Size { prefixes_v4: 40_000, prefixes_v6: 10_000, dns_lbs: 1_000, zones: 10, services: 100, ranked: 5 };
/// Questions that a thread takes from its socket at once.
const BATCH: usize = 32;
/// Different questions of each sort; they come again after that.
const EACH: usize = 1_024;

fn main() -> ExitCode {
    let Some(batches) = std::env::args().nth(1).and_then(|n| n.parse::<usize>().ok()) else {
        return usage();
    };
    let sorts: Vec<Sort> = match std::env::args().nth(2) {
        Some(name) => Sort::ALL.into_iter().filter(|sort| sort.name() == name).collect(),
        None => Sort::ALL.into(),
    };
    if sorts.is_empty() {
        return usage();
    }
    let directory = SIZE.directory();
    let of_each: Vec<_> = sorts.iter().map(|sort| SIZE.questions(&directory, *sort, EACH)).collect();
    let mixed: Vec<&Sent> = (0..EACH).flat_map(|n| of_each.iter().map(move |questions| &questions[n])).collect();
    let responder = Responder::with_defaults(&directory);
    let mut replies = vec![[0; 1_232]; BATCH];
    let mut questions = mixed.into_iter().cycle();
    let (mut counts, mut names) = ([0; DECISIONS], Names::default());
    for _ in 0..batches {
        let mut exchanges: Vec<Exchange<'_>> = replies
            .iter_mut()
            .zip(questions.by_ref())
            .map(|(reply, sent)| Exchange { asked: sent.asked(), reply, handled: Handled::DROPPED })
            .collect();
        answer_batch(&responder, black_box(&mut exchanges), &mut names);
        for exchange in &exchanges {
            counts[exchange.handled.decision as usize] += 1;
        }
    }
    println!("{} questions answered in batches of {BATCH}", batches * BATCH);
    for (decision, count) in Decision::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
        println!("{}: {count}", decision.as_str());
    }
    ExitCode::SUCCESS
}

/// Apart, so that instructions can be counted in here and nowhere else.
#[inline(never)]
fn answer_batch(responder: &Responder<'_>, exchanges: &mut [Exchange<'_>], names: &mut Names) {
    responder.respond_batch(exchanges, names);
}

fn usage() -> ExitCode {
    let names = Sort::ALL.map(|sort| format!("\"{}\"", sort.name()));
    eprintln!("usage: answer_workload BATCHES [SORT]\nsorts: {}", names.join(", "));
    ExitCode::from(2)
}
