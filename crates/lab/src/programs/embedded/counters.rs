//! Counters of the embedded programs and the way to read them: `GET /metrics` (Prometheus text) on
//! the unix socket `admin.sock` in the host's directory. Unix sockets belong to no network
//! namespace, so tests and the tour read them from outside. Counters only grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::UnixListener;

use super::RunError;

/// The socket's name in the host's directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// How long [`read`] waits for each step.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any program here has to say.
const MOST_TEXT: u64 = 1 << 20;

/// Reads all counters of the program whose directory this is, by name.
///
/// # Errors
///
/// When nobody listens there, or not within two seconds.
pub fn read(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut stream = UnixStream::connect(dir.join(ADMIN_SOCKET))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: admin\r\n\r\n")?;
    let mut reply = String::new();
    stream.take(MOST_TEXT).read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    if !head.contains(" 200 ") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, head.lines().next().unwrap_or_default()));
    }
    let sample =
        |line: &str| line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    Ok(body.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
}

/// One counter, shared by all who count.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A program's counters, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Registry(Vec<(&'static str, Counter)>);

impl Registry {
    /// A new counter under this name.
    pub(super) fn counter(&mut self, name: &'static str) -> Counter {
        let counter = Counter::default();
        self.0.push((name, counter.clone()));
        counter
    }

    /// Shows the counters on the admin socket at `path` from now on.
    pub(super) fn publish(self, path: &Path) -> Result<(), RunError> {
        let fail = |source| RunError::Socket { what: path.display().to_string(), source };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(fail)?;
        let registry = Arc::new(self);
        let app = Router::new().route("/metrics", get(move || std::future::ready(registry.text())));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, counter) in &self.0 {
            let _ = writeln!(text, "# TYPE {name} counter\n{name} {}", counter.0.load(Ordering::Relaxed));
        }
        text
    }
}
