//! The keys of `[dns]` that every DNS server of ours has.

use std::{num::NonZeroUsize, path::PathBuf};

use dglb_core::{
    dns::{
        Conduct,
        conduct::Text,
        rate::{self, Limits},
    },
    identity::Identity,
    net::Prefix,
};

use super::{
    Section, Value, boolean, integer,
    secrets::{Secrets, others_may_read},
    text, transports,
};
use crate::serve::Settings;

/// What `version.bind` says unless the operator says otherwise.
const VERSION: &str = concat!("dglb ", env!("CARGO_PKG_VERSION"));

/// What `[dns]` says of serving, whoever serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Sockets and threads.
    pub settings: Settings,
    /// How questions are answered, but for cookies: their secrets may change without a word from
    /// the operator (see [`crate::serve::ConductKeeper`]).
    pub conduct: Conduct,
    /// What is done about cookies.
    pub cookies: Cookies,
}

/// `[dns.cookies]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// Whether they are answered at all.
    pub enabled: bool,
    /// Whether over UDP a client that knows cookies needs a good one.
    pub require: bool,
    /// Where the secrets are; without a file this process makes its own.
    pub secret_file: Option<SecretFile>,
}

/// A file with secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Which.
    pub path: PathBuf,
    /// What it said when the configuration was read.
    pub secrets: Secrets,
}

impl Default for Cookies {
    fn default() -> Self {
        Self { enabled: true, require: false, secret_file: None }
    }
}

impl Dns {
    /// Reads the shared keys of `[dns]`, if it is there; the daemon's own are the caller's to read.
    /// Unless it says otherwise the server gives its `identity` to who asks.
    pub fn read(section: Option<&Section<'_>>, identity: Option<&Identity>) -> Self {
        let mut dns = Self::default();
        let identity = identity.and_then(|identity| Text::new(identity.as_str()).ok());
        dns.conduct = Conduct {
            nsid: identity.clone(),
            identity,
            version: Text::new(VERSION).ok(),
            limits: limits(None),
            ..Conduct::DEFAULT
        };
        if let Some(section) = section {
            dns.read_section(section);
        }
        dns.conduct.keepalive = Some(transports::keepalive(dns.settings.tcp.idle));
        dns
    }

    fn read_section(&mut self, section: &Section<'_>) {
        let Self { settings, conduct, cookies } = self;
        let lanes = section.optional("lanes", integer(1..=1_024_usize)).and_then(NonZeroUsize::new);
        settings.lanes = lanes.unwrap_or(settings.lanes);
        settings.pin = section.or("pin", boolean, settings.pin);
        settings.tcp = transports::tcp(section);
        conduct.udp_payload = section.or("udp-payload", integer(512..=4096), conduct.udp_payload);
        conduct.nsid = section.or("nsid", text_or_false, conduct.nsid.take());
        conduct.identity = section.or("id-server", text_or_false, conduct.identity.take());
        conduct.version = section.or("version", text_or_false, conduct.version.take());
        if let Some(section) = section.table("cookies") {
            *cookies = read_cookies(&section);
        }
        let rate_limit = section.table("rate-limit");
        conduct.limits = limits(rate_limit.as_ref());
        if let Some(section) = rate_limit {
            settings.rate_table = section.or("table-size", integer(64..=1 << 24), settings.rate_table);
        }
    }
}

/// Something to say, or `false` to say nothing.
fn text_or_false(value: &Value<'_>) -> Result<Option<Text>, String> {
    match value.as_bool() {
        Some(false) => Ok(None),
        Some(true) => Err("wanted a text in quotes, or false; without the key there is one already".to_owned()),
        None => text(value).map(Some),
    }
}

fn read_cookies(section: &Section<'_>) -> Cookies {
    let default = Cookies::default();
    let path = section.path("secret-file");
    if let Some(path) = path.as_ref().filter(|path| others_may_read(path)) {
        section.warning("secret-file", format!("{} can be read by everybody on this host", path.display()));
    }
    let secret_file = path.and_then(|path| match Secrets::read(&path) {
        Ok(secrets) => Some(SecretFile { path, secrets }),
        Err(problems) => {
            for problem in problems {
                match problem.position {
                    // Whose name it is may be wrong, not the file.
                    None => section.problem("secret-file", format!("{}: {}", path.display(), problem.message)),
                    Some(_) => section.problem_elsewhere(problem),
                }
            }
            None
        }
    });
    Cookies {
        enabled: section.or("enabled", boolean, default.enabled),
        require: section.or("require", boolean, default.require),
        secret_file,
    }
}

/// `[dns.rate-limit]`. The reasons for the defaults are in `docs/architecture.md`.
fn limits(section: Option<&Section<'_>>) -> Option<Limits> {
    let (mut rate, mut slip, mut exempt) = (1_000, 2, Vec::<Prefix>::new());
    if let Some(section) = section {
        rate = section.or("responses-per-second", integer(0..=1_000_000), rate);
        slip = section.or("slip", integer(0..=100), slip);
        exempt = section.list("exempt", text);
    }
    (rate > 0).then(|| Limits::new(rate, slip, exempt))
}

