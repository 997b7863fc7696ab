//! Room for as many connections as may be open at once.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for all else: sockets, links, probes, files.
const OTHERS: u64 = 1_024;

/// Raises the number of files that this process may have open, where that is needed and allowed;
/// many systems start a service with 1 024, but let it have more. What cannot be had is told.
pub(super) fn make_room(connections: usize) {
    let needed = OTHERS + connections as u64;
    let mut limit = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let Some(current) = limit.current.filter(|current| *current < needed) else { return };
    let granted = limit.maximum.map_or(needed, |most| most.min(needed));
    limit.current = Some(granted);
    let granted = if setrlimit(Resource::Nofile, limit).is_ok() { granted } else { current };
    if granted < needed {
        tracing::warn!(
            "{connections} connections need {needed} open files, {granted} are allowed; raise LimitNOFILE or ulimit -n"
        );
    }
}
