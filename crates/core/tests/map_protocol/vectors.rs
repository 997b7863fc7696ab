//! `docs/map-protocol.md` is normative: its examples and its tables are what the code does.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::BytesMut;
use dglb_core::proto::{
    Config, Frame, FrameCodec, HANDSHAKE_FRAME, LEAST_MAX_FRAME, Number, PART, Session,
    body::{MAX_ELEMENTS, decode},
    direction::{Direction, allowed},
    message::{Message, PeerRole, Seen, SeenOutcome},
};
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    pair::{End, Pair, beginning},
    samples,
};

const DOCUMENT: &str = include_str!("../../../../docs/map-protocol.md");

const ROLES: [(PeerRole, &str); 4] = [
    (PeerRole::DnsB, "dns-b"),
    (PeerRole::DnsLb, "dns-lb"),
    (PeerRole::DnsASync, "dns-a-sync"),
    (PeerRole::Mservice, "mservice"),
];

/// The fenced blocks of one kind: what stands after it, and the octets.
fn blocks(kind: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for block in DOCUMENT.split(&format!("```{kind} ")).skip(1) {
        let (title, rest) = block.split_once('\n').unwrap();
        let (content, _) = rest.split_once("```").unwrap();
        let digits: String = content
            .lines()
            .flat_map(|l| l.split('#').next())
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        assert!(digits.len().is_multiple_of(2), "{title}");
        let octets = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap());
        found.push((title, octets.collect()));
    }
    found
}

/// The rows of the table below `heading`, split into cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = DOCUMENT.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|l| !l.starts_with("|---")).skip(1).take_while(|l| l.starts_with('|'));
    let rows: Vec<Vec<_>> = rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "no table below {heading}");
    rows
}

/// Whether a frame of this number is some side's first.
fn is_first(number: Number) -> bool {
    [Number::HELLO, Number::WELCOME, Number::REFUSE].contains(&number)
}

/// A codec past its magic, with the limit after WELCOME.
fn codec_after_magic() -> FrameCodec {
    let mut codec = FrameCodec::default();
    let mut octets = BytesMut::new();
    codec.encode(Frame::new(Number::PING, Default::default()), &mut octets).unwrap();
    codec.decode(&mut octets).unwrap().unwrap();
    codec.set_limit(1 << 20);
    codec
}

#[test]
fn every_example_is_the_sample_octet_for_octet() {
    let forms = samples::forms().into_iter().map(|(title, m)| (title.to_owned(), m));
    let samples: BTreeMap<String, Message> =
        samples::all().into_iter().map(|m| (m.number().to_string(), m)).chain(forms).collect();
    let examples: Vec<_> = blocks("hex").into_iter().filter(|(title, _)| *title != "transfer").collect();
    assert_eq!(
        examples.iter().map(|(t, _)| t.to_string()).collect::<std::collections::BTreeSet<_>>(),
        samples.keys().cloned().collect(),
    );
    for (title, octets) in examples {
        let message = &samples[title];
        let mut codec = if is_first(message.number()) { FrameCodec::default() } else { codec_after_magic() };
        let mut stream = BytesMut::from(&octets[..]);
        let frame = codec.decode(&mut stream).unwrap().unwrap_or_else(|| panic!("{title} is no whole frame"));
        assert!(stream.is_empty(), "{title} has octets after its frame");
        assert_eq!(frame.number, message.number());
        let decoded = decode(frame.number, frame.body, MAX_ELEMENTS).unwrap().unwrap();
        assert_eq!((decoded.message, decoded.unknown_fields), (message.clone(), 0), "{title}");

        let mut codec = if is_first(message.number()) { FrameCodec::default() } else { codec_after_magic() };
        let encoded = message.encode().unwrap();
        codec.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut stream).unwrap();
        assert_eq!(stream, octets, "{title}");
    }
}

#[test]
fn the_example_in_parts_is_ready() {
    let (_, octets) = blocks("hex").into_iter().find(|(title, _)| *title == "transfer").unwrap();
    let mut pair = Pair::established(PeerRole::DnsLb);
    let mut codec = codec_after_magic();
    let mut stream = BytesMut::from(&octets[..]);
    let mut numbers = Vec::new();
    while let Some(frame) = codec.decode(&mut stream).unwrap() {
        assert_eq!(pair.b.messages(), []);
        numbers.push(frame.number);
        pair.b.session.handle(frame, pair.now).unwrap();
    }
    assert_eq!(numbers, [Number::BEGIN, Number::PART, Number::PART, Number::COMMIT]);
    let ready = samples::all().into_iter().find(|m| m.number() == Number::READY).unwrap();
    assert_eq!(pair.b.messages(), [ready]);
}

