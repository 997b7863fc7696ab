//! The HTTP site: what it says, and its faults.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dglb_lab::programs::embedded::{Fault, set_fault};

use crate::harness::{Program, free_port};

fn get(server: SocketAddr, path: &str, host: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&server, patience).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    Some(reply)
}

#[test]
fn a_site_says_who_it_is_and_fails_on_demand() {
    let address: IpAddr = Ipv4Addr::LOCALHOST.into();
    let server = SocketAddr::new(address, free_port(address));
    let table = format!(
        "kind = \"site\"\nname = \"sea\"\nhosts = [\"www.glb.foobar.test\"]\naddresses = [\"127.0.0.1\", \"127.0.0.2\"]\nport = {}",
        server.port()
    );
    let program = Program::start("site1", address, &table);
    let long = Duration::from_secs(10);
    let reply = get(server, "/", "WWW.glb.foobar.test:80", long).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\nsea\n"), "{reply}");
    assert!(reply.contains("x-site: sea\r\n") && reply.contains("x-host-known: yes\r\n"), "{reply}");
    let other = SocketAddr::new([127, 0, 0, 2].into(), server.port());
    let reply = get(other, "/health", "elsewhere.test", long).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("ok\n"), "{reply}");
    assert!(reply.contains("x-host-known: no\r\n"), "{reply}");
    assert!(get(server, "/nope", "x", long).unwrap().starts_with("HTTP/1.1 404 "));

    set_fault(program.dir(), Some(Fault::Error)).unwrap();
    assert!(get(server, "/health", "x", long).unwrap().starts_with("HTTP/1.1 500 "));
    set_fault(program.dir(), Some(Fault::Hang)).unwrap();
    let asked = Instant::now();
    assert_eq!(get(server, "/health", "x", Duration::from_millis(400)), None);
    assert!(asked.elapsed() < Duration::from_secs(5));
    set_fault(program.dir(), None).unwrap();
    assert!(get(server, "/health", "x", long).unwrap().starts_with("HTTP/1.1 200 "));

    let counters = program.counters();
    assert_eq!(counters["lab_requests_total"], 6);
    assert_eq!(counters["lab_faults_total"], 2);
    assert_eq!(counters["lab_health_requests_total"], 2);
    assert_eq!(counters["lab_unknown_hosts_total"], 5);
}
