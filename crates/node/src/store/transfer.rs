//! A file as text and back: a line of JSON for what it is, and one for each record. For backups, for
//! people who want to look inside, and for the day when a format cannot be read any more.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    OpenError,
    open::{FORMAT, KIND, META, builder, fault, open_database, put_in_place, read_meta, suffixed, unreadable},
};

/// Records that one transaction of an import has.
const BATCH: usize = 10_000;
/// Longest line of an import, in octets.
const LINE: u64 = 256 << 20;

/// Why a file could not be carried over.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The file of a daemon.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The text could not be read or written.
    #[error("{0}")]
    Text(#[from] io::Error),
    /// The text is not what an export wrote.
    #[error("line {line}: {what}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is a file already.
    #[error("{}: it exists; move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// What a file is and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// Whose it is, such as `dns-b`.
    pub store: String,
    /// Its format.
    pub format: u32,
    /// Records by table.
    pub records: BTreeMap<String, u64>,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} format {}", self.store, self.format)?;
        self.records.iter().try_for_each(|(table, count)| write!(f, ", {count} {table}"))
    }
}

/// One record. Keys that are plain text stand as they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key64: Option<String>,
    value64: String,
}

/// Goes through all of a file, which no daemon may have open.
///
/// # Errors
/// [`TransferError::Open`].
pub fn check(path: &Path) -> Result<Contents, TransferError> {
    let database = open_database(path)?;
    contents(&database, path)
}

/// Writes everything in a file as text; returns what it was.
///
/// # Errors
/// [`TransferError`].
pub fn export(path: &Path, mut text: impl Write) -> Result<Contents, TransferError> {
    let database = open_database(path)?;
    let contents = contents(&database, path)?;
    line(&mut text, &contents)?;
    let fail = |error: redb::Error| fault(path, error);
    let transaction = database.begin_read().map_err(|e| fail(e.into()))?;
    for name in contents.records.keys() {
        let table = transaction.open_table(octets(name)).map_err(|e| fail(e.into()))?;
        for entry in table.iter().map_err(|e| fail(e.into()))? {
            let (key, value) = entry.map_err(|e| fail(e.into()))?;
            let plain =
                key.value().iter().all(u8::is_ascii_graphic).then(|| String::from_utf8(key.value().to_vec()).ok());
            let plain = plain.flatten();
            let key64 = plain.is_none().then(|| BASE64.encode(key.value()));
            line(&mut text, &Line { table: name.clone(), key: plain, key64, value64: BASE64.encode(value.value()) })?;
        }
    }
    text.flush()?;
    Ok(contents)
}

/// Makes a file of what an export wrote; returns what it is. It appears whole, or not at all.
///
/// # Errors
/// [`TransferError`]; then there is no file.
pub fn import(path: &Path, text: impl BufRead) -> Result<Contents, TransferError> {
    if fs::exists(path)? {
        return Err(TransferError::Exists { path: path.to_owned() });
    }
    let new = suffixed(path, "new");
    if fs::exists(&new)? {
        fs::remove_file(&new)?;
    }
    let imported = fill(&new, text);
    match imported {
        Ok(contents) => {
            put_in_place(&new, path)?;
            Ok(contents)
        }
        Err(error) => {
            // What is there is half a file, and of no use to anybody.
            let _ = fs::remove_file(&new);
            Err(error)
        }
    }
}

fn fill(path: &Path, text: impl BufRead) -> Result<Contents, TransferError> {
    let fail = |error: redb::Error| fault(path, error);
    let mut lines = Lines { text, number: 0 };
    let Some(said) = lines.next::<Contents>()? else {
        return Err(TransferError::Line { line: 1, what: "there is nothing".to_owned() });
    };
    let database = builder().create(path).map_err(|e| fail(e.into()))?;
    put(
        &database,
        [
            (META, KIND.to_vec(), said.store.clone().into_bytes()),
            (META, FORMAT.to_vec(), said.format.to_be_bytes().to_vec()),
        ],
    )
    .map_err(fail)?;
    for table in said.records.keys() {
        make(&database, table).map_err(fail)?;
    }
    let mut records = Vec::new();
    while let Some(record) = lines.next::<Line>()? {
        records.push(lines.record(record, &said)?);
        if records.len() == BATCH {
            put(&database, records.drain(..)).map_err(fail)?;
        }
    }
    put(&database, records).map_err(fail)?;
    let found = contents(&database, path)?;
    if found != said {
        let what = format!("the text announces {said}, and has {found}");
        return Err(TransferError::Line { line: 1, what });
    }
    Ok(found)
}

fn make(database: &redb::Database, table: &str) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(octets(table))?;
    Ok(transaction.commit()?)
}

fn put(
    database: &redb::Database,
    records: impl IntoIterator<Item = (impl AsRef<str>, Vec<u8>, Vec<u8>)>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for (table, key, value) in records {
        transaction.open_table(octets(table.as_ref()))?.insert(key.as_slice(), value.as_slice())?;
    }
    Ok(transaction.commit()?)
}

fn octets(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

fn contents(database: &redb::Database, path: &Path) -> Result<Contents, TransferError> {
    let fail = |error: redb::Error| fault(path, error);
    let Some((store, format)) = read_meta(database).map_err(fail)? else {
        return Err(unreadable(path, "it is a file of somebody else".to_owned()).into());
    };
    let count = || -> Result<BTreeMap<String, u64>, redb::Error> {
        let transaction = database.begin_read()?;
        let mut records = BTreeMap::new();
        for handle in transaction.list_tables()?.filter(|handle| handle.name() != META) {
            let count = transaction.open_table(octets(handle.name()))?.len()?;
            records.insert(handle.name().to_owned(), count);
        }
        Ok(records)
    };
    Ok(Contents { store, format, records: count().map_err(fail)? })
}

fn line(text: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *text, value)?;
    text.write_all(b"\n")
}

/// Lines of an export.
struct Lines<R> {
    text: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, TransferError> {
        let mut line = Vec::new();
        io::Read::take(&mut self.text, LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        serde_json::from_slice(&line).map(Some).map_err(|error| self.fault(error.to_string()))
    }

    fn record(&self, line: Line, said: &Contents) -> Result<(String, Vec<u8>, Vec<u8>), TransferError> {
        if !said.records.contains_key(&line.table) {
            return Err(self.fault(format!("the first line names no table \"{}\"", line.table)));
        }
        let octets = |text: &str| BASE64.decode(text.as_bytes()).map_err(|error| self.fault(error.to_string()));
        let key = match (line.key, line.key64) {
            (Some(key), None) => key.into_bytes(),
            (None, Some(key)) => octets(&key)?,
            _ => return Err(self.fault("one of \"key\" and \"key64\" must be there".to_owned())),
        };
        Ok((line.table, key, octets(&line.value64)?))
    }

    fn fault(&self, what: String) -> TransferError {
        TransferError::Line { line: self.number, what }
    }
}
