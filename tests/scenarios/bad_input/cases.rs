//! Messages that nobody should send, and what becomes of each.

use dglb_scenarios::raw;
use hickory_proto::op::{Message, MessageType};

pub(super) const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

/// Something that nobody should send.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) packet: Vec<u8>,
    pub(super) want: Want,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Want {
    Silence,
    /// This response code, without an OPT record.
    Code(u16),
    /// This response code, with an OPT record (RFC 6891 section 7).
    Edns(u16),
}

/// Octets of an ECS option (RFC 7871 section 6) that is wrong somehow.
const SUBNETS: [(&str, &[u8]); 8] = [
    ("is cut off", &[0, 1, 24]),
    ("has no family", &[0, 0, 0, 0]),
    ("has an unknown family", &[0, 3, 8, 0, 1]),
    ("is longer than an address", &[0, 1, 33, 0, 1, 2, 3, 4, 0x80]),
    ("has a scope", &[0, 1, 24, 1, 192, 0, 2]),
    ("lacks octets", &[0, 1, 24, 0, 192, 0]),
    ("has octets left over", &[0, 1, 24, 0, 192, 0, 2, 0]),
    ("has bits beyond its prefix", &[0, 1, 20, 0, 192, 0, 0x21]),
];

/// `www.glb.foobar.test. A IN`, with these counts and what follows the question.
pub(super) fn message(counts: [u8; 4], tail: &[u8]) -> Vec<u8> {
    let id = raw::id().to_be_bytes();
    let [questions, answers, authorities, additionals] = counts;
    let header = [id[0], id[1], 1, 0, 0, questions, 0, answers, 0, authorities, 0, additionals];
    [&header, QUESTION, tail].concat()
}

const QUESTION: &[u8] = b"\x03www\x03glb\x06foobar\x04test\0\0\x01\0\x01";

