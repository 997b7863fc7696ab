//! Every invariant can fail: each planted bug is caught, and by the invariant that it breaks.

use dglb_sim::{Invariant, Options, plant::Plant, run};

/// Worlds in which a bug has to show.
const SEEDS: u64 = 200;

/// In how many of the first worlds the bug shows, up to the first one.
fn caught(plant: Plant) -> Option<(u64, Invariant, String)> {
    let options = Options { plant: Some(plant), ..Options::default() };
    (0..SEEDS).find_map(|seed| run(seed, &options).err().map(|v| (seed, v.invariant, v.text)))
}

#[test]
fn each_bug_is_caught_by_its_invariant() {
    let mut missed = Vec::new();
    for (plant, invariant) in Plant::ALL {
        match caught(plant) {
            Some((_, by, _)) if by == invariant => {}
            other => missed.push(format!("{plant:?} should break {invariant:?}, but: {other:?}")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_invariant_has_a_bug() {
    let broken: std::collections::BTreeSet<Invariant> = Plant::ALL.iter().map(|(_, invariant)| *invariant).collect();
    let all = [
        Invariant::Served,
        Invariant::Expired,
        Invariant::Converged,
        Invariant::Whole,
        Invariant::Newest,
        Invariant::OneLink,
        Invariant::Bounded,
        Invariant::Known,
    ];
    assert!(all.iter().all(|invariant| broken.contains(invariant)), "{broken:?}");
}
