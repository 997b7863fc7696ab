//! What all programs share in their `program` tables: reading them strictly, choosing addresses,
//! and writing files into the host's directory.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{HostContext, PrepareError};

/// The DNS port.
pub(super) const DNS_PORT: u16 = 53;

/// Which address families a program listens on and asks over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Family {
    /// The families that the host has addresses of.
    #[default]
    Auto,
    /// Both.
    Dual,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl Family {
    /// Resolves [`Family::Auto`] by what the host has.
    pub(super) fn of(self, addresses: &[IpAddr]) -> Self {
        let (v4, v6) = (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6));
        match (self, v4, v6) {
            (Self::Auto, true, false) => Self::Ipv4,
            (Self::Auto, false, true) => Self::Ipv6,
            (Self::Auto, _, _) => Self::Dual,
            (chosen, _, _) => chosen,
        }
    }

    /// Whether IPv4 is used.
    pub(super) fn v4(self) -> bool {
        self != Self::Ipv6
    }

    /// Whether IPv6 is used.
    pub(super) fn v6(self) -> bool {
        self != Self::Ipv4
    }

    /// Whether this address is of a family in use.
    pub(super) fn has(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4() } else { self.v6() }
    }
}

/// Splits a `program` table into its kind and the rest.
pub(super) fn split(program: &toml::Value) -> Result<(String, toml::Table), PrepareError> {
    let mut table = program.as_table().cloned().ok_or(PrepareError::NoKind)?;
    match table.remove("kind") {
        Some(toml::Value::String(kind)) => Ok((kind, table)),
        _ => Err(PrepareError::NoKind),
    }
}

/// Reads a table into a program's settings; unknown keys are errors.
pub(super) fn read<T: DeserializeOwned>(kind: &'static str, table: toml::Table) -> Result<T, PrepareError> {
    table
        .try_into()
        .map_err(|error: toml::de::Error| PrepareError::Settings { kind, reason: error.message().to_owned() })
}

/// The sockets a program listens on: the addresses it was given, else the host's, of the families
/// in use.
pub(super) fn listen(
    host: &HostContext<'_>,
    given: Option<&[IpAddr]>,
    family: Family,
    port: u16,
) -> Result<Vec<SocketAddr>, PrepareError> {
    let listen: Vec<_> = given
        .unwrap_or(host.addresses)
        .iter()
        .filter(|address| family.has(**address))
        .map(|address| SocketAddr::new(*address, port))
        .collect();
    if listen.is_empty() {
        return Err(PrepareError::NoAddress { host: host.name.to_owned(), purpose: "listening".to_owned() });
    }
    Ok(listen)
}

/// The addresses of a host of the topology, or the address itself where one is given.
pub(super) fn addresses_of(host: &HostContext<'_>, name: &str) -> Result<Vec<IpAddr>, PrepareError> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    (host.lookup)(name).ok_or_else(|| PrepareError::UnknownHost { name: name.to_owned() })
}

/// Writes a file into the host's directory, readable by its owner alone since it may hold a key.
pub(super) fn write(host: &HostContext<'_>, name: &str, text: &str) -> Result<PathBuf, PrepareError> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if !plain {
        return Err(PrepareError::FileName { name: name.to_owned() });
    }
    let path = host.dir.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map(|()| path.clone()).map_err(|source| PrepareError::File { path, source })
}

/// Writes the configuration of an embedded program as TOML and returns its command line:
/// `dglb-lab run <name> --config FILE`.
pub(super) fn embedded_command<T: Serialize>(
    host: &HostContext<'_>,
    name: &'static str,
    config: &T,
) -> Result<Vec<OsString>, PrepareError> {
    let text =
        toml::to_string(config).map_err(|error| PrepareError::Settings { kind: name, reason: error.to_string() })?;
    let path = write(host, &format!("{name}.toml"), &text)?;
    own_command(name, path)
}

/// The command line that runs a program of this executable.
pub(super) fn own_command(name: &str, config: PathBuf) -> Result<Vec<OsString>, PrepareError> {
    let own = std::env::current_exe().and_then(|path| lab_executable(&path)).map_err(PrepareError::OwnExecutable)?;
    Ok(vec![own.into(), "run".into(), name.into(), "--config".into(), config.into()])
}

/// The lab's executable: this one, except in a test, which cargo puts into `deps` below it.
fn lab_executable(own: &Path) -> io::Result<PathBuf> {
    let dir = own.parent().unwrap_or(Path::new("/"));
    if dir.file_name() != Some("deps".as_ref()) {
        return Ok(own.to_owned());
    }
    let lab = dir.with_file_name("dglb-lab");
    match lab.is_file() {
        true => Ok(lab),
        false => Err(io::Error::other(format!("{} is not built: cargo build -p dglb-lab", lab.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_family_is_what_the_host_has_unless_told() {
        assert_eq!(Family::Auto.of(&addresses(&["10.0.0.1"])), Family::Ipv4);
        assert_eq!(Family::Auto.of(&addresses(&["fd00::1"])), Family::Ipv6);
        assert_eq!(Family::Auto.of(&addresses(&["fd00::1", "10.0.0.1"])), Family::Dual);
        assert_eq!(Family::Ipv4.of(&addresses(&["fd00::1", "10.0.0.1"])), Family::Ipv4);
    }

    #[test]
    fn a_test_starts_the_lab_and_not_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (lab, test) = (dir.path().join("dglb-lab"), dir.path().join("deps/some-test"));
        assert!(lab_executable(&test).unwrap_err().to_string().contains("cargo build -p dglb-lab"));
        fs::write(&lab, "").unwrap();
        assert_eq!(lab_executable(&test).unwrap(), lab);
        assert_eq!(lab_executable(&lab).unwrap(), lab);
    }

    #[test]
    fn files_stay_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let lookup = |_: &str| None;
        let host = HostContext { name: "h", addresses: &[], dir: dir.path(), rootless: false, lookup: &lookup };
        for bad in ["", ".", "..", "../x", "a/b", "/etc/x", ".hidden"] {
            assert!(matches!(write(&host, bad, "x"), Err(PrepareError::FileName { .. })), "{bad:?}");
        }
        let path = write(&host, "fleet.toml", "serial = 1").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "serial = 1");
    }
}
