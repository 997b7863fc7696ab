//! The lab's own programs. Each is a process of its own: `dglb-lab run <name> --config FILE`, on a
//! runtime with one thread, until somebody ends it. Each shows its counters on the unix socket
//! `admin.sock` in its host's directory, which is reachable from every namespace.

mod answer;
pub mod counters;
mod dns;
mod impatient;
pub(super) mod name_server;
mod question_log;
pub(super) mod resolver;
mod signature;
pub(super) mod site;
mod update;
mod zone;

use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::{EX_CONFIG, EX_OSERR, EX_SOFTWARE, EX_USAGE};

pub use site::{Fault, set_fault};

/// The programs that [`super::run`] knows beside the daemons.
pub const NAMES: [&str; 3] = ["name-server", "resolver", "site"];

/// Why an embedded program ended.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// The command line is not `--config FILE`.
    #[error("usage: dglb-lab run {0} --config FILE")]
    Usage(String),
    /// The configuration file is wrong.
    #[error("{0}")]
    Config(String),
    /// A socket could not be had.
    #[error("{what}: {source}")]
    Socket {
        /// Which socket.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Something that runs until the end has ended.
    #[error("{0}")]
    Ended(String),
}

impl RunError {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => EX_USAGE,
            Self::Config(_) => EX_CONFIG,
            Self::Socket { .. } => EX_OSERR,
            Self::Ended(_) => EX_SOFTWARE,
        }
    }
}

/// Runs one embedded program until it ends, which only happens on an error.
pub(super) fn run(name: &str, args: &[OsString]) -> ExitCode {
    let result = match name {
        "name-server" => start(name, args, name_server::serve),
        "resolver" => start(name, args, resolver::serve),
        _ => start(name, args, site::serve),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("{name}: {error}");
    ExitCode::from(error.code())
}

fn start<C, F>(name: &str, args: &[OsString], serve: impl FnOnce(C) -> F) -> Result<(), RunError>
where
    C: DeserializeOwned,
    F: Future<Output = Result<(), RunError>>,
{
    let [flag, path] = args else { return Err(RunError::Usage(name.to_owned())) };
    if flag != "--config" {
        return Err(RunError::Usage(name.to_owned()));
    }
    let config = load(Path::new(path))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::Socket { what: "runtime".to_owned(), source })?;
    runtime.block_on(serve(config))
}

fn load<C: DeserializeOwned>(path: &Path) -> Result<C, RunError> {
    let fail = |reason: &dyn std::fmt::Display| RunError::Config(format!("{}: {reason}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fail(&error))?;
    toml::from_str(&text).map_err(|error| fail(&error))
}
