//! Bad DNS messages against dns-b's referral and fall-back addresses and against dns-lb, over UDP
//! and TCP: the response code that the RFCs ask for where a header can be read, silence where not;
//! counted, and the next good question is answered.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use dglb_scenarios::{
    Admin, Chain, Counters, Size,
    configs::{WWW, in_label},
    eventually,
    ground::dns,
    question::Question,
    raw::{self, framed},
    scenario, so,
};
use hickory_proto::{
    op::{Message, MessageType},
    rr::RecordType,
};
use tokio::{io::AsyncWriteExt, net::UdpSocket};

const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

/// Something that nobody should send.
struct Case {
    what: String,
    packet: Vec<u8>,
    want: Want,
}

#[derive(Clone, Copy, PartialEq)]
enum Want {
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
fn message(counts: [u8; 4], tail: &[u8]) -> Vec<u8> {
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

fn cases() -> Vec<Case> {
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
    fn check(&self, reply: &[u8]) {
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

    fn series(&self) -> [String; 2] {
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

/// Everything bad that was counted since `before` is what these cases must have moved.
fn counted(cases: &[Case], before: &Counters, now: &Counters) {
    let mut want: BTreeMap<String, u64> = BTreeMap::new();
    for series in cases.iter().flat_map(Case::series).filter(|s| !s.is_empty()) {
        *want.entry(series).or_default() += 1;
    }
    let bad = ["malformed", "dropped", "refused", "FORMERR", "NOTIMP", "REFUSED", "BADVERS", "SERVFAIL", "other"];
    let mut got = now.since(before);
    got.retain(|series, _| series.starts_with("dglb_dns_") && bad.iter().any(|b| series.contains(&format!("\"{b}\""))));
    assert_eq!(got, want);
}

/// One address to be asked, and what it answers well.
struct Target<'c> {
    server: SocketAddr,
    good: Question,
    admin: &'c Admin,
}

fn targets(chain: &Chain) -> Vec<Target<'_>> {
    let from = chain.ground.isp(1);
    let target = |address, name: &str, admin| {
        let good = Question::new(from, name, RecordType::A);
        Target { server: dns(address), good, admin }
    };
    let label = in_label("lb1");
    vec![
        target(chain.ground.referral(1), WWW, &**chain.b(1)),
        target(chain.ground.fallback(1), &label, &**chain.b(1)),
        target(chain.ground.lb(1), &label, &**chain.lb(1)),
    ]
}

const SIZE: Size = Size { servers: 1, lbs: 1, sites: 1 };

async fn settled(ground: dglb_scenarios::Ground) -> Chain {
    Chain::settled(ground, SIZE, |_, _| String::new()).await
}

#[test]
fn over_udp_it_is_refused_or_passed_over_and_the_next_good_question_is_answered() {
    let name = "bad_input::over_udp_it_is_refused_or_passed_over_and_the_next_good_question_is_answered";
    scenario(name, async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let cases = cases();
            let before = target.admin.counters().await;
            let socket = UdpSocket::bind((chain.ground.isp(1), 0)).await.unwrap();
            socket.connect(target.server).await.unwrap();
            for case in &cases {
                // Datagrams of one socket are answered in their order, so whatever the bad one is
                // answered with comes before the answer to the good one.
                socket.send(&case.packet).await.unwrap();
                let good = target.good.message();
                socket.send(&good.to_vec().unwrap()).await.unwrap();
                let mut first = received(&socket, &case.what).await;
                if case.want != Want::Silence {
                    case.check(&first);
                    first = received(&socket, &case.what).await;
                }
                let answer = Message::from_vec(&first).unwrap();
                assert_eq!(answer.metadata.id, good.metadata.id, "{}: {answer}", case.what);
                assert_eq!(answer.answers.len(), 1, "{}: {answer}", case.what);
            }
            counted(&cases, &before, &target.admin.counters().await);
        }
        far_too_long(&chain).await;
    });
}

async fn received(socket: &UdpSocket, what: &str) -> Vec<u8> {
    let mut octets = vec![0; 65_536];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut octets)).await;
    octets.truncate(length.unwrap_or_else(|_| panic!("{what}: no answer any more")).unwrap());
    octets
}

