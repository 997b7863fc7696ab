//! The authority itself: a certificate and a key in memory. It has no clock; times are arguments.

use std::{
    fmt, io,
    net::IpAddr,
    path::Path,
    str::FromStr,
    time::{Duration, SystemTime},
};

use dglb_core::peer_name::PeerName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use thiserror::Error;
use time::OffsetDateTime;

use crate::file::{Readable, write};

/// Certificates begin to be valid so long before they are made, since clocks differ.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// Octets of a serial number; RFC 5280 section 4.1.2.2 allows 20.
const SERIAL: usize = 16;

/// Why something could not be signed or understood. The text never contains a key.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The key is none, or of a kind that cannot be used.
    #[error("the CA's key cannot be used: {0}")]
    Key(String),
    /// The certificate is none, or no CA's.
    #[error("the CA's certificate cannot be used: {0}")]
    Certificate(String),
    /// The key is not the certificate's.
    #[error("the CA's key is another one's than its certificate says")]
    Unmatched,
    /// A name that cannot stand in a certificate.
    #[error("\"{0}\" cannot stand in a certificate")]
    Name(String),
    /// A time that no certificate can state.
    #[error("a certificate cannot live until then")]
    Time,
    /// Whatever else.
    #[error("cannot sign: {0}")]
    Sign(String),
}

/// From when until when something is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Not earlier.
    pub from: SystemTime,
    /// Not later.
    pub until: SystemTime,
}

impl Lifetime {
    /// Of something made `now` for so many days; it begins an hour earlier, since clocks differ.
    pub fn days(now: SystemTime, days: u32) -> Self {
        let until = now + Duration::from_secs(u64::from(days) * 86_400);
        Self { from: now - BACKDATED, until }
    }
}

/// The serial number of a certificate: drawn, so that nobody can guess the next one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    pub(crate) fn draw() -> Self {
        let mut octets: [u8; SERIAL] = rand::random();
        // Positive, and never shorter than it says.
        octets[0] = octets[0] & 0x7f | 0x40;
        Self(octets.to_vec())
    }
}

/// In hexadecimal.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for Serial {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = hexadecimal && !text.is_empty() && text.len() <= 40 && text.len().is_multiple_of(2);
        let octet = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let octets = digits.then(|| (0..text.len()).step_by(2).map(octet).collect::<Option<Vec<u8>>>()).flatten();
        octets.map(Self).ok_or_else(|| AuthorityError::Name(text.to_owned()))
    }
}

/// What a host's certificate shall say.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who the host is.
    pub name: PeerName,
    /// DNS names beside it, for tools that want them; map links do not look.
    pub dns_names: Vec<String>,
    /// Addresses beside it; the same.
    pub addresses: Vec<IpAddr>,
    /// How long it is valid.
    pub lifetime: Lifetime,
}

impl Request {
    /// A certificate that names nothing but who the host is.
    pub fn new(name: PeerName, lifetime: Lifetime) -> Self {
        Self { name, dns_names: Vec::new(), addresses: Vec::new(), lifetime }
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Issued {
    /// Its number.
    pub serial: Serial,
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its private key (PKCS #8), in PEM.
    pub key: String,
}

impl Issued {
    /// Writes what the host needs into a directory that is there: certificate.pem, key.pem (0600),
    /// ca.pem and crl.pem.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write(&self, directory: &Path, ca: &str, list: &str) -> io::Result<()> {
        write(&directory.join("key.pem"), &self.key, Readable::ByOwner)?;
        for (name, text) in [("certificate.pem", &*self.certificate), ("ca.pem", ca), ("crl.pem", list)] {
            write(&directory.join(name), text, Readable::ByAll)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// A certificate that is not to be trusted any more.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Since when.
    pub since: SystemTime,
}

/// A certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one of this name, with a new key (ECDSA on P-256).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn new(name: &str, lifetime: Lifetime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(|error| sign(&error))?;
        let mut params = params(name, lifetime)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|error| sign(&error))?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// The two are no CA, or do not belong together.
    pub fn load(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        let wrong = |error: &dyn fmt::Display| AuthorityError::Certificate(error.to_string());
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|e| wrong(&e))?;
        let parsed = pem.parse_x509().map_err(|e| wrong(&e))?;
        if !parsed.is_ca() {
            return Err(wrong(&"it is no CA's"));
        }
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(AuthorityError::Unmatched);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(|e| wrong(&e))?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// Its certificate, in PEM: what everybody who is to trust it needs.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, in PEM: whoever has it can be anybody.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate with a new key. It can stand at either end of a link.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(&self, request: &Request) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate().map_err(|error| sign(&error))?;
        let serial = Serial::draw();
        let mut params = params(request.name.identity.as_str(), request.lifetime)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial.0));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = alternative_names(request)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| sign(&error))?;
        Ok(Issued { serial, certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The list of what is revoked, in PEM, made `now` and the `number`-th. Until `next` another one
    /// is to be made; map links take older ones all the same.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        now: SystemTime,
        next: SystemTime,
    ) -> Result<String, AuthorityError> {
        let entry = |revoked: &Revoked| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&revoked.serial.0),
                revocation_time: date(revoked.since)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(next)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, AuthorityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(|error| sign(&error))
    }
}

