//! `dns-b`, `dns-lb`, `dns-a-sync` on the lab's hosts: configuration as the topology gives it,
//! started through the daemon's own main inside this executable, or as the shipped binary.
//!
//! ```toml
//! [host.program]      # of the [[host]] b1
//! kind = "dns-b"
//! config = """ … """                       # written to dns-b.toml as it is
//! files = { "fleet.toml" = """ … """ }     # beside it
//! binary = "/usr/bin/dns-b"                # instead of the lab's own
//! args = ["--check"]                       # after `--config FILE`
//! ready = { dns = ["10.0.0.1:53"] }        # or { tcp = "…" }, { file = "admin.sock" }
//! ```
//!
//! Without `ready`, `dns-b` and `dns-lb` are ready when every address of the host answers on port 53,
//! `dns-a-sync` has no sign.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use serde::Deserialize;

use super::settings::{self, DNS_PORT, Family};
use super::{HostContext, Launch, PrepareError, Ready};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    config: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    binary: Option<PathBuf>,
    #[serde(default)]
    args: Vec<String>,
    ready: Option<ReadySettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum ReadySettings {
    Dns(Vec<SocketAddr>),
    Tcp(SocketAddr),
    File(PathBuf),
}

/// Writes the files and chooses the command line.
pub(super) fn prepare(kind: &'static str, table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings: Settings = settings::read(kind, table)?;
    for (name, text) in &settings.files {
        settings::write(host, name, text)?;
    }
    let path = settings::write(host, &format!("{kind}.toml"), &settings.config)?;
    let mut argv = match settings.binary {
        Some(binary) => vec![binary.into(), "--config".into(), path.into()],
        None => settings::own_command(kind, path)?,
    };
    argv.extend(settings.args.into_iter().map(OsString::from));
    let ready = match settings.ready {
        Some(ReadySettings::Dns(addresses)) => Ready::Dns(addresses),
        Some(ReadySettings::Tcp(address)) => Ready::Tcp(address),
        Some(ReadySettings::File(path)) => Ready::File(host.dir.join(path)),
        None if kind == "dns-a-sync" => Ready::None,
        None => Ready::Dns(settings::listen(host, None, Family::Dual, DNS_PORT)?),
    };
    Ok(Launch { argv, env: Vec::new(), ready })
}

/// Runs a daemon's own main.
pub(super) fn run(name: &str, args: &[OsString]) -> ExitCode {
    let arguments = || std::iter::once(OsString::from(name)).chain(args.iter().cloned());
    match name {
        "dns-b" => dns_b::run(arguments()).report(),
        "dns-lb" => dns_lb::run(arguments()).report(),
        _ => dns_a_sync::run(arguments()).report(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::prepare;
    use super::*;

    fn prepared(table: &str, dir: &std::path::Path) -> Result<Launch, PrepareError> {
        let lookup = |_: &str| None;
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let host = HostContext { name: "b1", addresses: &addresses, dir, rootless: false, lookup: &lookup };
        prepare(&table.parse::<toml::Table>().unwrap().into(), &host)
    }

    #[test]
    fn the_topologys_text_is_written_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let table = "kind = \"dns-b\"\nconfig = \"a = 1\\n# {v4:x}\\n\"\nbinary = \"/usr/bin/dns-b\"\nargs = [\"--check\"]\n\
                     files = { \"fleet.toml\" = \"serial = 3\\n\" }\n";
        let launch = prepared(table, dir.path()).unwrap();
        let config = dir.path().join("dns-b.toml");
        assert_eq!(fs::read_to_string(&config).unwrap(), "a = 1\n# {v4:x}\n");
        assert_eq!(fs::read_to_string(dir.path().join("fleet.toml")).unwrap(), "serial = 3\n");
        let argv: Vec<OsString> = vec!["/usr/bin/dns-b".into(), "--config".into(), config.into(), "--check".into()];
        assert_eq!(launch.argv, argv);
        assert_eq!(launch.ready, Ready::Dns(vec!["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]));
    }

    #[test]
    fn readiness_is_the_topologys_to_choose() {
        let dir = tempfile::tempdir().unwrap();
        let ready = |kind: &str, line: &str| {
            let table = format!("kind = \"{kind}\"\nconfig = \"\"\nbinary = \"/x\"\n{line}");
            prepared(&table, dir.path()).map(|launch| launch.ready)
        };
        assert_eq!(ready("dns-a-sync", "").unwrap(), Ready::None);
        assert_eq!(
            ready("dns-a-sync", "ready = { file = \"admin.sock\" }").unwrap(),
            Ready::File(dir.path().join("admin.sock"))
        );
        assert_eq!(
            ready("dns-lb", "ready = { tcp = \"10.0.0.1:7000\" }").unwrap(),
            Ready::Tcp("10.0.0.1:7000".parse().unwrap())
        );
        assert!(matches!(ready("dns-lb", "ready = { udp = 1 }"), Err(PrepareError::Settings { kind: "dns-lb", .. })));
        assert!(matches!(ready("dns-lb", "files = { \"../x\" = \"\" }"), Err(PrepareError::FileName { .. })));
        assert!(matches!(ready("dns-x", ""), Err(PrepareError::UnknownKind { .. })));
    }
}
