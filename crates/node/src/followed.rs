//! Files that are looked at every second. What counts is what they hold, since times and inodes
//! lie; and a change counts when it was the same for two looks, since who replaces one of several
//! files is about to replace the others.

use std::{
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Octets of a file that are looked at; those behind them count as unchanged.
const MOST: u64 = 16 << 20;

/// What each file holds, as a hash; `None` for one that cannot be read.
type Look = Vec<Option<u64>>;

/// Some files that belong together.
#[derive(Debug)]
pub(crate) struct Followed {
    paths: Arc<[PathBuf]>,
    /// What was last said to be there.
    known: Look,
    changed: Option<Look>,
}

impl Followed {
    /// Follows these: what they hold now is known.
    pub(crate) fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        Self { known: look(&paths), paths: paths.into(), changed: None }
    }

    /// Waits until the files hold something else than before. Safe to drop and call again.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let paths = Arc::clone(&self.paths);
            // A disk that does not answer holds up nobody else.
            if let Ok(seen) = tokio::task::spawn_blocking(move || look(&paths)).await
                && self.saw(seen)
            {
                return;
            }
        }
    }

    /// Whether this look is the second that shows a change.
    fn saw(&mut self, seen: Look) -> bool {
        if self.known == seen {
            self.changed = None;
        } else if self.changed.as_ref() == Some(&seen) {
            self.known = seen;
            self.changed = None;
            return true;
        } else {
            self.changed = Some(seen);
        }
        false
    }
}

fn look(paths: &[PathBuf]) -> Look {
    paths.iter().map(|path| hash(path)).collect()
}

fn hash(path: &Path) -> Option<u64> {
    let (mut file, mut hasher) = (File::open(path).ok()?.take(MOST), DefaultHasher::new());
    let mut buffer = [0; 8 << 10];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            n => hasher.write(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_and_only_when_it_stays() {
        let mut followed = Followed { paths: Arc::default(), known: vec![Some(1), None], changed: None };
        let mut saw = |a: u64, b: Option<u64>| followed.saw(vec![Some(a), b]);
        assert!(!saw(1, None));
        assert!(!saw(2, None), "the first look at it");
        assert!(!saw(2, Some(3)), "the other file follows");
        assert!(saw(2, Some(3)));
        assert!(!saw(2, Some(3)), "it is known");
        assert!(!saw(1, Some(3)));
        assert!(!saw(2, Some(3)), "it came back");
        assert!(!saw(1, Some(3)));
    }

    #[test]
    fn contents_count_and_times_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(hash(&path), None);
        std::fs::write(&path, "a").unwrap();
        let first = hash(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a").unwrap();
        assert_eq!(hash(&path), Some(first));
        std::fs::write(&path, "b").unwrap();
        assert_ne!(hash(&path), Some(first));
    }
}
