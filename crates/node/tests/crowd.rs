//! Thousands of connections, slow readers and slow writers among them, to a server in a process
//! of its own: memory stays small, and everybody else is served.
//!
//! The server is this test binary, started again; see [`the_server_itself`].

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    num::NonZeroUsize,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::dns::{Asked, Decision, Handled, Role};
use dglb_node::{
    certificate::CertificateFiles,
    lifecycle::Tasks,
    metrics::DnsCounters,
    serve::{EncryptedService, EncryptedSettings, Endpoint, Held, Over, Server, Settings, Source, StreamSettings},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use socket2::{Domain, Socket, Type};

const SERVER: &str = "DGLB_NODE_TEST_CROWD";
const SOON: Duration = Duration::from_secs(10);
/// Connections of each sort.
const IDLE: usize = 3_000;
const SLOW_READERS: usize = 1_000;
const SLOW_WRITERS: usize = 1_000;
/// Idle connections over TLS.
const ENCRYPTED: usize = 500;
/// Octets of a reply.
const REPLY: usize = 1_000;
/// Most octets of resident memory that an idle connection may cost, which holds its task alone.
const EACH_IDLE: usize = 3 * 1_024;
/// The same for one of the whole crowd on average: slow ones hold what they said, or what is
/// written at a time.
const EACH: usize = 8 * 1_024;
/// The same for one that is idle over TLS.
const EACH_ENCRYPTED: usize = 48 * 1_024;

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
    let Some(directory) = std::env::var_os(SERVER) else { return };
    let file = |name: &str| Path::new(&directory).join(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = StreamSettings {
            idle: Duration::from_secs(120),
            connections: 6_000,
            connections_per_client: 6_000,
            ..StreamSettings::default()
        };
        let endpoint = Endpoint { address: "127.0.0.1:0".parse().unwrap(), role: Role::DnsLb };
        let files = CertificateFiles { certificate: file("cert.pem"), key: file("key.pem") };
        let services = vec![EncryptedService { over: Over::Tls, endpoints: vec![endpoint], files }];
        let encrypted = EncryptedSettings { limits: tcp, services };
        let settings = Settings { lanes: NonZeroUsize::MIN, tcp, encrypted, ..Settings::default() };
        let server = Server::bind(&[endpoint], settings).unwrap();
        let (address, encrypted) = (server.local_addresses()[0], server.encrypted_addresses()[0].1);
        let mut tasks = Tasks::new();
        server.run(Thousand, &DnsCounters::new(), &mut tasks).unwrap();
        println!("\nlistening {address} {encrypted}");
        tasks.ended().await;
    });
}

struct Running(Child, tempfile::TempDir);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The server, and where it is asked in the clear and over TLS.
    fn start() -> (Self, SocketAddr, SocketAddr) {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), pair.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_server_itself", "--nocapture", "--test-threads=1"]);
        let child = command.env(SERVER, directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut running = Self(child, directory);
        let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let addresses = lines.map_while(Result::ok).find_map(|line| {
            let (plain, encrypted) = line.strip_prefix("listening ")?.split_once(' ')?;
            Some((plain.parse().ok()?, encrypted.parse().ok()?))
        });
        let (plain, encrypted) = addresses.expect("the server did not start");
        (running, plain, encrypted)
    }

    /// What a client needs to trust it.
    fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.1.path().join("cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
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

fn ask(stream: &mut (impl Read + Write)) {
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
    let (running, server, encrypted) = Running::start();
    let mut first = connect(server);
    ask(&mut first);
    // They stay, so that their memory is not used again by those that are measured next.
    let mut encrypted_ones = open_encrypted(&running, encrypted);
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
    let mut rounds = Vec::new();
    for idle in idle.iter_mut().take(200) {
        let begin = Instant::now();
        udp.send(&[7; 12]).unwrap();
        udp.recv(&mut [0; REPLY]).expect("no reply over UDP");
        ask(idle);
        ask(&mut connect(server));
        rounds.push(begin.elapsed());
    }
    rounds.sort();
    let (middle, slowest) = (rounds[rounds.len() / 2], rounds[rounds.len() - 1]);
    let crowded = running.memory();
    let each = |octets: usize, count: usize| octets.saturating_sub(before) / count;
    let (idle_cost, cost) = (each(with_idle, IDLE), each(crowded, IDLE + SLOW_READERS + SLOW_WRITERS));
    println!("{idle_cost} octets for an idle connection, {cost} for one of the crowd, slowest round {slowest:?}");
    assert!(idle_cost <= EACH_IDLE && cost <= EACH, "{idle_cost} and {cost} octets for each connection");
    assert!(middle < Duration::from_secs(1) && slowest < SOON, "{middle:?}, {slowest:?}");
    drop((readers, writers));
    ask(&mut first);
    encrypted_ones.iter_mut().for_each(ask);
}

fn open_encrypted(running: &Running, server: SocketAddr) -> Vec<StreamOwned<ClientConnection, TcpStream>> {
    let config = running.client_config();
    let open = || {
        let name = ServerName::try_from("dns.example").unwrap();
        let stream = TcpStream::connect(server).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(&config), name).unwrap(), stream);
        ask(&mut stream);
        stream
    };
    let first = open();
    let before = running.memory();
    let open: Vec<_> = std::iter::once(first).chain((0..ENCRYPTED).map(|_| open())).collect();
    let cost = running.memory().saturating_sub(before) / ENCRYPTED;
    println!("{cost} octets for an idle connection over TLS");
    assert!(cost <= EACH_ENCRYPTED, "{cost} octets for each connection over TLS");
    open
}
