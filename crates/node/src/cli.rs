//! The command line that all daemons share: one way to start, one way to check, exit codes with a
//! meaning.

use std::{
    ffi::OsString,
    io::Write,
    path::PathBuf,
    process::{ExitCode, Termination},
};

use clap::{CommandFactory, FromArgMatches, Parser};
use tracing::{error, warn};

use crate::{
    lifecycle::{self, Daemon},
    telemetry,
};

/// How a daemon's process ended; the numbers are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Told to stop, or `--check` found nothing wrong.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// A task failed, or the system had no room for a thread.
    Internal = 70,
    /// A socket could not be had.
    Sockets = 71,
    /// The configuration is wrong.
    Configuration = 78,
}

/// What follows the options in `--help`.
const AFTER_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  stop: no new work, what is under way is finished, at the latest after a deadline
  SIGHUP           read the configuration again; a bad one is logged and the old one stays

Exit codes:
   0  told to stop, or --check found nothing wrong
  64  the command line is wrong
  70  a part of the daemon failed
  71  a socket could not be had: address in use, not of this host, or a port below 1024 without
      the right to it
  78  the configuration is wrong; every mistake is printed as file:line:column

Environment:
  DGLB_LOG  what to log, such as info (the default), debug, or info,dglb_node::serve=trace";

#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and stop: opens no socket, prints every mistake and warning
    #[arg(long)]
    check: bool,
}

/// The whole `main` of a daemon: `fn main() -> Exit { dglb_node::cli::main::<DnsB>() }`.
pub fn main<D: Daemon>() -> Exit {
    run::<D>(std::env::args_os())
}

/// Runs a daemon in this process with the given arguments, the program's name first.
pub fn run<D: Daemon>(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let arguments = match parse::<D>(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // To a closed pipe there is nothing to say.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let path = arguments.config.unwrap_or_else(default_config::<D>);
    let loaded = match D::load(&path) {
        Ok(loaded) => loaded,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return Exit::Configuration;
        }
    };
    if arguments.check {
        let mut out = std::io::stdout().lock();
        for warning in &loaded.warnings {
            let _ = writeln!(out, "{warning} (warning)");
        }
        let _ = writeln!(out, "{}: ok", path.display());
        return Exit::Ok;
    }
    telemetry::init();
    name_panics();
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let work = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("work").build();
    let work = match work {
        Ok(work) => work,
        Err(error) => {
            error!("no threads to work on: {error}");
            return Exit::Internal;
        }
    };
    let exit = lifecycle::supervise::<D>(&path, loaded.value, &work);
    // The deadline is over: whatever still runs is left behind.
    work.shutdown_background();
    exit
}

fn parse<D: Daemon>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Arguments, clap::Error> {
    let default = default_config::<D>();
    let command = Arguments::command()
        .name(D::NAME)
        .bin_name(D::NAME)
        .about(D::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER_HELP)
        .mut_arg("config", |config| {
            config.help(format!("The configuration, a TOML file [default: {}]", default.display()))
        });
    Arguments::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

fn default_config<D: Daemon>() -> PathBuf {
    PathBuf::from(format!("/etc/dglb/{}.toml", D::NAME))
}

/// A release build aborts on panic, so the hook is the last who can say whose panic it was.
fn name_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        error!("task {} panicked at {place}: {reason}", lifecycle::current_task());
    }));
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
