//! Starts prepared programs on loopback addresses of their own and asks them. A program that is
//! missing skips its test aloud, or fails it where `CI=true`.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read, Write, stderr};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dglb_lab::programs::{HostContext, Launch, PrepareError, Ready, embedded::counters, prepare};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

/// How long a program may take until it serves.
const START: Duration = Duration::from_secs(20);
/// How long a program may take to end by itself.
const STOP: Duration = Duration::from_secs(2);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(12);
/// After how long a stub resolver asks again; the usual ones take one to five seconds.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Says that a test is skipped, past the capture of the test runner; fails where `CI=true`.
pub(crate) fn skip(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "must not be skipped where CI=true: {why}");
    let _ = writeln!(stderr(), "SKIPPED: {why}");
}

/// A network of loopback addresses that no other test uses at the same time, on port 53.
pub(crate) struct Network {
    prefix: [u8; 2],
    next: AtomicU8,
    /// Holding the network's last address is what reserves it.
    _reserved: UdpSocket,
}

impl Network {
    /// Reserves a network; `None` where port 53 is not for us.
    pub(crate) fn reserve() -> Option<Self> {
        let seed = std::process::id();
        for try_ in 0..20_000_u32 {
            let number = seed.wrapping_mul(7).wrapping_add(try_ * 251);
            let [_, _, high, low] = number.to_be_bytes();
            let prefix = [high.clamp(1, 254), low];
            match UdpSocket::bind((Ipv4Addr::new(127, prefix[0], prefix[1], 254), 53)) {
                Ok(socket) => return Some(Self { prefix, next: AtomicU8::new(1), _reserved: socket }),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    skip("needs port 53: run as root, or sysctl net.ipv4.ip_unprivileged_port_start=0");
                    return None;
                }
                Err(_) => {}
            }
        }
        panic!("no free loopback network");
    }

    /// An address that nobody has yet.
    pub(crate) fn address(&self) -> IpAddr {
        let host = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(host < 254, "the network is full");
        Ipv4Addr::new(127, self.prefix[0], self.prefix[1], host).into()
    }
}