/// A question with another name, type and class.
fn question(name: &[u8], rtype: u16, class: u16) -> Vec<u8> {
    let mut packet = message([1, 0, 0, 0], &[]);
    packet.truncate(12);
    [&packet, name, &rtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

/// An OPT record.
fn opt(owner: &[u8], version: u8, options: &[u8]) -> Vec<u8> {
    let length = (options.len() as u16).to_be_bytes();
    [owner, &[0, 41, 0x04, 0xd0, 0, version, 0, 0], &length, options].concat()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = headers();
    cases.extend(questions());
    cases.extend(extensions());
    cases
}

fn case(what: impl Into<String>, packet: Vec<u8>, want: Want) -> Case {
    Case { what: what.into(), packet, want }
}

fn headers() -> Vec<Case> {
    let good = message([1, 0, 0, 0], &[]);
    let with = |at: usize, octet: u8| {
        let mut packet = message([1, 0, 0, 0], &[]);
        packet[at] = octet;
        packet
    };
    let mut cases = vec![
        case("nothing", vec![], Want::Silence),
        case("one octet", vec![7], Want::Silence),
        case("a header short of an octet", good[..11].to_vec(), Want::Silence),
        case("a response", with(2, 0x80), Want::Silence),
        case("a response without a question", [&[0xab; 12][..]].concat(), Want::Silence),
        case("text", b"GET / HTTP/1.1\r\nhost: here\r\n\r\n".to_vec(), Want::Code(NOTIMP)),
        case("zeros", vec![0; 600], Want::Code(FORMERR)),
        case("a header alone", good[..12].to_vec(), Want::Code(FORMERR)),
        case("no question", message([0, 0, 0, 0], &[]), Want::Code(FORMERR)),
        case("two questions", message([2, 0, 0, 0], QUESTION), Want::Code(FORMERR)),
        case("a question cut short", good[..good.len() - 1].to_vec(), Want::Code(FORMERR)),
        case("an answer announced", message([1, 1, 0, 0], &[]), Want::Code(FORMERR)),
        case("65 535 records announced", with(10, 0xff), Want::Code(FORMERR)),
        case("octets behind the end", message([1, 0, 0, 0], &[0]), Want::Code(FORMERR)),
    ];
    for opcode in 1..16 {
        cases.push(case(format!("opcode {opcode}"), with(2, opcode << 3), Want::Code(NOTIMP)));
    }
    cases
}

fn questions() -> Vec<Case> {
    let long: Vec<u8> = [[63; 64]; 4].concat().into_iter().chain([0]).collect();
    let mut cases = vec![
        case("a label of 64 octets", question(&[[64; 65].as_slice(), &[0]].concat(), 1, 1), Want::Code(FORMERR)),
        case("a label of an unknown kind", question(b"\x80www\0", 1, 1), Want::Code(FORMERR)),
        case("a name of 257 octets", question(&long, 1, 1), Want::Code(FORMERR)),
        case("a pointer to itself", question(b"\xc0\x0c", 1, 1), Want::Code(FORMERR)),
        case("a pointer behind a label", question(b"\x03www\xc0\x0c", 1, 1), Want::Code(FORMERR)),
        case("a pointer beyond the end", question(b"\xff\xff", 1, 1), Want::Code(FORMERR)),
        case("a name without an end", question(b"\x3fwww", 1, 1), Want::Code(FORMERR)),
    ];
    for (what, rtype, class) in [
        ("class CHAOS", 16, 3),
        ("class HESIOD", 1, 4),
        ("class NONE", 1, 254),
        ("class ANY", 1, 255),
        ("class 0", 1, 0),
        ("IXFR", 251, 1),
        ("AXFR", 252, 1),
        ("MAILB", 253, 1),
    ] {
        let packet = question(b"\x03glb\x06foobar\x04test\0", rtype, class);
        cases.push(case(what, packet, Want::Code(REFUSED)));
    }
    cases
}

fn extensions() -> Vec<Case> {
    let plain = opt(b"\0", 0, &[]);
    let mut cases = vec![
        case("two OPT records", message([1, 0, 0, 2], &[plain.clone(), plain.clone()].concat()), Want::Edns(FORMERR)),
        case("an OPT record with a name", message([1, 0, 0, 1], &opt(b"\x01x\0", 0, &[])), Want::Edns(FORMERR)),
        case("an OPT record as an answer", message([1, 1, 0, 0], &plain), Want::Edns(FORMERR)),
        case("an option cut off", message([1, 0, 0, 1], &opt(b"\0", 0, &[0, 3, 0, 9, 1])), Want::Edns(FORMERR)),
        case("half an option", message([1, 0, 0, 1], &opt(b"\0", 0, &[0, 3, 0])), Want::Edns(FORMERR)),
        case("an OPT record cut short", message([1, 0, 0, 1], &plain[..plain.len() - 1]), Want::Code(FORMERR)),
        case("EDNS version 1", message([1, 0, 0, 1], &opt(b"\0", 1, &[])), Want::Edns(BADVERS)),
        case("EDNS version 255", message([1, 0, 0, 1], &opt(b"\0", 255, &[1, 2, 3])), Want::Edns(BADVERS)),
    ];
    for (what, octets) in SUBNETS {
        let option = [&[0, 8], &(octets.len() as u16).to_be_bytes()[..], octets].concat();
        let packet = message([1, 0, 0, 1], &opt(b"\0", 0, &option));
        cases.push(case(format!("a client subnet that {what}"), packet, Want::Edns(FORMERR)));
    }
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let twice = opt(b"\0", 0, &[subnet, subnet].concat());
    cases.push(case("two client subnets", message([1, 0, 0, 1], &twice), Want::Edns(FORMERR)));
    cases
}

impl Case {
    /// The reply is what it must be, and nothing more.
    pub(super) fn check(&self, reply: &[u8]) {
        let (code, edns) = match self.want {
            Want::Silence => panic!("{}: answered with {reply:02x?}", self.what),
            Want::Code(code) => (code, false),
            Want::Edns(code) => (code, true),
        };
        let read = Message::from_vec(reply).unwrap_or_else(|error| panic!("{}: {error}", self.what));
        assert_eq!(u16::from(read.metadata.response_code), code, "{}: {read}", self.what);
        assert_eq!((&reply[..2], read.metadata.message_type), (&self.packet[..2], MessageType::Response));
        assert_eq!(reply[2] & 0x78, self.packet[2] & 0x78, "{}: another opcode", self.what);
        assert_eq!(read.edns.is_some(), edns, "{}: {read}", self.what);
        assert!(!read.metadata.authoritative && !read.metadata.truncation, "{}: {read}", self.what);
        assert!(read.answers.is_empty() && read.authorities.is_empty() && read.additionals.is_empty(), "{read}");
        // Nothing that was not asked: the question or none, never more octets than came.
        assert!(
            reply.len() <= self.packet.len() + 11,
            "{}: {} octets for {}",
            self.what,
            reply.len(),
            self.packet.len()
        );
    }

    pub(super) fn series(&self) -> [String; 2] {
        let decision = |name| format!("dglb_dns_decisions_total{{decision=\"{name}\"}}");
        let reply = |code| {
            let name = match code {
                FORMERR => "FORMERR",
                NOTIMP => "NOTIMP",
                REFUSED => "REFUSED",
                _ => "BADVERS",
            };
            format!("dglb_dns_replies_total{{rcode=\"{name}\"}}")
        };
        match self.want {
            Want::Silence => [decision("dropped"), String::new()],
            Want::Code(REFUSED) | Want::Edns(REFUSED) => [decision("refused"), reply(REFUSED)],
            Want::Code(code) | Want::Edns(code) => [decision("malformed"), reply(code)],
        }
    }
}
