//! The asking side.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use thiserror::Error;

use super::{LONGEST, Reply, Request};

/// The longest a request takes: a restart, with the program's grace and its readiness.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a request has no good answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// Nobody listens.
    #[error("no lab is up (dglb-lab up)")]
    NoLab,
    /// The lab stopped talking.
    #[error("the lab does not answer: {0}")]
    Io(#[from] io::Error),
    /// It speaks otherwise than we do.
    #[error("the lab is another version's: {0}")]
    Format(#[from] serde_json::Error),
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the lab behind this socket.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Reply, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoLab,
        _ => AskError::Io(error),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = Vec::new();
    stream.take(LONGEST).read_to_end(&mut text)?;
    match serde_json::from_slice(&text)? {
        Reply::Refused(why) => Err(AskError::Refused(why)),
        reply => Ok(reply),
    }
}
