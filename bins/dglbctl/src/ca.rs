//! `dglbctl ca`: certificates for those who have no authority of their own. All that matters is done
//! by `dglb-ca`; here are arguments, and what people read.

use std::{
    fmt::Write,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use dglb_ca::{AuthorityError, CA_DAYS, Entry, HOST_DAYS, Lifetime, Request, State, Store, StoreError};
use dglb_core::{
    identity::Identity,
    peer_name::{PeerName, parse_role, role_text},
    proto::message::PeerRole,
};

/// Where a CA lives unless told otherwise.
const DIRECTORY: &str = "/etc/dglb/ca";
const DAY: u64 = 86_400;

/// Exit codes, those of `sysexits.h`.
pub(crate) mod code {
    /// Something is not as it must be: no such certificate, a broken file.
    pub(crate) const DATA: u8 = 65;
    /// There is no CA.
    pub(crate) const NO_INPUT: u8 = 66;
    /// It will not be overwritten, or cannot be written.
    pub(crate) const CANNOT_CREATE: u8 = 73;
    /// Somebody else is at work.
    pub(crate) const BUSY: u8 = 75;
    /// The directory is not ours.
    pub(crate) const PERMISSION: u8 = 77;
}

const WALK_THROUGH: &str = "\
A private authority for map links, in a directory. Keep that directory on one machine that serves
nothing, and never copy ca.key: whoever has it can be anybody.

  dglbctl ca init                                        once
  dglbctl ca issue --role dns-b      --identity b1       for every host: a directory with
  dglbctl ca issue --role dns-lb     --identity sea1     certificate.pem, key.pem, ca.pem, crl.pem
  dglbctl ca issue --role dns-a-sync --identity foobar
  scp -r /etc/dglb/ca/hosts/dns-lb-sea1/. sea1:/etc/dglb/tls/

and in the daemon's configuration:

  [map.tls]
  certificate = \"/etc/dglb/tls/certificate.pem\"
  key = \"/etc/dglb/tls/key.pem\"
  ca = \"/etc/dglb/tls/ca.pem\"
  crl = \"/etc/dglb/tls/crl.pem\"

Daemons look at these files every second; no restart is needed.

  dglbctl ca list                                        what expires when
  dglbctl ca renew --within 30                           then copy the directories anew
  dglbctl ca revoke --role dns-lb --identity sea1        then copy crl.pem to every host

Exit codes:
   0  done
  64  the command line is wrong
  65  no such certificate, or a file that is not what it should be
  66  there is no CA in the directory
  73  something would be overwritten, or cannot be written
  75  another dglbctl is at work in the directory
  77  permission denied";

/// `dglbctl ca …`
#[derive(Debug, Args)]
#[command(after_help = WALK_THROUGH)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Where the CA is
    #[arg(long, global = true, value_name = "DIRECTORY", default_value = DIRECTORY, env = "DGLB_CA")]
    directory: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a CA; refuses where there is one
    Init {
        /// Its name, for people
        #[arg(long, default_value = "DGLB map links")]
        name: String,
        /// For how many days it is valid
        #[arg(long, default_value_t = CA_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Makes a host's certificate and key; refuses where it has a good one
    Issue {
        #[command(flatten)]
        host: Host,
        /// A DNS name to stand in it besides, for other tools; may be repeated
        #[arg(long, value_name = "NAME")]
        dns_name: Vec<String>,
        /// An address to stand in it besides; may be repeated
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<IpAddr>,
        /// For how many days it is valid
        #[arg(long, default_value_t = HOST_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Makes a new certificate and key in the place of the last; that one stays good until it expires
    Renew {
        #[command(flatten)]
        host: Option<Host>,
        /// Instead of one host: all whose certificates expire within so many days
        #[arg(long, value_name = "DAYS", conflicts_with_all = ["role", "identity"], required_unless_present = "identity")]
        within: Option<u32>,
        /// For how many days the new one is valid
        #[arg(long, default_value_t = HOST_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Revokes all certificates of a host, at once where the new crl.pem arrives
    Revoke {
        #[command(flatten)]
        host: Host,
    },
    /// Shows what was issued
    List {
        /// Print the serial numbers, too, and what has expired
        #[arg(long)]
        all: bool,
    },
    /// Makes crl.pem anew, here and in every host's directory
    Crl,
}

/// Which host.
#[derive(Debug, Args)]
struct Host {
    /// What runs there: dns-b, dns-lb, dns-a-sync or mservice
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: PeerRole,
    /// The identity of its configuration
    #[arg(long, value_name = "IDENTITY")]
    identity: Identity,
}

impl Host {
    fn name(&self) -> PeerName {
        PeerName::new(self.role, self.identity.clone())
    }
}

fn role(text: &str) -> Result<PeerRole, String> {
    parse_role(text).map_err(|error| error.to_string())
}

/// Does it. Returns what to print.
///
/// # Errors
/// An exit code and what went wrong.
pub(crate) fn run(arguments: &Arguments) -> Result<String, (u8, String)> {
    work(arguments, SystemTime::now()).map_err(|error| (exit_code(&error), error.to_string()))
}

fn work(Arguments { command, directory }: &Arguments, now: SystemTime) -> Result<String, StoreError> {
    match command {
        Command::Init { name, days } => {
            Store::init(directory, name, Lifetime::days(now, *days), now)?;
            let directory = directory.display();
            Ok(format!(
                "{directory}/ca.pem   the CA, valid for {days} days\n\
                 {directory}/ca.key   its key: keep it here, and a copy of it in a safe\n\
                 {directory}/crl.pem  what is revoked: nothing yet\n\
                 next: dglbctl ca issue --role dns-b --identity b1\n"
            ))
        }
        Command::Issue { host, dns_name, address, days } => {
            let mut request = Request::new(host.name(), Lifetime::days(now, *days));
            (request.dns_names, request.addresses) = (dns_name.clone(), address.clone());
            let bundle = Store::open(directory)?.issue(&request, now)?;
            Ok(handed_over(&request.name, &bundle.directory, *days))
        }
        Command::Renew { host, within, days } => {
            let mut store = Store::open(directory)?;
            let names = match host {
                Some(host) => vec![host.name()],
                None => expiring(&store, within.unwrap_or_default(), now),
            };
            let mut text = String::new();
            for name in &names {
                let bundle = store.renew(name, Lifetime::days(now, *days))?;
                text += &handed_over(name, &bundle.directory, *days);
            }
            Ok(if names.is_empty() { "nothing expires so soon\n".to_owned() } else { text })
        }
        Command::Revoke { host } => {
            let mut store = Store::open(directory)?;
            let revoked = store.revoke(&host.name(), now)?.len();
            let list = store.list_path();
            Ok(format!(
                "{}: {revoked} certificate{} revoked\n{}  copy it to every host: its links end there within seconds\n",
                host.name(),
                if revoked == 1 { "" } else { "s" },
                list.display()
            ))
        }
        Command::List { all } => Ok(listed(Store::open(directory)?.entries(), *all, now)),
        Command::Crl => {
            let store = Store::open(directory)?;
            store.write_list(now)?;
            Ok(format!("{}  made anew; copy it to every host\n", store.list_path().display()))
        }
    }
}

/// Hosts whose newest certificate expires within so many days, or has expired.
fn expiring(store: &Store, days: u32, now: SystemTime) -> Vec<PeerName> {
    let limit = now + Duration::from_secs(u64::from(days) * DAY);
    let mut names: Vec<PeerName> = Vec::new();
    for entry in store.entries().iter().filter(|entry| entry.revoked.is_none()) {
        let newer = |other: &Entry| other.name == entry.name && other.revoked.is_none() && other.expires > limit;
        if entry.expires <= limit && !names.contains(&entry.name) && !store.entries().iter().any(newer) {
            names.push(entry.name.clone());
        }
    }
    names
}

fn handed_over(name: &PeerName, directory: &std::path::Path, days: u32) -> String {
    format!("{}  {name}, valid for {days} days: copy it to the host as /etc/dglb/tls\n", directory.display())
}

/// A line for each certificate, in the order in which they were issued.
fn listed(entries: &[Entry], all: bool, now: SystemTime) -> String {
    let mut text = format!("{:<11} {:<32} {}\n", "ROLE", "IDENTITY", "STATE");
    for entry in entries.iter().filter(|entry| all || entry.state(now) != State::Expired) {
        let Entry { serial, name, .. } = entry;
        let state = match entry.state(now) {
            State::Revoked => "revoked".to_owned(),
            State::Expired => "expired".to_owned(),
            State::Valid(left) if left.as_secs() < 2 * DAY => format!("expires in {} hours", left.as_secs() / 3_600),
            State::Valid(left) => format!("expires in {} days", left.as_secs() / DAY),
        };
        let serial = if all { format!("  {serial}") } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<11} {:<32} {state}{serial}", role_text(name.role), name.identity.as_str());
    }
    text
}

fn exit_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Empty(_) => code::NO_INPUT,
        StoreError::Busy(_) => code::BUSY,
        StoreError::Occupied(_) | StoreError::Exists { .. } => code::CANNOT_CREATE,
        StoreError::File { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => code::PERMISSION,
        StoreError::File { .. } => code::CANNOT_CREATE,
        StoreError::Authority(AuthorityError::Name(_) | AuthorityError::Time) => 64,
        StoreError::Ledger { .. } | StoreError::Unknown(_) | StoreError::Authority(_) => code::DATA,
    }
}