fn alternative_names(request: &Request) -> Result<Vec<SanType>, AuthorityError> {
    let ascii = |text: &str| text.try_into().map_err(|_| AuthorityError::Name(text.to_owned()));
    let mut names = vec![SanType::URI(ascii(&request.name.to_string())?)];
    for name in &request.dns_names {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-.*_".contains(&b);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(legal) {
            return Err(AuthorityError::Name(name.clone()));
        }
        names.push(SanType::DnsName(ascii(name)?));
    }
    names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

fn params(common_name: &str, lifetime: Lifetime) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = date(lifetime.from)?;
    params.not_after = date(lifetime.until)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// RFC 5280 section 4.1.2.5 ends with the year 9999.
fn date(at: SystemTime) -> Result<OffsetDateTime, AuthorityError> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| AuthorityError::Time)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| AuthorityError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time)
}

fn sign(error: &rcgen::Error) -> AuthorityError {
    AuthorityError::Sign(error.to_string())
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
    }

    fn authority() -> Authority {
        Authority::new("test CA", Lifetime::days(SystemTime::now(), 10)).unwrap()
    }

    #[test]
    fn a_certificate_says_what_was_asked_for_and_is_the_authoritys() {
        let authority = authority();
        let name: PeerName = "dglb:dns-lb:sea1".parse().unwrap();
        let mut request = Request::new(name, Lifetime::days(SystemTime::now(), 2));
        request.dns_names = vec!["sea1.example.net".to_owned()];
        request.addresses = vec!["192.0.2.1".parse().unwrap()];
        let issued = authority.issue(&request).unwrap();
        let (own, der_ca) = (der(&issued.certificate), der(authority.certificate()));
        let (_, certificate) = X509Certificate::from_der(&own).unwrap();
        let (_, ca) = X509Certificate::from_der(&der_ca).unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        assert!(ca.is_ca() && !certificate.is_ca() && certificate.validity().is_valid());
        assert_eq!(certificate.raw_serial(), issued.serial.0);
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        assert_eq!(names[0], GeneralName::URI("dglb:dns-lb:sea1"));
        assert_eq!(names[1], GeneralName::DNSName("sea1.example.net"));
        assert_eq!(names.len(), 3);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && usage.server_auth);
        assert_ne!(issued.serial, authority.issue(&request).unwrap().serial);
    }

    #[test]
    fn an_authority_is_loaded_as_it_was_saved_and_with_its_own_key_only() {
        let (first, second) = (authority(), authority());
        let loaded = Authority::load(first.certificate(), &first.key()).unwrap();
        let request = Request::new("dglb:dns-b:b1".parse().unwrap(), Lifetime::days(SystemTime::now(), 1));
        let issued = loaded.issue(&request).unwrap();
        let (own, der_ca) = (der(&issued.certificate), der(first.certificate()));
        let (_, certificate) = X509Certificate::from_der(&own).unwrap();
        let (_, ca) = X509Certificate::from_der(&der_ca).unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        assert!(matches!(Authority::load(first.certificate(), &second.key()), Err(AuthorityError::Unmatched)));
        assert!(matches!(Authority::load("", &first.key()), Err(AuthorityError::Certificate(_))));
        assert!(matches!(Authority::load(first.certificate(), "x"), Err(AuthorityError::Key(_))));
        let wrong = Authority::load(&issued.certificate, &issued.key);
        assert!(matches!(wrong, Err(AuthorityError::Certificate(_))), "{wrong:?}");
    }

    #[test]
    fn names_and_serials_that_cannot_be_are_refused() {
        let mut request = Request::new("dglb:dns-b:b1".parse().unwrap(), Lifetime::days(SystemTime::now(), 1));
        for name in ["", "a b", "ä.example", "x\0y"] {
            request.dns_names = vec![name.to_owned()];
            assert!(matches!(authority().issue(&request), Err(AuthorityError::Name(n)) if n == name));
        }
        let serial = Serial::draw();
        assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        for text in ["", "0", "xy", "+1", &"00".repeat(21)] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let authority = authority();
        let request = Request::new("dglb:dns-b:b1".parse().unwrap(), Lifetime::days(SystemTime::now(), 1));
        let issued = authority.issue(&request).unwrap();
        let shown = format!("{authority:?} {issued:?}");
        assert!(!shown.contains("PRIVATE") && shown.len() < 200, "{shown}");
    }
}
