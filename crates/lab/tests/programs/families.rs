//! All resolvers on hosts of one lab, once per address family, with a real DNS-A on port 53 behind
//! our root and TLD: what loopback cannot show.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use dglb_lab::programs::usable;
use dglb_lab::{HostSpec, Lab, Options, Topology, sandbox};
use hickory_proto::rr::RecordType;

use crate::harness::{recursive, resolve, skip, texts};

pub(crate) const RESOLVERS: [&str; 5] = ["resolver", "unbound", "bind", "kresd", "pdns-recursor"];

/// Which addresses the hosts have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Addresses {
    V4,
    V6,
    Both,
}

impl Addresses {
    fn of(self, host: u8) -> Vec<IpAddr> {
        let v4 = IpAddr::from([10, 9, 0, host]);
        let v6 = format!("fd66::{host}").parse().unwrap();
        match self {
            Self::V4 => vec![v4],
            Self::V6 => vec![v6],
            Self::Both => vec![v4, v6],
        }
    }
}

const ROOT: &str = "
$TTL 86400
@ SOA a.root-lab. h.root-lab. 1 1800 900 604800 86400
@ NS a.root-lab.
a.root-lab. A {v4:root}
a.root-lab. AAAA {v6:root}
test. NS a.nic.test.
a.nic.test. A {v4:tld}
a.nic.test. AAAA {v6:tld}
";

const TLD: &str = "
$TTL 3600
@ SOA a.nic h.nic 1 1800 900 604800 300
@ NS a.nic
a.nic A {v4:tld}
a.nic AAAA {v6:tld}
foobar NS ns1.foobar
ns1.foobar A {v4:dnsa}
ns1.foobar AAAA {v6:dnsa}
";

const ZONE: &str = "
$TTL 300
@ SOA ns1 h 1 300 60 604800 60
@ NS ns1
ns1 A {v4:dnsa}
ns1 AAAA {v6:dnsa}
www CNAME www.glb
glb NS b1.glb
b1.glb A {v4:dnsb}
b1.glb AAAA {v6:dnsb}
";

const DELEGATED: &str = "
$TTL 60
@ SOA b1 h 1 300 60 604800 30
@ NS b1
b1 A {v4:dnsb}
b1 AAAA {v6:dnsb}
www A 192.0.2.80
www AAAA fd00::80
";

/// Hosts with numbers up to this are no resolvers.
const OTHERS: u8 = 5;

/// Authoritative servers, a client, and the resolvers with these lines in their tables.
fn topology(addresses: Addresses, dnsa: &str, resolvers: &[&str], lines: &str) -> Topology {
    let server = |kind: &str, origin: &str, text: &str| {
        let log = if kind == "name-server" { "log = true\n" } else { "" };
        format!("kind = \"{kind}\"\n{log}zones = [{{ origin = \"{origin}\", text = '''{text}''' }}]")
    };
    let mut programs = vec![
        ("root", server("name-server", ".", ROOT)),
        ("tld", server("name-server", "test", TLD)),
        ("dnsa", server(dnsa, "foobar.test", ZONE)),
        ("dnsb", server("name-server", "glb.foobar.test", DELEGATED)),
        ("client", String::new()),
    ];
    let resolver = |kind: &str| format!("kind = \"{kind}\"\nroots = [\"root\"]\n{lines}");
    programs.extend(resolvers.iter().map(|kind| (*kind, resolver(kind))));
    let host = |(number, (name, program)): (u8, (&str, String))| {
        let mut host = HostSpec::new(name, addresses.of(number));
        host.program = (!program.is_empty()).then(|| program.parse::<toml::Table>().unwrap().into());
        host
    };
    Topology { hosts: (1..).zip(programs).map(host).collect(), ..Topology::default() }
}

/// The programs of a list that this machine has; the others are skipped aloud.
pub(crate) fn installed<'a>(kinds: &[&'a str]) -> Vec<&'a str> {
    let there = |kind: &&str| usable(kind).map_err(|error| skip(&error.to_string())).is_ok();
    kinds.iter().copied().filter(there).collect()
}

/// Every resolver of the lab answers over every address that it has, and asks over these families
/// alone.
fn check(addresses: Addresses, dnsa: &str, lines: &str, asks_over: fn(IpAddr) -> bool) {
    if installed(&[dnsa]).is_empty() {
        return;
    }
    let resolvers = installed(&RESOLVERS);
    let topology = topology(addresses, dnsa, &resolvers, lines);
    let lab = Lab::up(&topology, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    for resolver in resolvers {
        for address in topology.addresses(resolver).unwrap().iter().filter(|address| asks_over(**address)) {
            let server = SocketAddr::new(*address, 53);
            for (kind, data) in [(RecordType::A, "A 192.0.2.80"), (RecordType::AAAA, "AAAA fd00::80")] {
                let reply = lab.in_host("client", || resolve(server, &recursive("www.foobar.test.", kind))).unwrap();
                let wanted =
                    ["www.foobar.test. CNAME www.glb.foobar.test.".to_owned(), format!("www.glb.foobar.test. {data}")];
                let log = lab.log_tail(resolver).unwrap();
                assert_eq!(texts(&reply.answers), wanted, "{resolver} at {server}: {reply}\n{log}");
            }
        }
        for server in ["root", "tld", "dnsb"] {
            let log = fs::read_to_string(lab.host_dir(server).unwrap().join("questions.log")).unwrap();
            let askers: Vec<IpAddr> =
                log.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).filter(is_resolver).collect();
            assert!(!askers.is_empty(), "{resolver}: {server} was asked");
            assert!(askers.iter().all(|asker| asks_over(*asker)), "{resolver}: {server} was asked by {askers:?}");
        }
    }
}

/// Not the lab itself, which asks each server on its own host whether it is there.
fn is_resolver(asker: &IpAddr) -> bool {
    match asker {
        IpAddr::V4(v4) => v4.octets()[3] > OTHERS,
        IpAddr::V6(v6) => v6.octets()[15] > OTHERS,
    }
}

/// One lab at a time: they are busy while they start.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    sandbox::run_test(name, body);
}

#[test]
fn ipv4_alone() {
    alone("families::ipv4_alone", || check(Addresses::V4, "bind-auth", "", |asker| asker.is_ipv4()));
}

#[test]
fn ipv6_alone() {
    alone("families::ipv6_alone", || check(Addresses::V6, "knot", "", |asker| asker.is_ipv6()));
}

#[test]
fn both_families() {
    alone("families::both_families", || check(Addresses::Both, "nsd", "", |_| true));
}

#[test]
fn one_family_of_two_by_choice() {
    let v4 = || check(Addresses::Both, "bind-auth", "family = \"ipv4\"", |asker| asker.is_ipv4());
    alone("families::one_family_of_two_by_choice", || {
        v4();
        check(Addresses::Both, "bind-auth", "family = \"ipv6\"", |asker| asker.is_ipv6());
    });
}
