//! Share-nothing must not show (design section 3): a resolver that got a label from one dns-b asks
//! another, while the DNS-LB joins, restarts, moves, is cut off, or its lease ends. It never sees
//! NXDOMAIN, NODATA or a lame answer, and nobody is handed out before every dns-b that it reaches knows
//! it. Seeds draw the order of events; the keepers are the real ones, time is invented, and every
//! verdict is made from real DNS replies.
//!
//! `DGLB_HANDOVER_SEED=17 cargo test -p dglb-scenarios handover -- --nocapture` plays one seed and tells
//! what happens.

mod play;

use play::{Planted, play};

/// How many orders of events are played.
const SEEDS: u64 = 400;

fn seeds() -> Vec<u64> {
    match std::env::var("DGLB_HANDOVER_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => vec![seed],
        _ => (1..=SEEDS).collect(),
    }
}

#[test]
fn no_label_is_denied_by_anybody_whatever_happens_in_which_order() {
    let seeds = seeds();
    let tell = seeds.len() == 1;
    let (mut led, mut referred, mut answered) = (0, 0, 0);
    for seed in &seeds {
        let seen = play(*seed, Planted::Nothing, tell)
            .unwrap_or_else(|wrong| panic!("seed {seed} (DGLB_HANDOVER_SEED={seed} plays it alone): {wrong}"));
        led += seen.led;
        referred += seen.referred;
        answered += seen.answered_by_lbs;
    }
    if !tell {
        // Or nothing was shown.
        assert!(led > 1_000 && referred > 10_000 && answered > 10_000, "{led} {referred} {answered}");
    }
}

/// Each of these is a mistake that a dns-b or a DNS-LB could make.
#[test]
fn planted_mistakes_are_found() {
    for planted in [Planted::EarlyReady, Planted::ForgetsTheZone, Planted::LameAtRestart] {
        assert!((1..=300).any(|seed| play(seed, planted, false).is_err()), "{planted:?} was never found");
    }
}
