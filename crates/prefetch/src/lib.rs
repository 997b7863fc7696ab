//! Asks for memory before it is read, so that a batch of questions waits for all of it at once.
//!
//! To read it beforehand would do the same, but a processor cannot go on for long past a read that it waits
//! for, while it goes past this at once.
#![allow(unsafe_code)]

/// Asks for the cache line in which `value` begins, to be read soon. Nothing follows from it but time; what is
/// not at hand on this processor is not done.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    let address = std::ptr::from_ref(value);
    // SAFETY: it reads nothing that anybody sees, writes nothing, and never faults; every x86-64 has SSE.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    // SAFETY: a hint as well, which touches no register but its own and no flag.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn what_is_asked_for_stays_as_it_is() {
        let values: Vec<u64> = (0..1_000).collect();
        values.iter().for_each(prefetch);
        assert!(values.iter().copied().eq(0..1_000));
        // There is no memory behind something of no size.
        prefetch(&());
    }
}
