//! The command line, `dglb-lab`. Exit codes: 0 done, 1 not done (the reason is on standard error),
//! 2 wrong usage; `exec`, `shell` and `run` end with the code of what they run.

mod background;
mod enter;
mod show;

use std::{ffi::OsString, fmt::Display, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    control::{Reply, Request, ask},
    interrupt::end_labs_on_abort,
    measure,
    net::Backend,
    process::Signal,
    programs,
    runtime::RuntimeDir,
    tour,
};

/// A private Internet in a box: hosts as network namespaces, true distances, real name servers.
/// Without a command: the tour.
#[derive(Debug, Parser)]
#[command(name = "dglb-lab", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole chain at work (what runs without a command)
    #[command(disable_help_flag = true)]
    Tour {
        /// For the tour; --help shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure distances and fail-overs, each beside what it should be
    #[command(disable_help_flag = true)]
    Measure {
        /// For the measuring; --help shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build a lab and keep it in the background
    Up(background::Up),
    /// End the lab, and clear away what a crashed one left behind
    Down,
    /// Show all hosts
    Status,
    /// Open a shell on a host
    Shell { host: String },
    /// Run a command on a host, with the host's own resolv.conf: exec client1 dig www.foobar.test
    Exec {
        host: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Start a host's program
    Start { host: String },
    /// End a host's program in good order
    Stop { host: String },
    /// End a host's program in good order and start it again
    Restart { host: String },
    /// Send a signal to a host's program, SIGKILL unless told otherwise
    Kill {
        host: String,
        #[arg(value_enum, default_value = "kill")]
        signal: Signal,
    },
    /// Show the last lines that a host's program wrote
    Log { host: String },
    /// Change or show the wire while packets are on it
    #[command(subcommand)]
    Wire(WireCommand),
    /// Be one of the programs that hosts run
    Run {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Hold a lab until told to end; what `up` starts
    #[command(hide = true)]
    Hold(background::Hold),
}

#[derive(Debug, Subcommand)]
enum WireCommand {
    /// Drop everything between two hosts, or between one and all others, silently
    Cut { a: String, b: Option<String> },
    /// Undo a cut
    Heal { a: String, b: Option<String> },
    /// Set the delay of each direction in milliseconds: half the round trip
    Delay { a: String, b: String, ms: f64 },
    /// Set the loss of each direction in percent
    Loss { a: String, b: String, percent: f64 },
    /// Show links and what became of their packets: all that were used, or all of one host
    Show { host: Option<String> },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendName {
    Auto,
    Tun,
    Veth,
}

/// Runs the command line. Must be the first thing that a process does, before its second thread:
/// an ordinary user's lab begins with a user namespace.
pub fn main() -> ExitCode {
    end_labs_on_abort();
    let command = Arguments::parse().command.unwrap_or(Command::Tour { args: Vec::new() });
    let runtime = RuntimeDir::of_user();
    let request = match command {
        Command::Run { program } => return programs::run(&program),
        Command::Tour { args } => return tour::run(&args),
        Command::Measure { args } => return measure::run(&args),
        Command::Up(up) => return done(up.run(&runtime)),
        Command::Hold(hold) => return done(hold.run()),
        Command::Down => return done(background::down(&runtime)),
        Command::Shell { host } => return failed(enter::shell(&runtime, &host)),
        Command::Exec { host, command } => return failed(enter::exec(&runtime, &host, &command)),
        Command::Status => Request::Status,
        Command::Start { host } => Request::Start { host },
        Command::Stop { host } => Request::Stop { host },
        Command::Restart { host } => Request::Restart { host },
        Command::Kill { host, signal } => Request::Kill { host, signal },
        Command::Log { host } => Request::Log { host },
        Command::Wire(WireCommand::Cut { a, b }) => Request::Cut { a, b },
        Command::Wire(WireCommand::Heal { a, b }) => Request::Heal { a, b },
        Command::Wire(WireCommand::Delay { a, b, ms }) => Request::Delay { a, b, ms },
        Command::Wire(WireCommand::Loss { a, b, percent }) => Request::Loss { a, b, percent },
        Command::Wire(WireCommand::Show { host }) => Request::Links { host },
    };
    done(ask(&runtime.control_socket(), &request).map(|reply| show_reply(&reply)))
}

fn show_reply(reply: &Reply) {
    match reply {
        Reply::Status(status) => show::status(status),
        Reply::Links(links) => show::links(links),
        Reply::Log(text) => show::line(text.trim_end()),
        Reply::Done | Reply::Refused(_) | Reply::Entrance(_) => {}
    }
}

fn done(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

fn failed(error: impl Display) -> ExitCode {
    eprintln!("dglb-lab: {error}");
    ExitCode::FAILURE
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Auto => Self::Auto,
            BackendName::Tun => Self::Tun,
            BackendName::Veth => Self::Veth,
        }
    }
}

/// Where a topology may be left out.
fn topology_file(path: Option<&PathBuf>) -> Result<crate::Topology, crate::TopologyError> {
    match path {
        Some(path) => crate::Topology::load(path),
        None => tour::PLAYGROUND.parse(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_command_on_a_host_keeps_its_own_options() {
        let parsed = Arguments::try_parse_from(["dglb-lab", "exec", "client1", "dig", "-x", "--help"]).unwrap();
        let Some(Command::Exec { host, command }) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!((host.as_str(), command), ("client1", ["dig", "-x", "--help"].map(OsString::from).into()));
    }
}
