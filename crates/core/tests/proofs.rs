//! The zones in which a dns-b is asked for nonces, on the wire, read back by an independent
//! implementation (hickory-proto).

use std::net::{IpAddr, SocketAddr};

use dglb_core::{
    directory::{Directory, Settings},
    dns::{Asked, Decision, Responder, Role, Transport},
    fleet::{Fleet, FleetServer, FleetTtls},
    residence::{Family, Nonce, Secret},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};

const ZONE: &str = "4.b1.prove.ops.test.";
const SIX: &str = "6.b1.prove.ops.test.";
const NONCE: Nonce = Nonce([0x5a; 16]);

fn directory() -> Directory {
    let server = |identity: &str, n: u8| FleetServer {
        identity: identity.parse().unwrap(),
        referral: [format!("192.0.2.{n}"), format!("2001:db8::{n}")].map(|a| a.parse().unwrap()).to_vec(),
        fallback: vec![],
    };
    let fleet = Fleet::new(Fleet {
        serial: 17,
        operator_zone: "ops.test".parse().unwrap(),
        hostmaster: "hostmaster.ops.test".parse().unwrap(),
        servers: vec![server("b1", 1), server("b2", 2)],
        labels: vec![],
        ttl: FleetTtls::default(),
    });
    let mut directory = Directory::new(Settings::default());
    directory.set_server("b1".parse().unwrap());
    directory.set_fleet(fleet.unwrap());
    directory
}

fn question(name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

fn asked(packet: &[u8]) -> Asked<'_> {
    let peer: SocketAddr = "198.51.100.53:4242".parse().unwrap();
    Asked { packet, peer, transport: Transport::Udp, role: Role::Referral }
}

/// How the lanes answer, and by which way.
fn ask(name: &str, rtype: RecordType) -> (Message, Decision) {
    let (directory, packet, mut reply) = (directory(), question(name, rtype), [0; 1_232]);
    let handled = Responder::with_defaults(&directory).respond(&asked(&packet), &mut reply);
    (Message::from_vec(&reply[..handled.length]).unwrap(), handled.decision)
}

/// How the slow lane answers, and for which nonce it was asked.
fn ask_slowly(name: &str, secret: Option<Secret>) -> (Message, Option<(Nonce, Family)>) {
    let (directory, packet, mut reply) = (directory(), question(name, RecordType::TXT), [0; 1_232]);
    let mut wanted = None;
    let secret_of = |nonce: &Nonce, family: Family| {
        wanted = Some((*nonce, family));
        secret
    };
    let handled = Responder::with_defaults(&directory).respond_proof(&asked(&packet), secret_of, &mut reply);
    (Message::from_vec(&reply[..handled.length]).unwrap(), wanted)
}

fn nonce_name() -> String {
    format!("{}.{ZONE}", String::from_utf8(NONCE.label().to_vec()).unwrap())
}

/// The SOA of the authority section.
fn soa(message: &Message) -> String {
    let [soa] = &message.authorities[..] else { panic!("{message}") };
    let RData::SOA(data) = &soa.data else { panic!("{message}") };
    format!("{} {} {} {} {}", soa.name, data.mname, data.rname, data.serial, soa.ttl)
}

#[test]
fn the_zone_has_an_apex_and_a_name_server_of_its_family_alone() {
    let (reply, decision) = ask(ZONE, RecordType::SOA);
    assert_eq!((reply.answers.len(), reply.metadata.authoritative, decision), (1, true, Decision::Authority));
    let (reply, _) = ask(ZONE, RecordType::NS);
    assert_eq!(reply.answers[0].data.to_string(), format!("ns.{ZONE}"));
    let [glue] = &reply.additionals[..] else { panic!("{reply}") };
    assert_eq!((glue.name.to_string(), glue.data.to_string()), (format!("ns.{ZONE}"), "192.0.2.1".to_owned()));
    let (reply, _) = ask(&format!("ns.{ZONE}"), RecordType::A);
    assert_eq!(reply.answers[0].data.to_string(), "192.0.2.1");
    let (reply, _) = ask(&format!("ns.{SIX}"), RecordType::AAAA);
    assert_eq!(reply.answers[0].data.to_string(), "2001:db8::1");
    for (name, rtype) in [(ZONE, RecordType::A), ("ns.4.b1.prove.ops.test.", RecordType::AAAA), (ZONE, RecordType::DS)]
    {
        let (reply, _) = ask(name, rtype);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{name} {rtype}");
        assert_eq!(soa(&reply), format!("{ZONE} ns.{ZONE} hostmaster.ops.test. 17 30"));
    }
    let any = ask(ZONE, RecordType::ANY).0;
    assert_eq!(any.answers.len(), 1);
}

