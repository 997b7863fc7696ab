//! The tour: what `dglb-lab` does without a command.

use std::{ffi::OsString, process::ExitCode};

/// The topology of `dglb-lab up` without a file.
pub(crate) const PLAYGROUND: &str = include_str!("../topologies/playground.toml");

/// Runs the tour; `args` is what follows `dglb-lab tour`.
pub(crate) fn run(_args: &[OsString]) -> ExitCode {
    eprintln!("dglb-lab: this build has no tour; see dglb-lab --help");
    ExitCode::FAILURE
}
