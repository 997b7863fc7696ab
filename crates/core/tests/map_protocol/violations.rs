//! Every way of breaking the protocol has its error, ends the link, and is told to the peer.

use bytes::Bytes;
use dglb_core::{
    catalogue::{CatalogueUpdate, Withdrawal},
    proto::{
        BodyError, CloseReason, Config, Frame, FrameError, Number, ProtocolError, Session,
        body::{MAX_ELEMENTS, decode},
        message::{ByeReason, Map, Message, PeerRole, RefuseReason, Resync, Want, Welcome},
    },
};
use proptest::prelude::*;

use crate::{
    pair::{End, Pair, beginning},
    samples,
};

fn frame(message: &Message) -> Frame {
    let encoded = message.encode().unwrap();
    Frame::new(encoded.number(), encoded.body().clone())
}

fn raw(number: Number, body: &[u8]) -> Frame {
    Frame::new(number, Bytes::copy_from_slice(body))
}

/// Hands the frames to one side of an established link; all but the last are fine.
fn break_with(to_b: bool, role: PeerRole, frames: &[Frame]) -> ProtocolError {
    let mut pair = Pair::established(role);
    let now = pair.now;
    let (victim, culprit) = if to_b { (&mut pair.b, &mut pair.lb) } else { (&mut pair.lb, &mut pair.b) };
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        victim.session.handle(frame.clone(), now).unwrap();
    }
    assert!(victim.session.send(&Message::Resync(Resync::Map)).is_ok() || !to_b || role == PeerRole::DnsASync);
    let error = victim.session.handle(last.clone(), now).unwrap_err();
    assert!(victim.session.is_closed());
    assert_eq!(victim.closed(), Some(CloseReason::Violation(error.clone())));
    victim.session.handle(raw(Number::PING, &[]), now).expect("frames after the close are ignored");

    // All that is still said is BYE, with the reason.
    let octets = victim.transmit(now);
    culprit.receive(&octets, now);
    let told = culprit.closed();
    let Some(CloseReason::ByeFromPeer(bye)) = told else { panic!("{told:?}") };
    assert_eq!(bye.reason, ByeReason::Protocol);
    assert_eq!(bye.text, error.to_string());
    error
}

#[test]
fn saying_what_is_the_other_sides_to_say() {
    let cases = [
        (true, PeerRole::DnsASync, Message::Map(samples::map())),
        (true, PeerRole::DnsASync, Message::Report(samples::report())),
        (true, PeerRole::DnsLb, Message::snapshot(samples::catalogue())),
        (true, PeerRole::Mservice, Message::Fleet(Box::new(samples::fleet()))),
        (true, PeerRole::DnsLb, Message::Drain(true)),
        (false, PeerRole::DnsLb, Message::Want(Want { service: "www.glb.test".parse().unwrap() })),
        (true, PeerRole::Mservice, Message::Want(Want { service: "www.glb.test".parse().unwrap() })),
        (true, PeerRole::DnsLb, Message::Resync(Resync::Map)),
        (false, PeerRole::DnsLb, Message::Map(samples::map())),
        (false, PeerRole::DnsASync, Message::snapshot(samples::catalogue())),
        (false, PeerRole::DnsASync, Message::GetReport),
        (false, PeerRole::DnsASync, Message::Resync(Resync::Report)),
    ];
    for (to_b, dialler, message) in cases {
        let error = break_with(to_b, dialler, &[frame(&message)]);
        assert_eq!(error, ProtocolError::Direction { number: message.number(), dialler }, "{message:?}");
    }
    // Also in parts, before any of them comes.
    let begin = raw(Number::BEGIN, &[0x08, 0x20, 0x10, 0x05]);
    let error = break_with(true, PeerRole::DnsASync, &[begin]);
    assert_eq!(error, ProtocolError::Direction { number: Number::MAP, dialler: PeerRole::DnsASync });
}

#[test]
fn a_second_handshake() {
    for (to_b, message) in [
        (true, Message::Hello(samples::hello(PeerRole::DnsLb))),
        (false, Message::Welcome(Box::new(samples::welcome()))),
        (false, Message::Refuse(dglb_core::proto::message::Refuse { reason: RefuseReason::Busy, text: String::new() })),
    ] {
        let error = break_with(to_b, PeerRole::DnsLb, &[frame(&message)]);
        assert_eq!(error, ProtocolError::Unexpected { number: message.number() });
    }
    for number in [Number::HELLO, Number::WELCOME, Number::PING, Number::BEGIN, Number::COMMIT] {
        let begin = raw(Number::BEGIN, &[0x08, number.0 as u8, 0x10, 0x05]);
        let error = break_with(false, PeerRole::DnsLb, &[begin]);
        assert_eq!(error, ProtocolError::Unexpected { number }, "in parts");
    }
}