/// RFC 8020: what exists may have nothing of a type; what does not exist is NXDOMAIN, so is all below.
#[test]
fn every_nonce_exists_and_nothing_else() {
    for rtype in [RecordType::A, RecordType::NS, RecordType::AAAA, RecordType::ANY] {
        let (reply, decision) = ask(&nonce_name(), rtype);
        assert_eq!((reply.metadata.response_code, decision), (ResponseCode::NoError, Decision::Authority), "{rtype}");
        assert!(reply.answers.is_empty() && !soa(&reply).is_empty());
    }
    for name in [format!("www.{ZONE}"), format!("x.{}", nonce_name()), format!("x.ns.{ZONE}")] {
        let (reply, decision) = ask(&name, RecordType::TXT);
        assert_eq!((reply.metadata.response_code, decision), (ResponseCode::NXDomain, Decision::Authority), "{name}");
        assert_eq!(soa(&reply), format!("{ZONE} ns.{ZONE} hostmaster.ops.test. 17 30"));
    }
    for other in ["4.b2.prove.ops.test.", "x4.b1.prove.ops.test.", "b1.prove.ops.test.", "prove.ops.test.", "ops.test."]
    {
        let (reply, decision) = ask(other, RecordType::TXT);
        assert!(!reply.metadata.authoritative && decision == Decision::NotReady, "{other}: {reply}");
    }
}

#[test]
fn a_nonce_gets_its_secret_from_the_slow_lane_alone() {
    let mixed: String = nonce_name().replacen('a', "A", 7);
    let (reply, decision) = ask(&mixed, RecordType::TXT);
    assert_eq!(decision, Decision::Proof);
    assert_eq!((reply.answers.len(), reply.metadata.response_code), (0, ResponseCode::NoError));

    let (reply, wanted) = ask_slowly(&mixed, Some(Secret([0xc3; 16])));
    assert_eq!(wanted, Some((NONCE, Family::V4)));
    let [answer] = &reply.answers[..] else { panic!("{reply}") };
    let RData::TXT(text) = &answer.data else { panic!("{reply}") };
    assert_eq!((&*text.txt_data[0], answer.ttl), ("c3".repeat(16).as_bytes(), 0));
    assert_eq!(reply.queries[0].name.to_string(), mixed, "letter case is kept");
    assert_eq!(answer.name.to_string(), mixed);
    assert!(reply.metadata.authoritative && reply.authorities.is_empty());

    let (reply, _) = ask_slowly(&nonce_name(), None);
    assert!(reply.answers.is_empty() && !soa(&reply).is_empty());
    assert_eq!(ask_slowly(ZONE, Some(Secret([1; 16]))).1, None, "no nonce");
}

#[test]
fn who_is_no_dns_b_has_no_such_zone() {
    let mut directory = directory();
    directory.set_server("sea1".parse().unwrap());
    let (packet, mut reply) = (question(ZONE, RecordType::SOA), [0; 1_232]);
    let handled = Responder::with_defaults(&directory).respond(&asked(&packet), &mut reply);
    assert_eq!(handled.decision, Decision::NotReady);
    assert!(directory.prove_zones().iter().next().is_none());
    let own: Vec<IpAddr> = self::directory().prove_zones().iter().flat_map(|zone| zone.addresses.clone()).collect();
    assert_eq!(own, ["192.0.2.1", "2001:db8::1"].map(|a| a.parse::<IpAddr>().unwrap()));
}
