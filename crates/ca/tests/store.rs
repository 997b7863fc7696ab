//! A CA's life in a directory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use dglb_ca::{Lifetime, Request, State, Store, StoreError};
use dglb_core::peer_name::PeerName;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

const DAY: Duration = Duration::from_secs(86_400);

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Numbers that a list says are revoked, in hexadecimal.
fn revoked(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap();
    let der = x509_parser::pem::parse_x509_pem(&text).unwrap().1.contents;
    let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
    let hex = |serial: &[u8]| serial.iter().map(|octet| format!("{octet:02x}")).collect();
    list.iter_revoked_certificates().map(|entry| hex(entry.raw_serial())).collect()
}

fn new() -> (tempfile::TempDir, PathBuf, Store, SystemTime) {
    let directory = tempfile::tempdir().unwrap();
    let (path, now) = (directory.path().join("ca"), SystemTime::now());
    let store = Store::init(&path, "test CA", Lifetime::days(now, 100), now).unwrap();
    (directory, path, store, now)
}

#[test]
fn keys_are_the_owners_and_nothing_is_overwritten() {
    let (_directory, path, mut store, now) = new();
    let lifetime = Lifetime::days(now, 90);
    let bundle = store.issue(&Request::new(name("dglb:dns-lb:sea1"), lifetime), now).unwrap();
    assert_eq!(bundle.directory, path.join("hosts/dns-lb-sea1"));
    assert_eq!((mode(path.join("ca.key")), mode(bundle.directory.join("key.pem"))), (0o600, 0o600));
    assert_eq!((mode(&path), mode(&bundle.directory)), (0o700, 0o700));
    let before = fs::read(bundle.directory.join("key.pem")).unwrap();

    let again = store.issue(&Request::new(name("dglb:dns-lb:sea1"), lifetime), now);
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    assert_eq!(fs::read(bundle.directory.join("key.pem")).unwrap(), before);
    assert!(matches!(Store::open(&path), Err(StoreError::Busy(_))), "two at once");
    drop(store);
    let key = fs::read(path.join("ca.key")).unwrap();
    let again = Store::init(&path, "other", lifetime, now);
    assert!(matches!(again, Err(StoreError::Occupied(_))), "{again:?}");
    assert_eq!(fs::read(path.join("ca.key")).unwrap(), key);

    // Another role is another host; and once the certificate has expired there is nothing to lose.
    let mut store = Store::open(&path).unwrap();
    store.issue(&Request::new(name("dglb:dns-b:sea1"), lifetime), now).unwrap();
    let later = now + 91 * DAY;
    store.issue(&Request::new(name("dglb:dns-lb:sea1"), Lifetime::days(later, 90)), later).unwrap();
    assert_eq!(store.entries().len(), 3);
}

#[test]
fn a_renewed_certificate_has_the_same_names_and_the_old_one_stays_good() {
    let (_directory, path, mut store, now) = new();
    let mut request = Request::new(name("dglb:dns-b:b1"), Lifetime::days(now, 90));
    request.dns_names = vec!["b1.example.net".to_owned()];
    request.addresses = vec!["2001:db8::1".parse().unwrap()];
    let first = store.issue(&request, now).unwrap();
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let second = store.renew(&request.name, Lifetime::days(now + 60 * DAY, 90)).unwrap();
    assert_ne!(first.serial, second.serial);
    let text = fs::read(second.directory.join("certificate.pem")).unwrap();
    let der = x509_parser::pem::parse_x509_pem(&text).unwrap().1.contents;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert!(names.len() == 3 && names.concat().contains("b1.example.net"), "{names:?}");
    let states: Vec<State> = store.entries().iter().map(|entry| entry.state(now + 60 * DAY)).collect();
    assert!(states.iter().all(|state| matches!(state, State::Valid(_))), "{states:?}");
    let unknown = store.renew(&name("dglb:dns-b:b2"), Lifetime::days(now, 1));
    assert!(matches!(unknown, Err(StoreError::Unknown(_))));
}

#[test]
fn all_that_a_host_has_is_revoked_in_every_list() {
    let (_directory, path, mut store, now) = new();
    let lifetime = Lifetime::days(now, 90);
    let sea = name("dglb:dns-lb:sea1");
    let first = store.issue(&Request::new(sea.clone(), lifetime), now).unwrap();
    let other = store.issue(&Request::new(name("dglb:dns-lb:fra1"), lifetime), now).unwrap();
    let second = store.renew(&sea, lifetime).unwrap();
    assert_eq!(revoked(&path.join("crl.pem")), [] as [String; 0]);
    let serials = store.revoke(&sea, now).unwrap();
    assert_eq!(serials, [first.serial.clone(), second.serial.clone()]);
    let wanted = [first.serial.to_string(), second.serial.to_string()];
    assert_eq!(revoked(&path.join("crl.pem")), wanted);
    assert_eq!(revoked(&other.directory.join("crl.pem")), wanted);
    assert!(!first.directory.exists());
    assert!(matches!(store.revoke(&sea, now), Err(StoreError::Unknown(_))));
    assert!(matches!(store.renew(&sea, lifetime), Err(StoreError::Unknown(_))));
    // A new host of that name is another certificate; what is revoked stays so.
    store.issue(&Request::new(sea, lifetime), now).unwrap();
    drop(store);
    Store::open(&path).unwrap().write_list(now + DAY).unwrap();
    assert_eq!(revoked(&path.join("crl.pem")), wanted);
}

#[test]
fn what_is_no_ca_is_said_by_file() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::Empty(_))));
    let (_directory, path, store, now) = new();
    drop(store);
    fs::write(path.join("issued.tsv"), "nonsense\n").unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.contains("issued.tsv: line 1"), "{error}");
    fs::remove_file(path.join("ca.key")).unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.contains("ca.key: No such file"), "{error}");
    // Half a CA is not made whole by another one.
    assert!(matches!(Store::init(&path, "x", Lifetime::days(now, 1), now), Err(StoreError::Occupied(_))));
}
