//! The tables below `[dns]` that say how questions come in, other than over UDP.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use dglb_core::dns::Role;

use super::{Dns, Section, Value, duration, integer, secrets::others_may_read, size, text};
use crate::{
    certificate::CertificateFiles,
    serve::{EncryptedService, EncryptedSettings, Endpoint, Over, StreamSettings},
};

/// `[dns.tcp]`.
pub(super) fn tcp(dns: &Section<'_>) -> StreamSettings {
    let default = StreamSettings::default();
    match dns.table("tcp") {
        Some(tcp) => limits(&tcp, default),
        None => default,
    }
}

/// The limits on connections that a table may state.
fn limits(section: &Section<'_>, default: StreamSettings) -> StreamSettings {
    let limits = StreamSettings {
        idle: section.or("idle", duration("1s", "1h"), default.idle),
        life: section.optional("life", duration("10s", "7days")),
        connections: section.or("connections", integer(1..=1_000_000), default.connections),
        connections_per_client: section.or(
            "connections-per-client",
            integer(1..=1_000_000),
            default.connections_per_client,
        ),
        messages_per_connection: section.or(
            "messages",
            integer(1..=u64::from(u32::MAX)),
            default.messages_per_connection,
        ),
        in_flight: section.or("in-flight", integer(1..=1_000), default.in_flight),
        memory: usize::try_from(section.or("memory", size(1 << 20..=1 << 40), default.memory as u64))
            .unwrap_or(usize::MAX),
        handshake: default.handshake,
    };
    if limits.idle < Duration::from_secs(2) {
        section.warning("idle", "resolvers that keep connections open expect some seconds (RFC 7766 section 6.2.3)");
    }
    limits
}

impl Dns {
    /// Reads `[dns.tls]`, `[dns.https]` and `[dns.quic]`. Each lists where it listens under the given
    /// keys, one for each role that the daemon has; without any of them a transport is not served.
    ///
    /// The certificate is read here already, so that `--check` finds what is wrong with it.
    pub fn read_encrypted(&mut self, dns: &Section<'_>, roles: &[(&str, Role)]) {
        let encrypted = encrypted(dns, roles);
        if encrypted.services.iter().any(|service| service.over == Over::Tls) {
            // One value is announced over TCP and TLS: the one that holds for both.
            let own = keepalive(encrypted.limits.idle);
            self.conduct.keepalive = self.conduct.keepalive.map(|tcp| tcp.min(own));
        }
        self.settings.encrypted = encrypted;
    }
}

/// A time-out in units of 100 ms (RFC 7828 section 3.1).
pub(super) fn keepalive(idle: Duration) -> u16 {
    u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX)
}

fn encrypted(dns: &Section<'_>, roles: &[(&str, Role)]) -> EncryptedSettings {
    let (tls, https, quic) = (dns.table("tls"), dns.table("https"), dns.table("quic"));
    let mut settings = EncryptedSettings::default();
    let shared = tls.as_ref().map(files).unwrap_or_default();
    if let Some(tls) = &tls {
        settings.limits = limits(tls, settings.limits);
        settings.limits.handshake = tls.or("handshake", duration("100ms", "1m"), settings.limits.handshake);
    }
    let path = https.as_ref().and_then(|https| https.optional("path", path)).unwrap_or_else(|| "/dns-query".to_owned());
    for (section, over) in [(tls, Over::Tls), (https, Over::Https { path }), (quic, Over::Quic)] {
        let Some(section) = section else { continue };
        let own = if over == Over::Tls { Pair::default() } else { files(&section) };
        let endpoints = endpoints(&section, roles);
        let files = own.or(&shared).checked(&section, !endpoints.is_empty());
        if let Some(files) = files {
            settings.services.push(EncryptedService { over, endpoints, files });
        }
    }
    settings
}

fn endpoints(section: &Section<'_>, roles: &[(&str, Role)]) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (key, role) in roles {
        for address in section.list::<SocketAddr>(key, text) {
            if address.port() != 0 && endpoints.iter().any(|endpoint| endpoint.address == address) {
                section.problem(key, format!("{address} stands here twice; the address asked decides the role"));
            }
            endpoints.push(Endpoint { address, role: *role });
        }
    }
    endpoints
}

/// RFC 8484 section 3: a path without variables.
fn path(value: &Value<'_>) -> Result<String, String> {
    let path: String = text(value)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if path.starts_with('/') && path.bytes().all(legal) {
        return Ok(path);
    }
    Err(format!("wanted a path such as \"/dns-query\", found \"{path}\""))
}

/// What a table says of certificates.
#[derive(Clone, Default)]
struct Pair {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

fn files(section: &Section<'_>) -> Pair {
    Pair { certificate: section.path("certificate"), key: section.path("key") }
}

impl Pair {
    fn or(self, shared: &Self) -> Self {
        let whole = self.certificate.is_some() || self.key.is_some();
        if whole { self } else { shared.clone() }
    }

