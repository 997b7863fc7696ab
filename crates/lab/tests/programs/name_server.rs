//! The embedded name server's conduct, asked directly and through `dig`.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use crate::harness::{Program, ask, ask_tcp, command, exchange_octets, free_port, question, texts};

/// One server for root, TLD and a zone, as no sane person would run it: DS at a cut must come from
/// the right one of them all the same.
fn zones() -> String {
    let many: String = (0..100).map(|n| format!("many A 192.0.2.{n}\n")).collect();
    let servers: String = (0..13)
        .map(|n| {
            format!("crowd NS a-long-name-of-a-server-{n}.crowd\na-long-name-of-a-server-{n}.crowd AAAA fd00::{n}\n")
        })
        .collect();
    format!(
        r#"
kind = "name-server"
port = {{port}}

[[zones]]
origin = "."
text = """
$TTL 86400
@ SOA a.root-lab. hostmaster.root-lab. 1 1800 900 604800 86400
@ NS a.root-lab.
a.root-lab. A 127.0.0.1
test. NS a.nic.test.
test. NS b.nic.test.
a.nic.test. A 192.0.2.1
a.nic.test. AAAA fd00::1
b.nic.test. A 192.0.2.2
"""

[[zones]]
origin = "foobar.test."
text = """
$TTL 300
@ SOA ns1 hostmaster 7 300 60 604800 60
@ NS ns1
@ MX 10 mail
@ TXT "lab zone"
ns1 A 192.0.2.53
mail A 192.0.2.25
alias CNAME www.glb
chain CNAME alias
loop1 CNAME loop2
loop2 CNAME loop1
away CNAME www.example.
under.an.ent A 192.0.2.9
*.wild A 192.0.2.7
glb NS b1.glb
glb NS b2.glb
b1.glb A 192.0.2.101
b1.glb AAAA fd00::101
b2.glb A 192.0.2.102
below.b2.glb A 192.0.2.103
{many}
{servers}
"""
"#
    )
}

fn start(address: &str) -> (Program, SocketAddr) {
    let address: IpAddr = address.parse().unwrap();
    let port = free_port(address);
    let program = Program::start("ns", address, &zones().replace("{port}", &port.to_string()));
    (program, SocketAddr::new(address, port))
}

#[test]
fn referrals_have_glue_and_no_authority() {
    let (program, server) = start("127.0.0.1");
    let before = program.counter("lab_referrals_total");
    for name in ["foo.test.", "test.", "a.nic.test."] {
        let reply = ask(server, &question(name, RecordType::A));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(!reply.metadata.authoritative, "{name}");
        assert!(reply.answers.is_empty());
        assert_eq!(texts(&reply.authorities), ["test. NS a.nic.test.", "test. NS b.nic.test."]);
        assert_eq!(
            texts(&reply.additionals),
            ["a.nic.test. A 192.0.2.1", "a.nic.test. AAAA fd00::1", "b.nic.test. A 192.0.2.2"]
        );
    }
    // What stands in our file below a cut is the child's, not ours.
    let reply = ask(server, &question("below.b2.glb.foobar.test.", RecordType::A));
    assert!(!reply.metadata.authoritative);
    assert_eq!(
        texts(&reply.authorities),
        ["glb.foobar.test. NS b1.glb.foobar.test.", "glb.foobar.test. NS b2.glb.foobar.test."]
    );
    assert_eq!(program.counter("lab_referrals_total") - before, 4);
}

#[test]
fn a_ds_question_at_a_cut_is_the_parents_own() {
    let (_program, server) = start("127.0.0.1");
    let reply = ask(server, &question("glb.foobar.test.", RecordType::DS));
    assert!(reply.metadata.authoritative && reply.answers.is_empty());
    assert_eq!(reply.authorities[0].name.to_string(), "foobar.test.");
    // The zone's own DS is the business of the root here, which refers to `test.`.
    let reply = ask(server, &question("foobar.test.", RecordType::DS));
    assert!(!reply.metadata.authoritative);
    assert_eq!(texts(&reply.authorities)[0], "test. NS a.nic.test.");
}

