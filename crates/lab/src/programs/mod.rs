//! The programs that hosts run.

use std::{ffi::OsString, net::IpAddr, net::SocketAddr, path::Path, path::PathBuf, process::ExitCode};

use thiserror::Error;

/// What a program may know of the host that it is to run on.
pub struct HostContext<'a> {
    /// The host's name.
    pub name: &'a str,
    /// Its addresses, in the order of the topology.
    pub addresses: &'a [IpAddr],
    /// Its private work directory.
    pub dir: &'a Path,
    /// Whether the one user that exists is root by name only and cannot become another.
    pub rootless: bool,
    /// The addresses of any host.
    pub lookup: &'a dyn Fn(&str) -> Option<Vec<IpAddr>>,
}

/// How a program is started.
#[derive(Debug)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// When it counts as started.
    pub ready: Ready,
}

/// When a program counts as started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// All of these answer a DNS question over UDP on port 53.
    Udp53(Vec<IpAddr>),
    /// This accepts a connection.
    Tcp(SocketAddr),
    /// This exists.
    File(PathBuf),
    /// At once.
    None,
}

/// Why a program cannot be started.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// No such `kind`.
    #[error("there is no program of the kind \"{0}\"")]
    UnknownKind(String),
}

/// Writes what the program needs into the host's directory and tells how to start it.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(program: &toml::Value, _host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let kind = program.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
    Err(PrepareError::UnknownKind(kind.to_owned()))
}

/// Runs an embedded program: `dglb-lab run <program> …`.
pub fn run(args: &[OsString]) -> ExitCode {
    eprintln!("dglb-lab: there is no embedded program {args:?}");
    ExitCode::from(64)
}
