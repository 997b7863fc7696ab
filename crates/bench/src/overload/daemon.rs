//! A whole dns-b, as the operator starts it: its keeper, its links, its admin endpoint.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{ExitCode, Termination},
};

use tempfile::TempDir;

use crate::{child::Child, servers::free_port, world};

/// A dns-b with its files.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Where it refers.
    pub(super) dns: SocketAddrV4,
    /// Where it takes links.
    pub(super) map: SocketAddrV4,
    /// Where it tells of itself.
    pub(super) admin: SocketAddrV4,
    child: Child,
    files: TempDir,
}

impl Daemon {
    /// Starts it on a processor. It answers once somebody has published a zone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(core: usize) -> io::Result<Self> {
        let files = TempDir::new()?;
        let address = || Ok::<_, io::Error>(SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?));
        let (dns, map, admin) = (address()?, address()?, address()?);
        let fleet = "serial = 1\noperator-zone = 'ops.test'\nhostmaster = 'hostmaster.ops.test'\n\
                     [[dns-b]]\nidentity = 'b1'\nreferral = ['127.0.0.1']\nfallback = ['127.0.0.2']\n";
        let port = dns.port();
        let config = format!(
            "identity = 'b1'\nfleet = 'fleet.toml'\n\
             [dns]\nreferral = ['{dns}']\nfallback = ['127.0.0.2:{port}']\nrate-limit.exempt = ['127.0.0.0/8']\n\
             [map]\nlisten = ['{map}']\nplain-tcp = 'loopback'\n[admin]\nlisten = '{admin}'\n\
             [[peer]]\nidentity = 'sync'\nrole = 'dns-a-sync'\nmay-publish = ['{}']\n\
             [[peer]]\nidentity = 'lb0'\nrole = 'dns-lb'\nmay-map = ['10.0.0.0/8']\n",
            world::zone(0)
        );
        std::fs::write(files.path().join("fleet.toml"), fleet)?;
        let path = files.path().join("dns-b.toml");
        std::fs::write(&path, config)?;
        let own = std::env::current_exe()?;
        let arguments = ["daemon".into(), path.to_string_lossy()];
        let arguments: Vec<&str> = arguments.iter().map(|argument: &std::borrow::Cow<'_, str>| &**argument).collect();
        let child = Child::program(core, &own.to_string_lossy(), &arguments, &files.path().join("log"))?;
        Ok(Self { dns, map, admin, child, files })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Makes sure of it.
    ///
    /// # Errors
    /// With the end of its log, when it has ended.
    pub(super) fn still_runs(&mut self) -> io::Result<()> {
        if self.child.runs() {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default();
        Err(io::Error::other(format!("dns-b has ended:\n{log}")))
    }
}

/// Is a dns-b until told to stop.
pub(crate) fn run(config: &Path) -> ExitCode {
    let arguments: [OsString; 3] = ["dns-b".into(), "--config".into(), config.into()];
    dns_b::run(arguments).report()
}
