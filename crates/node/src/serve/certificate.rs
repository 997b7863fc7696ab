//! The certificates that encrypted transports show: read from files, and read again when the files
//! change. A new pair that is no good leaves the old one in use.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use x509_parser::{parse_x509_certificate, prelude::X509Certificate};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The certificate, then the others of its chain.
    pub certificate: PathBuf,
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Why a pair is no good. The text never contains what a file holds.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No PEM, or not of what is looked for.
    #[error("{}: holds no {what}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The certificate is none.
    #[error("{}: the first certificate cannot be read", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
    },
    /// The key is of a sort that cannot be used, or another one's.
    #[error("{}: {reason}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A pair in use.
pub(super) struct Certificate {
    files: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
    expiry: AtomicI64,
    reloaded: AtomicU64,
    refused: AtomicU64,
}

/// Cryptography of everything here: aws-lc, whatever else is linked.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl CertificateFiles {
    /// Reads and checks the pair: certificate and key can be used, and belong together.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check(&self) -> Result<(), CertificateError> {
        self.load().map(drop)
    }

    /// The pair, and when the certificate expires in seconds since 1970.
    fn load(&self) -> Result<(CertifiedKey, i64), CertificateError> {
        let path = || self.certificate.clone();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&self.certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::Missing { path: path(), what: "certificate in PEM" })?;
        let first = chain.first().ok_or(CertificateError::Missing { path: path(), what: "certificate in PEM" })?;
        let (_, first) = parse_x509_certificate(first).map_err(|_| CertificateError::Certificate { path: path() })?;
        let expiry = expiry(&first);
        let key = self.load_key()?;
        let pair = CertifiedKey::new(chain, key);
        let unmatched = |_| CertificateError::Key { path: self.key.clone(), reason: "is not the certificate's key" };
        pair.keys_match().map_err(unmatched)?;
        Ok((pair, expiry))
    }

    fn load_key(&self) -> Result<Arc<dyn rustls::sign::SigningKey>, CertificateError> {
        let path = || self.key.clone();
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::Missing { path: path(), what: "private key in PEM" },
            _ => CertificateError::Key { path: path(), reason: "is no private key in PEM" },
        })?;
        let unusable = |_| CertificateError::Key { path: path(), reason: "holds a key of a kind that cannot be used" };
        provider().key_provider.load_private_key(key).map_err(unusable)
    }

    /// What changes when somebody writes to one of the files, or puts another in its place.
    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, std::os::unix::fs::MetadataExt::ino(&metadata)))
        })
    }
}

impl Certificate {
    /// # Errors
    /// See [`CertificateFiles::check`].
    pub(super) fn new(files: CertificateFiles) -> Result<Self, CertificateError> {
        let (pair, expiry) = files.load()?;
        Ok(Self {
            files,
            current: ArcSwap::from_pointee(pair),
            expiry: AtomicI64::new(expiry),
            reloaded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// When what is in use expires, in seconds since 1970.
    pub(super) fn expiry(&self) -> i64 {
        self.expiry.load(Relaxed)
    }

    /// How often new files were taken over, and how often they were no good.
    pub(super) fn reloads(&self) -> (u64, u64) {
        (self.reloaded.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Takes over what the files hold whenever they have changed, until the daemon stops.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut known = self.files.stamp();
        let mut changed = None;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let seen = self.files.stamp();
            if seen == known {
                changed = None;
            } else if changed != Some(seen) {
                // Whoever writes one of the two is about to write the other.
                changed = Some(seen);
            } else {
                known = seen;
                self.reload();
            }
        }
    }

    /// Files that are no good are told of once, until they change again.
    fn reload(&self) {
        let file = self.files.certificate.display();
        match self.files.load() {
            Ok((pair, expiry)) => {
                self.current.store(Arc::new(pair));
                self.expiry.store(expiry, Relaxed);
                self.reloaded.fetch_add(1, Relaxed);
                tracing::info!("certificate {file} was read anew");
            }
            Err(error) => {
                self.refused.fetch_add(1, Relaxed);
                tracing::error!("the new certificate is no good, the old one stays: {error}");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Shows expiry and reloads of these, by the file of the certificate.
pub(super) fn register(certificates: &[Arc<Certificate>], registry: &mut Registry) {
    if !certificates.is_empty() {
        registry.register_collector(Box::new(Shown(certificates.to_vec())));
    }
}

#[derive(Debug)]
struct Shown(Vec<Arc<Certificate>>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let name = |certificate: &Certificate| certificate.files.certificate.display().to_string();
        let (expiry, help) =
            ("dglb_dns_certificate_expiry_seconds", "When a certificate expires, in seconds since 1970");
        let mut family = encoder.encode_descriptor(expiry, help, None, MetricType::Gauge)?;
        for certificate in &self.0 {
            let gauge = ConstGauge::new(certificate.expiry());
            gauge.encode(family.encode_family(&[("file", name(certificate))])?)?;
        }
        let (reloads, help) = ("dglb_dns_certificate_reloads", "Changes of certificate files by outcome");
        let mut family = encoder.encode_descriptor(reloads, help, None, MetricType::Counter)?;
        for certificate in &self.0 {
            let (applied, refused) = certificate.reloads();
            for (outcome, count) in [("applied", applied), ("refused", refused)] {
                let labels = [("file", name(certificate)), ("outcome", outcome.to_owned())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// More than any chain or key has.
const MAX_FILE: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut octets = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut octets));
    read.map_err(|source| CertificateError::File { path: path.to_owned(), source })?;
    Ok(octets)
}

fn expiry(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}
