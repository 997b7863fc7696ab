//! What this host shows to its peers and by what it judges theirs: read from files, and read again
//! whenever they change.
//!
//! Invariant: what is in use was found good as a whole; files that are no good change nothing. A
//! link that is up outlives every change of the files but one: a list that names its peer's
//! certificate ends it at once.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use dglb_core::peer_name::PeerName;
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, UnixTime},
};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webpki::KeyUsage;
use x509_parser::parse_x509_certificate;

use super::{
    IdentityProblem, TlsError,
    expiry::Warnings,
    identity::certified_name,
    tls,
    trust::{CertificateId, Trust},
};
use crate::{
    certificate::{CertificateError, CertificateFiles},
    followed::Followed,
};

/// Between two looks at what expires; nothing does so within moments.
const MINUTE: Duration = Duration::from_secs(60);

/// Where everything is that TLS on map links needs, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This host's certificate and key.
    pub own: CertificateFiles,
    /// The certificates of the authorities whose hosts are let in.
    pub ca: PathBuf,
    /// Their lists of what is revoked.
    pub crl: Option<PathBuf>,
}

/// Why the files are no good. The text never contains what a file holds.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// One of the files.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// This host's own certificate names the wrong one, or nobody.
    #[error("{}: {problem}", certificate.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        problem: IdentityProblem,
    },
    /// The key cannot sign for TLS 1.3.
    #[error("{}: {error}", key.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        error: rustls::Error,
    },
}

/// What TLS on the links of a daemon goes by. Clones are the same.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    name: PeerName,
    current: ArcSwap<Loaded>,
    reloads: watch::Sender<u64>,
    refused: AtomicU64,
    /// Why the files that are there are not in use.
    problem: Mutex<Option<String>>,
    /// Everybody who is linked, by when its certificate expires.
    peers: Mutex<BTreeMap<(i64, u64), Option<PeerName>>>,
    next_peer: AtomicU64,
}

struct Loaded {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    trust: Arc<Trust>,
    /// When the own certificate expires, in seconds since 1970.
    expiry: i64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.0.name).field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Those of a directory as `dglbctl ca` lays it out for a host.
    pub fn in_directory(directory: &Path) -> Self {
        let [certificate, key, ca, crl] =
            ["certificate.pem", "key.pem", "ca.pem", "crl.pem"].map(|name| directory.join(name));
        Self { own: CertificateFiles { certificate, key }, ca, crl: Some(crl) }
    }

    /// Reads and checks everything. Returns what an operator should hear although it can be used: the
    /// own certificate would not be taken by a peer with the same files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check(&self, name: &PeerName) -> Result<Option<TlsError>, CredentialsError> {
        let (own, trust, _) = self.read(name)?;
        let Some((first, others)) = own.cert.split_first() else { return Ok(None) };
        let verdict = trust.verify(first, others, UnixTime::now(), KeyUsage::client_auth());
        Ok(verdict.err().map(|error| TlsError::from(&error)))
    }

    fn read(&self, name: &PeerName) -> Result<(rustls::sign::CertifiedKey, Trust, i64), CredentialsError> {
        let (own, expiry) = self.own.load()?;
        let certified = own.cert.first().map_or(Err(IdentityProblem::Nobody), |first| certified_name(first));
        super::identity::agree(&certified, name).map_err(|problem| {
            let certificate = self.own.certificate.clone();
            CredentialsError::Identity { certificate, problem }
        })?;
        Ok((own, Trust::load(&self.ca, self.crl.as_deref())?, expiry))
    }

    fn load(&self, name: &PeerName) -> Result<Loaded, CredentialsError> {
        let (own, trust, expiry) = self.read(name)?;
        let (own, trust) = (Arc::new(own), Arc::new(trust));
        let key = |error| CredentialsError::Key { key: self.own.key.clone(), error };
        let server = tls::server(Arc::clone(&own), Arc::clone(&trust)).map_err(key)?;
        let client = tls::client(own, Arc::clone(&trust)).map_err(key)?;
        Ok(Loaded { server: Arc::new(server), client: Arc::new(client), trust, expiry })
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.own.certificate, &self.own.key, &self.ca].into_iter().chain(&self.crl)
    }
}

