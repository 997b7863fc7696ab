//! The same zone, the same questions: our name server says what BIND, NSD and Knot say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};

use crate::harness::{Program, ask, ask_tcp, free_port, question, texts};

const ZONE: &str = "
$TTL 300
@ SOA ns1 hostmaster 7 300 60 604800 60
@ NS ns1
@ NS ns2
@ MX 10 mail
@ TXT \"lab zone\"
ns1 A 192.0.2.53
ns2 A 192.0.2.54
mail A 192.0.2.25
mail AAAA fd00::25
alias CNAME www.glb
chain CNAME alias
inner CNAME mail
nowhere CNAME nothing.here
away CNAME www.example.
under.an.ent A 192.0.2.9
*.wild A 192.0.2.7
x.wild TXT \"in the way\"
*.walias CNAME mail
glb NS b1.glb
glb NS b2.glb
glb NS b3.elsewhere.
b1.glb A 192.0.2.101
b1.glb AAAA fd00::101
b2.glb A 192.0.2.102
below.b2.glb A 192.0.2.103
";

const QUESTIONS: [(&str, RecordType); 28] = [
    ("foobar.test.", RecordType::SOA),
    ("foobar.test.", RecordType::NS),
    ("foobar.test.", RecordType::MX),
    ("foobar.test.", RecordType::TXT),
    ("foobar.test.", RecordType::A),
    ("mail.foobar.test.", RecordType::A),
    ("mail.foobar.test.", RecordType::AAAA),
    ("mail.foobar.test.", RecordType::TXT),
    ("alias.foobar.test.", RecordType::A),
    ("alias.foobar.test.", RecordType::CNAME),
    ("chain.foobar.test.", RecordType::AAAA),
    ("inner.foobar.test.", RecordType::A),
    ("inner.foobar.test.", RecordType::MX),
    ("nowhere.foobar.test.", RecordType::A),
    ("away.foobar.test.", RecordType::A),
    ("an.ent.foobar.test.", RecordType::A),
    ("ent.foobar.test.", RecordType::A),
    ("nope.foobar.test.", RecordType::A),
    ("y.wild.foobar.test.", RecordType::A),
    ("z.y.wild.foobar.test.", RecordType::A),
    ("x.wild.foobar.test.", RecordType::A),
    ("q.x.wild.foobar.test.", RecordType::A),
    ("y.walias.foobar.test.", RecordType::A),
    ("glb.foobar.test.", RecordType::NS),
    ("glb.foobar.test.", RecordType::A),
    ("glb.foobar.test.", RecordType::DS),
    ("b1.glb.foobar.test.", RecordType::A),
    ("below.b2.glb.foobar.test.", RecordType::A),
];

fn start(kind: &str) -> Option<(Program, SocketAddr)> {
    let address: IpAddr = Ipv4Addr::LOCALHOST.into();
    let port = free_port(address);
    let table =
        format!("kind = \"{kind}\"\nport = {port}\nzones = [{{ origin = \"foobar.test\", text = '''{ZONE}''' }}]");
    Some((Program::try_start(kind, address, &table, &[])?, SocketAddr::new(address, port)))
}

/// What two servers must agree on. Authority beside an answer and additional beside anything but a
/// referral are a matter of taste.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<String>,
    authorities: Vec<String>,
    negative_ttl: Option<u32>,
    glue: Vec<String>,
}

impl Said {
    fn of(reply: &Message) -> Self {
        let is_cut = |record: &Record| record.record_type() == RecordType::NS && record.name.num_labels() > 2;
        let referral = reply.authorities.iter().any(is_cut);
        let negative = reply.authorities.iter().find(|record| record.record_type() == RecordType::SOA);
        Self {
            code: reply.metadata.response_code,
            authoritative: reply.metadata.authoritative,
            answers: texts(&reply.answers),
            authorities: if referral || negative.is_some() { texts(&reply.authorities) } else { Vec::new() },
            negative_ttl: negative.map(|soa| soa.ttl),
            glue: if referral { texts(&reply.additionals) } else { Vec::new() },
        }
    }
}

fn check_against(kind: &str) {
    let Some((oracle, theirs)) = start(kind) else { return };
    let Some((_ours, ours)) = start("name-server") else { return };
    for (name, kind) in QUESTIONS {
        let question = question(name, kind);
        let (expected, said) = (ask(theirs, &question), ask(ours, &question));
        assert_eq!(Said::of(&said), Said::of(&expected), "{name} {kind}\n{expected}\n{}", oracle.log());
        assert_eq!(Said::of(&ask_tcp(ours, &question)), Said::of(&said), "{name} {kind} over TCP");
    }
}

#[test]
fn bind_says_the_same() {
    check_against("bind-auth");
}

#[test]
fn nsd_says_the_same() {
    check_against("nsd");
}

#[test]
fn knot_says_the_same() {
    check_against("knot");
}
