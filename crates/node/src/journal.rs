//! A file of records, a line of JSON each, that only ever holds the last of them: when it is full it is set
//! aside under a number, and the oldest of those goes.
//!
//! Invariant: whoever has a record to write never waits for the disk. What cannot be taken is counted and gone,
//! and what is in a file is whole: a line that was cut off is taken back.
//!
//! Why no crate: those there are rotate, but none takes back what a full disk has cut off.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::lifecycle::{StartError, Tasks};

/// Records that may wait for the disk.
const WAITING: usize = 256;
/// Owner and group may read what was decided; nobody else.
const MODE: u32 = 0o640;

/// Where records go, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file that is written to; older ones have `.1`, `.2`, … behind its name, the oldest last.
    pub file: PathBuf,
    /// Most octets of one file.
    pub size: u64,
    /// Most files, this one among them; at least 1.
    pub files: u32,
}

/// What became of records; clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Those that are in the file.
    pub written: Counter,
    /// Those that are not, by why.
    pub lost: Family<Reason, Counter>,
}

/// Why a record is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// `busy`: too many waited; `disk`: it was refused; `size`: longer than a file may be.
    pub reason: &'static str,
}

/// The way to the thread that writes.
#[derive(Debug)]
pub struct Journal<T> {
    records: mpsc::Sender<T>,
    figures: Figures,
}

impl Figures {
    /// Puts them into a registry, as `dglb_decision_records_…`.
    pub fn register(&self, registry: &mut Registry) {
        let records = registry.sub_registry_with_prefix("dglb_decision_records");
        records.register("written", "Decisions that were put down", self.written.clone());
        for reason in ["busy", "disk", "size"] {
            // Shown from the start, as 0.
            let _ = self.lost.get_or_create(&Reason { reason });
        }
        records.register("lost", "Decisions that could not be put down, by why", self.lost.clone());
    }

    fn lose(&self, reason: &'static str) {
        self.lost.get_or_create(&Reason { reason }).inc();
    }
}

/// Starts a journal if there is to be one; its figures are there in any case.
///
/// # Errors
/// When the system has no room for another thread.
pub fn start<T: Serialize + Send + 'static>(
    settings: Option<Settings>,
    registry: &mut Registry,
    tasks: &mut Tasks,
) -> Result<Option<Journal<T>>, StartError> {
    let figures = Figures::default();
    figures.register(registry);
    let journal = settings.map(|settings| Journal::start(settings, &figures, tasks)).transpose();
    journal.map_err(|error| StartError::Internal(error.to_string()))
}

impl<T: Serialize + Send + 'static> Journal<T> {
    /// Opens the file and starts the thread, which ends when this value is dropped. A file that cannot be had
    /// now is tried again with each record.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn start(settings: Settings, figures: &Figures, tasks: &mut Tasks) -> io::Result<Self> {
        let (records, waiting) = mpsc::channel(WAITING);
        let (writer, counted) = (Writer { settings, open: None }, figures.clone());
        tasks.spawn_thread("decisions", move || run(writer, waiting, &counted))?;
        Ok(Self { records, figures: figures.clone() })
    }

    /// Hands a record over, or counts it as lost. Never waits.
    pub fn write(&self, record: T) {
        if self.records.try_send(record).is_err() {
            self.figures.lose("busy");
        }
    }
}

fn run<T: Serialize>(mut writer: Writer, mut records: mpsc::Receiver<T>, figures: &Figures) {
    let mut failing = false;
    while let Some(record) = records.blocking_recv() {
        let Ok(mut line) = serde_json::to_vec(&record) else { continue };
        line.push(b'\n');
        if line.len() as u64 > writer.settings.size {
            figures.lose("size");
            continue;
        }
        match writer.append(&line) {
            Ok(()) => {
                figures.written.inc();
                failing = false;
            }
            Err(error) => {
                figures.lose("disk");
                if !failing {
                    let file = writer.settings.file.display();
                    tracing::warn!(%file, %error, "decisions cannot be put down; they are made all the same");
                }
                failing = true;
            }
        }
    }
}

/// The files.
struct Writer {
    settings: Settings,
    /// The present one with its length; none before the first record and after an error.
    open: Option<(File, u64)>,
}

