//! Room for as many connections as may be open at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for all else: sockets, probes, files.
const OTHERS: u64 = 1_024;

/// What all callers together have asked for.
static WANTED: AtomicU64 = AtomicU64::new(OTHERS);

/// Raises the number of files that this process may have open by so many connections of one `kind`,
/// where that is needed and allowed; many systems start a service with 1 024, but let it have more.
/// What cannot be had is told.
pub(crate) fn make_room(kind: &str, connections: usize) {
    let needed = WANTED.fetch_add(connections as u64, Relaxed).saturating_add(connections as u64);
    let mut limit = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let Some(current) = limit.current.filter(|current| *current < needed) else { return };
    let granted = limit.maximum.map_or(needed, |most| most.min(needed));
    limit.current = Some(granted);
    let granted = if setrlimit(Resource::Nofile, limit).is_ok() { granted } else { current };
    if granted < needed {
        tracing::warn!(
            "with {connections} {kind}, {needed} files may be open at once, but only {granted} are allowed; \
             raise LimitNOFILE or ulimit -n"
        );
    }
}
