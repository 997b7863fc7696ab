//! Processors and what processes use of them: all from `/proc`, so it works for any server.

use std::{fs, io, path::Path};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two processors of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The servers'.
    pub(crate) server: usize,
    /// The client's.
    pub(crate) client: usize,
}

impl Cores {
    /// The first and the last processor that this process may use.
    ///
    /// # Errors
    /// When there is only one, or the system does not tell.
    pub(crate) fn choose() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next_back()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => Err(io::Error::other("two processors are needed: one for the server, one for the client")),
        }
    }
}

/// Keeps the calling thread, and what it starts from now on, on one processor; where it could run
/// until now.
///
/// # Errors
/// When the processor is not there or not allowed.
pub(crate) fn pin(core: usize) -> io::Result<CpuSet> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)?;
    Ok(before)
}

/// Lets the calling thread run there again.
///
/// # Errors
/// When the system does not.
pub(crate) fn unpin(before: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(None, before)?)
}

/// What a process and its descendants have used of processors, in nanoseconds. Exact for threads
/// that sleep; what runs lags by up to a tick.
///
/// # Errors
/// When the process is gone.
pub(crate) fn used(pid: u32) -> io::Result<u64> {
    let of_member = |member| {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{member}/task"))? {
            // A thread may end between the listing and the reading.
            sum += fs::read_to_string(task?.path().join("schedstat")).ok().and_then(|text| runtime(&text)).unwrap_or(0);
        }
        Ok(sum)
    };
    sum_of_family(pid, of_member)
}

/// What the threads of this name of a process have used, in nanoseconds; a name ends at 15 octets.
///
/// # Errors
/// When the process is gone or has no such thread.
pub(crate) fn used_by_threads(pid: u32, name: &str) -> io::Result<u64> {
    let mut sum = None;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end().starts_with(name)) {
            let used = fs::read_to_string(task.join("schedstat")).ok().and_then(|text| runtime(&text));
            sum = Some(sum.unwrap_or(0) + used.unwrap_or(0));
        }
    }
    sum.ok_or_else(|| io::Error::other(format!("process {pid} has no thread {name}")))
}

/// Resident octets of a process and its descendants.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let of_member = |member| Ok(kibibytes(&fs::read_to_string(format!("/proc/{member}/status"))?, "VmRSS:") * 1_024);
    sum_of_family(pid, of_member)
}

/// Most octets that a process has ever had resident.
///
/// # Errors
/// When the process is gone.
pub(crate) fn peak(pid: u32) -> io::Result<u64> {
    Ok(kibibytes(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:") * 1_024)
}

/// The sum over a process and its descendants. A descendant that ended after it was found is left
/// out, as it would be a moment later.
///
/// # Errors
/// When the process itself is gone.
fn sum_of_family(pid: u32, of_member: impl Fn(u32) -> io::Result<u64>) -> io::Result<u64> {
    let descendants = family(pid)?.split_off(1);
    Ok(of_member(pid)? + descendants.into_iter().filter_map(|child| of_member(child).ok()).sum::<u64>())
}

/// A process, first, and its descendants.
fn family(pid: u32) -> io::Result<Vec<u32>> {
    if !Path::new(&format!("/proc/{pid}")).exists() {
        return Err(io::Error::other(format!("process {pid} is gone")));
    }
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        // Every thread has children of its own.
        for task in fs::read_dir(format!("/proc/{}/task", family[at])).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        at += 1;
    }
    Ok(family)
}

/// Of `schedstat`: nanoseconds that a thread has run.
fn runtime(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn figures_of_proc_are_read() {
        assert_eq!(runtime("3818070 12 1\n"), Some(3_818_070));
        assert_eq!(runtime(""), None);
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t   1024 kB\nRssAnon: 5 kB\n", "VmRSS:"), 1_024);
        assert_eq!(kibibytes("", "VmRSS:"), 0);
    }

    #[test]
    fn our_own_use_is_found_and_grows() {
        let pid = std::process::id();
        let before = used(pid).unwrap();
        let mut work = 0_u64;
        while used(pid).unwrap() < before + 20_000_000 {
            work = (0..100_000).fold(work, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(resident(pid).unwrap() > 100_000);
        assert!(peak(pid).unwrap() > 100_000);
        assert!(used_by_threads(pid, "no-such-thread").is_err());
        let name = fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert!(used_by_threads(pid, name.trim_end()).unwrap() > 0);
    }

    #[test]
    fn descendants_that_end_while_they_are_read_are_left_out() {
        let children = "for child in $(seq 500); do /bin/true; done";
        let mut shell = Command::new("sh").args(["-c", children]).spawn().unwrap();
        let mut readings = 0_u32;
        while shell.try_wait().unwrap().is_none() {
            used(std::process::id()).unwrap();
            resident(std::process::id()).unwrap();
            readings += 1;
        }
        assert!(readings > 10, "{readings} readings among 500 children's lives");
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()), "{family:?}");
        assert!(used(child.id()).is_err());
    }
}
