//! `plain-tcp` and `[map.tls]`: how map links are secured.

use dglb_core::{identity::Identity, peer_name::PeerName, proto::message::PeerRole};

use super::{Section, choice, secrets::others_may_read};
use crate::{
    certificate::CertificateFiles,
    link::{LinkSecurity, PlainTcp, TlsFiles},
};

const PLAIN_TCP: [(&str, PlainTcp); 2] = [("never", PlainTcp::Never), ("loopback", PlainTcp::Loopback)];

/// What `[map]` of the daemon with this role and identity says. The files are read here already, so
/// that `--check` finds what is wrong with them.
///
/// `None` where it says something that is wrong, which is noted.
pub fn link_security(map: Option<&Section<'_>>, role: PeerRole, identity: Option<&Identity>) -> Option<LinkSecurity> {
    let Some(map) = map else { return Some(LinkSecurity::default()) };
    let plain_tcp = map.optional("plain-tcp", choice(&PLAIN_TCP));
    if !map.has("tls") {
        let unclear = map.has("plain-tcp") && plain_tcp.is_none();
        return (!unclear).then(|| LinkSecurity { tls: None, plain_tcp: plain_tcp.unwrap_or_default() });
    }
    let tls = map.table("tls").and_then(|tls| files(&tls));
    if plain_tcp.is_some_and(|plain| plain != PlainTcp::Never) {
        map.problem("plain-tcp", "with [map.tls] every link has TLS, on this host, too: leave one of the two out");
        return None;
    }
    let (files, identity) = (tls?, identity?);
    check(map, &files, &PeerName::new(role, identity.clone())).then_some(())?;
    Some(LinkSecurity { tls: Some(files), plain_tcp: PlainTcp::Never })
}

fn files(tls: &Section<'_>) -> Option<TlsFiles> {
    let path = |key: &str| {
        if !tls.has(key) {
            tls.problem(key, "this key is missing");
        }
        tls.path(key)
    };
    let (certificate, key, ca, crl) = (path("certificate"), path("key"), path("ca"), tls.path("crl"));
    Some(TlsFiles { own: CertificateFiles { certificate: certificate?, key: key? }, ca: ca?, crl })
}

fn check(map: &Section<'_>, files: &TlsFiles, name: &PeerName) -> bool {
    let key = &files.own.key;
    if others_may_read(key) {
        map.warning("tls", format!("{} can be read by everybody on this host", key.display()));
    }
    match files.check(name) {
        Ok(None) => true,
        // A daemon that can answer questions must start, whatever becomes of its links.
        Ok(Some(problem)) => {
            let file = files.own.certificate.display();
            map.warning("tls", format!("{file}: a peer with the same files would say: {problem}"));
            true
        }
        Err(error) => {
            map.problem("tls", error);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        time::{Duration, SystemTime},
    };

    use dglb_ca::{Authority, Lifetime, Request};

    use super::*;
    use crate::config::{ConfigError, Loaded, load};

    const GOOD: &str =
        "[map]\ntls = { certificate = 'certificate.pem', key = 'key.pem', ca = 'ca.pem', crl = 'crl.pem' }";

    /// Reads this with the files of the DNS-LB sea1 beside it.
    fn read(text: &str, lifetime: Lifetime) -> Result<Loaded<LinkSecurity>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let (path, now) = (directory.path(), SystemTime::now());
        let authority = Authority::new("test", Lifetime::days(now, 10)).unwrap();
        let request = Request::new("dglb:dns-lb:sea1".parse().unwrap(), lifetime);
        let list = authority.revocation_list(&[], 1, now, now + Duration::from_secs(9)).unwrap();
        authority.issue(&request).unwrap().write(path, authority.certificate(), &list).unwrap();
        load_from(path, text)
    }

    fn good() -> Lifetime {
        Lifetime::days(SystemTime::now(), 5)
    }

    fn load_from(directory: &Path, text: &str) -> Result<Loaded<LinkSecurity>, ConfigError> {
        let path = directory.join("test.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, |section| {
            link_security(section.table("map").as_ref(), PeerRole::DnsLb, Some(&"sea1".parse().unwrap()))
        })
    }

    fn mistakes(text: &str) -> String {
        read(text, good()).expect_err("refused").to_string()
    }

    #[test]
    fn certificates_or_loopback_or_nothing() {
        let security = read(GOOD, good()).unwrap();
        assert!(security.warnings.is_empty(), "{security:?}");
        let files = security.value.tls.unwrap();
        assert!(files.ca.ends_with("ca.pem") && files.crl.unwrap().ends_with("crl.pem"));
        let plain = read("map.plain-tcp = 'loopback'", good()).unwrap().value;
        assert_eq!(plain, LinkSecurity { tls: None, plain_tcp: PlainTcp::Loopback });
        assert_eq!(read("", good()).unwrap().value, LinkSecurity::default());
        assert!(!LinkSecurity::default().any() && plain.any());
        assert!(plain.check("127.0.0.1:1".parse().unwrap()).is_ok());
        assert!(plain.check("192.0.2.1:1".parse().unwrap()).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        for (text, says) in [
            ("map.plain-tcp = 'any'".to_owned(), "wanted one of \"never\", \"loopback\", found \"any\""),
            (format!("{GOOD}\nplain-tcp = 'loopback'"), "map.plain-tcp: with [map.tls] every link has TLS"),
            ("[map.tls]\nkey = 'key.pem'\nca = 'ca.pem'".to_owned(), "map.tls.certificate: this key is missing"),
            (GOOD.replace("'crl.pem'", "'none.pem'"), "none.pem: No such file"),
            (GOOD.replace("'crl.pem'", "'ca.pem'"), "ca.pem: holds no revocation list in PEM"),
            (GOOD.replace("ca = 'ca.pem'", "ca = 'key.pem'"), "key.pem: holds no certificate in PEM"),
            (GOOD.replace("certificate = 'certificate.pem'", "certificate = 'ca.pem'"), "is not the certificate's key"),
        ] {
            let said = mistakes(&text);
            assert!(said.contains(says), "{text}\n{says} is not in\n{said}");
        }
        let directory = tempfile::tempdir().unwrap();
        let said = load_from(directory.path(), GOOD).unwrap_err().to_string();
        assert!(said.contains("certificate.pem: No such file"), "{said}");
    }

    #[test]
    fn a_certificate_that_peers_would_not_take_is_warned_of() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3_600);
        let loaded = read(GOOD, Lifetime { from: now - 2 * hour, until: now - hour }).unwrap();
        assert!(loaded.value.tls.is_some());
        assert!(loaded.warnings[0].message.contains("the peer's certificate has expired"), "{loaded:?}");
    }
}
