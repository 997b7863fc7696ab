//! Many worlds, each with faults of its own. `DGLB_SIM_SEED=n` runs that one alone and prints what
//! happens in it; `DGLB_SIM_FAULTS=k` leaves all but its first `k` faults out; `DGLB_SIM_SEEDS=n`
//! says how many are run.

use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use dglb_sim::{Options, Summary, Violation, oracle::Counts, run, shrink};

/// Worlds in a run, unless the environment says otherwise.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: \"{text}\" is no number")))
}

/// What a person needs to go on with.
fn told(violation: &Violation, options: &Options) -> String {
    let (fewer, shown) = shrink(violation, options);
    let left = dglb_sim::plan::draw(violation.seed, dglb_sim::plan::Size::draw(violation.seed));
    let left: Vec<String> = left
        .iter()
        .enumerate()
        .filter(|(number, _)| !fewer.without.contains(number))
        .map(|(number, (at, fault))| format!("  {number}: at {at} ms {fault:?}"))
        .collect();
    format!(
        "{violation}\nwith these faults alone: {shown}\n{}\nDGLB_SIM_SEED={} cargo test -p dglb-sim --test seeds -- \
         --nocapture\n",
        left.join("\n"),
        violation.seed
    )
}

fn run_all(seeds: u64) -> Result<Vec<Summary>, String> {
    let next = AtomicU64::new(0);
    let worker = || -> Result<Vec<Summary>, String> {
        let mut summaries = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(summaries);
            }
            match run(seed, &Options::default()) {
                Ok(summary) => summaries.push(summary),
                Err(violation) => {
                    next.store(seeds, Ordering::Relaxed);
                    return Err(told(&violation, &Options::default()));
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let done: Vec<_> = workers.into_iter().map(|w| w.join().expect("no panic in a world")).collect();
        done.into_iter().collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().flatten().collect())
    })
}

fn total(summaries: &[Summary]) -> Counts {
    summaries.iter().map(|s| s.counts).fold(Counts::default(), |mut sum, c| {
        sum.acknowledged += c.acknowledged;
        sum.stale += c.stale;
        sum.expired += c.expired;
        sum.links += c.links;
        sum.duplicates += c.duplicates;
        sum.replaced += c.replaced;
        sum.slow += c.slow;
        sum.silent += c.silent;
        sum.referred += c.referred;
        sum.editions += c.editions;
        sum.deltas += c.deltas;
        sum.restored += c.restored;
        sum.looks += c.looks;
        sum
    })
}

#[test]
fn every_invariant_holds_in_every_world() {
    if let Some(seed) = number("DGLB_SIM_SEED") {
        let most_faults = number("DGLB_SIM_FAULTS").map(|n| n as usize);
        let options = Options { verbose: true, most_faults, ..Options::default() };
        match run(seed, &options) {
            Ok(summary) => println!("{summary:?}"),
            Err(violation) => panic!("{violation}"),
        }
        return;
    }
    let seeds = number("DGLB_SIM_SEEDS").unwrap_or(SEEDS);
    let summaries = run_all(seeds).unwrap_or_else(|text| panic!("{text}"));
    let counts = total(&summaries);
    println!("{seeds} worlds, {} happenings: {counts:?}", summaries.iter().map(|s| s.happenings).sum::<u64>());
    // A world in which nothing goes wrong proves nothing: on average all of it comes about.
    for (what, count) in [
        ("acknowledged", counts.acknowledged),
        ("expired", counts.expired),
        ("duplicates", counts.duplicates),
        ("replaced", counts.replaced),
        ("slow", counts.slow),
        ("silent", counts.silent),
        ("referred", counts.referred),
        ("editions", counts.editions),
        ("deltas", counts.deltas),
        ("restored", counts.restored),
    ] {
        assert!(count >= seeds / 20, "{what} came about {count} times in {seeds} worlds");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14, 159] {
        let one = run(seed, &Options::default());
        assert_eq!(one, run(seed, &Options::default()), "seed {seed}");
    }
}
