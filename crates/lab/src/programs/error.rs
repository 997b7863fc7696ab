//! What can go wrong while a program is prepared, in words for the person who wrote the topology.

use std::io;
use std::path::PathBuf;

/// Why a program could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The `program` entry is not a table with the key `kind`.
    #[error("a program is a table with the key `kind`")]
    NoKind,
    /// There is no such kind of program.
    #[error("there is no program of kind {kind:?}")]
    UnknownKind {
        /// What the table said.
        kind: String,
    },
    /// A key of the table is unknown, missing or of the wrong type.
    #[error("program {kind}: {reason}")]
    Settings {
        /// The program's kind.
        kind: &'static str,
        /// What the TOML reader found.
        reason: String,
    },
    /// The program cannot do what an option asks.
    #[error("program {kind} cannot do {option}")]
    Unsupported {
        /// The program's kind.
        kind: &'static str,
        /// The option as the table has it.
        option: String,
    },
    /// A name that must be a host of the topology is none.
    #[error("there is no host {name:?}")]
    UnknownHost {
        /// The unknown name.
        name: String,
    },
    /// A host has no address of a family that is needed.
    #[error("host {host:?} has no address for {purpose}")]
    NoAddress {
        /// The host.
        host: String,
        /// What it was needed for.
        purpose: String,
    },
    /// A master file cannot be served.
    #[error("zone {origin}: {reason}")]
    Zone {
        /// The zone's origin.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] super::KeyError),
    /// The program is not installed.
    #[error("needs {program}: {install}")]
    Missing {
        /// The executable that was looked for.
        program: &'static str,
        /// The line that installs it on Debian and Ubuntu.
        install: &'static str,
    },
    /// The machine's AppArmor policy keeps the program out of the lab's directories.
    #[error("AppArmor confines {program} ({profile}), so it cannot read the lab's files: {remedy}")]
    Confined {
        /// The executable.
        program: &'static str,
        /// The file of the profile.
        profile: PathBuf,
        /// What the machine's administrator can do about it.
        remedy: String,
    },
    /// A file name in the table leaves the host's directory.
    #[error("file name {name:?} must be a plain name")]
    FileName {
        /// The name as given.
        name: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lab's own executable cannot be found.
    #[error("the lab's own executable: {0}")]
    OwnExecutable(io::Error),
}