/// Buckets of a rate table unless the operator says otherwise: 1 MiB for each thread.
pub(crate) const RATE_TABLE: usize = (1 << 20) / rate::BUCKET;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, load};

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (name, content) in files {
                std::fs::write(directory.path().join(name), content).unwrap();
            }
            Self(directory)
        }

        /// What `dns.toml` says, or its mistakes without the directory.
        fn load(&self) -> Result<Loaded<Dns>, Vec<String>> {
            let identity: Identity = "sea1".parse().unwrap();
            let read = |section: &Section<'_>| Some(Dns::read(section.table("dns").as_ref(), Some(&identity)));
            let prefix = format!("{}/", self.0.path().display());
            load(&self.0.path().join("dns.toml"), read)
                .map_err(|error| error.to_string().lines().map(|line| line.replace(&prefix, "")).collect())
        }
    }

    fn loaded(text: &str) -> Result<Dns, Vec<String>> {
        Directory::new(&[("dns.toml", text)]).load().map(|loaded| loaded.value)
    }

    fn said(text: &str) -> Option<Text> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn by_default_a_server_says_who_it_is_answers_cookies_and_limits_rates() {
        let dns = loaded("").unwrap();
        assert_eq!(dns, loaded("dns = {}").unwrap());
        let conduct = dns.conduct;
        assert_eq!((&conduct.nsid, &conduct.identity), (&said("sea1"), &said("sea1")));
        assert!(conduct.version.unwrap().as_bytes().starts_with(b"dglb "));
        assert_eq!((conduct.keepalive, conduct.padding), (Some(100), 468));
        assert_eq!(conduct.limits, Some(Limits::new(1_000, 2, [])));
        assert_eq!((dns.cookies, dns.settings.rate_table), (Cookies::default(), 65_536));
        assert!(Cookies::default().enabled && !Cookies::default().require);
    }

    #[test]
    fn everything_can_be_said_otherwise_or_switched_off() {
        let dns = loaded(
            "[dns]\nnsid = 'pop 7'\nid-server = 'x'\nversion = '9'\ntcp.idle = '1h'\ncookies.require = true\n\
             [dns.rate-limit]\nresponses-per-second = 5\nslip = 0\nexempt = ['192.0.2.0/24']\ntable-size = 64\n",
        )
        .unwrap();
        let Conduct { nsid, identity, version, keepalive, limits, .. } = dns.conduct;
        assert_eq!((nsid, identity, version), (said("pop 7"), said("x"), said("9")));
        assert_eq!(keepalive, Some(36_000));
        assert_eq!(limits, Some(Limits::new(5, 0, ["192.0.2.0/24".parse().unwrap()])));
        assert_eq!((dns.cookies.require, dns.settings.rate_table), (true, 64));
        let off = loaded(
            "[dns]\nnsid = false\nid-server = false\nversion = false\ncookies.enabled = false\n\
             rate-limit.responses-per-second = 0",
        )
        .unwrap();
        let Conduct { nsid, identity, version, limits, .. } = off.conduct;
        assert_eq!((nsid, identity, version, limits), (None, None, None, None));
        assert!(!off.cookies.enabled);
    }

    #[test]
    fn mistakes_in_the_configuration_and_in_the_secrets_are_told_together() {
        let text = format!(
            "[dns]\nnsid = true\nid-server = ''\nversion = '{}'\ncookies.secret-file = 'cookies'\n\
             [dns.rate-limit]\nslip = 101\nexempt = ['192.0.2.1/24']\n",
            "v".repeat(129)
        );
        let directory = Directory::new(&[("dns.toml", &text), ("cookies", "# none\nabc\n")]);
        let mistakes = directory.load().unwrap_err();
        let starts: Vec<&str> = mistakes.iter().map(|m| m.split(": ").next().unwrap()).collect();
        let expected =
            ["cookies:2:1", "dns.toml:2:8", "dns.toml:3:13", "dns.toml:4:11", "dns.toml:7:8", "dns.toml:8:11"];
        assert_eq!(starts, expected, "{mistakes:#?}");
        assert!(!mistakes[0].contains("abc"), "{mistakes:?}");
        let missing = Directory::new(&[("dns.toml", "dns.cookies.secret-file = 'cookies'")]).load().unwrap_err();
        assert!(
            missing[0].starts_with("dns.toml:1:27: dns.cookies.secret-file: cookies: cannot be read"),
            "{missing:?}"
        );
    }

    #[test]
    fn secrets_that_everybody_can_read_are_warned_of_and_not_shown() {
        use std::os::unix::fs::PermissionsExt;

        let secret = "e5e973e5a6b2a43f48e7dc849e37bfcf";
        let directory = Directory::new(&[("dns.toml", "dns.cookies.secret-file = 'cookies'"), ("cookies", secret)]);
        let set_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.0.path().join("cookies"), permissions).unwrap();
            directory.load().unwrap()
        };
        let open = set_mode(0o644);
        assert_eq!(open.warnings.len(), 1);
        assert!(open.warnings[0].message.contains("everybody"), "{:?}", open.warnings);
        let closed = set_mode(0o640);
        assert!(closed.warnings.is_empty(), "{:?}", closed.warnings);
        let shown = format!("{:?}", closed.value);
        assert!(shown.contains("secret_file") && !shown.contains("e5e9") && !shown.contains("229"), "{shown}");
    }
}
