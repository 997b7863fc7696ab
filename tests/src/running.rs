//! A daemon in this process, started through the same code as the program.

use std::{
    net::SocketAddr,
    ops::Deref,
    path::Path,
    time::{Duration, Instant},
};

use dglb_node::lifecycle::{Daemon, StartError, Stopped, Tasks};

use crate::{admin::Admin, configs::Files};

/// A running daemon; dereferences to its admin endpoint.
#[derive(Debug)]
pub struct Running<D> {
    /// The daemon itself.
    pub daemon: D,
    tasks: Tasks,
    admin: Admin,
}

impl<D: Daemon> Running<D> {
    /// Starts it from the files that `files` holds.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(files: &Files) -> Self {
        Self::try_start(&files.main(), files.admin).await.unwrap_or_else(|error| panic!("{}: {error}", D::NAME))
    }

    /// Starts it, or says why not.
    ///
    /// # Errors
    /// What [`Daemon::start`] says.
    ///
    /// # Panics
    /// When the file is wrong.
    pub async fn try_start(file: &Path, admin: SocketAddr) -> Result<Self, StartError> {
        let config = D::load(file).unwrap_or_else(|error| panic!("{error}")).value;
        let mut tasks = Tasks::new();
        match D::start(config, &mut tasks).await {
            Ok(daemon) => Ok(Self { daemon, tasks, admin: Admin::new(admin) }),
            Err(error) => {
                tasks.stop(D::DRAIN).await;
                Err(error)
            }
        }
    }

    /// Tells it to stop, as SIGTERM does; how long that took. Everything must have stopped by itself
    /// within its deadline.
    ///
    /// # Panics
    /// When something was overdue or panicked.
    pub async fn stop(self) -> Duration {
        let start = Instant::now();
        let stopped = self.tasks.stop(D::DRAIN).await;
        assert_eq!(stopped, Stopped::default(), "{} did not stop as it should", D::NAME);
        let took = start.elapsed();
        assert!(took < D::DRAIN, "{} took {took:?} to stop", D::NAME);
        took
    }
}

impl<D> Deref for Running<D> {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}
