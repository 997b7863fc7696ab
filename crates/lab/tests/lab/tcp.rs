//! TCP over the wire: everything arrives as it was sent, by both backends and in both families.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use dglb_lab::{Lab, MTU};

use crate::support::{address, alone, backends, three, up};

const SIZE: usize = 8 << 20;

#[test]
fn large_transfers_arrive_whole() {
    alone("tcp::large_transfers_arrive_whole", || {
        for backend in backends() {
            let lab = up(&three(10.0), backend);
            for v6 in [false, true] {
                assert!(transfer(&lab, v6, SIZE) == noise(SIZE), "{backend:?} v6 {v6}: what came is not what went");
            }
            assert_eq!((checksum_errors(&lab, "a"), checksum_errors(&lab, "b")), (0, 0));
            let (there, back) = (lab.counters("a", "b").unwrap(), lab.counters("b", "a").unwrap());
            assert!(there.octets > 2 * SIZE as u64, "{there:?}");
            assert!(there.octets <= there.sent * u64::from(MTU), "packets as large as on a cable: {there:?}");
            assert_eq!((there.lost, there.cut, back.lost, back.cut), (0, 0, 0, 0));
        }
    });
}

#[test]
fn tcp_mends_what_the_wire_loses() {
    alone("tcp::tcp_mends_what_the_wire_loses", || {
        for backend in backends() {
            let lab = up(&three(2.0), backend);
            lab.set_loss("a", "b", 0.02).unwrap();
            let size = SIZE / 4;
            assert!(transfer(&lab, false, size) == noise(size), "{backend:?}: what came is not what went");
            let there = lab.counters("a", "b").unwrap();
            let part = there.lost as f64 / (there.lost + there.sent) as f64;
            assert!((0.005..0.05).contains(&part), "{backend:?}: {there:?}");
        }
    });
}

/// Sends `size` octets of noise from `a` to `b`; returns what came.
fn transfer(lab: &Lab, v6: bool, size: usize) -> Vec<u8> {
    let at = SocketAddr::new(address(lab, "b", v6), 80);
    let listener = lab.in_host("b", || TcpListener::bind(at)).unwrap().unwrap();
    let receiver = thread::spawn(move || {
        let mut came = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.read_to_end(&mut came).unwrap();
        came
    });
    let connect = || TcpStream::connect_timeout(&at, Duration::from_secs(10));
    let mut stream = lab.in_host("a", connect).unwrap().unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&noise(size)).unwrap();
    drop(stream);
    receiver.join().unwrap()
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// Packets that a host's stack has refused for their checksum, both families together.
fn checksum_errors(lab: &Lab, host: &str) -> u64 {
    let (v4, v6) = lab
        .in_host(host, || {
            let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
            (read("snmp"), read("snmp6"))
        })
        .unwrap();
    let tcp: Vec<&str> = v4.lines().filter(|line| line.starts_with("Tcp:")).collect();
    let at = tcp[0].split(' ').position(|name| name == "InCsumErrors").expect("the kernel counts it");
    let of_v4: u64 = tcp[1].split(' ').nth(at).unwrap().parse().unwrap();
    let of_v6 = v6.lines().filter(|line| line.contains("InCsumErrors")).filter_map(|l| l.split_whitespace().nth(1));
    of_v4 + of_v6.map(|number| number.parse::<u64>().unwrap()).sum::<u64>()
}
