//! Becoming a process on a host of the lab in the background. This process turns into the command,
//! so a terminal, its signals and the exit code are the command's own.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::Command,
};

use thiserror::Error;

use crate::{
    control::{AskError, Entrance, Reply, Request, ask},
    host::{HOST_VARIABLE, own_resolv_conf},
    marker::VARIABLE,
    runtime::RuntimeDir,
    sys::namespace::{Kind, cover_file, enter},
};

/// Why this process did not turn into the command.
#[derive(Debug, Error)]
pub(super) enum EnterError {
    /// The lab does not let us in.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The host cannot be entered.
    #[error("cannot enter host {host}: {error}")]
    Enter {
        /// The host.
        host: String,
        /// What the system said.
        error: io::Error,
    },
    /// The command cannot be run.
    #[error("{}: {error}", command.display())]
    Run {
        /// The command.
        command: OsString,
        /// What the system said.
        error: io::Error,
    },
}

/// Turns into the user's shell on a host.
pub(super) fn shell(runtime: &RuntimeDir, host: &str) -> EnterError {
    let shell = env::var_os("SHELL").filter(|shell| Path::new(shell).exists()).unwrap_or_else(|| "/bin/sh".into());
    eprintln!("a shell on host {host} of the lab; exit leaves it");
    exec(runtime, host, &[shell])
}

/// Turns into a command on a host; returns only if it cannot.
pub(super) fn exec(runtime: &RuntimeDir, host: &str, argv: &[OsString]) -> EnterError {
    let entrance = match ask(&runtime.control_socket(), &Request::Entrance { host: host.to_owned() }) {
        Ok(Reply::Entrance(entrance)) => entrance,
        Ok(other) => return AskError::Io(io::Error::other(format!("answered {other:?}"))).into(),
        Err(error) => return error.into(),
    };
    if let Err(error) = go_in(&entrance) {
        return EnterError::Enter { host: host.to_owned(), error };
    }
    let (program, arguments) = argv.split_first().map_or((OsStr::new(""), argv), |(p, a)| (p.as_os_str(), a));
    let mut command = Command::new(program);
    command.args(arguments).env(VARIABLE, &entrance.marker).env(HOST_VARIABLE, host);
    EnterError::Run { command: program.to_owned(), error: command.exec() }
}

fn go_in(entrance: &Entrance) -> io::Result<()> {
    let theirs = format!("/proc/{}/ns/user", entrance.process);
    // The link in /proc works for the user namespace that we are in now, so it is opened first.
    let network = File::open(&entrance.namespace)?;
    if fs::read_link(&theirs)? != fs::read_link("/proc/self/ns/user")? {
        enter(File::open(&theirs)?.as_fd(), Kind::User)?;
    }
    enter(network.as_fd(), Kind::Network)?;
    match own_resolv_conf(&entrance.dir) {
        Some(own) => cover_file(&own, c"/etc/resolv.conf"),
        None => Ok(()),
    }
}
