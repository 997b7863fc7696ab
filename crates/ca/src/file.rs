//! Files that are there whole or not at all, and keys that are nobody else's from the first octet.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Whether somebody else may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    /// Everybody: certificates and lists.
    ByAll,
    /// The owner alone: keys.
    ByOwner,
}

/// Writes a file in the place of what was there, if anything was.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn write(path: &Path, text: &str, readable: Readable) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What an interrupted run left behind may have had another mode.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = if readable == Readable::ByOwner { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_directory(path)
}

/// Makes a directory that is the owner's alone, with those above it.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A rename is certain only once its directory is on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