    /// Files that hold a pair that fits, if the transport is `served`; else nothing is needed.
    fn checked(self, section: &Section<'_>, served: bool) -> Option<CertificateFiles> {
        if !served {
            return None;
        }
        let (Some(certificate), Some(key)) = (self.certificate, self.key) else {
            section.problem("certificate", "both \"certificate\" and \"key\" are needed, here or in [dns.tls]");
            return None;
        };
        if others_may_read(&key) {
            section.warning("key", format!("{} can be read by everybody on this host", key.display()));
        }
        let files = CertificateFiles { certificate, key };
        if let Err(error) = files.check() {
            section.problem("certificate", error);
            return None;
        }
        Some(files)
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::dns::Transport;

    use super::*;
    use crate::config::{ConfigError, Loaded, load};

    const ROLES: [(&str, Role); 2] = [("referral", Role::Referral), ("fallback", Role::Fallback)];

    /// Reads this `[dns]` with a certificate in a.pem and a.key, and another in b.pem and b.key.
    fn read(text: &str) -> Result<Loaded<Dns>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let pair = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
            let write = |kind: &str, pem| std::fs::write(directory.path().join(format!("{name}.{kind}")), pem).unwrap();
            write("pem", pair.cert.pem());
            write("key", pair.signing_key.serialize_pem());
        }
        let path = directory.path().join("test.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, |section| {
            let dns = section.required_table("dns")?;
            let mut read = Dns::read(Some(&dns), None);
            read.read_encrypted(&dns, &ROLES);
            Some(read)
        })
    }

    fn mistakes(text: &str) -> String {
        read(text).expect_err("refused").to_string()
    }

    #[test]
    fn limits_are_read_and_announced() {
        let dns = read(
            "[dns.tcp]\nidle = '30s'\nlife = '1h'\nconnections = 7\nconnections-per-client = 3\nmessages = 9\n\
             in-flight = 4\nmemory = '1MiB'\n",
        )
        .unwrap()
        .value;
        let wanted = StreamSettings {
            idle: Duration::from_secs(30),
            life: Some(Duration::from_secs(3_600)),
            connections: 7,
            connections_per_client: 3,
            messages_per_connection: 9,
            in_flight: 4,
            memory: 1 << 20,
            ..StreamSettings::default()
        };
        assert_eq!(dns.settings.tcp, wanted);
        assert_eq!((dns.conduct.keepalive, dns.settings.encrypted), (Some(300), EncryptedSettings::default()));
    }

    #[test]
    fn transports_have_roles_and_share_a_certificate() {
        let loaded = read(
            "[dns.tcp]\nidle = '30s'\n\
             [dns.tls]\nreferral = ['192.0.2.1:853']\nfallback = ['192.0.2.2:853']\ncertificate = 'a.pem'\n\
             key = 'a.key'\nidle = '20s'\nhandshake = '2s'\n\
             [dns.https]\nfallback = ['192.0.2.2:443']\npath = '/ask'\n\
             [dns.quic]\nreferral = ['192.0.2.1:853']\ncertificate = 'b.pem'\nkey = 'b.key'\n",
        )
        .unwrap();
        // Keys that everybody may read are told of, one of them for each transport.
        assert!(loaded.warnings.iter().all(|w| w.message.contains("can be read by everybody")), "{loaded:?}");
        let encrypted = &loaded.value.settings.encrypted;
        assert_eq!((encrypted.limits.idle.as_secs(), encrypted.limits.handshake.as_secs()), (20, 2));
        let seen: Vec<_> = encrypted
            .services
            .iter()
            .map(|service| {
                let roles: Vec<_> = service.endpoints.iter().map(|endpoint| endpoint.role).collect();
                let file = service.files.key.file_name().unwrap().to_str().unwrap();
                (service.over.transport(), roles, file)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Transport::Tls, vec![Role::Referral, Role::Fallback], "a.key"),
                (Transport::Https, vec![Role::Fallback], "a.key"),
                (Transport::Quic, vec![Role::Referral], "b.key"),
            ]
        );
        assert_eq!(encrypted.services[1].over, Over::Https { path: "/ask".to_owned() });
        // What holds for both is announced.
        assert_eq!(loaded.value.conduct.keepalive, Some(200));
    }

    #[test]
    fn certificates_alone_serve_nothing() {
        let dns = read("[dns.tls]\ncertificate = 'a.pem'\nkey = 'a.key'\n[dns.https]\n").unwrap().value;
        assert_eq!(dns.settings.encrypted.services, []);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let said = mistakes(
            "[dns.tls]\nreferral = ['192.0.2.1:853']\nfallback = ['192.0.2.1:853']\ncertificate = 'a.pem'\n\
             key = 'b.key'\nconnections = 0\n\
             [dns.https]\nreferral = ['192.0.2.1:443']\npath = 'dns?'\ncertificate = 'c.pem'\nkey = 'a.key'\n\
             [dns.quic]\nreferral = ['192.0.2.1:853']\ncertificate = 'a.pem'\nlisten = []\n",
        );
        for wanted in [
            "dns.tls.fallback: 192.0.2.1:853 stands here twice",
            "b.key: is not the certificate's key",
            "dns.tls.connections: wanted an integer from 1 to 1000000, found 0",
            "dns.https.path: wanted a path such as \"/dns-query\", found \"dns?\"",
            "c.pem: No such file",
            "dns.quic.certificate: both \"certificate\" and \"key\" are needed",
            "dns.quic.listen",
        ] {
            assert!(said.contains(wanted), "{wanted} is not in\n{said}");
        }
        assert_eq!(said.lines().count(), 7, "{said}");
    }
}