/// Datagrams longer than any question are not looked at.
async fn far_too_long(chain: &Chain) {
    let series = "dglb_dns_incidents_total{incident=\"oversized\"}";
    for target in targets(chain) {
        let before = target.admin.counter(series).await;
        let socket = UdpSocket::bind((chain.ground.isp(1), 0)).await.unwrap();
        socket.connect(target.server).await.unwrap();
        for length in [5_000, 60_000] {
            socket.send(&message([1, 0, 0, 0], &vec![0; length])).await.unwrap();
        }
        assert_eq!(target.good.ask(target.server).await.0.answers.len(), 1);
        assert_eq!(target.admin.counter(series).await - before, 2);
    }
}

#[test]
fn over_tcp_it_is_refused_or_the_connection_ends() {
    scenario("bad_input::over_tcp_it_is_refused_or_the_connection_ends", async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let cases = cases();
            let before = target.admin.counters().await;
            for case in &cases {
                let good = target.good.message();
                let octets = [framed(&case.packet), framed(&good.to_vec().unwrap())].concat();
                let replies = raw::over_tcp(chain.ground.isp(1), target.server, &octets).await;
                if case.want == Want::Silence {
                    // Who says such things does not speak DNS.
                    assert!(replies.is_empty(), "{}: {replies:02x?}", case.what);
                    continue;
                }
                assert_eq!(replies.len(), 2, "{}: {replies:02x?}", case.what);
                case.check(&replies[0]);
                let answer = Message::from_vec(&replies[1]).unwrap();
                assert_eq!((answer.metadata.id, answer.answers.len()), (good.metadata.id, 1), "{}", case.what);
            }
            counted(&cases, &before, &target.admin.counters().await);
            assert_eq!(target.good.clone().over_tcp().ask(target.server).await.0.answers.len(), 1);
        }
    });
}

#[test]
fn tcp_streams_that_end_amid_a_message_or_stand_still_harm_nobody() {
    let name = "bad_input::tcp_streams_that_end_amid_a_message_or_stand_still_harm_nobody";
    scenario(name, async |ground| {
        let chain = settled(ground).await;
        let from = chain.ground.isp(1);
        for target in targets(&chain) {
            let before = target.admin.counters().await;
            let question = target.good.message().to_vec().unwrap();
            // Half a length, a length, half a message; then the end.
            for octets in [&[0][..], &[0, 40], &framed(&question)[..question.len()]] {
                assert!(raw::over_tcp(from, target.server, octets).await.is_empty(), "half a message was answered");
            }
            // A length that is announced, and nothing; or a little now and then. Nobody may stay so.
            let mut silent = raw::connect(from, target.server).await;
            silent.write_all(&[0xff, 0xff]).await.unwrap();
            // The longest message that there is, of which nothing can be made.
            let zeros = raw::over_tcp(from, target.server, &framed(&[0; 65_535])).await;
            assert_eq!((zeros.len(), zeros[0][3] & 0x0f), (1, FORMERR as u8));
            // Octet by octet it is a good question all the same, and meanwhile others are answered.
            let mut slow = raw::connect(from, target.server).await;
            for octet in framed(&question) {
                slow.write_all(&[octet]).await.unwrap();
                assert_eq!(target.good.ask(target.server).await.0.answers.len(), 1);
            }
            let answer = Message::from_vec(&raw::next_message(&mut slow).await.unwrap()).unwrap();
            assert_eq!(answer.answers.len(), 1);

            assert!(raw::until_closed(&mut silent).await.is_empty());
            let timed_out = "dglb_dns_incidents_total{incident=\"tcp-timed-out\"}";
            eventually("both are counted as timed out", async || {
                let now = target.admin.counter(timed_out).await - before.of(timed_out);
                so(now == 2, now)
            })
            .await;
            assert_eq!(target.admin.counters().await.replies("FORMERR") - before.replies("FORMERR"), 1);
        }
    });
}

#[test]
fn one_client_cannot_take_all_connections() {
    scenario("bad_input::one_client_cannot_take_all_connections", async |ground| {
        let chain = settled(ground).await;
        for target in targets(&chain) {
            let refused = "dglb_dns_incidents_total{incident=\"tcp-refused\"}";
            let before = target.admin.counter(refused).await;
            let mut taken = Vec::new();
            for _ in 0..60 {
                taken.push(raw::connect(chain.ground.ip(9), target.server).await);
            }
            eventually("ten too many were turned away", async || {
                let now = target.admin.counter(refused).await - before;
                so(now == 10, now)
            })
            .await;
            assert_eq!(target.good.clone().over_tcp().ask(target.server).await.0.answers.len(), 1, "another client");
        }
    });
}
