//! Each lane on a processor of its own: what it reads stays in that processor's caches, and no two
//! lanes ever wait for one while another is idle.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor for each of so many lanes: those that this process may use, if they are as many.
/// Fewer or more lanes are better placed by the scheduler, which knows what else runs.
pub(super) fn one_each(lanes: usize) -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    if processors.len() == lanes { processors } else { Vec::new() }
}

/// Keeps the calling thread on a processor. Where the system refuses, the thread runs anywhere, as
/// well as it can.
pub(super) fn keep_to(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    if let Err(error) = sched_setaffinity(None, &only) {
        tracing::warn!(processor, %error, "a lane is not kept on its processor");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_to_its_processor_and_others_do_not() {
        let all = sched_getaffinity(None).unwrap();
        let count = all.count() as usize;
        let each = one_each(count);
        assert_eq!(each.len(), count);
        assert!(one_each(count + 1).is_empty());
        let last = each[count - 1];
        let kept = std::thread::spawn(move || {
            keep_to(last);
            // It cannot have two, so there is no place to go any more.
            one_each(1)
        });
        assert_eq!(kept.join().unwrap(), [last]);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
