//! What the tests share: small labs, an echo, a way to run one test at a time.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dglb_lab::{Backend, HostSpec, Lab, Options, Topology, sandbox};

/// Runs a test with nobody else's lab beside it, where a lab can be had.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    sandbox::run_test(name, body);
}

/// The backends that this machine has; veth is always there.
pub(crate) fn backends() -> Vec<Backend> {
    let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    if !tun {
        sandbox::skip("/dev/net/tun that can be opened, for the TUN half of this test");
    }
    if tun { vec![Backend::Tun, Backend::Veth] } else { vec![Backend::Veth] }
}

/// Hosts `a`, `b`, `c` with an address of each family, all this round trip apart.
pub(crate) fn three(round_trip_ms: f64) -> Topology {
    let host = |(name, number): (&str, u8)| {
        HostSpec::new(name, [IpAddr::from([10, 0, 0, number]), format!("fd66::{number}").parse().unwrap()])
    };
    let mut topology = Topology { hosts: [("a", 1), ("b", 2), ("c", 3)].map(host).into(), ..Topology::default() };
    topology.latency.default = round_trip_ms;
    topology
}

pub(crate) fn up(topology: &Topology, backend: Backend) -> Lab {
    Lab::up(topology, &Options { backend, ..Options::default() }).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn address(lab: &Lab, host: &str, v6: bool) -> IpAddr {
    *lab.topology().addresses(host).unwrap().iter().find(|a| a.is_ipv6() == v6).unwrap()
}

/// A UDP socket on a host, reading for at most a second.
pub(crate) fn udp(lab: &Lab, host: &str, v6: bool) -> UdpSocket {
    let at = SocketAddr::new(address(lab, host, v6), 0);
    let socket = lab.in_host(host, || UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// Sends every datagram back until dropped.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn on(lab: &Lab, host: &str, v6: bool) -> Self {
        let socket = udp(lab, host, v6);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The round trip of one datagram, if it comes back while the socket waits for it.
pub(crate) fn ping(socket: &UdpSocket, to: SocketAddr, number: u32) -> Option<Duration> {
    let start = Instant::now();
    socket.send_to(&number.to_be_bytes(), to).unwrap();
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((4, from)) if from == to && buffer[..4] == number.to_be_bytes() => return Some(start.elapsed()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Waits until `what` holds, at most ten seconds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this process is there and no zombie.
pub(crate) fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn signal(process: u32, name: &str) {
    let status = std::process::Command::new("/bin/sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(status.unwrap().success());
}
