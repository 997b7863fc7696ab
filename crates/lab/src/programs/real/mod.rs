//! Real name servers: their configurations, one file each. What they have in common: they stay in
//! the foreground as the user that started them (in a user namespace there is no other), keep all
//! state in the host's directory, have no control socket, do not validate, and use private addresses
//! and the name `test.` like any other.

pub(super) mod bind;
pub(super) mod knot;
pub(super) mod kresd;
pub(super) mod nsd;
pub(super) mod pdns_recursor;
pub(super) mod unbound;

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::locate::RealProgram;
use super::master::ZoneSource;
use super::settings::{self, DNS_PORT, Family};
use super::{HostContext, PrepareError, TsigKey};

/// The real program behind a `kind`.
pub(super) fn program(kind: &str) -> Option<RealProgram> {
    match kind {
        "unbound" => Some(unbound::PROGRAM),
        "bind" | "bind-auth" => Some(bind::PROGRAM),
        "kresd" => Some(kresd::PROGRAM),
        "pdns-recursor" => Some(pdns_recursor::PROGRAM),
        "nsd" => Some(nsd::PROGRAM),
        "knot" => Some(knot::PROGRAM),
        _ => None,
    }
}

/// How a resolver shortens the names it asks (RFC 9156).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum QnameMinimisation {
    /// It sends the full name to everybody.
    Off,
    /// It shortens, and asks with the full name where that goes wrong.
    #[default]
    On,
    /// It shortens and takes an error for the answer.
    Strict,
}

/// The `program` table of every recursive resolver.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolverSettings {
    /// Root servers: hosts of the topology, or addresses.
    pub(super) roots: Vec<String>,
    /// Query name minimisation.
    #[serde(default)]
    pub(super) qmin: QnameMinimisation,
    /// Whether it sends the client's subnet (RFC 7871) to everybody.
    #[serde(default)]
    pub(super) ecs: bool,
    #[serde(default)]
    family: Family,
    /// Raw lines for the end of its configuration.
    #[serde(default)]
    pub(super) extra: String,
    port: Option<u16>,
    addresses: Option<Vec<IpAddr>>,
}

impl ResolverSettings {
    /// Reads the table.
    pub(super) fn read(kind: &'static str, table: toml::Table) -> Result<Self, PrepareError> {
        settings::read(kind, table)
    }

    /// The address families it listens on and asks over.
    pub(super) fn family(&self, host: &HostContext<'_>) -> Family {
        self.family.of(host.addresses)
    }

    /// The sockets it listens on.
    pub(super) fn listen(&self, host: &HostContext<'_>) -> Result<Vec<SocketAddr>, PrepareError> {
        settings::listen(host, self.addresses.as_deref(), self.family(host), self.port.unwrap_or(DNS_PORT))
    }

    /// Refuses an option that was set and that this program cannot do.
    pub(super) fn refuse(&self, kind: &'static str, set: bool, option: &str) -> Result<(), PrepareError> {
        if set { Err(PrepareError::Unsupported { kind, option: option.to_owned() }) } else { Ok(()) }
    }
}

/// The `program` table of every authoritative server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrimarySettings {
    /// The zones it serves.
    pub(super) zones: Vec<ZoneSource>,
    /// Who may update and transfer them.
    pub(super) key: Option<TsigKey>,
    /// Raw lines for the end of its configuration.
    #[serde(default)]
    pub(super) extra: String,
    port: Option<u16>,
    addresses: Option<Vec<IpAddr>>,
}

impl PrimarySettings {
    /// Reads the table and checks the key.
    pub(super) fn read(kind: &'static str, table: toml::Table) -> Result<Self, PrepareError> {
        let settings: Self = settings::read(kind, table)?;
        if let Some(key) = &settings.key {
            key.signer()?;
        }
        Ok(settings)
    }

    /// The sockets it listens on.
    pub(super) fn listen(&self, host: &HostContext<'_>) -> Result<Vec<SocketAddr>, PrepareError> {
        settings::listen(host, self.addresses.as_deref(), Family::Dual, self.port.unwrap_or(DNS_PORT))
    }

    /// Writes the master files; returns origin and path of each. One that is there already is left
    /// alone: it holds the updates of an earlier run, or belongs to a journal of them.
    pub(super) fn write_zones(&self, host: &HostContext<'_>) -> Result<Vec<(String, String)>, PrepareError> {
        let mut written = Vec::with_capacity(self.zones.len());
        for zone in &self.zones {
            let (name, text) = (zone.file_name(), zone.master(host)?);
            let path = host.dir.join(&name);
            if !path.exists() {
                settings::write(host, &name, &text)?;
            }
            written.push((zone.quoted_origin()?.to_owned(), path.display().to_string()));
        }
        Ok(written)
    }
}

/// The addresses of one family.
fn of_family(listen: &[SocketAddr], v4: bool) -> impl Iterator<Item = IpAddr> {
    listen.iter().map(SocketAddr::ip).filter(move |address| address.is_ipv4() == v4)
}
