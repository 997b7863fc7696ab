//! Prints how exact the wire is: the round trip of pings, which the far host's kernel answers,
//! against what the topology asked for. Needs root, or an ordinary user with user namespaces.
//!
//! `cargo run --release -p dglb-lab --example accuracy`

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use dglb_lab::{Backend, HostSpec, Lab, Options, Topology, sandbox};
use socket2::{Domain, Protocol, Socket, Type};

const HEADER: [u8; 8] = [8, 0, 0, 0, 0x4c, 0x61, 0, 0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sandbox::enter()?;
    println!("backend  asked ms     pings   least over  median over  90 % over   (µs)");
    for backend in [Backend::Tun, Backend::Veth] {
        for (ms, count) in [(1, 1000), (2, 500), (5, 400), (20, 200), (100, 60), (400, 20)] {
            let [a, b] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
            let mut topology =
                Topology { hosts: vec![HostSpec::new("a", [a]), HostSpec::new("b", [b])], ..Topology::default() };
            topology.latency.default = f64::from(ms);
            let lab = match Lab::up(&topology, &Options { backend, ..Options::default() }) {
                Ok(lab) => lab,
                Err(error) => {
                    println!("{backend:?}: {error}");
                    break;
                }
            };
            let mut over: Vec<_> = pings(&lab, b, count)?
                .iter()
                .map(|took| took.as_micros().cast_signed() - i128::from(ms) * 1_000)
                .collect();
            over.sort_unstable();
            let at = |part: usize| over[(over.len() - 1) * part / 100];
            println!("{:<8} {ms:>8} {count:>9} {:>12} {:>12} {:>10}", format!("{backend:?}"), at(0), at(50), at(90));
        }
    }
    Ok(())
}

fn pings(lab: &Lab, to: IpAddr, count: u16) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    let mut socket = lab.in_host("a", open)??;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    (0..count)
        .map(|number| {
            let mut echo = HEADER;
            echo[6..8].copy_from_slice(&number.to_be_bytes());
            let sum: u32 = echo.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            echo[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            let start = Instant::now();
            socket.send(&echo)?;
            let mut reply = [0; 128];
            loop {
                let length = socket.read(&mut reply)?;
                if length == 28 && reply[20] == 0 && reply[26..28] == number.to_be_bytes() {
                    return Ok(start.elapsed());
                }
            }
        })
        .collect()
}
