//! RFC 2136 updates with TSIG: the same script against our name server and the real ones, then what
//! only ours promises to the letter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use dglb_lab::programs::TsigKey;
use hickory_proto::op::{Message, ResponseCode, update_message};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{Name, RData, RecordSet, RecordType};

use crate::harness::{Program, ask, command, exchange_octets, free_port, question, texts};

const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGhlLWxhYi1vbmx5LTMyYnl0ZXM=";
const GOOD: &str = "hmac-sha256:labkey:c2VjcmV0LWtleS1mb3ItdGhlLWxhYi1vbmx5LTMyYnl0ZXM=";
const WRONG_SECRET: &str = "hmac-sha256:labkey:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const UNKNOWN_KEY: &str = "hmac-sha256:nokey:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const ZONE: &str = "
$TTL 300
@ SOA ns1 hostmaster 7 300 60 604800 60
@ NS ns1
ns1 A 192.0.2.53
www CNAME www.glb
glb NS b1.glb
b1.glb A 192.0.2.101
";

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn table(kind: &str, port: u16) -> String {
    format!(
        "kind = \"{kind}\"\nport = {port}\n\
         key = {{ name = \"labkey\", algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}\n\
         zones = [{{ origin = \"foobar.test\", text = '''{ZONE}''' }}]"
    )
}

fn start(kind: &str) -> Option<(Program, SocketAddr)> {
    let port = free_port(LOCAL);
    Some((Program::try_start(kind, LOCAL, &table(kind, port), &[])?, SocketAddr::new(LOCAL, port)))
}

/// What `nsupdate` has to say; nothing where all is well.
fn nsupdate(server: SocketAddr, key: Option<&str>, script: &str) -> Option<String> {
    let head = format!("server {} {}\nzone foobar.test\n", server.ip(), server.port());
    let args: Vec<&str> = key.iter().flat_map(|key| ["-y", key]).collect();
    let output = command("nsupdate", "bind9-dnsutils", &args, &format!("{head}{script}\nsend\n"))?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}

fn serial(server: SocketAddr) -> u32 {
    match &ask(server, &question("foobar.test.", RecordType::SOA)).answers[0].data {
        RData::SOA(soa) => soa.serial,
        other => panic!("{other:?}"),
    }
}

fn answers(server: SocketAddr, name: &str, kind: RecordType) -> Vec<String> {
    texts(&ask(server, &question(name, kind)).answers)
}

/// The script; `None` where `nsupdate` or the server is missing.
fn check_updates(kind: &str) -> Option<()> {
    let (program, server) = start(kind)?;
    let mut before = serial(server);
    let mut accepted = |script: &str| {
        let said = nsupdate(server, Some(GOOD), script)?;
        assert_eq!(said, "", "{kind}: {script}\n{}", program.log());
        let now = serial(server);
        assert!(now > before, "{kind}: the serial moves: {script}");
        before = now;
        Some(())
    };
    accepted("update add u1.foobar.test 60 A 192.0.2.1\nupdate add u1.foobar.test 60 A 192.0.2.2")?;
    assert_eq!(
        answers(server, "u1.foobar.test.", RecordType::A),
        ["u1.foobar.test. A 192.0.2.1", "u1.foobar.test. A 192.0.2.2"]
    );
    accepted("update delete u1.foobar.test A 192.0.2.1")?;
    assert_eq!(answers(server, "u1.foobar.test.", RecordType::A), ["u1.foobar.test. A 192.0.2.2"]);
    accepted("update delete u1.foobar.test A")?;
    let gone = ask(server, &question("u1.foobar.test.", RecordType::A));
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    // What dns-a-sync does: a delegation replaced with its glue, in one go.
    accepted(
        "update delete glb.foobar.test NS\nupdate delete b1.glb.foobar.test A\n\
         update add glb.foobar.test 86400 NS b2.glb.foobar.test\n\
         update add b2.glb.foobar.test 86400 A 192.0.2.102\n\
         update add b2.glb.foobar.test 86400 AAAA fd00::102",
    )?;
    let referral = ask(server, &question("x.glb.foobar.test.", RecordType::A));
    assert!(!referral.metadata.authoritative, "{kind}");
    assert_eq!(texts(&referral.authorities), ["glb.foobar.test. NS b2.glb.foobar.test."], "{kind}");
    assert_eq!(referral.authorities[0].ttl, 86_400);
    assert_eq!(
        texts(&referral.additionals),
        ["b2.glb.foobar.test. A 192.0.2.102", "b2.glb.foobar.test. AAAA fd00::102"]
    );
    check_refusals(kind, server)
}