impl Writer {
    /// Puts a line down, whole or not at all.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = match self.open.take() {
            Some(open) => open,
            None => open(&self.settings.file)?,
        };
        if length > 0 && length + line.len() as u64 > self.settings.size {
            drop(file);
            self.rotate()?;
            (file, length) = open(&self.settings.file)?;
        }
        if let Err(error) = file.write_all(line) {
            // Else the next opening takes it back.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.open = Some((file, length + line.len() as u64));
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        let Settings { file, files, .. } = &self.settings;
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let rename = |from: PathBuf, to: PathBuf| match fs::rename(from, to) {
            Err(error) if !missing(&error) => Err(error),
            _ => Ok(()),
        };
        // There were more before the setting was changed.
        (*files..).map(|n| numbered(file, n)).take_while(|old| old.exists()).try_for_each(fs::remove_file)?;
        if *files <= 1 {
            return fs::remove_file(file).or_else(|error| if missing(&error) { Ok(()) } else { Err(error) });
        }
        (2..*files).rev().try_for_each(|n| rename(numbered(file, n - 1), numbered(file, n)))?;
        rename(file.clone(), numbered(file, 1))
    }
}

/// Opens a file to write behind its last whole line; returns its length up to there.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(MODE).open(path)?;
    let mut length = file.metadata()?.len();
    let whole = length;
    // From behind, in blocks, to the last end of a line.
    while length > 0 {
        let start = length.saturating_sub(4_096);
        let mut block = vec![0; (length - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(end) = block.iter().rposition(|octet| *octet == b'\n') {
            length = start + end as u64 + 1;
            break;
        }
        length = start;
    }
    if length < whole {
        file.set_len(length)?;
    }
    Ok((file, length))
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// A journal's files that there are, the oldest first.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = (1..).map(|n| numbered(path, n)).take_while(|path| path.exists()).collect();
    found.reverse();
    found.push(path.to_owned());
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(directory: &Path, size: u64, files: u32) -> Settings {
        Settings { file: directory.join("x.jsonl"), size, files }
    }

    fn read(path: &Path) -> String {
        files(path).iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    #[test]
    fn the_last_lines_are_kept_in_as_many_files_as_may_be() {
        let directory = tempfile::tempdir().unwrap();
        for most in 1..=3_u32 {
            let settings = settings(directory.path(), 10, most);
            let mut writer = Writer { settings: settings.clone(), open: None };
            for n in 0..10 {
                writer.append(format!("{n}123\n").as_bytes()).unwrap();
            }
            let kept: String = (10 - 2 * most..10).map(|n| format!("{n}123\n")).collect();
            assert_eq!(read(&settings.file), kept, "{most} files of two lines");
            // Another run goes on where the first has ended.
            Writer { settings: settings.clone(), open: None }.append(b"9\n").unwrap();
            assert_eq!(read(&settings.file), kept[10..].to_owned() + "9\n");
            // One that may keep fewer takes the rest away.
            let fewer = Settings { files: 1.max(most - 1), ..settings.clone() };
            let left = fewer.files as usize;
            let mut writer = Writer { settings: fewer, open: None };
            (0..4).for_each(|_| writer.append(b"x123\n").unwrap());
            assert_eq!(files(&settings.file).len(), left);
            files(&settings.file).iter().for_each(|file| fs::remove_file(file).unwrap());
        }
    }

    #[test]
    fn what_was_cut_off_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1 << 20, 2);
        for (before, kept) in [("a\nb", "a\n"), ("b", ""), ("", ""), (&format!("a\n{}", "b".repeat(9_999)), "a\n")] {
            fs::write(&settings.file, before).unwrap();
            Writer { settings: settings.clone(), open: None }.append(b"c\n").unwrap();
            assert_eq!(fs::read_to_string(&settings.file).unwrap(), format!("{kept}c\n"));
        }
    }

    /// `/dev/full` is a disk that is always full.
    #[test]
    fn a_full_disk_is_counted_and_nobody_waits_for_it() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut tasks = Tasks::on(runtime.handle().clone());
        let directory = tempfile::tempdir().unwrap();
        let (bad, good) = (Figures::default(), Figures::default());
        let full = Settings { file: "/dev/full".into(), size: 100, files: 2 };
        let journal = Journal::start(full, &bad, &mut tasks).unwrap();
        let other = Journal::start(settings(directory.path(), 100, 2), &good, &mut tasks).unwrap();
        for n in 0..5 {
            journal.write(n);
            other.write(n);
        }
        other.write(10_u64.pow(15));
        drop((journal, other));
        let stopped = runtime.block_on(tasks.stop(Duration::from_secs(10)));
        assert_eq!(stopped, crate::lifecycle::Stopped::default());
        let lost = |figures: &Figures, reason| figures.lost.get_or_create(&Reason { reason }).get();
        assert_eq!((bad.written.get(), lost(&bad, "disk")), (0, 5));
        assert_eq!((good.written.get(), lost(&good, "disk"), lost(&good, "busy")), (6, 0, 0));
        let text = read(&directory.path().join("x.jsonl"));
        assert_eq!(text, "0\n1\n2\n3\n4\n1000000000000000\n");
    }
}
