//! The programs that run on the lab's hosts, behind two verbs: [`prepare`] writes a program's
//! configuration and says how to start it; [`run`] *is* one of the embedded programs. Nothing here
//! starts a process, enters a namespace or writes outside the host's own directory.
//!
//! A host's `program` table picks its program with the key `kind`:
//!
//! | kind | what it is |
//! |---|---|
//! | `name-server` | authoritative server of our own: root, TLD, DNS-A ([`embedded`]) |
//! | `resolver` | recursive resolver of our own |
//! | `site` | HTTP site |
//! | `dns-b`, `dns-lb`, `dns-a-sync` | the daemons, through their own main or as shipped binaries |
//! | `unbound`, `bind`, `kresd`, `pdns-recursor` | real recursive resolvers |
//! | `bind-auth`, `knot`, `nsd` | real authoritative servers |
//!
//! Every program stays in the foreground, never changes its user and keeps all its state in its
//! host's directory. The lab starts it with that directory as working directory. Preparing a program
//! again is a restart: resolvers come back with an empty cache, BIND and Knot as DNS-A with the
//! updates that they had taken.

mod daemons;
pub mod embedded;
mod error;
mod locate;
mod master;
mod real;
mod settings;
mod tsig;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use error::PrepareError;
pub use tsig::{KeyError, TsigKey};

/// What a program may know about the host that it will run on.
#[derive(Clone, Copy)]
pub struct HostContext<'a> {
    /// The host's name in the topology.
    pub name: &'a str,
    /// Its addresses; programs listen on all of them unless told otherwise.
    pub addresses: &'a [IpAddr],
    /// The host's private directory; it exists.
    pub dir: &'a Path,
    /// Whether the lab runs in a user namespace, where only one user id is mapped.
    pub rootless: bool,
    /// The addresses of another host of the topology.
    pub lookup: &'a dyn Fn(&str) -> Option<Vec<IpAddr>>,
}

/// How to start a prepared program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; the program's path is absolute.
    pub argv: Vec<OsString>,
    /// Variables to add to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// How to see that it serves.
    pub ready: Ready,
}

/// The sign by which a started program is known to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Every address answers a DNS question over UDP, whatever the answer says.
    Dns(Vec<SocketAddr>),
    /// The address accepts a TCP connection.
    Tcp(SocketAddr),
    /// The file (or unix socket) exists.
    File(PathBuf),
    /// There is none.
    None,
}

/// Writes the configuration of the program that `program` describes (a host's `program` table) into
/// the host's directory and says how to start it.
///
/// # Errors
///
/// When the table is not understood, names a host that does not exist, or asks for a program that
/// is not installed or that this machine's policy keeps out of the lab's directories.
pub fn prepare(program: &toml::Value, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let (kind, table) = settings::split(program)?;
    match kind.as_str() {
        "name-server" => embedded::name_server::prepare(table, host),
        "resolver" => embedded::resolver::prepare(table, host),
        "site" => embedded::site::prepare(table, host),
        "dns-b" => daemons::prepare("dns-b", table, host),
        "dns-lb" => daemons::prepare("dns-lb", table, host),
        "dns-a-sync" => daemons::prepare("dns-a-sync", table, host),
        "unbound" => real::unbound::prepare(table, host),
        "bind" => real::bind::prepare_resolver(table, host),
        "bind-auth" => real::bind::prepare_primary(table, host),
        "kresd" => real::kresd::prepare(table, host),
        "pdns-recursor" => real::pdns_recursor::prepare(table, host),
        "nsd" => real::nsd::prepare(table, host),
        "knot" => real::knot::prepare(table, host),
        _ => Err(PrepareError::UnknownKind { kind }),
    }
}

/// Whether the program behind a `kind` can be started here: our own always can, a real one where it
/// is installed and no policy keeps it out of the lab's directories.
///
/// # Errors
/// What is missing, with the line that installs it.
pub fn usable(kind: &str) -> Result<(), PrepareError> {
    real::program(kind).map_or(Ok(()), |program| program.locate().map(drop))
}

/// [`usable`], yes or no.
pub fn is_usable(kind: &str) -> bool {
    usable(kind).is_ok()
}

/// Runs an embedded program or a daemon until it is ended: `args` is what follows `dglb-lab run`,
/// that is the program's name and its own arguments.
pub fn run(args: &[OsString]) -> ExitCode {
    let Some((name, rest)) = args.split_first() else {
        eprintln!("dglb-lab run: a program is missing: {} or a daemon", embedded::NAMES.join(", "));
        return ExitCode::from(EX_USAGE);
    };
    match name.to_str() {
        Some("dns-b" | "dns-lb" | "dns-a-sync") => daemons::run(&name.to_string_lossy(), rest),
        Some(name) if embedded::NAMES.contains(&name) => embedded::run(name, rest),
        _ => {
            eprintln!("dglb-lab run: unknown program {name:?}");
            ExitCode::from(EX_USAGE)
        }
    }
}

/// `EX_USAGE` of sysexits: the command line is wrong.
const EX_USAGE: u8 = 64;
/// `EX_SOFTWARE`: a fault of the program itself.
const EX_SOFTWARE: u8 = 70;
/// `EX_OSERR`: sockets could not be had.
const EX_OSERR: u8 = 71;
/// `EX_CONFIG`: the configuration is wrong.
const EX_CONFIG: u8 = 78;
