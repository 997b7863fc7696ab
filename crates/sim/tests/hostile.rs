//! Hostile peers at a keeper: whatever they say, the honest one is served, and what is held is bounded.
//! `DGLB_SIM_SEED=n` plays that one alone; `DGLB_SIM_SEEDS=n` says how many are played.

use dglb_sim::{
    hostile::{Fault, Tally, play},
    random::Random,
};

/// Plays, unless the environment says otherwise.
const SEEDS: u64 = 400;
/// Octets of one play.
const OCTETS: usize = 4_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn octets(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed, 0x4057);
    (0..OCTETS).map(|_| random.draw() as u8).collect()
}

#[test]
fn the_honest_are_served_whatever_the_others_say() {
    let one = number("DGLB_SIM_SEED");
    let seeds = one.map_or(0..number("DGLB_SIM_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let mut all = Tally::default();
    for seed in seeds {
        let tally = play(&octets(seed), None).unwrap_or_else(|wrong| {
            panic!("{wrong}\nDGLB_SIM_SEED={seed} cargo test -p dglb-sim --test hostile -- --nocapture")
        });
        all.messages += tally.messages;
        all.over_quota += tally.over_quota;
        all.found += tally.found;
    }
    println!("{all:?}");
    if one.is_none() {
        // They really have said something, and too much of it.
        assert!(all.messages > 10_000 && all.over_quota > 1_000 && all.found > 800, "{all:?}");
    }
}

#[test]
fn what_must_hold_can_fail() {
    for (fault, says) in [
        (Fault::HoldsEverything, "is held"),
        (Fault::MixesLinksUp, "sent elsewhere"),
        (Fault::DeafWhenFlooded, "in its name"),
    ] {
        let wrong: Vec<String> = (0..60).filter_map(|seed| play(&octets(seed), Some(fault)).err()).collect();
        assert!(wrong.iter().any(|wrong| wrong.contains(says)), "{fault:?}: {:?}", wrong.first());
    }
}

#[test]
fn an_empty_play_is_a_good_one() {
    assert_eq!(play(&[], None).map(|tally| tally.found), Ok(2));
}
