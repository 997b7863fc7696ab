//! Opening a file: is it ours, is it whole, is it of a format that we know. One that is not is set
//! aside, so that a person can look at it, and the daemon starts with an empty one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use redb::{ReadableDatabase, ReadableTable};
use thiserror::Error;

use super::{CACHE, Octets, Record, Schema, Store, StoreError, is_of_the_system, write};

/// What the file is, under [`KIND`] and [`FORMAT`].
pub(super) const META: &str = "dglb";
/// Whose it is.
pub(super) const KIND: &[u8] = b"kind";
/// Which format it has, four octets, big-endian.
pub(super) const FORMAT: &[u8] = b"format";
/// Most files that are set aside beside one another; a person should have looked long before.
const MOST_ASIDE: u32 = 1_000;

/// An open file, and what became of an unreadable one.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub store: Store,
    /// What had to be set aside; then the file is empty.
    pub set_aside: Option<SetAside>,
}

/// A file that could not be read and has another name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its name before.
    pub from: PathBuf,
    /// Its name now.
    pub to: PathBuf,
    /// Why.
    pub reason: String,
}

/// Why there is no open file.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{}: another process has it open; only one may", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written, or not ours.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Store {
    /// Opens the file at `path`, which is made if it is not there. One that cannot be read is set
    /// aside.
    ///
    /// # Errors
    /// [`OpenError::Locked`] and [`OpenError::Io`]; then nothing has changed.
    pub fn open(path: &Path, schema: &'static Schema) -> Result<Opened, OpenError> {
        let exists = fs::exists(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        if !exists {
            return Ok(Opened { store: create(path, schema)?, set_aside: None });
        }
        match Self::open_existing(path, schema) {
            Ok(store) => Ok(Opened { store, set_aside: None }),
            Err(OpenError::Unreadable { reason, .. }) => {
                let to = aside(path)?;
                let set_aside = Some(SetAside { from: path.to_owned(), to, reason });
                Ok(Opened { store: create(path, schema)?, set_aside })
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a file that is there, and brings it to the format of now.
    ///
    /// # Errors
    /// [`OpenError`]; an unreadable file stays where it is.
    pub fn open_existing(path: &Path, schema: &'static Schema) -> Result<Self, OpenError> {
        let database = open_database(path)?;
        Self::prepare(database, path, schema)
    }

    /// A database that is ours, of the format of now.
    pub(super) fn prepare(database: redb::Database, path: &Path, schema: &'static Schema) -> Result<Self, OpenError> {
        let fail = |error: redb::Error| fault(path, error);
        let found = read_meta(&database).map_err(fail)?;
        let Some((kind, format)) = found else {
            return Err(unreadable(path, format!("it is not a file of {}", schema.kind)));
        };
        if kind != schema.kind {
            return Err(unreadable(path, format!("it is a file of {kind}, not of {}", schema.kind)));
        }
        if format > schema.format {
            let ours = schema.format;
            return Err(unreadable(path, format!("it has format {format}, and the newest known here is {ours}")));
        }
        let store = Self { path: path.to_owned(), schema, database };
        for step in format..schema.format {
            store.upgrade(step)?;
        }
        Ok(store)
    }

    /// From format `from` to the next, in one transaction.
    fn upgrade(&self, from: u32) -> Result<(), OpenError> {
        let fail = |error: redb::Error| fault(&self.path, error);
        let step = usize::try_from(from).ok().and_then(|from| self.schema.upgrades.get(from));
        let Some(step) = step else {
            return Err(unreadable(&self.path, format!("format {from} is too old to be brought up to date")));
        };
        let records = records(&self.database).map_err(fail)?;
        let batch = step(&records).map_err(|reason| unreadable(&self.path, format!("format {from}: {reason}")))?;
        let upgrade = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            for table in self.schema.tables {
                transaction.open_table(Octets::new(table))?;
            }
            write(&transaction, &batch)?;
            transaction.open_table(Octets::new(META))?.insert(FORMAT, (from + 1).to_be_bytes().as_slice())?;
            Ok(transaction.commit()?)
        };
        upgrade().map_err(fail)?;
        tracing::info!(file = %self.path.display(), from, to = from + 1, "the store has a newer format now");
        Ok(())
    }

    /// Writes what the file is into an empty database.
    pub(super) fn initialize(
        database: redb::Database,
        path: &Path,
        schema: &'static Schema,
    ) -> Result<Self, OpenError> {
        let begin = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            for table in schema.tables {
                transaction.open_table(Octets::new(table))?;
            }
            let mut meta = transaction.open_table(Octets::new(META))?;
            meta.insert(KIND, schema.kind.as_bytes())?;
            meta.insert(FORMAT, schema.format.to_be_bytes().as_slice())?;
            drop(meta);
            Ok(transaction.commit()?)
        };
        begin().map_err(|error| fault(path, error))?;
        Ok(Self { path: path.to_owned(), schema, database })
    }
}

/// Opens a file that is there and goes through all of it: nothing that is read afterwards can be
/// other than what was written.
pub(super) fn open_database(path: &Path) -> Result<redb::Database, OpenError> {
    let length = fs::metadata(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?.len();
    if length == 0 {
        return Err(unreadable(path, "it is empty".to_owned()));
    }
    builder().open(path).map_err(|error| fault(path, error.into()))
}

/// How every file is opened. Without the check on opening the database trusts what it finds, and panics
/// over it.
pub(super) fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// A new file comes into being whole, or not at all.
fn create(path: &Path, schema: &'static Schema) -> Result<Store, OpenError> {
    let new = suffixed(path, "new");
    let io = |source| OpenError::Io { path: new.clone(), source };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let database = builder().create(&new).map_err(|e| fault(&new, e.into()))?;
    let store = Store::initialize(database, path, schema)?;
    put_in_place(&new, path).map_err(io)?;
    Ok(store)
}

/// Gives a finished file its name, for good.
pub(super) fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

/// Takes a file out of the way.
fn aside(path: &Path) -> Result<PathBuf, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    for number in 1..=MOST_ASIDE {
        let to = suffixed(path, &format!("set-aside-{number}"));
        if !fs::exists(&to).map_err(io)? {
            fs::rename(path, &to).map_err(io)?;
            sync_directory(path).map_err(io)?;
            return Ok(to);
        }
    }
    Err(io(io::Error::other(format!("{MOST_ASIDE} files are set aside already; look at them and remove them"))))
}

pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Whose file it is, and of which format; nothing if it does not say.
pub(super) fn read_meta(database: &redb::Database) -> Result<Option<(String, u32)>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(Octets::new(META)) {
        Ok(meta) => meta,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let kind = meta.get(KIND)?.and_then(|kind| String::from_utf8(kind.value().to_vec()).ok());
    let format = meta.get(FORMAT)?.and_then(|format| Some(u32::from_be_bytes(format.value().try_into().ok()?)));
    Ok(kind.zip(format))
}

/// Everything but what the file says of itself.
pub(super) fn records(database: &redb::Database) -> Result<Vec<Record>, redb::Error> {
    use redb::TableHandle;
    let transaction = database.begin_read()?;
    let mut records = Vec::new();
    for handle in transaction.list_tables()?.filter(|handle| handle.name() != META) {
        let table = handle.name().to_owned();
        for entry in transaction.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(&table))?.iter()? {
            let (key, value) = entry?;
            let (key, value) = (key.value().to_vec(), value.value().to_vec());
            records.push(Record { table: table.clone(), key, value });
        }
    }
    Ok(records)
}

pub(super) fn unreadable(path: &Path, reason: String) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), reason }
}

/// What an error of the database says of the file.
pub(super) fn fault(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { path: path.to_owned() },
        redb::Error::Io(source) if is_of_the_system(&source) => OpenError::Io { path: path.to_owned(), source },
        error => unreadable(path, error.to_string()),
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        fault(&error.path, error.source)
    }
}
