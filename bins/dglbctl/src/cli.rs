//! Arguments in, text and an exit code out.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::{
    address::{Address, sockets},
    ca,
    daemon::Daemon,
    explain::{self, At},
    fetch::FetchError,
    force, replay,
    store::StoreCommand,
};

/// Where daemons put their sockets unless told otherwise.
const DIRECTORY: &str = "/run/dglb";

/// Exit codes, those of `sysexits.h`.
pub(crate) mod code {
    /// What was decided once comes out otherwise now.
    pub(crate) const DIFFERENT: u8 = 1;
    /// A daemon is not ready.
    pub(crate) const NOT_READY: u8 = 75;
    /// No daemon answers.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// Something answers that is no daemon of ours.
    pub(crate) const PROTOCOL: u8 = 76;
    /// The socket is not for us.
    pub(crate) const PERMISSION: u8 = 77;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 64;
    /// The answer cannot be printed.
    pub(crate) const OUTPUT: u8 = 74;
    /// A store, or the text of one, is not what it should be.
    pub(crate) const DATA: u8 = 65;
    /// A file cannot be read.
    pub(crate) const INPUT: u8 = 66;
    /// A file is there already.
    pub(crate) const EXISTS: u8 = 73;
}

const EXAMPLES: &str = "\
Examples:
  dglbctl status                                   every daemon of this host
  dglbctl status --admin unix:/run/dglb/dns-b.sock one of them
  dglbctl status --admin http://127.0.0.1:8053     one that listens on TCP
  dglbctl status --json | jq .zones                for programs
  dglbctl ready || echo not yet                    for scripts
  dglbctl metrics dglb_dns                         counters whose names begin so
  dglbctl ca --help                                certificates for map links, step by step
  dglbctl map --prefix 198.51.100.0/24             whom a dns-b sends these resolvers to
  dglbctl explain www.glb.example.com --from 198.51.100.53
                                                   why this resolver gets which answer
  dglbctl replay /var/lib/dglb/decisions.jsonl     what a dns-lb has decided, decided again
  dglbctl drain sea1                               before work on a DNS-LB; --undo after it
  dglbctl force www.glb.example.com fra down --for 2h --reason 'a new roof'
                                                   a site, for the clients of this dns-lb
  dglbctl store export /var/lib/dglb/dns-b.redb    what a stopped daemon keeps, as text

Exit codes:
   0  all is well
   1  replay: what was decided comes out otherwise now
  64  the command line is wrong
  65  store, replay: the file, or the text, is not what it should be, or has no such decision
  66  store, replay: the file cannot be read
  69  no daemon is running there, or it does not answer; store: a daemon has the file open
  73  store: the file is there already
  74  the output could not be written
  75  ready: a daemon is running, but not ready
  76  what answers is no daemon of DGLB
  77  permission denied: the socket is for the daemon's user and group";

const ABOUT: &str = "Asks the DGLB daemons of this host (dns-b, dns-lb, dns-a-sync) how they are";

const LONG_ABOUT: &str = "\
Asks the DGLB daemons of this host (dns-b, dns-lb, dns-a-sync) how they are.

