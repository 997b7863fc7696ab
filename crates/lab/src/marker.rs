//! Who belongs to which lab. Every process of a lab carries the lab's [`Marker`] in its
//! environment, every directory in its name; the marker names the process that holds the lab, so
//! what a crashed lab left behind can be told from what a living one needs.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::sys::process::signal;

/// The environment variable that holds the marker.
pub const VARIABLE: &str = "DGLB_LAB";
const DIRECTORY_PREFIX: &str = "dglb-lab.";
/// A file in a directory that is to stay when its lab is gone.
const KEPT: &str = "kept";

/// One lab of one process: process id namespace, process id, start time in ticks since boot, and
/// the count of labs that the process made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    namespace: u64,
    process: u32,
    started: u64,
    serial: u32,
}

/// What [`sweep`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Processes killed: id and command.
    pub processes: Vec<(u32, String)>,
    /// Directories removed.
    pub directories: Vec<PathBuf>,
}

impl Marker {
    /// A marker that no other lab has or had.
    pub(crate) fn new() -> io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let process = process::id();
        let started = start_time(process).ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Ok(Self { namespace: process_namespace()?, process, started, serial })
    }

    /// The name of the lab's work directory.
    pub(crate) fn directory_name(&self) -> String {
        format!("{DIRECTORY_PREFIX}{self}")
    }

    /// Kills every process of this lab wherever it has moved to, and waits until they are gone.
    pub(crate) fn kill_all(&self, within: Duration) -> Vec<(u32, String)> {
        kill_marked(within, |marker| marker == *self)
    }

    /// Whether the process that held the lab is gone. Of markers from elsewhere we cannot know.
    fn is_orphaned(&self, namespace: u64) -> bool {
        self.namespace == namespace && start_time(self.process) != Some(self.started)
    }
}

/// Has a lab's directory stay when the lab is gone.
pub(crate) fn keep(directory: &Path) -> io::Result<()> {
    fs::write(directory.join(KEPT), "")
}

/// Removes a lab's directory, if it is not to stay and may be removed; says whether it has.
pub(crate) fn remove_unless_kept(directory: &Path) -> bool {
    !directory.join(KEPT).exists() && fs::remove_dir_all(directory).is_ok()
}

/// Kills the processes and removes the directories, among those in `directories`, of labs whose
/// own process is gone. What belongs to other users is left alone.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn sweep(directories: &Path) -> io::Result<Swept> {
    let namespace = process_namespace()?;
    let mut swept = Swept {
        processes: kill_marked(Duration::from_secs(5), |marker| marker.is_orphaned(namespace)),
        directories: Vec::new(),
    };
    for entry in fs::read_dir(directories)?.flatten() {
        let name = entry.file_name();
        let marker = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY_PREFIX)?.parse::<Marker>().ok());
        if marker.is_some_and(|marker| marker.is_orphaned(namespace)) && remove_unless_kept(&entry.path()) {
            swept.directories.push(entry.path());
        }
    }
    Ok(swept)
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.namespace, self.process, self.started, self.serial)
    }
}

impl FromStr for Marker {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let [Some(namespace), Some(process), Some(started), Some(serial)] = [next(), next(), next(), next()] else {
            return Err(());
        };
        let (Ok(process), Ok(serial), None) = (process.try_into(), serial.try_into(), parts.next()) else {
            return Err(());
        };
        Ok(Self { namespace, process, started, serial })
    }
}

/// Kills until nobody is left: a process may fork while we look.
fn kill_marked(within: Duration, chosen: impl Fn(Marker) -> bool) -> Vec<(u32, String)> {
    let deadline = Instant::now() + within;
    let mut killed: Vec<(u32, String)> = Vec::new();
    loop {
        let alive: Vec<u32> = marked_processes().filter(|&(_, marker)| chosen(marker)).map(|(id, _)| id).collect();
        if alive.is_empty() || Instant::now() >= deadline {
            return killed;
        }
        for id in alive {
            let command = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim_end().to_owned();
            if signal(id, libc::SIGKILL).is_ok() && killed.iter().all(|(known, _)| *known != id) {
                killed.push((id, command));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// All processes whose environment we may read and that carry a marker; dead ones have none.
fn marked_processes() -> impl Iterator<Item = (u32, Marker)> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
        let mut variables = environment.split(|&octet| octet == 0);
        let value = variables.find_map(|v| v.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
        Some((id, std::str::from_utf8(value).ok()?.parse().ok()?))
    })
}

fn process_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Field 22 of `/proc/<id>/stat`; a zombie counts as gone.
fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command, field 2, is in parentheses and may hold anything; the state is field 3.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_survive_their_text_and_differ() {
        let (one, two) = (Marker::new().unwrap(), Marker::new().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.to_string().parse(), Ok(one));
        for bad in ["", "1.2.3", "1.2.3.4.5", "1.2.x.4", "1.-2.3.4", "1.99999999999.3.4"] {
            assert_eq!(bad.parse::<Marker>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn only_the_dead_leave_orphans() {
        let ours = Marker::new().unwrap();
        assert!(!ours.is_orphaned(ours.namespace));
        let before_us = Marker { started: ours.started - 1, ..ours };
        assert!(before_us.is_orphaned(ours.namespace), "the number has been used again");
        assert!(!before_us.is_orphaned(ours.namespace + 1), "somebody else's numbers");
    }

    #[test]
    fn directories_of_dead_labs_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let ours = Marker::new().unwrap();
        let dead = Marker { started: ours.started - 1, ..ours };
        let kept = Marker { serial: ours.serial + 1, ..dead };
        let names = [ours.directory_name(), dead.directory_name(), kept.directory_name()];
        for name in names.into_iter().chain(["dglb-lab.x".into(), "other".into()]) {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        keep(&dir.path().join(kept.directory_name())).unwrap();
        fs::write(dir.path().join(dead.directory_name()).join("file"), "").unwrap();
        assert_eq!(sweep(dir.path()).unwrap().directories, [dir.path().join(dead.directory_name())]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