impl Credentials {
    /// Reads the files of the host that has this name.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn load(files: &TlsFiles, name: PeerName) -> Result<Self, CredentialsError> {
        let loaded = files.load(&name)?;
        Ok(Self(Arc::new(Shared {
            files: files.clone(),
            name,
            current: ArcSwap::from_pointee(loaded),
            reloads: watch::Sender::new(0),
            refused: AtomicU64::new(0),
            problem: Mutex::default(),
            peers: Mutex::default(),
            next_peer: AtomicU64::new(0),
        })))
    }

    /// Whose they are.
    pub fn name(&self) -> &PeerName {
        &self.0.name
    }

    /// Follows the files, and warns of what is about to expire, until the daemon stops.
    pub async fn follow(self, stop: CancellationToken) {
        let mut followed = Followed::new(self.0.files.all());
        let mut warnings = Warnings::default();
        loop {
            warnings.look(&self);
            tokio::select! {
                () = stop.cancelled() => return,
                () = followed.changed() => self.reload(),
                () = tokio::time::sleep(MINUTE) => {}
            }
        }
    }

    /// Files that are no good are told of once, until they change again.
    pub(super) fn reload(&self) {
        match self.0.files.load(&self.0.name) {
            Ok(loaded) => {
                let (revoked, left) = (loaded.trust.revoked(), loaded.expiry.saturating_sub(now()));
                self.0.current.store(Arc::new(loaded));
                *hold(&self.0.problem) = None;
                self.0.reloads.send_modify(|count| *count += 1);
                tracing::info!(
                    revoked,
                    expires_in_days = left / 86_400,
                    "the certificates of map links were read anew"
                );
            }
            Err(error) => {
                self.0.refused.fetch_add(1, Relaxed);
                tracing::error!("the new certificates of map links are no good, the old ones stay: {error}");
                *hold(&self.0.problem) = Some(error.to_string());
            }
        }
    }

    /// How often new files were taken over, and how often they were no good.
    pub fn reload_counts(&self) -> (u64, u64) {
        (*self.0.reloads.borrow(), self.0.refused.load(Relaxed))
    }

    /// Why the files that are there are not in use, if they are not.
    pub(super) fn problem(&self) -> Option<String> {
        hold(&self.0.problem).clone()
    }

    pub(super) fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// How many certificates are revoked.
    pub(super) fn revoked(&self) -> usize {
        self.0.current.load().trust.revoked()
    }

    /// Seconds until the own certificate expires; less than 0 afterwards.
    pub fn seconds_left(&self) -> i64 {
        self.0.current.load().expiry.saturating_sub(now())
    }

    /// Seconds until the first certificate of a linked peer expires, and whose it is.
    pub fn peer_seconds_left(&self) -> Option<(i64, Option<PeerName>)> {
        let peers = hold(&self.0.peers);
        let ((expiry, _), name) = peers.first_key_value()?;
        Some((expiry.saturating_sub(now()), name.clone()))
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.load().server)
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.current.load().client)
    }

    /// To be taken before a handshake, so that no reload goes unnoticed after it.
    pub(super) fn reloads(&self) -> watch::Receiver<u64> {
        self.0.reloads.subscribe()
    }

    /// The holder of this certificate, which has been verified, is linked.
    pub(super) fn certified(
        &self,
        certificate: &CertificateDer<'_>,
        name: Result<PeerName, IdentityProblem>,
        reloads: watch::Receiver<u64>,
    ) -> Certified {
        let expiry = parse_x509_certificate(certificate).map(|(_, parsed)| parsed.validity().not_after.timestamp());
        let place = (expiry.unwrap_or(i64::MAX), self.0.next_peer.fetch_add(1, Relaxed));
        hold(&self.0.peers).insert(place, name.as_ref().ok().cloned());
        Certified { name, id: CertificateId::of(certificate), credentials: self.clone(), reloads, place }
    }
}

/// The other end of a connection, as its certificate has it.
#[derive(Debug)]
pub struct Certified {
    /// Who it is.
    pub(super) name: Result<PeerName, IdentityProblem>,
    id: Option<CertificateId>,
    credentials: Credentials,
    reloads: watch::Receiver<u64>,
    place: (i64, u64),
}

impl Certified {
    /// Waits until its certificate is revoked. Safe to drop and call again.
    pub(super) async fn revoked(&mut self) {
        while self.reloads.changed().await.is_ok() {
            let current = self.credentials.0.current.load();
            if self.id.as_ref().is_some_and(|id| current.trust.revokes(id)) {
                return;
            }
        }
        // Unreached while the credentials are held here.
        std::future::pending().await
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        hold(&self.credentials.0.peers).remove(&self.place);
    }
}

/// Seconds since 1970, by the wall clock: only certificates go by it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Nothing is left half done under these locks, so a panic elsewhere leaves nothing wrong.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
