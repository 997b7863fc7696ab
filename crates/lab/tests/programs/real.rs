//! Every recursive resolver finds its way from the root through TLD and DNS-A to a delegated zone,
//! on four loopback addresses with port 53, and every authoritative server can be DNS-A there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::harness::{Network, Program, ask_tcp, free_port, recursive, resolve, texts};

/// The start of the table of a name server of our own.
const OWN: &str = "kind = \"name-server\"\nlog = true";

const ZONE: &str = r#"
$TTL 300
@ SOA ns1 hostmaster 1 300 60 604800 60
@ NS ns1
ns1 A {v4:dnsa}
www CNAME www.glb
static A 192.0.2.1
glb NS b1.glb
b1.glb A {v4:dnsb}
"#;

/// Root, TLD, DNS-A and the server of the delegated zone.
struct Internet {
    root: Program,
    tld: Program,
    dnsa: Program,
    dnsb: Program,
    root_address: IpAddr,
    /// Last, so that its addresses stay reserved until the servers have ended.
    _network: Network,
}

impl Internet {
    /// `dnsa` is the start of DNS-A's table, without its zones.
    fn start(dnsa: &str) -> Option<Self> {
        let network = Network::reserve()?;
        let names = ["root", "tld", "dnsa", "dnsb"];
        let hosts = names.map(|name| (name, network.address()));
        let server = |name: &'static str, head: &str, origin: &str, text: &str| {
            let address = hosts.iter().find(|(host, _)| *host == name).unwrap().1;
            let table = format!("{head}\nzones = [{{ origin = \"{origin}\", text = '''{text}''' }}]");
            Program::try_start(name, address, &table, &hosts)
        };
        let root = "$TTL 86400\n@ SOA a.root-lab. h.root-lab. 1 1800 900 604800 86400\n@ NS a.root-lab.\na.root-lab. A {v4:root}\ntest. NS a.nic.test.\na.nic.test. A {v4:tld}\n";
        let tld = "$TTL 3600\n@ SOA a.nic h.nic 1 1800 900 604800 300\n@ NS a.nic\na.nic A {v4:tld}\nfoobar NS ns1.foobar\nns1.foobar A {v4:dnsa}\n";
        let dnsb =
            "$TTL 60\n@ SOA b1 h 1 300 60 604800 30\n@ NS b1\nb1 A {v4:dnsb}\nwww A 192.0.2.80\nwww AAAA fd00::80\n";
        Some(Self {
            root: server("root", OWN, ".", root)?,
            tld: server("tld", OWN, "test", tld)?,
            dnsa: server("dnsa", dnsa, "foobar.test", ZONE)?,
            dnsb: server("dnsb", OWN, "glb.foobar.test", dnsb)?,
            root_address: hosts[0].1,
            _network: network,
        })
    }

    /// Starts a resolver with these lines in its table. It is on 127.0.0.1, since BIND only listens
    /// on addresses that it finds on an interface.
    fn resolver(&self, kind: &str, lines: &str) -> Option<(Program, SocketAddr)> {
        let address = Ipv4Addr::LOCALHOST.into();
        let port = free_port(address);
        let table = format!("kind = \"{kind}\"\nroots = [\"root\"]\nport = {port}\n{lines}");
        let program = Program::try_start(kind, address, &table, &[("root", self.root_address)])?;
        Some((program, SocketAddr::new(address, port)))
    }

    /// The lines of a server's log that name this; the log's case is as it was asked.
    fn asked(server: &Program, name: &str) -> Vec<String> {
        let log = std::fs::read_to_string(server.dir().join("questions.log")).unwrap().to_lowercase();
        log.lines().filter(|line| line.split(' ').nth(2) == Some(name)).map(str::to_owned).collect()
    }
}

/// The whole chain, negative answers, TCP, and the cache.
fn check_chain(internet: &Internet, program: &Program, resolver: SocketAddr) {
    let before = [&internet.root, &internet.tld, &internet.dnsb].map(|server| server.counter("lab_queries_total"));
    let www = recursive("www.foobar.test.", RecordType::A);
    let reply = resolve(resolver, &www);
    let expected = ["www.foobar.test. CNAME www.glb.foobar.test.", "www.glb.foobar.test. A 192.0.2.80"];
    assert_eq!(texts(&reply.answers), expected, "{reply}\n{}", program.log());
    assert!(reply.metadata.recursion_available);
    for (server, before) in [&internet.root, &internet.tld, &internet.dnsb].into_iter().zip(before) {
        assert!(server.counter("lab_queries_total") > before, "every hop is asked");
    }
    let warm = internet.dnsb.counter("lab_queries_total");
    let reply = ask_tcp(resolver, &www);
    assert_eq!(texts(&reply.answers), expected);
    assert_eq!(internet.dnsb.counter("lab_queries_total"), warm, "the second answer is from the cache");
    let reply = resolve(resolver, &recursive("www.foobar.test.", RecordType::AAAA));
    assert!(texts(&reply.answers).contains(&"www.glb.foobar.test. AAAA fd00::80".to_owned()), "{reply}");
    let reply = resolve(resolver, &recursive("static.foobar.test.", RecordType::A));
    assert_eq!(texts(&reply.answers), ["static.foobar.test. A 192.0.2.1"]);
    let reply = resolve(resolver, &recursive("nope.foobar.test.", RecordType::A));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{reply}");
    let reply = resolve(resolver, &recursive("static.foobar.test.", RecordType::MX));
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    assert!(reply.authorities.iter().any(|record| record.record_type() == RecordType::SOA), "{reply}");
}