Every daemon has an admin endpoint, which its configuration names as [admin] listen: a unix socket
or a port of loopback. Without --admin, every socket in /run/dglb is asked.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "dglbctl", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// The admin endpoint to ask: unix:/path or http://127.0.0.1:port; may be repeated
    #[arg(long, global = true, value_name = "ADDRESS", env = "DGLB_ADMIN")]
    admin: Vec<Address>,

    /// Seconds that a daemon may take to answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,

    /// Where to look for sockets without --admin
    #[arg(long, global = true, value_name = "DIRECTORY", default_value = DIRECTORY, hide = true)]
    sockets: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what a daemon knows: links, zones, generations, health, problems
    ///
    /// Problems are shown where they belong. "-" means that there is nothing (yet).
    Status {
        /// Print JSON as the daemon gives it; a list if several daemons are asked
        #[arg(long)]
        json: bool,
    },
    /// Says whether a daemon does its work, and if not, what it waits for
    Ready,
    /// Prints the counters, as Prometheus scrapes them
    Metrics {
        /// Only those whose names begin with this, without comments
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
    },
    /// Makes certificates for map links, for who has no authority of their own
    Ca(ca::Arguments),
    /// Lists which DNS-LBs a dns-b sends which resolvers and clients to
    ///
    /// One line for each prefix and DNS-LB: by what right it is there (proven or static), for how long,
    /// and how long it stays without a word from the DNS-LB.
    Map {
        /// Only what overlaps with this prefix or address
        #[arg(long, value_name = "PREFIX")]
        prefix: Option<String>,
        /// Entries to show at most
        #[arg(long, value_name = "NUMBER", default_value = "1000")]
        limit: u32,
        /// Print JSON as the daemon gives it
        #[arg(long)]
        json: bool,
    },
    /// Says what a resolver, or a client behind it, is answered, and why
    ///
    /// The running daemon answers a real question, the way it answers all, and tells what decided: the prefix of
    /// the map that matched, the DNS-LB and why it and no other, every site with its figures, the answer with its
    /// TTL and scope. Nothing is sent to anybody, and nothing is counted. At a dns-b it is the referral that is
    /// explained, at a dns-lb the address: explain a service at the dns-b first, and the name to which its CNAME
    /// leads at the DNS-LB.
    Explain(explain::Arguments),
    /// Decides again what a dns-lb has put down, from what it went by, and says where that comes out otherwise
    ///
    /// A dns-lb with a state-dir puts every decision down in decisions.jsonl there ("decisions" in its
    /// configuration): what was measured of each site, the policy, the order before, and what came of it. Here
    /// the daemon's own functions decide once more, from a file that may come from another host. With --at the
    /// decisions that were in force at a time are shown with everything that was compared. No daemon need run.
    Replay(replay::Arguments),
    /// Takes a DNS-LB out of the answers of a dns-b, before it is stopped for work on it
    ///
    /// Who has its name in a cache is still answered there. It holds until --undo, also over a restart
    /// of a dns-b that has a state-dir. To be told to every dns-b.
    Drain {
        /// The DNS-LB
        #[arg(value_name = "DNS-LB")]
        identity: String,
        /// Put it back
        #[arg(long)]
        undo: bool,
    },
    /// Makes a site count as up, draining or down at a dns-lb for a while, whatever probes say
    ///
    /// It stands over what the site's customer says, ends after --for or with the daemon, and is shown by "status" with
    /// its reason. It concerns the clients of this one DNS-LB; what is meant for all belongs into dns-a-sync's
    /// configuration.
    Force(force::Arguments),
    /// Looks into the file that a stopped daemon keeps its state in, and carries it over
    #[command(subcommand)]
    Store(StoreCommand),
}

/// What failed, and with which exit code.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let code = match &error {
            FetchError::NotRunning(_) | FetchError::Silent(_) | FetchError::Other { .. } => code::UNAVAILABLE,
            FetchError::Denied(_) => code::PERMISSION,
            FetchError::Stranger { .. } => code::PROTOCOL,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // A reader that has seen enough is no mistake: `dglbctl metrics | head`.
        let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { code::OUTPUT };
        Self { code, message: format!("the output could not be written: {error}") }
    }
}

/// The whole program.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // To a closed pipe there is nothing to say.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(code::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Command::Ca(arguments) = &arguments.command {
        let done = ca::run(arguments).map_err(|(code, message)| Failure { code, message });
        return fail(done.and_then(|text| print(&text)).err().as_slice());
    }
    if let Command::Replay(arguments) = &arguments.command {
        return match arguments.run() {
            Ok(code) => ExitCode::from(code),
            Err(failure) => fail(&[failure]),
        };
    }
    if let Command::Store(command) = &arguments.command {
        return fail(&command.run().err().into_iter().collect::<Vec<_>>());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&[Failure { code: code::UNAVAILABLE, message: error.to_string() }]),
    };
    match addresses(&arguments) {
        Ok(addresses) => fail(&runtime.block_on(work(&arguments, &addresses))),
        Err(failure) => fail(&[failure]),
    }
}