#[test]
fn bodies_that_are_none() {
    let cases: [(&[u8], BodyError); 8] = [
        (&[0xff], BodyError::Cut),
        (&[0x22, 0x0c, 0x0a, 0x08, 0x0a, 0x04, 10, 0, 0, 1, 0x10, 8, 0x10, 1], {
            "10.0.0.1/8".parse::<dglb_core::net::Prefix>().unwrap_err().into()
        }),
        (&[0x22, 0x0c, 0x0a, 0x08, 0x0a, 0x04, 10, 0, 0, 1, 0x10, 33, 0x10, 1], {
            "10.0.0.1/33".parse::<dglb_core::net::Prefix>().unwrap_err().into()
        }),
        (&[0x22, 0x0c, 0x0a, 0x08, 0x0a, 0x04, 10, 0, 0, 1, 0x10, 32, 0x10, 9], {
            BodyError::Enum { field: "kind", value: 9 }
        }),
        (&[0x22, 0x02, 0x10, 1], BodyError::Missing { field: "prefix" }),
        (&[0x22, 0x02, 0x0a, 0], BodyError::Missing { field: "address" }),
        (&[0x1a, 0x03, 1, 2, 3], BodyError::Address { field: "addresses", length: 3 }),
        (&[0x10, 0xff, 0xff, 0xff, 0xff, 0x1f], {
            BodyError::Range { field: "lease_ms", value: 0x1_ffff_ffff, limit: u32::MAX.into() }
        }),
    ];
    for (body, error) in cases {
        let found = break_with(true, PeerRole::DnsLb, &[raw(Number::MAP, body)]);
        assert_eq!(found, ProtocolError::Body { number: Number::MAP, error });
    }
    let mut reserved = frame(&Message::Hello(samples::hello(PeerRole::DnsLb))).body.to_vec();
    let at = reserved.windows(4).position(|w| w == b"sea1").unwrap();
    reserved.splice(at - 1..at + 4, *b"\x05prove");
    let mut b = Session::accept(Config::default(), beginning());
    let error = b.handle(raw(Number::HELLO, &reserved), beginning()).unwrap_err();
    assert!(matches!(error, ProtocolError::Body { number: Number::HELLO, error: BodyError::Identity(_) }), "{error}");
}

#[test]
fn fields_that_contradict_each_other_or_are_missing() {
    let sample = |number: Number| samples::all().into_iter().find(|m| m.number() == number).unwrap();
    let with = |number, more: &[u8]| (number, [sample(number).encode().unwrap().body(), more].concat());
    let nonce = [&[0x0a, 16][..], &[7; 16]].concat();
    let gone = Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(Withdrawal {
        zone: "glb.test".parse().unwrap(),
        generation: 14,
    })));
    let gone = [gone.encode().unwrap().body(), &[0x40, 12][..]].concat();
    let contradicts = |field| BodyError::Contradiction { field };
    let missing = |field| BodyError::Missing { field };
    for ((number, body), error) in [
        ((Number::CATALOGUE, gone), contradicts("base")),
        (with(Number::CATALOGUE, &[0x58, 1]), contradicts("services")),
        (with(Number::CATALOGUE, &[0x4a, 1, 0]), contradicts("removed")),
        (with(Number::CATALOGUE, &[0x40, 12]), contradicts("base")),
        (with(Number::CATALOGUE, &[0x40, 11]), contradicts("records")),
        (with(Number::LABEL_RANKING, &[0x28, 1]), contradicts("rankings")),
        ((Number::CHALLENGE, nonce.clone()), missing("names")),
        ((Number::CHALLENGE, vec![0x12, 1, 0]), missing("nonce")),
        ((Number::PROOF, nonce.clone()), missing("secret")),
        ((Number::SEEN, nonce), missing("address")),
    ] {
        assert_eq!(decode(number, body.into(), MAX_ELEMENTS), Err(error), "{number}");
    }
}

