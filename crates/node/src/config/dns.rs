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
        // RFC 7828 section 3.1: in units of 100 ms.
        let idle = dns.settings.tcp.idle.as_millis() / 100;
        dns.conduct.keepalive = Some(u16::try_from(idle).unwrap_or(u16::MAX));
        dns
    }

    fn read_section(&mut self, section: &Section<'_>) {
        let Self { settings, conduct, cookies } = self;
        let lanes = section.optional("lanes", integer(1..=1_024_usize)).and_then(NonZeroUsize::new);
        settings.lanes = lanes.unwrap_or(settings.lanes);
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
