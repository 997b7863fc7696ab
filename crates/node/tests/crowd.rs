//! Thousands of connections, slow readers and slow writers among them, to a server in a process
//! of its own: memory stays small, and everybody else is served.
//!
//! The server is this test binary, started again; see [`the_server_itself`].

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    num::NonZeroUsize,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dglb_core::dns::{Asked, Decision, Handled, Role};
use dglb_node::{
    lifecycle::Tasks,
    metrics::DnsCounters,
    serve::{Endpoint, Held, Server, Settings, Source, StreamSettings},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const SERVER: &str = "DGLB_NODE_TEST_CROWD";
const SOON: Duration = Duration::from_secs(10);
/// Connections of each sort.
const IDLE: usize = 3_000;
const SLOW_READERS: usize = 1_000;
const SLOW_WRITERS: usize = 1_000;
/// Octets of a reply.
const REPLY: usize = 1_000;
/// Most octets of resident memory that an idle connection may cost, which holds its task alone.
const EACH_IDLE: usize = 3 * 1_024;
/// The same for one of the whole crowd on average: slow ones hold what they said, or what is
/// written at a time.
const EACH: usize = 8 * 1_024;

#[derive(Clone)]
struct Thousand;

impl Source for Thousand {
    type Held = Self;

    fn hold(&self) -> Self {
        Self
    }
}

impl Held for Thousand {
    fn respond(&self, _: &Asked<'_>, reply: &mut [u8]) -> Handled {
        reply[..REPLY].fill(0x80);
        Handled { length: REPLY, decision: Decision::Authority, ..Handled::DROPPED }
    }
}

#[test]
fn the_server_itself() {
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = StreamSettings {
            idle: Duration::from_secs(120),
            connections: 6_000,
            connections_per_client: 6_000,
            ..StreamSettings::default()
        };
        let settings = Settings { lanes: NonZeroUsize::MIN, tcp, ..Settings::default() };
        let endpoint = Endpoint { address: "127.0.0.1:0".parse().unwrap(), role: Role::DnsLb };
        let server = Server::bind(&[endpoint], settings).unwrap();
        let address = server.local_addresses()[0];
        let mut tasks = Tasks::new();
        server.run(Thousand, &DnsCounters::new(), &mut tasks).unwrap();
        println!("\nlistening {address}");
        tasks.ended().await;
    });
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start() -> (Self, SocketAddr) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_server_itself", "--nocapture", "--test-threads=1"]);
        let mut running = Self(command.env(SERVER, "1").stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ")?.parse().ok());
        (running, address.expect("the server did not start"))
    }

    /// Octets of resident memory.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1_024
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // A client that does not read shall not have its system read for it.
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn question() -> Vec<u8> {
    [&[0, 12][..], &[7; 12]].concat()
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(&question()).unwrap();
    let mut reply = [0; 2 + REPLY];
    stream.read_exact(&mut reply).expect("no reply");
}

#[test]
fn thousands_of_connections_cost_little_and_starve_nobody() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    if limit.maximum.is_some_and(|most| most < 6_500) {
        assert!(std::env::var_os("CI").is_none(), "needs more open files: ulimit -Hn 65536");
        return eprintln!("SKIPPED: needs more open files: ulimit -Hn 65536");
    }
    let (running, server) = Running::start();
    let mut first = connect(server);
    ask(&mut first);
    let before = running.memory();
    let mut idle: Vec<_> = (0..IDLE).map(|_| connect(server)).collect();
    idle.iter_mut().for_each(ask);
    let with_idle = running.memory();
    let flood = question().repeat(300);
    let open = |said: &[u8]| {
        let mut stream = connect(server);
        stream.write_all(said).unwrap();
        stream
    };
    let readers: Vec<_> = (0..SLOW_READERS).map(|_| open(&flood)).collect();
    let writers: Vec<_> = (0..SLOW_WRITERS).map(|_| open(&[&[0xff, 0xff][..], &[1; 2_000]].concat())).collect();

    // All of them are there, and others are served at once: over UDP, and over TCP old and new.
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(server).unwrap();
    udp.set_read_timeout(Some(SOON)).unwrap();
    let mut slowest = Duration::ZERO;
    for idle in idle.iter_mut().take(200) {
        let begin = Instant::now();
        udp.send(&[7; 12]).unwrap();
        udp.recv(&mut [0; REPLY]).expect("no reply over UDP");
        ask(idle);
        ask(&mut connect(server));
        slowest = slowest.max(begin.elapsed());
    }
    let crowded = running.memory();
    let each = |octets: usize, count: usize| octets.saturating_sub(before) / count;
    let (idle_cost, cost) = (each(with_idle, IDLE), each(crowded, IDLE + SLOW_READERS + SLOW_WRITERS));
    println!("{idle_cost} octets for an idle connection, {cost} for one of the crowd, slowest round {slowest:?}");
    assert!(idle_cost <= EACH_IDLE && cost <= EACH, "{idle_cost} and {cost} octets for each connection");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    drop((readers, writers));
    ask(&mut first);
}
