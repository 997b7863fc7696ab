//! Whole sessions of hostile peers against a dns-b's keeper, with time passing: what they say is made of
//! these octets. The honest DNS-LB's resolver is served by it all the while, and of nobody more is held
//! than the quotas allow.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Err(wrong) = dglb_sim::hostile::play(octets, None) {
        panic!("{wrong}");
    }
});
