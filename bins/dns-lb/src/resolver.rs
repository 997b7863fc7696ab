//! Which resolvers this POP's clients use: the DNS-ISP's addresses, from configuration or from a
//! `resolv.conf` that is read again and again.
//!
//! Invariant: what was learnt stays until something better is read. A file that is missing,
//! unreadable or without a name server (it may be just being replaced) changes nothing.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use dglb_core::net::canonical;
use resolv_conf::ScopedIp;
use thiserror::Error;
use tokio::sync::mpsc;

/// How often the file is looked at.
pub const POLL: Duration = Duration::from_millis(250);
/// Where resolvers are looked for if nothing else is configured.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes the servers behind its own stub.
pub const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The addresses of systemd-resolved's stub, which are on every host and say nothing.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
/// Longest file in octets.
const MAX_FILE: u64 = 64 << 10;
/// Most resolvers that are mapped; beyond it the file is no resolv.conf.
const MAX_RESOLVERS: usize = 64;

/// Where the DNS-ISP's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration.
    Fixed(Vec<IpAddr>),
    /// Files in the format of resolv.conf(5).
    File {
        /// The system's own.
        path: PathBuf,
        /// The one to read where `path` names nothing but systemd-resolved's stub.
        behind_stub: PathBuf,
    },
}

/// Why no resolver could be learnt.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It names no server.
    #[error("{path}: no usable nameserver line", path = .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Source {
    /// The resolvers as of now, in order, each once.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self) -> Result<Vec<IpAddr>, ReadError> {
        let (path, behind_stub) = match self {
            Self::Fixed(addresses) => return Ok(addresses.clone()),
            Self::File { path, behind_stub } => (path, behind_stub),
        };
        let addresses = read_file(path)?;
        if addresses.iter().all(|a| STUBS.contains(a)) {
            // Better the stub than nothing, where there is no such file.
            return Ok(read_file(behind_stub).unwrap_or(addresses));
        }
        Ok(addresses)
    }
}

