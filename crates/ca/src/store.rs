//! An authority in a directory.
//!
//! ```text
//! ca.pem        the CA's certificate, for every host
//! ca.key        its key (0600): whoever has it can be anybody
//! crl.pem       what is revoked, for every host
//! issued.tsv    what was issued
//! hosts/dns-lb-sea1/    for one host: certificate.pem, key.pem (0600), ca.pem, crl.pem
//! ```

use std::{
    fs::{self, File, TryLockError},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use dglb_core::peer_name::{PeerName, role_text};
use thiserror::Error;
use x509_parser::prelude::GeneralName;

use crate::{
    Authority, AuthorityError, Entry, LedgerError, Lifetime, Request, Revoked, Serial, State,
    file::{Readable, directory, write},
    ledger,
};

/// How long a list says that it is current. Map links take older ones, too; other tools may not.
const LIST_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Why a directory cannot be worked with.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Something that would be lost stands in the way.
    #[error("{}: there is a CA already, and nothing of it is overwritten", .0.display())]
    Occupied(PathBuf),
    /// There is no CA.
    #[error("{}: there is no CA here; \"dglbctl ca init\" makes one", .0.display())]
    Empty(PathBuf),
    /// Another process is at work in it.
    #[error("{}: another dglbctl is at work here", .0.display())]
    Busy(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{}: {error}", path.display())]
    Ledger {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: LedgerError,
    },
    /// The host has a certificate that is good.
    #[error("{name} has a certificate that is good; \"renew\" makes a newer one, \"revoke\" ends it")]
    Exists {
        /// Whose.
        name: PeerName,
    },
    /// Nothing to renew or to revoke.
    #[error("{0} has no certificate that could be renewed or revoked")]
    Unknown(PeerName),
    /// Signing fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What a host needs, in a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Where.
    pub directory: PathBuf,
    /// The certificate's number.
    pub serial: Serial,
    /// Until when it is valid.
    pub expires: SystemTime,
}

/// A CA in a directory, which is locked while this lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    authority: Authority,
    entries: Vec<Entry>,
    _lock: File,
}

impl Store {
    /// Makes a CA where there is none. Its name gets some digits of its own: what its successor signs
    /// and revokes must not be taken for its.
    ///
    /// # Errors
    /// [`StoreError`]; a directory that holds one stays as it is.
    pub fn init(path: &Path, name: &str, lifetime: Lifetime, now: SystemTime) -> Result<Self, StoreError> {
        directory(path).map_err(|error| StoreError::File { path: path.to_owned(), error })?;
        let lock = lock(path)?;
        if ["ca.pem", "ca.key", "issued.tsv"].iter().any(|file| path.join(file).exists()) {
            return Err(StoreError::Occupied(path.to_owned()));
        }
        let name = format!("{name} {}", &Serial::draw().to_string()[..8]);
        let authority = Authority::new(&name, lifetime)?;
        let store = Self { directory: path.to_owned(), authority, entries: Vec::new(), _lock: lock };
        store.write("ca.key", &store.authority.key(), Readable::ByOwner)?;
        store.write_ledger()?;
        store.write_list(now)?;
        // Last: what has no certificate is no CA, and may be made again.
        store.write("ca.pem", store.authority.certificate(), Readable::ByAll)?;
        Ok(store)
    }

