//! What a daemon keeps over its end: one file of named tables, from octets to octets.
//!
//! Invariant: what [`Committer`] has called durable is in the file after whatever comes, and a file
//! that cannot be read is never written to: it is set aside under another name, with the reason in
//! the log, and an empty one takes its place.
//!
//! What the octets mean is the daemon's; its [`Schema`] says which tables there are and how files of
//! older formats are brought up to date.

mod batch;
mod committer;
mod figures;
mod open;
pub mod record;
mod transfer;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;

pub use batch::Batch;
pub use committer::Committer;
pub use figures::StoreFigures;
pub use open::{OpenError, Opened, SetAside};
pub use transfer::{Contents, TransferError, check, export, import};

/// A table of octets.
type Octets = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Octets of the file that are kept in memory. What a daemon serves from is its own; the file is
/// read once, at the start.
const CACHE: usize = 16 << 20;

/// What a daemon's file holds.
#[derive(Debug)]
pub struct Schema {
    /// Whose file it is, such as `dns-b`; another daemon's is foreign.
    pub kind: &'static str,
    /// The format that is written. A file of a newer one is set aside.
    pub format: u32,
    /// Its tables.
    pub tables: &'static [&'static str],
    /// Steps from format 0 to 1, from 1 to 2, and so on up to `format`.
    pub upgrades: &'static [Step],
}

/// Brings all records from one format to the next: given what there is, says what to write.
pub type Step = fn(&[Record]) -> Result<Batch, String>;

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The table that it is in.
    pub table: String,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Why the file could not be read or written.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: redb::Error,
}

/// An open file. There is one at a time for each file, over all processes.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    schema: &'static Schema,
    database: redb::Database,
}

impl Store {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Calls `visit` with every key and value of a table, in the order of the keys, until it says
    /// no more.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn read(&self, table: &'static str, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let mut read = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_read()?;
            for entry in transaction.open_table(Octets::new(table))?.iter()? {
                let (key, value) = entry?;
                if !visit(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// How many records a table has.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn count(&self, table: &'static str) -> Result<u64, StoreError> {
        let count = || -> Result<u64, redb::Error> {
            use redb::ReadableTableMetadata;
            Ok(self.database.begin_read()?.open_table(Octets::new(table))?.len()?)
        };
        count().map_err(|source| self.error(source))
    }

    /// Writes all of a batch or nothing, and returns when it is on the disk.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was written, or all of it, and the file must be opened anew.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(redb::Durability::Immediate)?;
            // With one phase, damage to the last commit could not be told from one that was cut off, and
            // the one before would stand in for it without a word.
            transaction.set_two_phase_commit(true);
            write(&transaction, batch)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|source| self.error(source))
    }

    fn error(&self, source: redb::Error) -> StoreError {
        StoreError { path: self.path.clone(), source }
    }
}

fn write(transaction: &redb::WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    for (name, writes) in batch.tables() {
        let mut table = transaction.open_table(Octets::new(name))?;
        for (key, value) in writes {
            match value {
                Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
    }
    Ok(())
}

/// Whether an error tells of the disk or of a lack of something, and not of the file's content.
fn is_of_the_system(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}
