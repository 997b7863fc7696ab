//! How a daemon lives: started, told to reload, told to stop; and it never lives on in part: a task
//! that ends before it was told to ends the daemon, with the task's name in the log.

mod supervise;
mod tasks;

use std::{io, path::Path, time::Duration};

use thiserror::Error;

use crate::{
    admin,
    config::{ConfigError, Loaded},
    serve, store,
};

pub(crate) use supervise::supervise;
pub(crate) use tasks::current as current_task;
pub use tasks::{Ended, Stopped, Tasks};

/// One kind of daemon. `cli::main` runs it for an operator; tests call [`Daemon::load`] and
/// [`Daemon::start`] themselves and thereby run the same code.
pub trait Daemon: Send + Sized + 'static {
    /// Its name as a program: `dns-b`.
    const NAME: &'static str;
    /// What it is, in a sentence, for `--help`.
    const ABOUT: &'static str;
    /// How long it may take to stop politely before it is stopped certainly.
    const DRAIN: Duration = Duration::from_secs(5);
    /// Its configuration, checked.
    type Config: Send + 'static;

    /// Reads and checks the configuration; opens no socket.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    fn load(path: &Path) -> Result<Loaded<Self::Config>, ConfigError>;

    /// Binds every socket, then starts every task in `tasks`. When it returns, the daemon serves.
    fn start(config: Self::Config, tasks: &mut Tasks) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Takes over a new configuration, which is already checked.
    ///
    /// # Errors
    /// Why the old one stays, such as the name of a key that only a restart can change.
    fn reload(&mut self, config: Self::Config) -> Result<(), String>;
}

/// Why a daemon did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A DNS socket.
    #[error(transparent)]
    Dns(#[from] serve::BindError),
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    /// Any other socket.
    #[error("{what} {address}: {source}")]
    Socket {
        /// What it is for, such as `map listener`.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// What the daemon keeps over a restart.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The configuration asks for something that this host does not have.
    #[error("{0}")]
    Configuration(String),
    /// Threads, memory, or a bug.
    #[error("{0}")]
    Internal(String),
}