#[test]
fn answers_have_authority_and_negative_ones_a_soa() {
    let (program, server) = start("127.0.0.1");
    let reply = ask(server, &question("foobar.test.", RecordType::MX));
    assert!(reply.metadata.authoritative);
    assert_eq!(texts(&reply.answers), ["foobar.test. MX 10 mail.foobar.test."]);
    assert_eq!(texts(&reply.additionals), ["mail.foobar.test. A 192.0.2.25"]);
    let reply = ask(server, &question("x.y.wild.foobar.test.", RecordType::A));
    assert_eq!(texts(&reply.answers), ["x.y.wild.foobar.test. A 192.0.2.7"]);
    let before = program.counters();
    let negative = [
        ("mail.foobar.test.", RecordType::AAAA, ResponseCode::NoError),
        ("an.ent.foobar.test.", RecordType::A, ResponseCode::NoError),
        ("wild.foobar.test.", RecordType::A, ResponseCode::NoError),
        ("x.wild.foobar.test.", RecordType::TXT, ResponseCode::NoError),
        ("nope.foobar.test.", RecordType::A, ResponseCode::NXDomain),
        ("x.mail.foobar.test.", RecordType::A, ResponseCode::NXDomain),
    ];
    for (name, kind, code) in negative {
        let reply = ask(server, &question(name, kind));
        assert_eq!(reply.metadata.response_code, code, "{name}");
        assert!(reply.metadata.authoritative && reply.answers.is_empty(), "{name}");
        assert_eq!(reply.authorities.len(), 1, "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
        // RFC 2308: no longer than the SOA's minimum, though its own TTL is 300.
        assert_eq!(reply.authorities[0].ttl, 60, "{name}");
    }
    let after = program.counters();
    assert_eq!(after["lab_nodata_total"] - before["lab_nodata_total"], 4);
    assert_eq!(after["lab_nxdomain_total"] - before["lab_nxdomain_total"], 2);
    assert_eq!(after["lab_queries_total"] - before["lab_queries_total"], 6);
}

#[test]
fn aliases_are_followed_as_far_as_we_know() {
    let (_program, server) = start("127.0.0.1");
    // Into a delegation: the alias is ours (AA), the rest is a referral.
    let reply = ask(server, &question("chain.foobar.test.", RecordType::A));
    assert!(reply.metadata.authoritative);
    assert_eq!(
        texts(&reply.answers),
        ["alias.foobar.test. CNAME www.glb.foobar.test.", "chain.foobar.test. CNAME alias.foobar.test."]
    );
    assert_eq!(reply.authorities.len(), 2);
    assert_eq!(texts(&reply.additionals).len(), 3);
    let reply = ask(server, &question("alias.foobar.test.", RecordType::CNAME));
    assert_eq!(reply.answers.len(), 1);
    assert!(reply.authorities.is_empty());
    // Out of our zones, where the root would be asked if it were not ours: it says NXDOMAIN.
    let reply = ask(server, &question("away.foobar.test.", RecordType::A));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(texts(&reply.answers), ["away.foobar.test. CNAME www.example."]);
    // A loop ends.
    let reply = ask(server, &question("loop1.foobar.test.", RecordType::A));
    assert!(reply.metadata.authoritative && !reply.answers.is_empty());
}

#[test]
fn the_case_of_the_question_is_kept() {
    let (_program, server) = start("127.0.0.1");
    let reply = ask(server, &question("mAiL.FoObAr.tEsT.", RecordType::A));
    assert_eq!(reply.queries[0].name().to_string(), "mAiL.FoObAr.tEsT.");
    assert_eq!(texts(&reply.answers), ["mAiL.FoObAr.tEsT. A 192.0.2.25"]);
}

#[test]
fn what_does_not_fit_is_truncated_without_losing_the_opt() {
    let (program, server) = start("127.0.0.1");
    let before = program.counter("lab_truncated_total");
    let reply = ask(server, &question("many.foobar.test.", RecordType::A));
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!(reply.edns.as_ref().map(|edns| edns.max_payload()), Some(1_232));
    // A referral fits with all its glue, or is truncated (RFC 9471 section 3.1).
    let reply = ask(server, &question("x.crowd.foobar.test.", RecordType::A));
    assert!(!reply.metadata.truncation);
    assert_eq!((reply.authorities.len(), reply.additionals.len()), (13, 13));
    let mut plain = question("x.crowd.foobar.test.", RecordType::A);
    plain.edns = None;
    let reply = ask(server, &plain);
    assert!(reply.metadata.truncation && reply.edns.is_none());
    assert!(program.counter("lab_truncated_total") - before >= 2);
    let reply = ask_tcp(server, &question("many.foobar.test.", RecordType::A));
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 100);
    let reply = ask_tcp(server, &question("x.crowd.foobar.test.", RecordType::A));
    assert_eq!((reply.authorities.len(), reply.additionals.len()), (13, 13));
    // A client that can take more gets no more than passes without fragments.
    let mut greedy = question("many.foobar.test.", RecordType::A);
    greedy.edns.as_mut().unwrap().set_max_payload(4_096);
    assert!(ask(server, &greedy).metadata.truncation);
}