    /// Opens one that is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.join("ca.pem").exists() {
            return Err(StoreError::Empty(path.to_owned()));
        }
        let lock = lock(path)?;
        let authority = Authority::load(&read(&path.join("ca.pem"))?, &read(&path.join("ca.key"))?)?;
        let file = path.join("issued.tsv");
        let entries = ledger::parse(&read(&file)?).map_err(|error| StoreError::Ledger { path: file, error })?;
        Ok(Self { directory: path.to_owned(), authority, entries, _lock: lock })
    }

    /// Everything that was issued, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the list of what is revoked is.
    pub fn list_path(&self) -> PathBuf {
        self.directory.join("crl.pem")
    }

    /// Issues a host's first certificate.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where the host has one that is good, and all else that can go wrong.
    pub fn issue(&mut self, request: &Request, now: SystemTime) -> Result<Bundle, StoreError> {
        let good = |entry: &Entry| entry.name == request.name && matches!(entry.state(now), State::Valid(_));
        if self.entries.iter().any(good) {
            return Err(StoreError::Exists { name: request.name.clone() });
        }
        self.make(request)
    }

    /// Issues another certificate in the place of a host's last one, for the same names. The last
    /// one stays good until it expires.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] where the host has none that is not revoked, and all else that can go
    /// wrong.
    pub fn renew(&mut self, name: &PeerName, lifetime: Lifetime) -> Result<Bundle, StoreError> {
        let known = self.entries.iter().any(|entry| entry.name == *name && entry.revoked.is_none());
        if !known {
            return Err(StoreError::Unknown(name.clone()));
        }
        let mut request = Request::new(name.clone(), lifetime);
        // Without the old certificate, which somebody may have taken away, there are no more names.
        if let Ok(old) = fs::read_to_string(self.host(name).join("certificate.pem")) {
            (request.dns_names, request.addresses) = alternative_names(&old);
        }
        self.make(&request)
    }

    /// Revokes all certificates of a host that have not expired and are not revoked yet, and throws
    /// away what was kept for it. Returns their numbers; the new list is in place.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] where there is none, and all else that can go wrong.
    pub fn revoke(&mut self, name: &PeerName, now: SystemTime) -> Result<Vec<Serial>, StoreError> {
        let good = |entry: &&mut Entry| entry.name == *name && matches!(entry.state(now), State::Valid(_));
        let mut revoked = Vec::new();
        for entry in self.entries.iter_mut().filter(good) {
            entry.revoked = Some(now);
            revoked.push(entry.serial.clone());
        }
        if revoked.is_empty() {
            return Err(StoreError::Unknown(name.clone()));
        }
        self.write_ledger()?;
        let host = self.host(name);
        match fs::remove_dir_all(&host) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::File { path: host, error }),
            _ => self.write_list(now).map(|()| revoked),
        }
    }

    /// Makes the list of what is revoked anew, here and for every host.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write_list(&self, now: SystemTime) -> Result<(), StoreError> {
        let revoked = |entry: &Entry| Some(Revoked { serial: entry.serial.clone(), since: entry.revoked? });
        let revoked: Vec<Revoked> = self.entries.iter().filter_map(revoked).collect();
        // Numbers increase as the clock does (RFC 5280 section 5.2.3).
        let number = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let list = self.authority.revocation_list(&revoked, number, now, now + LIST_LIFE)?;
        self.write("crl.pem", &list, Readable::ByAll)?;
        for host in self.hosts() {
            self.write_to(&host.join("crl.pem"), &list, Readable::ByAll)?;
        }
        Ok(())
    }

    fn make(&mut self, request: &Request) -> Result<Bundle, StoreError> {
        let issued = self.authority.issue(request)?;
        let serial = issued.serial.clone();
        let expires = request.lifetime.until;
        let entry = Entry { serial: serial.clone(), name: request.name.clone(), expires, revoked: None };
        self.entries.push(entry);
        self.write_ledger()?;
        let host = self.host(&request.name);
        directory(&host).map_err(|error| StoreError::File { path: host.clone(), error })?;
        let list = read(&self.list_path())?;
        let written = issued.write(&host, self.authority.certificate(), &list);
        written.map_err(|error| StoreError::File { path: host.clone(), error })?;
        Ok(Bundle { directory: host, serial, expires })
    }

    fn host(&self, name: &PeerName) -> PathBuf {
        self.directory.join("hosts").join(format!("{}-{}", role_text(name.role), name.identity))
    }

    /// What is kept for hosts.
    fn hosts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.join("hosts")).into_iter().flatten();
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        paths.filter(|path| path.join("certificate.pem").exists()).collect()
    }

    fn write_ledger(&self) -> Result<(), StoreError> {
        self.write("issued.tsv", &ledger::render(&self.entries), Readable::ByOwner)
    }

    fn write(&self, name: &str, text: &str, readable: Readable) -> Result<(), StoreError> {
        self.write_to(&self.directory.join(name), text, readable)
    }

    fn write_to(&self, path: &Path, text: &str, readable: Readable) -> Result<(), StoreError> {
        write(path, text, readable).map_err(|error| StoreError::File { path: path.to_owned(), error })
    }
}

/// Holds the directory for this process alone.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = File::options().create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(|error| StoreError::File { path: path.clone(), error })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::File { path, error }),
    }
}

fn read(path: &Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(|error| StoreError::File { path: path.to_owned(), error })
}

/// DNS names and addresses of a certificate.
fn alternative_names(certificate: &str) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else { return (names, addresses) };
    let Ok(parsed) = pem.parse_x509() else { return (names, addresses) };
    let Ok(Some(alternative)) = parsed.subject_alternative_name() else { return (names, addresses) };
    for name in &alternative.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
            _ => {}
        }
    }
    (names, addresses)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
