//! Where a scenario plays: a block of loopback addresses that nobody else on this machine uses,
//! with port 53 on every one of them.
//!
//! Root has that everywhere; who may not open port 53, or finds it taken, plays on the loopback of a
//! network namespace of its own; who cannot have that either skips, loudly.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
};

use dglb_lab::{HostSpec, Lab, Options, Topology, sandbox};

/// Whoever holds this port on the last address of a block holds the block.
const CLAIM: u16 = 23_053;

/// A block of 253 loopback addresses.
#[derive(Debug)]
pub struct Ground {
    block: [u8; 2],
    _claim: UdpSocket,
}

/// Plays a scenario on a ground of its own, on a runtime with two threads. `name` is the test's full
/// name, as the test harness knows it.
///
/// # Panics
/// If the scenario does.
pub fn scenario<F: AsyncFnOnce(Ground) + Send>(name: &str, body: F) {
    if Ground::claim().serves() {
        return play(body);
    }
    scenario_at(name, &[IpAddr::from([10, 0, 0, 1])], body);
}

/// The same on a host that has these addresses beside the ground, and that nobody else is on.
///
/// # Panics
/// If the scenario does.
pub fn scenario_at<F: AsyncFnOnce(Ground) + Send>(name: &str, addresses: &[IpAddr], body: F) {
    sandbox::run_test(name, || {
        let host = HostSpec::new("here", addresses.iter().copied());
        let topology = Topology { hosts: vec![host], ..Topology::default() };
        let lab = Lab::up(&topology, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        lab.in_host("here", || play(body)).unwrap_or_else(|error| panic!("{error}"));
    });
}

fn play<F: AsyncFnOnce(Ground)>(body: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("there is room for two threads").block_on(body(Ground::claim()));
}

impl Ground {
    /// A block that nobody has.
    ///
    /// # Panics
    /// When there is none left.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1_000 {
            // Another process starts somewhere else, so both seldom try the same block.
            let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
            let block = [16 + (number / 256 % 200) as u8, (number % 256) as u8];
            let [a, b] = block;
            if let Ok(claim) = UdpSocket::bind((Ipv4Addr::new(127, a, b, 254), CLAIM)) {
                return Self { block, _claim: claim };
            }
        }
        panic!("no block of loopback addresses is free");
    }

    /// The block's address `host`.
    pub fn ip(&self, host: u8) -> IpAddr {
        let [a, b] = self.block;
        IpAddr::V4(Ipv4Addr::new(127, a, b, host))
    }

    /// The block's address `host` with a port.
    pub fn at(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(host), port)
    }

    /// Where the n-th dns-b refers, n from 1 to 9.
    pub fn referral(&self, n: u8) -> IpAddr {
        self.ip(10 * n + 1)
    }

    /// Where the n-th dns-b answers label zones itself.
    pub fn fallback(&self, n: u8) -> IpAddr {
        self.ip(10 * n + 2)
    }

    /// Where the n-th dns-b takes map links.
    pub fn map(&self, n: u8) -> SocketAddr {
        SocketAddr::new(self.referral(n), 5_300)
    }

    /// Where the n-th DNS-LB is.
    pub fn lb(&self, n: u8) -> IpAddr {
        self.ip(100 + n)
    }

    /// Where the resolver of the n-th ISP asks from.
    pub fn isp(&self, n: u8) -> IpAddr {
        self.ip(150 + n)
    }

    /// Where the n-th site is.
    pub fn site(&self, n: u8) -> IpAddr {
        self.ip(200 + n)
    }

    /// Whether port 53 can be opened here.
    fn serves(&self) -> bool {
        let dns = self.at(253, 53);
        UdpSocket::bind(dns).is_ok() && TcpListener::bind(dns).is_ok()
    }
}

/// Port 53 of an address.
pub fn dns(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 53)
}
