//! Certificates and keys in files: read, checked, and said to be wrong by file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use thiserror::Error;
use x509_parser::{parse_x509_certificate, prelude::X509Certificate};

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

/// Cryptography of everything here: aws-lc, whatever else is linked.
pub(crate) fn provider() -> Arc<CryptoProvider> {
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
    pub(crate) fn load(&self) -> Result<(CertifiedKey, i64), CertificateError> {
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
}

/// More than any chain or key has.
const MAX_FILE: u64 = 1 << 20;

/// What a file holds, as far as it has no more than a mebibyte.
///
/// # Errors
/// [`CertificateError::File`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    read_up_to(path, MAX_FILE)
}

/// What a file holds, as far as it has no more than `most` octets.
///
/// # Errors
/// [`CertificateError::File`].
pub(crate) fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, CertificateError> {
    let mut octets = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, most), &mut octets));
    read.map_err(|source| CertificateError::File { path: path.to_owned(), source })?;
    Ok(octets)
}

fn expiry(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}