/// What is refused changes nothing.
fn check_refusals(kind: &str, server: SocketAddr) -> Option<()> {
    let before = serial(server);
    let add = "update add bad.foobar.test 60 A 192.0.2.66";
    let refused = [
        (Some(GOOD), format!("prereq nxdomain www.foobar.test\n{add}"), "YXDOMAIN"),
        (Some(GOOD), format!("prereq yxrrset www.foobar.test TXT\n{add}"), "NXRRSET"),
        (Some(GOOD), format!("{add}\nupdate add bad.example.test 60 A 192.0.2.66"), "NOTZONE"),
        (Some(WRONG_SECRET), add.to_owned(), "BADSIG"),
        (Some(UNKNOWN_KEY), add.to_owned(), "BADKEY"),
        (None, add.to_owned(), "REFUSED|NOTAUTH"),
        (Some(GOOD), format!("zone elsewhere.test\n{}", add.replace("foobar", "elsewhere")), "NOTAUTH|REFUSED"),
    ];
    for (key, script, wanted) in refused {
        let said = nsupdate(server, key, &script)?;
        assert!(wanted.split('|').any(|code| said.contains(code)), "{kind}: {script}: {said:?} is not {wanted}");
    }
    let name = ask(server, &question("bad.foobar.test.", RecordType::A));
    assert_eq!(name.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(serial(server), before, "{kind}: nothing has changed");
    Some(())
}

#[test]
fn name_server_as_dns_a() {
    check_updates("name-server");
}

#[test]
fn bind_as_dns_a() {
    check_updates("bind-auth");
}

#[test]
fn knot_as_dns_a() {
    check_updates("knot");
}

#[test]
fn updates_outlive_a_restart_of_a_real_server_and_not_of_ours() {
    for (kind, kept) in [("bind-auth", true), ("knot", true), ("name-server", false)] {
        let Some((mut program, server)) = start(kind) else { continue };
        let Some(said) = nsupdate(server, Some(GOOD), "update add u1.foobar.test 60 A 192.0.2.1") else { return };
        assert_eq!(said, "");
        program.restart(LOCAL, &table(kind, server.port()));
        let left = answers(server, "u1.foobar.test.", RecordType::A);
        assert_eq!(left.len(), usize::from(kept), "{kind}: {left:?}\n{}", program.log());
    }
}

/// Sends a signed update; returns the reply, whose signature has been checked, and its TSIG error.
fn send_signed(server: SocketAddr, mut message: Message, age: u64) -> (Message, Option<TsigError>, bool) {
    let key = TsigKey { name: "labkey".into(), algorithm: "hmac-sha256".into(), secret: SECRET.into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut verifier = message.finalize(&key.signer().unwrap(), now - age).unwrap().expect("a verifier");
    let octets = message.to_vec().unwrap();
    let reply = exchange_octets(server, &octets, std::time::Duration::from_secs(5)).expect("a reply");
    let verified = verifier.verify(&reply).is_ok();
    let reply = Message::from_vec(&reply).unwrap();
    let error = reply.signature.as_ref().expect("a signed reply").data.error;
    (reply, error, verified)
}

fn add(name: &str, address: [u8; 4]) -> Message {
    let mut set = RecordSet::new(Name::from_ascii(name).unwrap(), RecordType::A, 0);
    set.add_rdata(RData::A(A(address.into())));
    update_message::append(set, Name::from_ascii("foobar.test.").unwrap(), false, true)
}

#[test]
fn replies_are_signed_and_old_requests_are_told_the_time() {
    let Some((program, server)) = start("name-server") else { return };
    let (reply, error, verified) = send_signed(server, add("u1.foobar.test.", [192, 0, 2, 1]), 0);
    assert_eq!((reply.metadata.response_code, error, verified), (ResponseCode::NoError, None, true));
    assert!(reply.edns.is_some(), "the OPT record is still there beside the signature");
    assert_eq!(serial(server), 8);

    // The same again asks for nothing new, so the serial stays.
    let (reply, _, verified) = send_signed(server, add("u1.foobar.test.", [192, 0, 2, 1]), 0);
    assert_eq!((reply.metadata.response_code, verified), (ResponseCode::NoError, true));
    assert_eq!(serial(server), 8);

    let (reply, error, _) = send_signed(server, add("u2.foobar.test.", [192, 0, 2, 2]), 3_600);
    assert_eq!((reply.metadata.response_code, error), (ResponseCode::NotAuth, Some(TsigError::BadTime)));
    assert_eq!(reply.signature.unwrap().data.other.len(), 6, "the server's own time");
    assert_eq!(answers(server, "u2.foobar.test.", RecordType::A), [""; 0]);

    let (reply, error, verified) = send_signed(server, question("www.foobar.test.", RecordType::A), 0);
    assert_eq!((error, verified), (None, true), "a signed question has a signed answer");
    assert_eq!(texts(&reply.answers), ["www.foobar.test. CNAME www.glb.foobar.test."]);

    let counters = program.counters();
    assert_eq!((counters["lab_updates_total"], counters["lab_updates_refused_total"]), (2, 1));
}

#[test]
fn a_server_without_a_key_takes_no_updates() {
    let server = SocketAddr::new(LOCAL, free_port(LOCAL));
    let table = format!(
        "kind = \"name-server\"\nport = {}\nzones = [{{ origin = \"foobar.test\", text = '''{ZONE}''' }}]",
        server.port()
    );
    let program = Program::start("ns", LOCAL, &table);
    assert_eq!(ask(server, &add("u1.foobar.test.", [192, 0, 2, 1])).metadata.response_code, ResponseCode::Refused);
    let (reply, error, _) = send_signed(server, add("u1.foobar.test.", [192, 0, 2, 1]), 0);
    assert_eq!((reply.metadata.response_code, error), (ResponseCode::NotAuth, Some(TsigError::BadKey)));
    assert_eq!(program.counter("lab_updates_refused_total"), 2);
    assert_eq!(serial(server), 7);
}