#[test]
fn every_bad_example_is_turned_away() {
    let bad = blocks("bad");
    assert!(bad.len() >= 9);
    for (title, octets) in bad {
        let now = beginning();
        let mut b = End::new(Session::accept(Config::default(), now));
        b.receive(&octets, now);
        let found = b.violation.map(|v| v.to_string());
        let expected = match title.split([':', ' ']).next() {
            Some("not") => "the first frame does not carry the map protocol's magic",
            Some("too") if title.contains("long") => "a frame of 1195725856 octets is announced, 4096 are allowed",
            Some("too") => "a frame of 4 octets is announced, too few for its header",
            Some("PING") => "PING has no place here",
            _ if title.contains("reserved") => "HELLO: \"ns\" is reserved and cannot be an identity",
            _ if title.contains("dial") => "a DnsB does not dial",
            _ if title.contains("version 2") => "versions 2 to 2 offered, 1 to 1 known",
            _ if title.contains("longer") => "HELLO: the body ends inside a field",
            _ => "HELLO: field boot is missing",
        };
        assert_eq!(found.as_deref(), Some(expected), "{title}");
    }
}

#[test]
fn the_table_of_messages_is_what_may_be_said() {
    let mut may = BTreeMap::new();
    let mut numbers = Vec::new();
    for row in table("## 3. Messages") {
        let [name, number, direction, dialled_by, _] = row[..] else { panic!("{row:?}") };
        let number = Number(u16::from_str_radix(number.trim_start_matches("0x"), 16).unwrap());
        assert_eq!(number.name(), Some(name));
        numbers.push(number);
        for (_, text) in ROLES {
            for (way, texts) in [(Direction::Up, ["up", "both"]), (Direction::Down, ["down", "both"])] {
                let here = texts.contains(&direction) && dialled_by.split(' ').any(|r| r == text);
                *may.entry((number, text, way == Direction::Up)).or_insert(false) |= here;
            }
        }
    }
    numbers.dedup();
    assert_eq!(numbers, Number::ALL);
    for number in Number::ALL {
        for (role, text) in ROLES {
            for way in [Direction::Up, Direction::Down] {
                let documented = may[&(*number, text, way == Direction::Up)];
                // No dns-b ever dials, so what its links would carry does not matter.
                if role.dials() {
                    assert_eq!(allowed(*number, role, way), documented, "{number} {text} {way:?}");
                }
            }
        }
    }
}

#[test]
fn the_tables_of_reasons_and_limits_are_right() {
    let limits: BTreeMap<_, _> =
        table("## 9. Limits").iter().map(|row| (row[0], row[1].parse::<usize>().unwrap())).collect();
    let config = Config::default();
    let seconds = |d: Duration| d.as_secs() as usize;
    let ours = [
        ("frame before WELCOME, as the length field counts", HANDSHAKE_FRAME),
        ("frame after WELCOME, as the length field counts", config.max_frame),
        ("body in one frame, octets of one PART", PART),
        ("WELCOME in parts", 16 << 20),
        ("any other message in parts", config.max_message),
        ("values in one message", config.max_elements),
        ("handshake, of the accepting side", seconds(config.handshake_timeout)),
        ("handshake, of the dialling side", seconds(config.dial_timeout)),
        ("own silence until PING", seconds(config.ping_after)),
        ("the peer's silence until dead", seconds(config.dead_after)),
    ];
    assert_eq!(limits, ours.into_iter().collect());
    assert!(DOCUMENT.contains(&format!("`max_frame`, at least {LEAST_MAX_FRAME}")));

    // In front of the reason: the field of SEEN's nonce.
    let nonce = [&[0x0a, 16][..], &[0; 16]].concat();
    let places = [
        ("### REFUSE", Number::REFUSE, &[][..], 0x08),
        ("### BYE", Number::BYE, &[], 0x08),
        ("### MAP-ACK", Number::SEEN, &nonce, 0x20),
    ];
    for (heading, number, front, field) in places {
        for row in table(heading) {
            let value: u8 = row[1].parse().unwrap();
            let body = [front, &[field, value]].concat();
            let decoded = decode(number, body.into(), 1).unwrap().unwrap().message;
            let name = match decoded {
                Message::Refuse(refuse) => format!("{:?}", refuse.reason),
                Message::Bye(bye) => format!("{:?}", bye.reason),
                Message::Seen(Seen { outcome: SeenOutcome::Refused { reason, .. }, .. }) => format!("{reason:?}"),
                other => panic!("{other:?}"),
            };
            assert_eq!(name.to_lowercase(), row[0].replace(' ', ""), "{heading}");
        }
    }
}

/// The fuzzers begin with the document's examples. `WRITE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_of_the_fuzzers_are_the_examples() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for target in ["proto_decode", "proto_session"] {
        for (index, (title, octets)) in blocks("hex").into_iter().chain(blocks("bad")).enumerate() {
            let word: String = title.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            let path = fuzz.join(target).join(format!("{index:02}-{}", word.to_lowercase()));
            // The first octet says where the frames are put: see the targets.
            let first = matches!(title, "HELLO" | "WELCOME" | "REFUSE") || index >= blocks("hex").len();
            let seed = [&[u8::from(!first)][..], &octets].concat();
            if std::env::var_os("WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &seed).unwrap();
            }
            let stored = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(stored, seed, "{}", path.display());
        }
    }
}
