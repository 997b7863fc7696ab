//! A dns-b in a net of our own: the DNS-LBs answer at port 53 of thousands of addresses of loopback, and
//! neither disturb anybody there nor are disturbed.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use dglb_ca::Ephemeral;
use dglb_core::proto::message::PeerRole;
use tempfile::TempDir;

use super::fleet;
use crate::child::Child;

/// Where it refers.
pub(super) const DNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5_354);
/// Where it answers for DNS-LBs.
const FALLBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 5_354);
/// Where it takes links.
pub(super) const MAP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5_300);
/// Where it tells of itself.
const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5_380);
/// Longest wait for its admin endpoint.
const PATIENCE: Duration = Duration::from_secs(60);

/// A dns-b with its files.
#[derive(Debug)]
pub(super) struct Daemon {
    core: usize,
    child: Child,
    files: TempDir,
}

impl Daemon {
    /// Starts it on a processor, for so many DNS-LBs, with a certificate of this authority if there is one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(core: usize, links: u32, authority: Option<&Ephemeral>) -> io::Result<Self> {
        let files = TempDir::new()?;
        std::fs::write(files.path().join("fleet.toml"), fleet_document())?;
        std::fs::create_dir(files.path().join("state"))?;
        let security = match authority {
            Some(authority) => {
                authority.write(&fleet::name(PeerRole::DnsB, fleet::DNS_B)?, files.path())?;
                Ephemeral::CONFIG
            }
            None => "plain-tcp = 'loopback'",
        };
        std::fs::write(files.path().join("dns-b.toml"), configuration(links, security))?;
        let child = launch(core, &files)?;
        Ok(Self { core, child, files })
    }

    /// Kills it, and starts it anew with what it has on disk.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.child.kill();
        self.child = launch(self.core, &self.files)?;
        Ok(())
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// One of its metrics, the sum over all labels.
    ///
    /// # Errors
    /// When it does not answer or has no such metric; with the end of its log, when it has ended.
    pub(super) fn metric(&mut self, name: &str) -> io::Result<u64> {
        self.still_runs()?;
        let said = fetch("/metrics")?;
        let lines = said.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with([' ', '{']));
        let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
        values.reduce(|a, b| a + b).ok_or_else(|| io::Error::other(format!("there is no metric {name}")))
    }

    fn still_runs(&mut self) -> io::Result<()> {
        if self.child.runs() {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(20).collect();
        Err(io::Error::other(format!("dns-b has ended, the last first:\n{}", end.join("\n"))))
    }

    fn log(&self) -> PathBuf {
        self.files.path().join("log")
    }
}

fn launch(core: usize, files: &TempDir) -> io::Result<Child> {
    let own = std::env::current_exe()?;
    let config = files.path().join("dns-b.toml");
    let arguments = ["daemon", config.to_str().unwrap_or_default()];
    Child::program(core, &own.to_string_lossy(), &arguments, &files.path().join("log"))
}

fn fleet_document() -> String {
    format!(
        "serial = 1\noperator-zone = 'ops.test'\nhostmaster = 'hostmaster.ops.test'\n\
         [[dns-b]]\nidentity = '{}'\nreferral = ['{}']\nfallback = ['{}']\n",
        fleet::DNS_B,
        DNS.ip(),
        FALLBACK.ip()
    )
}

fn configuration(links: u32, security: &str) -> String {
    let mut text = format!(
        "identity = '{}'\nfleet = 'fleet.toml'\nstate-dir = 'state'\n\
         [dns]\nreferral = ['{DNS}']\nfallback = ['{FALLBACK}']\nlanes = 1\nrate-limit.exempt = ['127.0.0.0/8']\n\
         [map]\nlisten = ['{MAP}']\n{security}\n[admin]\nlisten = '{ADMIN}'\n\
         [[peer]]\nidentity = '{}'\nrole = 'dns-a-sync'\nmay-publish = ['{}']\n",
        fleet::DNS_B,
        fleet::SYNC,
        fleet::ZONE
    );
    for lb in 0..links {
        let identity = fleet::identity(lb);
        text +=
            &format!("[[peer]]\nidentity = '{identity}'\nrole = 'dns-lb'\nmay-map = ['127.0.0.0/8', '10.0.0.0/8']\n");
    }
    text
}

/// Asks the admin endpoint.
fn fetch(path: &str) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(ADMIN) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    if said.starts_with("HTTP/1.1 200 ") { Ok(said) } else { Err(io::Error::other(format!("{path}: {said}"))) }
}

/// Whom a resolver is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Referred {
    /// To this DNS-LB.
    To(String),
    /// To a site, by an address.
    Direct,
}

/// Asks for a service as `resolver` would, once.
///
/// # Errors
/// When there is no answer within `patience`, or one that helps nobody.
pub(super) fn ask(resolver: Ipv4Addr, service: u32, patience: Duration) -> io::Result<Referred> {
    let socket = UdpSocket::bind((resolver, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(DNS)?;
    socket.send(&crate::questions::packet(&fleet::service(service), &[]))?;
    let mut reply = [0; 1_500];
    let length = socket.recv(&mut reply)?;
    referred(&reply[..length]).ok_or_else(|| io::Error::other(format!("no answer: {:02x?}", &reply[..length.min(12)])))
}

/// Waits until a question of ours is answered at all.
///
/// # Errors
/// When none is until `deadline`.
pub(super) fn await_answer(deadline: Instant) -> io::Result<()> {
    loop {
        match ask(fleet::resolver(0), 0, Duration::from_millis(100)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Reads a reply to [`ask`]; `None` if it is none that helps.
fn referred(reply: &[u8]) -> Option<Referred> {
    let answers = u16::from_be_bytes([*reply.get(6)?, *reply.get(7)?]);
    if reply.get(3)? & 0x0f != 0 || answers == 0 {
        return None;
    }
    let mut at = 12;
    while *reply.get(at)? != 0 {
        at += 1 + usize::from(reply[at]);
    }
    // The root, type and class of the question; then the owner, which is a pointer to it.
    let record = reply.get(at + 5..)?;
    let rtype = u16::from_be_bytes([*record.get(2)?, *record.get(3)?]);
    if rtype != 5 {
        return Some(Referred::Direct);
    }
    // The service's label and the DNS-LB's; what follows is the zone.
    let target = record.get(12..)?;
    let second = target.get(1 + usize::from(*target.first()?)..)?;
    let label = second.get(1..1 + usize::from(*second.first()?))?;
    Some(Referred::To(String::from_utf8_lossy(label).into_owned()))
}

/// Looks at the answer again and again, from everywhere, and remembers what was not well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watched {
    /// Questions.
    pub(super) asked: u64,
    /// Those without an answer that helps.
    pub(super) failed: u64,
    /// The longest wait for an answer.
    pub(super) worst: Duration,
}

impl Watched {
    /// Asks once.
    pub(super) fn look(&mut self, resolver: Ipv4Addr, service: u32) {
        let begin = Instant::now();
        self.asked += 1;
        match ask(resolver, service, Duration::from_secs(1)) {
            Ok(_) => self.worst = self.worst.max(begin.elapsed()),
            Err(_) => self.failed += 1,
        }
    }
}
