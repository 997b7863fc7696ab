//! Networks as far as proofs of residence care: those of open public resolvers, through which anybody
//! can receive, and the autonomous system that an address is announced by.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    io::Read,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use dglb_core::net::Prefix;
use dglb_node::lifecycle::Tasks;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
pub const FOLLOW: Duration = Duration::from_secs(2);
/// What a file may have in octets.
const MAX_LIST: u64 = 16 << 20;
const MAX_DATABASE: u64 = 512 << 20;

/// Networks of resolvers that answer everybody: where they are asked, and where they ask from. A
/// file (`prove.open-resolvers`) adds to these.
const OPEN_RESOLVERS: &str = include_str!("open-resolvers.txt");

/// See the module's description.
#[derive(Clone, Default)]
pub struct Networks {
    open: Prefixes,
    numbers: Option<Arc<maxminddb::Reader<Vec<u8>>>>,
}

/// Where more of them stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Networks of open resolvers, one a line.
    pub open_resolvers: Option<PathBuf>,
    /// A database in MaxMind's format with autonomous system numbers.
    pub as_database: Option<PathBuf>,
}

/// Why a file was not taken.
#[derive(Debug, Error)]
pub enum NetworksError {
    /// It cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no prefix.
    #[error("{path}:{line}: {problem}", path = .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// It is no such database.
    #[error("{path}: {problem}", path = .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl NetworksError {
    /// Whether it is about this file.
    pub fn is_of(&self, file: &Path) -> bool {
        let (Self::Io { path, .. } | Self::Line { path, .. } | Self::Database { path, .. }) = self;
        path == file
    }
}

/// A set of prefixes by which addresses are looked up: one try for each length that there is.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    all: HashSet<Prefix>,
    /// Whether IPv4, and the length.
    lengths: BTreeSet<(bool, u8)>,
}

impl Prefixes {
    fn insert(&mut self, prefix: Prefix) {
        self.lengths.insert((prefix.address().is_ipv4(), prefix.bits()));
        self.all.insert(prefix);
    }

    fn contains(&self, address: IpAddr) -> bool {
        let lengths = self.lengths.iter().filter(|(v4, _)| *v4 == address.is_ipv4());
        let mut prefixes = lengths.filter_map(|(_, bits)| Prefix::containing(address, *bits).ok());
        prefixes.any(|prefix| self.all.contains(&prefix))
    }
}

impl Networks {
    /// The built-in list, and what stands in the files.
    ///
    /// # Errors
    /// [`NetworksError`], the first.
    pub fn read(sources: &Sources) -> Result<Self, NetworksError> {
        let mut open = Prefixes::default();
        read_list(Path::new("built-in"), OPEN_RESOLVERS, &mut open)?;
        if let Some(path) = &sources.open_resolvers {
            let octets = read_bounded(path, MAX_LIST)?;
            read_list(path, &String::from_utf8_lossy(&octets), &mut open)?;
        }
        let numbers = match &sources.as_database {
            Some(path) => {
                let database = maxminddb::Reader::from_source(read_bounded(path, MAX_DATABASE)?);
                let problem = |error: maxminddb::MaxMindDbError| error.to_string();
                let database = database
                    .map_err(problem)
                    .map_err(|problem| NetworksError::Database { path: path.clone(), problem })?;
                Some(Arc::new(database))
            }
            None => None,
        };
        Ok(Self { open, numbers })
    }

    /// Whether anybody could receive at this address, since a resolver there answers everybody.
    pub fn is_open_resolver(&self, address: IpAddr) -> bool {
        self.open.contains(address)
    }

    /// Whether there is a database of autonomous systems.
    pub fn knows_systems(&self) -> bool {
        self.numbers.is_some()
    }

    /// The autonomous system that announces an address, as far as the database knows.
    pub fn number_of(&self, address: IpAddr) -> Option<u32> {
        let found = self.numbers.as_ref()?.lookup(address).ok()?;
        let asn: maxminddb::geoip2::Asn<'_> = found.decode().ok()??;
        asn.autonomous_system_number
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, numbers) = (self.open.all.len(), self.numbers.is_some());
        f.debug_struct("Networks").field("open", &open).field("numbers", &numbers).finish()
    }
}

/// Looks at the files every `period`, reads them again whenever they have changed, and sends what they say then. A file that is bad is
/// logged, and changes nothing.
pub fn follow(
    sources: Sources,
    period: Duration,
    tasks: &mut Tasks,
) -> (mpsc::Receiver<Networks>, watch::Sender<Sources>) {
    let (changes, networks) = mpsc::channel(1);
    let (sender, sources) = watch::channel(sources);
    tasks.spawn("networks", keep_reading((sources, period), changes, tasks.stop_token()));
    (networks, sender)
}

async fn keep_reading(
    (mut sources, period): (watch::Receiver<Sources>, Duration),
    changes: mpsc::Sender<Networks>,
    stop: CancellationToken,
) {
    let mut files = sources.borrow_and_update().clone();
    let (mut known, mut last) = (files.stamps(), files.stamps());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
            changed = sources.changed() => {
                // Who named other files has read them.
                if changed.is_err() {
                    return stop.cancelled().await;
                }
                files = sources.borrow_and_update().clone();
                (known, last) = (files.stamps(), files.stamps());
                continue;
            }
        }
        let now = files.stamps();
        // Whoever is still writing is left to finish.
        if now != last || now == known {
            last = now;
            continue;
        }
        known = now;
        let again = files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Networks::read(&again)).await else { continue };
        match read {
            Ok(networks) => {
                tracing::info!("lists of networks read again");
                if changes.send(networks).await.is_err() {
                    return stop.cancelled().await;
                }
            }
            Err(error) => tracing::warn!(%error, "lists of networks are kept as they were"),
        }
    }
}

impl Sources {
    /// What changes when a file does.
    fn stamps(&self) -> [Option<(u64, u64, Option<SystemTime>)>; 2] {
        [&self.open_resolvers, &self.as_database].map(|path| {
            let metadata = std::fs::metadata(path.as_ref()?).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
        })
    }
}

fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, NetworksError> {
    let read = || {
        let mut octets = Vec::new();
        std::fs::File::open(path)?.take(most + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > most {
            return Err(std::io::Error::other(format!("is larger than {most} octets")));
        }
        Ok(octets)
    };
    read().map_err(|source| NetworksError::Io { path: path.to_owned(), source })
}

/// Prefixes one a line, `#` begins a comment. IPv6 prefixes longer than /64 count as the /64, since
/// that is what would be mapped.
fn read_list(path: &Path, text: &str, into: &mut Prefixes) -> Result<(), NetworksError> {
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let prefix: Prefix = line.parse().map_err(|error: dglb_core::net::PrefixError| {
            let problem = error.to_string();
            NetworksError::Line { path: path.to_owned(), line: number + 1, problem }
        })?;
        let widened = if prefix.address().is_ipv6() { prefix.bits().min(64) } else { prefix.bits() };
        into.insert(Prefix::containing(prefix.address(), widened).unwrap_or(prefix));
    }
    Ok(())
}

#[cfg(test)]
#[path = "networks_tests.rs"]
pub(crate) mod tests;