/// Reads `source` every `period` and sends what it says whenever that differs from `known`. Ends
/// when nobody listens any more, and at once for a source that cannot change.
pub async fn watch(source: Source, mut known: Vec<IpAddr>, period: Duration, changes: mpsc::Sender<Vec<IpAddr>>) {
    if matches!(source, Source::Fixed(_)) {
        return;
    }
    let mut complained = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = changes.closed() => return,
        }
        let again = source.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || again.read()).await else { return };
        match read {
            Ok(addresses) => {
                complained = false;
                if addresses != known {
                    known.clone_from(&addresses);
                    if changes.send(addresses).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(%error, "resolvers are kept as they were");
            }
            Err(_) => {}
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<IpAddr>, ReadError> {
    let read = || {
        let mut octets = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut octets)?;
        Ok(octets)
    };
    let octets = read().map_err(|error| ReadError::Io { path: path.to_owned(), error })?;
    let addresses = parse(&octets);
    if addresses.is_empty() {
        return Err(ReadError::Empty { path: path.to_owned() });
    }
    Ok(addresses)
}

/// The usable name servers. Lines that are no valid ones are passed over, as resolvers do.
fn parse(octets: &[u8]) -> Vec<IpAddr> {
    let (config, _errors) = resolv_conf::Config::parse_with_errors(octets);
    let mut addresses = Vec::new();
    for server in config.nameservers {
        let address = match server {
            ScopedIp::V4(v4) => IpAddr::V4(v4),
            // An address that needs a scope means nothing beyond this link.
            ScopedIp::V6(v6, scope) if scope.is_some() || v6.is_unicast_link_local() => continue,
            ScopedIp::V6(v6, _) => canonical(IpAddr::V6(v6)),
        };
        let usable = !address.is_unspecified() && !address.is_multicast();
        if usable && !addresses.contains(&address) && addresses.len() < MAX_RESOLVERS {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn ips(list: &str) -> Vec<IpAddr> {
        list.split_whitespace().map(|a| a.parse().unwrap()).collect()
    }

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            std::fs::write(self.path(name), content).unwrap();
        }

        fn source(&self) -> Source {
            Source::File { path: self.path("resolv.conf"), behind_stub: self.path("behind") }
        }
    }

    #[test]
    fn usable_name_servers_each_once() {
        let text = "# by hand\nsearch example.test\nnameserver 192.0.2.53\nnameserver 192.0.2.53\nnonsense\n\
                    nameserver fe80::1%eth0\nnameserver fe80::2\nnameserver ::ffff:198.51.100.1 # mapped\nnameserver 0.0.0.0\n\
                    nameserver 2001:db8::53\nnameserver not-an-address\noptions ndots:2\n";
        assert_eq!(parse(text.as_bytes()), ips("192.0.2.53 198.51.100.1 2001:db8::53"));
        assert_eq!(parse(b"\xff\xfe\0nameserver"), ips(""));
    }

    #[test]
    fn behind_the_stub_stand_the_real_ones() {
        let host = Host::new();
        assert!(matches!(host.source().read(), Err(ReadError::Io { .. })));
        host.write("resolv.conf", "nameserver 127.0.0.53\n");
        assert_eq!(host.source().read().unwrap(), ips("127.0.0.53"), "better than nothing");
        host.write("behind", "nameserver 192.0.2.1\n");
        assert_eq!(host.source().read().unwrap(), ips("192.0.2.1"));
        host.write("resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(host.source().read().unwrap(), ips("127.0.0.1"), "a resolver of this host's own");
        host.write("resolv.conf", "# nothing\n");
        assert!(matches!(host.source().read(), Err(ReadError::Empty { .. })));
    }

    #[tokio::test]
    async fn a_file_replaced_by_rename_is_seen_and_a_broken_one_changes_nothing() {
        let host = Host::new();
        host.write("resolv.conf", "nameserver 192.0.2.1\n");
        let (tx, mut changes) = mpsc::channel(1);
        let known = host.source().read().unwrap();
        let watcher = tokio::spawn(watch(host.source(), known, Duration::from_millis(10), tx));
        let mut change = async || timeout(Duration::from_secs(10), changes.recv()).await.unwrap().unwrap();

        host.write("new", "nameserver 192.0.2.2\nnameserver 2001:db8::2\n");
        std::fs::rename(host.path("new"), host.path("resolv.conf")).unwrap();
        assert_eq!(change().await, ips("192.0.2.2 2001:db8::2"));

        // Gone, empty, and back as it was: no change, so the next message is the one after.
        std::fs::remove_file(host.path("resolv.conf")).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        host.write("resolv.conf", "");
        tokio::time::sleep(Duration::from_millis(50)).await;
        host.write("resolv.conf", "nameserver 192.0.2.3\n");
        assert_eq!(change().await, ips("192.0.2.3"));

        drop(changes);
        timeout(Duration::from_secs(10), watcher).await.expect("the watcher did not end").unwrap();
    }

    /// systemd-resolved: the system's file names its stub for ever, what changes is its own file.
    #[tokio::test]
    async fn what_is_behind_the_stub_is_watched() {
        let host = Host::new();
        host.write("resolv.conf", "nameserver 127.0.0.53\n");
        host.write("behind", "nameserver 192.0.2.1\n");
        let (tx, mut changes) = mpsc::channel(1);
        let watcher = tokio::spawn(watch(host.source(), ips("192.0.2.1"), Duration::from_millis(10), tx));
        let mut change = async || timeout(Duration::from_secs(10), changes.recv()).await.unwrap().unwrap();
        host.write("new", "nameserver 192.0.2.2\n");
        std::fs::rename(host.path("new"), host.path("behind")).unwrap();
        assert_eq!(change().await, ips("192.0.2.2"));
        host.write("new", "nameserver 192.0.2.3\n");
        std::os::unix::fs::symlink(host.path("new"), host.path("link")).unwrap();
        std::fs::rename(host.path("link"), host.path("resolv.conf")).unwrap();
        assert_eq!(change().await, ips("192.0.2.3"), "a link to somewhere else");
        drop(changes);
        timeout(Duration::from_secs(10), watcher).await.expect("the watcher did not end").unwrap();
    }

    #[tokio::test]
    async fn a_fixed_source_is_not_watched() {
        let source = Source::Fixed(ips("192.0.2.1"));
        assert_eq!(source.read().unwrap(), ips("192.0.2.1"));
        let (tx, _changes) = mpsc::channel(1);
        timeout(Duration::from_secs(1), watch(source, vec![], POLL, tx)).await.unwrap();
    }
}