#[test]
fn transfers_that_do_not_add_up() {
    let begin = raw(Number::BEGIN, &[0x08, 0x20, 0x10, 4]);
    let part = |n: u8| raw(Number::PART, &[&[0x0a, n][..], &vec![0; n.into()]].concat());
    let commit = raw(Number::COMMIT, &[]);
    let map = frame(&Message::Map(samples::map()));
    let under_way = |number| ProtocolError::Transfer { number, transfer: Some(Number::MAP) };
    let alone = |number| ProtocolError::Transfer { number, transfer: None };
    let length = |received| ProtocolError::Length { number: Number::MAP, announced: 4, received };
    let cases = [
        (vec![part(1)], alone(Number::PART)),
        (vec![commit.clone()], alone(Number::COMMIT)),
        (vec![begin.clone(), begin.clone()], under_way(Number::BEGIN)),
        (vec![begin.clone(), part(2), map], under_way(Number::MAP)),
        (vec![begin.clone(), part(3), commit.clone()], length(3)),
        (vec![begin.clone(), part(3), part(2)], length(5)),
        (vec![begin.clone(), commit.clone()], length(0)),
        (vec![begin, part(4), commit], ProtocolError::Body { number: Number::MAP, error: BodyError::Key }),
    ];
    for (frames, error) in cases {
        assert_eq!(break_with(true, PeerRole::DnsLb, &frames), error);
    }
    // 64 MiB and one octet.
    let large = raw(Number::BEGIN, &[0x08, 0x20, 0x10, 0x81, 0x80, 0x80, 0x20]);
    assert_eq!(
        break_with(true, PeerRole::DnsLb, &[large]),
        ProtocolError::TooLarge { number: Number::MAP, announced: (64 << 20) + 1, limit: 64 << 20 }
    );
}

/// The acceptor's answer to a first frame.
fn refused(frame: Frame) -> (ProtocolError, RefuseReason) {
    let now = beginning();
    let mut b = Session::accept(Config::default(), now);
    let error = b.handle(frame, now).unwrap_err();
    assert!(b.is_closed() && matches!(b.poll_event(), Some(dglb_core::proto::Event::Closed(_))));
    let mut lb = End::new(Session::dial(Config::default(), samples::hello(PeerRole::DnsLb), now).unwrap());
    lb.receive(&End::new(b).transmit(now), now);
    let told = lb.closed();
    let Some(CloseReason::RefusedByPeer(refuse)) = told else { panic!("{told:?}") };
    assert_eq!(refuse.text, error.to_string());
    (error, refuse.reason)
}

#[test]
fn first_frames_that_are_no_sound_hello() {
    for message in [Message::Map(samples::map()), Message::Ping(1), Message::Welcome(Box::new(samples::welcome()))] {
        let number = message.number();
        assert_eq!(refused(frame(&message)), (ProtocolError::Unexpected { number }, RefuseReason::Protocol));
    }
    let unknown = Number(0x1234);
    assert_eq!(refused(raw(unknown, &[])).0, ProtocolError::Unexpected { number: unknown });
    let error = ProtocolError::Role { role: PeerRole::DnsB };
    assert_eq!(refused(frame(&Message::Hello(samples::hello(PeerRole::DnsB)))), (error, RefuseReason::Identity));
    for (min, max) in [(2, 3), (3, 1), (0, 0)] {
        let mut hello = samples::hello(PeerRole::DnsLb);
        (hello.version_min, hello.version_max) = (min, max);
        let (error, reason) = refused(frame(&Message::Hello(hello)));
        let expected = ProtocolError::Version { theirs_min: min, theirs_max: max, ours_min: 1, ours_max: 1 };
        assert_eq!((error, reason), (expected, RefuseReason::Version));
    }
}

#[test]
fn speaking_before_the_welcome() {
    let mut pair = Pair::new(&Config::default());
    pair.run(std::time::Duration::from_secs(1));
    let now = pair.now;
    let error = pair.b.session.handle(frame(&Message::Ping(1)), now);
    assert_eq!(error, Err(ProtocolError::Unexpected { number: Number::PING }));
}