/// A port that is free on this address for UDP and TCP. It lies below those that the system gives to
/// clients, so that nobody takes it before the program does.
pub(crate) fn free_port(address: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1_000 {
        let number = std::process::id().wrapping_mul(7).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (number % 20_000) as u16;
        if UdpSocket::bind((address, port)).is_ok() && TcpListener::bind((address, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on {address}");
}

/// A running program; it ends with this value.
pub(crate) struct Program {
    child: Child,
    dir: tempfile::TempDir,
    name: String,
}

impl Program {
    /// Prepares and starts a program; `None` when it had to be skipped.
    pub(crate) fn try_start(name: &str, address: IpAddr, table: &str, hosts: &[(&str, IpAddr)]) -> Option<Self> {
        match Self::prepare_and_start(name, address, table, hosts) {
            Ok(program) => Some(program),
            Err(error @ (PrepareError::Missing { .. } | PrepareError::Confined { .. })) => {
                skip(&error.to_string());
                None
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// Prepares and starts a program of our own.
    pub(crate) fn start(name: &str, address: IpAddr, table: &str) -> Self {
        Self::prepare_and_start(name, address, table, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn prepare_and_start(
        name: &str,
        address: IpAddr,
        table: &str,
        hosts: &[(&str, IpAddr)],
    ) -> Result<Self, PrepareError> {
        let dir = tempfile::Builder::new().prefix("dglb-lab-").tempdir().unwrap();
        let lookup = |wanted: &str| hosts.iter().find(|(name, _)| *name == wanted).map(|(_, address)| vec![*address]);
        let addresses = [address];
        let host = HostContext { name, addresses: &addresses, dir: dir.path(), rootless: false, lookup: &lookup };
        let launch = prepare(&table.parse::<toml::Table>().unwrap().into(), &host)?;
        let mut program = Self { child: spawn(&launch, dir.path()), dir, name: name.to_owned() };
        program.wait_until_ready(&launch.ready);
        Ok(program)
    }

    /// Ends the program, prepares it again in the same directory and starts it.
    pub(crate) fn restart(&mut self, address: IpAddr, table: &str) {
        self.end();
        let addresses = [address];
        let lookup = |_: &str| None;
        let host = HostContext {
            name: &self.name,
            addresses: &addresses,
            dir: self.dir.path(),
            rootless: false,
            lookup: &lookup,
        };
        let launch = prepare(&table.parse::<toml::Table>().unwrap().into(), &host).unwrap();
        self.child = spawn(&launch, self.dir.path());
        self.wait_until_ready(&launch.ready);
    }

    /// Asks the process to end, then ends it and whatever it started: they are one process group.
    fn end(&mut self) {
        let kill = |signal: &str, target: String| {
            let _ = Command::new("kill").args([signal, "--", &target]).stderr(Stdio::null()).status();
        };
        kill("-TERM", self.child.id().to_string());
        let deadline = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(STEP);
        }
        kill("-KILL", format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }

    fn wait_until_ready(&mut self, ready: &Ready) {
        let deadline = Instant::now() + START;
        while !is_ready(ready) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended: {status}\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "{} is not ready\n{}", self.name, self.log());
            sleep(STEP);
        }
    }

    /// The program's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the program has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output.log")).unwrap_or_default()
    }

    /// The counters of a program of our own.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        counters_of(self.dir.path())
    }

    /// One counter of a program of our own.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters()[name]
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(launch: &Launch, dir: &Path) -> Child {
    let log = File::options().append(true).create(true).open(dir.join("output.log")).unwrap();
    Command::new(&launch.argv[0])
        .args(&launch.argv[1..])
        .envs(launch.env.iter().cloned())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap()
}

fn is_ready(ready: &Ready) -> bool {
    match ready {
        Ready::Dns(addresses) => addresses.iter().all(|address| {
            exchange_udp(*address, &question("ready.invalid.", RecordType::A), Duration::from_millis(500)).is_some()
        }),
        Ready::Tcp(address) => TcpStream::connect_timeout(address, STEP * 10).is_ok(),
        Ready::File(path) => path.exists(),
        Ready::None => true,
    }
}

/// The counters of the program of our own whose directory this is.
pub(crate) fn counters_of(dir: &Path) -> BTreeMap<String, u64> {
    counters::read(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

/// A question with EDNS and without RD.
pub(crate) fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1_232);
    message.set_edns(edns);
    message
}

/// The same with RD.
pub(crate) fn recursive(name: &str, kind: RecordType) -> Message {
    let mut message = question(name, kind);
    message.metadata.recursion_desired = true;
    message
}

/// Asks over UDP and wants an answer.
pub(crate) fn ask(server: SocketAddr, message: &Message) -> Message {
    exchange_udp(server, message, ANSWER).unwrap_or_else(|| panic!("{server} does not answer {:?}", message.queries))
}

/// Asks over UDP, again every second, and wants an answer within `patience`.
pub(crate) fn ask_again(server: SocketAddr, message: &Message, patience: Duration) -> Message {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(reply) = exchange_udp(server, message, AGAIN) {
            return reply;
        }
    }
    panic!("{server} does not answer {:?} within {patience:?}", message.queries)
}

/// Asks a resolver as a stub does: Unbound drops an answer that took it longer than 1.9 s, and has it
/// ready for whoever asks again.
pub(crate) fn resolve(server: SocketAddr, message: &Message) -> Message {
    ask_again(server, message, ANSWER)
}

/// Asks over TCP and wants an answer.
pub(crate) fn ask_tcp(server: SocketAddr, message: &Message) -> Message {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER).unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let octets = message.to_vec().unwrap();
    let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, &octets[..]].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

/// Sends octets and returns the reply to them, if any comes in time.
pub(crate) fn exchange_octets(server: SocketAddr, octets: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send(octets).ok()?;
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

fn exchange_udp(server: SocketAddr, message: &Message, patience: Duration) -> Option<Message> {
    let reply = exchange_octets(server, &message.to_vec().unwrap(), patience)?;
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id);
    Some(reply)
}

/// Records as `name type data`, sorted, to compare sections by.
pub(crate) fn texts(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    let mut texts: Vec<_> =
        records.iter().map(|record| format!("{} {} {}", record.name, record.record_type(), record.data)).collect();
    texts.sort();
    texts
}

/// Runs a command with this input; `None`, aloud, when it is not installed.
pub(crate) fn command(program: &str, package: &str, args: &[&str], input: &str) -> Option<Output> {
    let spawned =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skip(&format!("needs {program}: apt-get install {package}"));
            return None;
        }
        other => other.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}
