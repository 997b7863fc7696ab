//! Starting the daemon with settings for tests, and looking at it through its admin endpoint.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dglb_node::{
    admin::Address,
    lifecycle::{Daemon, StartError, Stopped, Tasks},
};
use dns_a_sync::DnsASync;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{dns_b::PATIENCE, tls::equip};

const TLS: &str = dglb_ca::Ephemeral::CONFIG;

/// A running daemon.
pub(crate) struct Sync<const FORCE: bool = false> {
    pub(crate) daemon: DnsASync<FORCE>,
    tasks: Tasks,
}

/// Its configuration file; more may be added at its end, or replaced.
pub(crate) struct Settings {
    directory: tempfile::TempDir,
    pub(crate) text: String,
}

impl Settings {
    /// One zone, one service, three sites, and these dns-bs.
    pub(crate) fn new(dns_a: SocketAddr, servers: &[(&str, SocketAddr)]) -> Self {
        let mut text = format!(
            "identity = 'sync'\nmap.{TLS}\nadmin.listen = '127.0.0.1:0'\n\
             delegation = {{ mode = 'print', interval = '100ms', settle = '1h' }}\n\
             dns-a = {{ server = '{dns_a}', zone = 'foobar.test', interval = '100ms', timeout = '500ms' }}\n\
             [[zone]]\nname = 'glb.foobar.test'\n[[zone.service]]\nname = 'www.glb.foobar.test'\n\
             host = 'www.foobar.test'\nprobe = [{{ kind = 'tcp' }}]\nsite = [\n"
        );
        for site in ["sea", "fra", "hkg"] {
            text += &format!("  {{ name = '{site}', dns-name = '{site}.sites.foobar.test' }},\n");
        }
        text += "]\n";
        for (identity, address) in servers {
            text += &format!("[[dns-b]]\nidentity = '{identity}'\naddress = '{address}'\n");
        }
        let directory = tempfile::tempdir().unwrap();
        equip("dglb:dns-a-sync:sync", directory.path());
        Self { directory, text }
    }

    /// With a state directory.
    pub(crate) fn with_state(mut self) -> Self {
        self.text.insert_str(0, "state-dir = 'state'\n");
        std::fs::create_dir(self.directory.path().join("state")).unwrap();
        self
    }

    pub(crate) fn replace(&mut self, old: &str, new: &str) {
        assert!(self.text.contains(old), "{old}");
        self.text = self.text.replace(old, new);
    }

    pub(crate) fn file(&self) -> PathBuf {
        let path = self.directory.path().join("sync.toml");
        std::fs::write(&path, &self.text).unwrap();
        path
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }
}

impl<const FORCE: bool> Sync<FORCE> {
    pub(crate) async fn start(file: &Path) -> Self {
        Self::try_start(file).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_start(file: &Path) -> Result<Self, StartError> {
        let config = DnsASync::<FORCE>::load(file).unwrap_or_else(|error| panic!("{error}")).value;
        let mut tasks = Tasks::new();
        let daemon = DnsASync::<FORCE>::start(config, &mut tasks).await?;
        Ok(Self { daemon, tasks })
    }

    /// What an HTTP GET of `path` yields: status code and body.
    pub(crate) async fn fetch(&self, path: &str) -> (u16, String) {
        let Address::Tcp(address) = self.daemon.admin else { panic!("not TCP") };
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.fetch("/api/v1/status").await.1).unwrap()
    }

    /// Waits until the status fulfils `condition`, and returns it.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if condition(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a metric, by its whole line up to the value.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let (_, text) = self.fetch("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.tasks.stop(PATIENCE).await, Stopped::default());
    }
}
