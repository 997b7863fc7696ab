//! Messages that are signed with a key that nobody shares with us (RFC 8945), over every transport.

use std::process::Command;

use dglb_core::{
    directory::{self, Directory},
    dns::{Conduct, Responder, rate::Limits},
};
use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        Name, RecordType, TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    },
};

use super::*;

/// Answers as the daemons do before they know anything: SERVFAIL, at once.
fn respond(_: &u8, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
    let directory = Directory::new(directory::Settings::default());
    Responder::with_defaults(&directory).respond(asked, reply)
}

fn question(id: u16) -> Message {
    let mut question = Message::query();
    question.metadata.id = id;
    question.add_query(Query::query(Name::from_ascii("WwW.example.test.").unwrap(), RecordType::A));
    question.set_edns(Edns::new());
    question
}

fn signed(id: u16, algorithm: TsigAlgorithm) -> Vec<u8> {
    let signer = TSigner::new(vec![7; 64], algorithm, Name::from_ascii("some.key.").unwrap(), 300).unwrap();
    let mut question = question(id);
    question.finalize(&signer, 1_800_000_000).unwrap();
    question.to_vec().unwrap()
}

fn check_refusal(reply: &[u8], id: u16, algorithm: &TsigAlgorithm) {
    let reply = Message::from_vec(reply).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (id, ResponseCode::NotAuth));
    assert_eq!(reply.queries[0].name().to_string(), "WwW.example.test.");
    assert!(reply.edns.is_some());
    let record = reply.signature().expect("no TSIG record");
    assert_eq!(record.name.to_string(), "some.key.");
    assert_eq!((&record.data.algorithm, record.data.error), (algorithm, Some(TsigError::BadKey)));
    assert_eq!((record.data.mac.len(), record.data.oid, record.data.fudge), (0, id, 300));
    assert!(record.data.time > 1_700_000_000);
}

#[tokio::test]
async fn over_udp_from_the_address_that_was_asked() {
    let serving = Serving::with(&[("0.0.0.0:0", Role::DnsLb), ("[::1]:0", Role::DnsLb)], lanes(2), respond);
    let port = serving.addresses[0].port();
    for server in [SocketAddr::from(([127, 0, 0, 9], port)), serving.addresses[1]] {
        for (n, algorithm) in [TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha512].into_iter().enumerate() {
            let id = 100 + n as u16;
            check_refusal(&ask(&client(server), &signed(id, algorithm.clone())), id, &algorithm);
        }
    }
    // Others in the same batch get theirs at once.
    let socket = client(serving.addresses[1]);
    socket.send(&signed(1, TsigAlgorithm::HmacSha384)).unwrap();
    socket.send(&question(2).to_vec().unwrap()).unwrap();
    let mut codes: Vec<_> = (0..2)
        .map(|_| {
            let mut reply = [0; 1_000];
            let length = socket.recv(&mut reply).expect("no reply");
            let reply = Message::from_vec(&reply[..length]).unwrap();
            (reply.metadata.id, reply.metadata.response_code)
        })
        .collect();
    codes.sort_by_key(|(id, _)| *id);
    assert_eq!(codes, [(1, ResponseCode::NotAuth), (2, ResponseCode::ServFail)]);
    serving.expect("all are counted", |totals| {
        totals.decision(Decision::Signed) == 5 && totals.replies(9) == 5 && totals.replies(2) == 1
    });
}

#[tokio::test]
async fn over_tcp_among_others_however_few_may_wait() {
    let mut settings = lanes(1);
    settings.tcp.in_flight = 2;
    let serving = Serving::with(&TWO_FAMILIES[..1], settings, respond);
    let mut stream = serving.tcp();
    let plain = |id| framed(&question(id).to_vec().unwrap());
    let burst: Vec<u8> = (0..40_u16)
        .flat_map(|n| if n % 2 == 0 { framed(&signed(n, TsigAlgorithm::HmacSha256)) } else { plain(n) })
        .collect();
    stream.write_all(&burst).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let reply = read_message(&mut stream);
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        assert!(seen.insert(id), "{id} was answered twice");
        match id % 2 {
            0 => check_refusal(&reply, id, &TsigAlgorithm::HmacSha256),
            _ => assert_eq!(reply[3] & 0x0f, 2),
        }
    }
    assert_eq!(seen.len(), 40);
    // The connection goes on, and is idle again.
    stream.write_all(&plain(77)).unwrap();
    assert_eq!(read_message(&mut stream)[..2], [0, 77]);
}

