//! The certificates that encrypted transports show: read from files, and read again when the files
//! change. A new pair that is no good leaves the old one in use.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::{CertificateError, CertificateFiles},
    followed::Followed,
};

/// A pair in use.
pub(super) struct Certificate {
    files: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
    expiry: AtomicI64,
    reloaded: AtomicU64,
    refused: AtomicU64,
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
        let mut followed = Followed::new([&self.files.certificate, &self.files.key]);
        while stop.run_until_cancelled(followed.changed()).await.is_some() {
            self.reload();
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