#[test]
fn answers_to_hello_that_are_none() {
    let answer = |frames: &[Frame]| {
        let now = beginning();
        let mut lb = Session::dial(Config::default(), samples::hello(PeerRole::DnsLb), now).unwrap();
        let (last, before) = frames.split_last().unwrap();
        before.iter().for_each(|f| lb.handle(f.clone(), now).unwrap());
        lb.handle(last.clone(), now).unwrap_err()
    };
    for message in [Message::Drain(true), Message::Ping(1), Message::Hello(samples::hello(PeerRole::DnsLb))] {
        assert_eq!(answer(&[frame(&message)]), ProtocolError::Unexpected { number: message.number() });
    }
    let welcome = Welcome { version: 3, ..samples::welcome() };
    assert_eq!(
        answer(&[frame(&Message::Welcome(Box::new(welcome)))]),
        ProtocolError::Version { theirs_min: 3, theirs_max: 3, ours_min: 1, ours_max: 2 }
    );
    let begin_map = raw(Number::BEGIN, &[0x08, 0x20, 0x10, 4]);
    assert_eq!(answer(&[begin_map]), ProtocolError::Unexpected { number: Number::MAP });
    let begin_welcome = raw(Number::BEGIN, &[0x08, 0x02, 0x10, 4]);
    assert_eq!(
        answer(&[begin_welcome.clone(), frame(&Message::Welcome(Box::new(samples::welcome())))]),
        ProtocolError::Transfer { number: Number::WELCOME, transfer: Some(Number::WELCOME) }
    );
    // 16 MiB and one octet.
    let large = raw(Number::BEGIN, &[0x08, 0x02, 0x10, 0x81, 0x80, 0x80, 0x08]);
    assert_eq!(
        answer(&[large]),
        ProtocolError::TooLarge { number: Number::WELCOME, announced: (16 << 20) + 1, limit: 16 << 20 }
    );
}

#[test]
fn octets_that_are_no_frames() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    let now = pair.now;
    pair.b.receive(&[0xff; 8], now);
    let error = ProtocolError::Frame(FrameError::TooLong { announced: u32::MAX, limit: 1 << 20 });
    assert_eq!(pair.b.violation, Some(error.clone()));
    assert_eq!(pair.b.closed(), Some(CloseReason::Violation(error)));

    let mut b = End::new(Session::accept(Config::default(), now));
    b.receive(b"GET / HTTP/1.1\r\n\r\n", now);
    assert!(matches!(b.closed(), Some(CloseReason::Violation(ProtocolError::Frame(_)))));
}

#[test]
fn the_caps_hold_for_what_comes_in_parts_too() {
    // 65 537 entries of 14 octets: too many for one MAP, and more than fit a frame.
    let entry = [0x22, 0x0c, 0x0a, 0x08, 0x0a, 0x04, 10, 0, 0, 1, 0x10, 32, 0x10, 1];
    let body = entry.repeat(65_537);
    let mut frames = vec![raw(Number::BEGIN, &[0x08, 0x20, 0x10, 0x8e, 0x80, 0x38])];
    frames.extend(body.chunks(60_000).map(|c| {
        let header = [0x0a, (c.len() & 0x7f | 0x80) as u8, (c.len() >> 7 & 0x7f | 0x80) as u8, (c.len() >> 14) as u8];
        raw(Number::PART, &[&header[..], c].concat())
    }));
    frames.push(raw(Number::COMMIT, &[]));
    let error = BodyError::TooMany { field: "entries", cap: 65_536 };
    assert_eq!(break_with(true, PeerRole::DnsLb, &frames), ProtocolError::Body { number: Number::MAP, error });

    let now = beginning();
    let config = Config { max_elements: 5, ..Config::default() };
    let mut pair = Pair::with(&Config::default(), &config, samples::hello(PeerRole::DnsLb));
    pair.let_in(samples::welcome());
    let mut map = Map { entries: vec![], ..samples::map() };
    map.addresses = vec!["192.0.2.1".parse().unwrap(); 6];
    let error = pair.b.session.handle(frame(&Message::Map(map)), now).unwrap_err();
    assert_eq!(error, ProtocolError::Body { number: Number::MAP, error: BodyError::Elements { limit: 5 } });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Any frames at all: no panic, at most one close, nothing after it.
    #[test]
    fn a_session_survives_anything(
        frames in prop::collection::vec((prop::sample::select(Number::ALL), prop::collection::vec(any::<u8>(), 0..20)), 1..30),
        established in any::<bool>(),
    ) {
        let mut pair = if established { Pair::established(PeerRole::DnsLb) } else { Pair::new(&Config::default()) };
        let now = pair.now;
        for (number, body) in frames {
            for end in [&mut pair.lb, &mut pair.b] {
                let before = end.session.is_closed();
                let handled = end.session.handle(raw(number, &body), now);
                prop_assert!(handled.is_ok() || (!before && end.session.is_closed()));
                end.collect();
            }
        }
        for end in [&mut pair.lb, &mut pair.b] {
            let closes = end.events.iter().filter(|e| matches!(e, dglb_core::proto::Event::Closed(_))).count();
            prop_assert_eq!(closes, usize::from(end.session.is_closed()));
        }
    }
}