#[test]
fn what_is_not_ours_is_refused_and_nonsense_is_told_so() {
    let (program, server) = start("127.0.0.1");
    let refused = program.counter("lab_refused_total");
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask(server, &chaos).metadata.response_code, ResponseCode::Refused);
    let transfer = ask_tcp(server, &question("foobar.test.", RecordType::AXFR));
    assert_eq!(transfer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(program.counter("lab_refused_total") - refused, 2);
    let mut notify = question("foobar.test.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(server, &notify).metadata.response_code, ResponseCode::NotImp);
    let mut future = question("foobar.test.", RecordType::SOA);
    future.edns.as_mut().unwrap().set_version(1);
    let reply = ask(server, &future);
    // The number 16 is BADSIG in a TSIG record and BADVERS in an OPT (RFC 6895 section 2.3).
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.as_ref().map(|edns| edns.version()), Some(0));
    // A question cut short.
    let octets = question("foobar.test.", RecordType::SOA).to_vec().unwrap();
    let reply = exchange_octets(server, &octets[..20], std::time::Duration::from_secs(5)).expect("a reply");
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    // It is alive after all that.
    assert!(ask(server, &question("foobar.test.", RecordType::SOA)).metadata.authoritative);
}

#[test]
fn it_serves_ipv6() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return crate::harness::skip("needs IPv6 on loopback");
    }
    let (_program, server) = start("::1");
    assert_eq!(ask(server, &question("ns1.foobar.test.", RecordType::A)).answers.len(), 1);
    assert_eq!(ask_tcp(server, &question("ns1.foobar.test.", RecordType::A)).answers.len(), 1);
}

#[test]
fn dig_agrees() {
    let (_program, server) = start("127.0.0.1");
    let port = server.port().to_string();
    let dig = |args: &[&str]| {
        let all = [&["@127.0.0.1", "-p", &port, "+norec", "+tries=1", "+time=5"], args].concat();
        let output = command("dig", "bind9-dnsutils", &all, "")?;
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let Some(referral) = dig(&["www.test", "A"]) else { return };
    assert!(referral.contains(";; flags: qr; QUERY: 1, ANSWER: 0, AUTHORITY: 2, ADDITIONAL: 4"), "{referral}");
    let alias = dig(&["+short", "alias.foobar.test"]).unwrap();
    assert_eq!(alias, "www.glb.foobar.test.\n");
    let many = dig(&["+short", "many.foobar.test"]).unwrap();
    assert_eq!(many.lines().count(), 100, "dig comes again by TCP: {many}");
    let version = dig(&["+edns=1", "+noednsneg", "foobar.test", "SOA"]).unwrap();
    assert!(version.contains("status: BADVERS"), "{version}");
    let soa = dig(&["+tcp", "+short", "foobar.test", "SOA"]).unwrap();
    assert_eq!(soa, "ns1.foobar.test. hostmaster.foobar.test. 7 300 60 604800 60\n");
}