/// A signature is no proof of anything here, so these replies are limited like others.
#[tokio::test]
async fn rates_are_limited_before_the_queue() {
    let endpoint = Endpoint { address: "127.0.0.1:0".parse().unwrap(), role: Role::DnsLb };
    let server = Server::bind(&[endpoint], lanes(1)).unwrap();
    let (address, counters) = (server.local_addresses()[0], DnsCounters::new());
    let mut tasks = Tasks::new();
    let directory = Publisher::new(Directory::new(directory::Settings::default()));
    let conduct = Publisher::new(Conduct { limits: Some(Limits::new(1, 0, Vec::new())), ..Conduct::DEFAULT });
    let content = Content { directory: directory.reader(), conduct: conduct.reader() };
    server.run(content, &counters, &mut tasks).unwrap();
    let socket = client(address);
    let deadline = Instant::now() + SOON;
    while counters.totals().incident(Incident::RateLimited) < 50 {
        socket.send(&signed(1, TsigAlgorithm::HmacSha256)).unwrap();
        assert!(Instant::now() < deadline, "{:?}", counters.totals());
    }
    let sent = counters.totals().decision(Decision::Signed);
    check_refusal(&ask(&socket, &[]), 1, &TsigAlgorithm::HmacSha256);
    let mut replies = 1;
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    while socket.recv(&mut [0; 1_000]).is_ok() {
        replies += 1;
    }
    assert!((1..=sent).contains(&replies) && sent < 50, "{replies} replies, {sent} of them allowed");
}

/// What the slow lane has no room for is lost over UDP, as if a datagram were; and counted.
#[tokio::test]
async fn who_overfills_the_queue_hears_nothing_and_is_counted() {
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(1), respond);
    let socket = client(serving.addresses[0]);
    let deadline = Instant::now() + SOON;
    let packet = signed(7, TsigAlgorithm::HmacSha256);
    let full = || serving.counters.totals().incident(Incident::SlowLaneFull);
    while full() == 0 {
        assert!(Instant::now() < deadline, "{:?}", serving.counters.totals());
        (0..400).for_each(|_| _ = socket.send(&packet).unwrap());
    }
    // A reply to everything else, as far as our own socket takes them.
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut replies = 0;
    while socket.recv(&mut [0; 1_000]).is_ok() {
        replies += 1;
    }
    let asked = serving.counters.totals().decision(Decision::Signed);
    assert!(replies > 0 && replies + full() <= asked, "{replies} of {asked}, {} lost", full());
    assert_eq!(serving.counters.totals().incident(Incident::Unsendable), 0);
    // It goes on.
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut reply = ask(&socket, &signed(9, TsigAlgorithm::HmacSha256));
    while reply[..2] == [0, 7] {
        // One that was slower than silence is long.
        let mut later = [0; 1_000];
        let length = socket.recv(&mut later).unwrap();
        reply = later[..length].to_vec();
    }
    check_refusal(&reply, 9, &TsigAlgorithm::HmacSha256);
}

/// RFC 8945 section 5.2: what cannot be read is FORMERR.
#[tokio::test]
async fn a_record_that_is_none_is_malformed() {
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(1), respond);
    let mut packet = question(9).to_vec().unwrap();
    packet[11] += 1;
    packet.extend_from_slice(b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x03abc");
    let reply = ask(&client(serving.addresses[0]), &packet);
    assert_eq!((&reply[..2], reply[3] & 0x0f), (&[0, 9][..], 1));
    let mut stream = serving.tcp();
    stream.write_all(&framed(&packet)).unwrap();
    assert_eq!(read_message(&mut stream)[3] & 0x0f, 1);
}

#[tokio::test]
async fn dig_says_that_the_key_is_bad() {
    let serving = Serving::with(&TWO_FAMILIES[..1], lanes(1), respond);
    let port = serving.addresses[0].port().to_string();
    for over in ["+notcp", "+tcp"] {
        let key = "hmac-sha256:some.key:c2VjcmV0c2VjcmV0c2VjcmV0";
        let output =
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "-y", key, over, "www.example.test"]).output();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "dig: {error}; apt-get install bind9-dnsutils");
                return eprintln!("SKIPPED: dig: {error}; apt-get install bind9-dnsutils");
            }
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("status: NOTAUTH") && said.contains("BADKEY"), "{over}: {said}");
    }
    serving.expect("both are counted", |totals| totals.decision(Decision::Signed) == 2);
}
