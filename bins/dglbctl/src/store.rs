//! What a daemon keeps over a restart, as text and back. The daemon must be stopped meanwhile: a store
//! has one process.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Write},
    path::PathBuf,
};

use clap::Subcommand;
use dglb_node::store::{self, OpenError, TransferError};

use crate::cli::{Failure, code};

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Goes through all of a store and says what it holds
    Check {
        /// The file, such as /var/lib/dglb/dns-b.redb
        file: PathBuf,
    },
    /// Writes a store to the standard output, a line of JSON for each record
    Export {
        /// The file
        file: PathBuf,
    },
    /// Makes a store of what an export wrote
    Import {
        /// The file to be made; it must not be there
        file: PathBuf,
        /// The export; without it the standard input is read
        text: Option<PathBuf>,
    },
}

impl StoreCommand {
    /// Does it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Check { file } => {
                let contents = store::check(file)?;
                Ok(writeln!(io::stdout(), "{contents}")?)
            }
            Self::Export { file } => {
                store::export(file, BufWriter::new(io::stdout().lock()))?;
                Ok(())
            }
            Self::Import { file, text } => {
                let contents = match text {
                    Some(text) => store::import(file, BufReader::new(fs::File::open(text)?)),
                    None => store::import(file, io::stdin().lock()),
                }?;
                Ok(writeln!(io::stdout(), "{contents}")?)
            }
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let message = error.to_string();
        let code = match error {
            TransferError::Text(error) => return error.into(),
            TransferError::Open(OpenError::Locked { .. }) => code::UNAVAILABLE,
            TransferError::Open(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                code::PERMISSION
            }
            TransferError::Open(OpenError::Io { .. }) => code::INPUT,
            TransferError::Open(OpenError::Unreadable { .. }) | TransferError::Line { .. } => code::DATA,
            TransferError::Exists { .. } => code::EXISTS,
        };
        Self { code, message }
    }
}