/// Says what failed; the worst exit code is that of the first failure.
fn fail(failures: &[Failure]) -> ExitCode {
    for failure in failures.iter().filter(|f| f.code != 0) {
        let _ = writeln!(io::stderr(), "dglbctl: {}", failure.message);
    }
    ExitCode::from(failures.iter().map(|f| f.code).find(|code| *code != 0).unwrap_or(0))
}

fn addresses(arguments: &Arguments) -> Result<Vec<Address>, Failure> {
    if !arguments.admin.is_empty() {
        return Ok(arguments.admin.clone());
    }
    let directory: &Path = &arguments.sockets;
    match sockets(directory) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Failure {
            code: code::UNAVAILABLE,
            message: format!(
                "there is no socket in {}: no daemon is running, or its [admin] listen is elsewhere; then say where with \
                 --admin",
                directory.display()
            ),
        }),
        Err(error) => {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let code = if denied { code::PERMISSION } else { code::UNAVAILABLE };
            Err(Failure { code, message: format!("{}: {error}", directory.display()) })
        }
    }
}

/// Asks one daemon after the other; one that fails does not hide the others.
async fn work(arguments: &Arguments, addresses: &[Address]) -> Vec<Failure> {
    let command = &arguments.command;
    let mut failures = Vec::new();
    let mut documents = Vec::new();
    let mut strangers = 0;
    for address in addresses {
        let daemon = Daemon { address, patience: Duration::from_secs(arguments.timeout) };
        let done = match command {
            Command::Status { json: true } => daemon.status().await.map(|document| documents.push(document)),
            Command::Status { json: false } => daemon.show(addresses.len() > 1).await,
            Command::Ready => daemon.ready().await,
            Command::Metrics { prefix } => daemon.metrics(prefix.as_deref()).await,
            // Done already; they ask no daemon.
            Command::Explain(wanted) => {
                let done = daemon.explain(wanted, addresses.len() > 1).await;
                done.map(|is_meant| strangers += usize::from(!is_meant))
            }
            Command::Force(_) if without_admin(arguments) && !daemon.is("dns-lb").await => {
                strangers += 1;
                Ok(())
            }
            Command::Force(wanted) => daemon.force(wanted).await,
            Command::Map { .. } | Command::Drain { .. } if without_admin(arguments) && !daemon.is("dns-b").await => {
                strangers += 1;
                Ok(())
            }
            Command::Map { prefix, limit, json } => daemon.map(prefix.as_deref(), *limit, *json).await,
            Command::Drain { identity, undo } => daemon.drain(identity, !*undo).await,
            Command::Ca(_) | Command::Replay(_) | Command::Store(_) => Ok(()),
        };
        failures.extend(done.err());
    }
    if strangers == addresses.len() {
        let wanted = match command {
            Command::Explain(wanted) => wanted.at.map_or("dns-b or dns-lb", At::as_str),
            Command::Force(_) => "dns-lb",
            _ => "dns-b",
        };
        let message = if without_admin(arguments) {
            format!("no {wanted} is running here; say where one is with --admin")
        } else {
            format!("what --admin names is no {wanted}")
        };
        failures.push(Failure { code: code::UNAVAILABLE, message });
    }
    if let Command::Status { json: true } = command {
        let one = if addresses.len() == 1 { documents.pop() } else { Some(Value::Array(documents)) };
        failures.extend(one.map(|value| print(&format!("{value:#}\n"))).and_then(Result::err));
    }
    failures
}

/// Whether the daemons of this host were looked for.
fn without_admin(arguments: &Arguments) -> bool {
    arguments.admin.is_empty()
}

/// Prints it, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