/// Runs the chain once per mode; the root must see the full name exactly where there is no
/// minimisation.
fn check_resolver(kind: &str, modes: &[&str]) {
    for mode in modes {
        let Some(internet) = Internet::start(OWN) else { return };
        let Some((program, address)) = internet.resolver(kind, &format!("qmin = \"{mode}\"")) else { return };
        check_chain(&internet, &program, address);
        let leaked = Internet::asked(&internet.root, "www.foobar.test.");
        assert_eq!(leaked.is_empty(), *mode != "off", "{kind} {mode}: {leaked:?}");
        assert!(internet.dnsa.counter("lab_referrals_total") > 0);
    }
}

#[test]
fn embedded_resolver() {
    check_resolver("resolver", &["on", "strict"]);
}

#[test]
fn unbound() {
    check_resolver("unbound", &["on", "strict", "off"]);
}

#[test]
fn bind() {
    check_resolver("bind", &["on", "strict", "off"]);
}

#[test]
fn knot_resolver() {
    check_resolver("kresd", &["on", "off"]);
}

#[test]
fn powerdns_recursor() {
    check_resolver("pdns-recursor", &["on", "off"]);
}

#[test]
fn knot_resolver_varies_the_case_and_is_served() {
    let Some(internet) = Internet::start(OWN) else { return };
    let Some((program, address)) = internet.resolver("kresd", "") else { return };
    check_chain(&internet, &program, address);
    let log = std::fs::read_to_string(internet.dnsb.dir().join("questions.log")).unwrap();
    let varied = log.lines().filter_map(|line| line.split(' ').nth(2)).filter(|name| name.to_lowercase() != **name);
    assert!(varied.count() > 0, "{log}");
}

#[test]
fn nsd_and_knot_as_dns_a_in_the_chain() {
    for kind in ["nsd", "knot"] {
        let Some(internet) = Internet::start(&format!("kind = \"{kind}\"")) else { return };
        let Some((program, address)) = internet.resolver("resolver", "") else { return };
        check_chain(&internet, &program, address);
    }
}

#[test]
fn the_client_subnet_is_sent_where_it_is_wanted() {
    for kind in ["unbound", "pdns-recursor"] {
        for wanted in [false, true] {
            let Some(internet) = Internet::start(OWN) else { return };
            let Some((_program, address)) = internet.resolver(kind, &format!("ecs = {wanted}")) else { return };
            let reply = resolve(address, &recursive("www.foobar.test.", RecordType::A));
            assert_eq!(reply.answers.len(), 2, "{kind}: {reply}");
            let asked = Internet::asked(&internet.dnsb, "www.glb.foobar.test.");
            let with_subnet = asked.iter().any(|line| line.ends_with(" 127.0.0.0/24"));
            assert_eq!(with_subnet, wanted, "{kind}: {asked:?}");
        }
    }
}

#[test]
fn extra_lines_reach_the_configuration() {
    // Each of these lines keeps the resolver from its servers, or us from the resolver.
    let refusals = [
        ("unbound", "extra = \"  access-control: 127.0.0.0/8 refuse\""),
        ("bind", "extra = \"acl unused { none; };\\nserver 127.0.0.0/8 { bogus yes; };\""),
        ("kresd", "extra = \"net.ipv4 = false\""),
        ("pdns-recursor", "extra = \"dont-query=127.0.0.0/8\""),
    ];
    for (kind, lines) in refusals {
        let Some(internet) = Internet::start(OWN) else { return };
        let Some((_program, address)) = internet.resolver(kind, lines) else { return };
        let reply = resolve(address, &recursive("www.foobar.test.", RecordType::A));
        assert_ne!(reply.metadata.response_code, ResponseCode::NoError, "{kind}: {reply}");
        assert!(Internet::asked(&internet.dnsb, "www.glb.foobar.test.").is_empty(), "{kind}");
    }
}
