//! Two well-behaved sides: handshake, traffic, liveness, goodbye.

use std::time::Duration;

use bytes::Bytes;
use dglb_core::proto::{
    CloseReason, Config, Event, Frame, Number, Peer, SendError, Session,
    body::decode,
    message::{Bye, ByeReason, Map, Message, PeerRole, Ready, Refuse, RefuseReason, Report, Resync},
};
use proptest::prelude::*;

use crate::{
    pair::{Pair, beginning},
    samples, strategies,
};

const SECOND: Duration = Duration::from_secs(1);

fn bye(reason: ByeReason) -> Bye {
    Bye { reason, text: "tests".into() }
}

#[test]
fn a_handshake_introduces_both_sides_within_one_and_a_half_round_trips() {
    let mut pair = Pair::new(&Config::default());
    pair.run(Duration::from_millis(20));
    let Some(Event::HelloReceived(hello)) = pair.b.events.pop_front() else { panic!("no HELLO") };
    assert_eq!(hello, samples::hello(PeerRole::DnsLb));
    assert!(!pair.b.session.is_established());
    assert_eq!(pair.b.session.frame_limit(), 4_096);

    let mut welcome = samples::welcome();
    welcome.version = 77;
    pair.b.session.welcome(welcome, pair.now).unwrap();
    assert_eq!(pair.b.session.frame_limit(), 1 << 20);
    pair.run(Duration::from_millis(20));
    let Some(Event::Established(Peer::Acceptor(welcome))) = pair.lb.events.pop_front() else { panic!("not up") };
    assert_eq!(*welcome, samples::welcome(), "the session sets the version agreed on");
    pair.b.collect();
    let Some(Event::Established(Peer::Dialler(hello))) = pair.b.events.pop_front() else { panic!("not up") };
    assert_eq!(hello.identity.as_str(), "sea1");
    assert_eq!((pair.lb.session.version(), pair.b.session.version()), (1, 1));
    assert_eq!(pair.elapsed(), Duration::from_millis(40));
}

#[test]
fn the_highest_common_version_is_spoken() {
    for (theirs, ours, agreed) in
        [((1, 1), (1, 1), Some(1)), ((1, 9), (2, 5), Some(5)), ((3, 4), (1, 3), Some(3)), ((2, 3), (1, 1), None)]
    {
        let mut hello = samples::hello(PeerRole::DnsLb);
        (hello.version_min, hello.version_max) = theirs;
        let acceptor = Config { version_min: ours.0, version_max: ours.1, ..Config::default() };
        let mut pair = Pair::with(&Config::default(), &acceptor, hello);
        if let Some(agreed) = agreed {
            pair.let_in(samples::welcome());
            assert_eq!((pair.lb.session.version(), pair.b.session.version()), (agreed, agreed));
        } else {
            pair.run(SECOND);
            let reason = pair.lb.closed();
            let Some(CloseReason::RefusedByPeer(refuse)) = reason else { panic!("{reason:?}") };
            assert_eq!(refuse.reason, RefuseReason::Version);
            assert!(matches!(pair.b.closed(), Some(CloseReason::Violation(_))));
        }
    }
}

#[test]
fn a_refusal_says_why_to_both() {
    let mut pair = Pair::new(&Config::default());
    pair.run(SECOND);
    pair.b.events.clear();
    let refuse = Refuse { reason: RefuseReason::Identity, text: "unknown here".into() };
    pair.b.session.refuse(refuse.clone()).unwrap();
    pair.run(SECOND);
    assert_eq!(pair.b.closed(), Some(CloseReason::RefusedByUs(refuse.clone())));
    assert_eq!(pair.lb.closed(), Some(CloseReason::RefusedByPeer(refuse)));
    assert_eq!(pair.b.session.refuse(samples_refuse()), Err(SendError::Closed));
}

fn samples_refuse() -> Refuse {
    Refuse { reason: RefuseReason::Busy, text: String::new() }
}

#[test]
fn messages_arrive_in_order_both_ways() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    let up: Vec<_> = (1..=100).map(|generation| Message::Map(Map { generation, ..samples::map() })).collect();
    for message in &up {
        pair.lb.session.send(message).unwrap();
    }
    pair.b.session.send(&Message::Drain(true)).unwrap();
    pair.b.session.send(&Message::GetReport).unwrap();
    pair.run(SECOND);
    assert_eq!(pair.b.messages(), up);
    assert_eq!(pair.lb.messages(), [Message::Drain(true), Message::GetReport]);
}

#[test]
fn a_large_message_travels_in_parts_and_shows_at_once() {
    let mut pair = Pair::established(PeerRole::DnsASync);
    let zone = Message::snapshot(samples::large_catalogue(1_000_000));
    assert!(zone.encode().unwrap().body().len() > 15 * 65_536);
    pair.lb.session.send(&zone).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = pair.lb.session.poll_transmit(pair.now) {
        frames.push(frame);
    }
    assert_eq!(frames.first().map(|f| f.number), Some(Number::BEGIN));
    assert_eq!(frames.last().map(|f| f.number), Some(Number::COMMIT));
    assert!(frames[1..frames.len() - 1].iter().all(|f| f.number == Number::PART && f.body.len() <= 65_536 + 4));
    let commit = frames.pop().unwrap();
    for frame in frames {
        pair.b.session.handle(frame, pair.now).unwrap();
        assert_eq!(pair.b.session.poll_event(), None, "nothing shows before COMMIT");
    }
    pair.b.session.handle(commit, pair.now).unwrap();
    assert_eq!(pair.b.messages(), [zone]);
}

#[test]
fn a_large_fleet_goes_with_welcome_in_small_frames() {
    let mut welcome = samples::welcome();
    welcome.fleet.as_mut().unwrap().labels = (0..1_000)
        .map(|n| {
            let address = std::net::IpAddr::from([10, 0, (n / 256) as u8, (n % 256) as u8]);
            let identity = format!("lb{n:04}").parse().unwrap();
            dglb_core::fleet::FleetLabel { identity, addresses: vec![address] }
        })
        .collect();
    let mut pair = Pair::new(&Config::default());
    pair.packet = 100;
    pair.let_in(welcome.clone());
    let established = pair.lb.events.pop_front();
    assert_eq!(established, Some(Event::Established(Peer::Acceptor(Box::new(welcome)))));
}

#[test]
fn pings_overtake_what_waits_but_never_the_welcome() {
    let mut pair = Pair::new(&Config::default());
    pair.run(Duration::from_millis(20));
    let mut welcome = samples::welcome();
    welcome.catalogues = vec![welcome.catalogues[0].clone(); 500];
    pair.b.session.welcome(welcome, pair.now).unwrap();
    pair.b.session.handle_timeout(pair.now + 6 * SECOND);
    let numbers: Vec<_> = std::iter::from_fn(|| pair.b.session.poll_transmit(pair.now)).map(|f| f.number).collect();
    assert_eq!((numbers[0], numbers.last().copied()), (Number::BEGIN, Some(Number::PING)));

    let mut pair = Pair::established(PeerRole::DnsASync);
    pair.lb.session.send(&Message::snapshot(samples::large_catalogue(200_000))).unwrap();
    assert_eq!(pair.lb.session.poll_transmit(pair.now).map(|f| f.number), Some(Number::BEGIN));
    pair.lb.session.handle_timeout(pair.now + 6 * SECOND);
    assert_eq!(pair.lb.session.poll_transmit(pair.now).map(|f| f.number), Some(Number::PING));
    assert_eq!(pair.lb.session.poll_transmit(pair.now).map(|f| f.number), Some(Number::PART));
}

#[test]
fn an_idle_link_lives_on_pings() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    pair.run(300 * SECOND);
    assert!(pair.lb.session.is_established() && pair.b.session.is_established());
    let pings = pair.lb.session.stats().pings + pair.b.session.stats().pings;
    // One every 5 s, by whichever side is first, or by both.
    assert!((59..=122).contains(&pings), "{pings}");
    assert!(pair.now - pair.b.session.last_heard() <= 6 * SECOND);
    assert_eq!((pair.lb.messages(), pair.b.messages()), (vec![], vec![]));
}

#[test]
fn every_ping_is_answered_with_its_value_or_with_a_later_one() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    let ping = |value| {
        let encoded = Message::Ping(value).encode().unwrap();
        Frame::new(encoded.number(), encoded.body().clone())
    };
    for value in [0, 7, u64::MAX] {
        pair.b.session.handle(ping(value), pair.now).unwrap();
        let frame = pair.b.session.poll_transmit(pair.now).unwrap();
        let answer = decode(frame.number, frame.body, 1).unwrap().unwrap().message;
        assert_eq!(answer, Message::Pong(value));
        assert_eq!(pair.b.session.poll_transmit(pair.now), None);
    }
    // However many come before this side gets to speak, one answer waits.
    for value in 0..10_000 {
        pair.b.session.handle(ping(value), pair.now).unwrap();
    }
    let frames: Vec<_> = std::iter::from_fn(|| pair.b.session.poll_transmit(pair.now)).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!(pair.b.messages(), [], "no affair of the daemon's");
}

#[test]
fn a_side_that_only_listens_is_heard_all_the_same() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    let mut pings = 0;
    for generation in 1..=60 {
        let report = Message::Report(Report { generation, ..samples::report() });
        let encoded = report.encode().unwrap();
        pair.now += SECOND;
        pair.b.session.handle(Frame::new(encoded.number(), encoded.body().clone()), pair.now).unwrap();
        pair.b.session.handle_timeout(pair.now);
        while let Some(frame) = pair.b.session.poll_transmit(pair.now) {
            assert_eq!(frame.number, Number::PING);
            pings += 1;
        }
    }
    assert_eq!((pings, pair.b.messages().len()), (12, 60));
}

#[test]
fn a_silent_cut_is_noticed_after_fifteen_seconds_and_not_before() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    pair.run(7 * SECOND);
    let heard = pair.b.session.last_heard();
    pair.cut = true;
    pair.run(heard + 15 * SECOND - pair.now - Duration::from_millis(100));
    assert!(pair.b.session.is_established());
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.b.closed(), Some(CloseReason::TimedOut));
    assert_eq!(pair.b.session.last_heard(), heard, "leases count from the last frame");
    assert_eq!(pair.b.session.poll_timeout(), None);
    pair.run(15 * SECOND);
    assert_eq!(pair.lb.closed(), Some(CloseReason::TimedOut));
}

#[test]
fn a_healed_cut_is_no_end() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    for _ in 0..5 {
        pair.cut = true;
        pair.run(8 * SECOND);
        pair.cut = false;
        pair.run(6 * SECOND);
    }
    assert!(pair.lb.session.is_established() && pair.b.session.is_established());
}

#[test]
fn a_side_that_pauses_does_not_blame_its_peer() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    pair.b.session.set_reading(false, pair.now);
    let mut pings = 0;
    for _ in 0..60 {
        pair.now += SECOND;
        pair.b.session.handle_timeout(pair.now);
        let frames = std::iter::from_fn(|| pair.b.session.poll_transmit(pair.now));
        pings += frames.filter(|f| f.number == Number::PING).count();
    }
    assert_eq!(pings, 12, "the peer sees this side alive");
    pair.b.session.set_reading(true, pair.now);
    pair.b.session.handle_timeout(pair.now);
    assert!(pair.b.session.is_established());
    pair.b.session.handle_timeout(pair.now + 15 * SECOND);
    assert_eq!(pair.b.closed(), Some(CloseReason::TimedOut));
}

#[test]
fn handshakes_have_their_time() {
    let mut pair = Pair::new(&Config::default());
    pair.cut = true;
    pair.run(Duration::from_millis(4_999));
    assert_eq!((pair.lb.closed(), pair.b.closed()), (None, None));
    pair.run(Duration::from_millis(1));
    assert_eq!((pair.lb.closed(), pair.b.closed()), (None, Some(CloseReason::HandshakeTimedOut)));
    // Who dials may have to wait for its turn.
    pair.run(Duration::from_millis(9_999));
    assert_eq!(pair.lb.closed(), None);
    pair.run(Duration::from_millis(1));
    assert_eq!(pair.lb.closed(), Some(CloseReason::HandshakeTimedOut));

    // A daemon that does not decide.
    let mut pair = Pair::new(&Config::default());
    pair.run(5 * SECOND);
    assert_eq!(pair.b.closed(), Some(CloseReason::HandshakeTimedOut));
    assert_eq!(pair.b.session.welcome(samples::welcome(), pair.now), Err(SendError::Closed));
}

#[test]
fn bye_goes_after_what_was_said_before() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    pair.lb.session.send(&Message::Map(samples::map())).unwrap();
    pair.lb.session.close(bye(ByeReason::Shutdown));
    pair.lb.session.close(bye(ByeReason::Duplicate));
    assert_eq!(pair.lb.session.send(&Message::Map(samples::map())), Err(SendError::Closed));
    pair.run(SECOND);
    assert_eq!(pair.lb.closed(), Some(CloseReason::ByeFromUs(bye(ByeReason::Shutdown))));
    assert_eq!(pair.b.closed(), Some(CloseReason::ByeFromPeer(bye(ByeReason::Shutdown))));
    assert_eq!(pair.b.messages(), [Message::Map(samples::map())]);
    assert!(pair.b.transmit(pair.now).is_empty(), "BYE is not answered");
    pair.b.session.lost();
    assert_eq!(pair.b.closed(), None, "one close is enough");
}

#[test]
fn leaving_early_is_understood() {
    let mut pair = Pair::new(&Config::default());
    pair.run(SECOND);
    pair.b.events.clear();
    pair.lb.session.close(bye(ByeReason::Shutdown));
    pair.run(SECOND);
    assert_eq!(pair.b.closed(), Some(CloseReason::ByeFromPeer(bye(ByeReason::Shutdown))));

    let mut pair = Pair::new(&Config::default());
    pair.run(SECOND);
    pair.b.events.clear();
    pair.b.session.close(bye(ByeReason::Shutdown));
    pair.run(SECOND);
    assert!(matches!(pair.lb.closed(), Some(CloseReason::RefusedByPeer(r)) if r.reason == RefuseReason::Busy));
}

#[test]
fn what_this_side_may_not_say_is_not_sent() {
    let mut pair = Pair::established(PeerRole::DnsASync);
    for message in [
        Message::Map(samples::map()),
        Message::Hello(samples::hello(PeerRole::DnsLb)),
        Message::Ping(1),
        Message::Bye(bye(ByeReason::Shutdown)),
        Message::Resync(Resync::Map),
        Message::Fleet(Box::new(samples::fleet())),
    ] {
        let number = message.number();
        assert_eq!(pair.lb.session.send(&message), Err(SendError::NotAllowed { number }));
    }
    let map = Message::Map(samples::map()).encode().unwrap();
    assert_eq!(pair.lb.session.send_encoded(map), Err(SendError::NotAllowed { number: Number::MAP }));
    assert!(pair.lb.transmit(pair.now).is_empty());

    let mut early = Session::dial(Config::default(), samples::hello(PeerRole::DnsLb), beginning()).unwrap();
    let ready = Message::Ready(Ready { map_generation: 1, servers: vec![] });
    assert_eq!(early.send(&ready), Err(SendError::NotEstablished));
    let b = Session::dial(Config::default(), samples::hello(PeerRole::DnsB), beginning());
    assert_eq!(b.err(), Some(SendError::NotAllowed { number: Number::HELLO }));
}

#[test]
fn the_queue_is_bounded_in_messages_and_in_octets() {
    let config = Config { queue_messages: 3, queue_octets: 5_000_000, ..Config::default() };
    let mut pair = Pair::with(&config, &config, samples::hello(PeerRole::DnsASync));
    pair.let_in(samples::welcome());
    let zone = Message::snapshot(samples::catalogue());
    let length = zone.encode().unwrap().body().len();
    for _ in 0..3 {
        assert!(pair.lb.session.has_room());
        pair.lb.session.send(&zone).unwrap();
    }
    let full = SendError::Full { messages: 3, octets: 3 * length };
    assert_eq!(pair.lb.session.send(&zone), Err(full));
    assert!(!pair.lb.session.has_room());
    pair.run(SECOND);
    let large = Message::snapshot(samples::large_catalogue(5_000_000));
    pair.lb.session.send(&large).unwrap();
    assert!(matches!(pair.lb.session.send(&zone), Err(SendError::Full { messages: 1, .. })));
    pair.run(SECOND);
    assert!(pair.lb.session.has_room(), "what has gone counts no more");
    assert_eq!(pair.b.messages().len(), 4);

    let config = Config { max_message: 100_000, ..Config::default() };
    let mut pair = Pair::with(&config, &config, samples::hello(PeerRole::DnsASync));
    pair.let_in(samples::welcome());
    assert!(matches!(pair.lb.session.send(&large), Err(SendError::TooLarge { limit: 100_000, .. })));
}

#[test]
fn later_messages_and_fields_are_counted_and_skipped() {
    let mut pair = Pair::established(PeerRole::DnsLb);
    let later = [
        Frame::new(Number(0x0123), Bytes::from_static(b"\xff\xff whatever it may hold")),
        Frame::new(Number(0x0024 | 0x8000), Bytes::from_static(b"experiment")),
        // In parts: number 0x0123, 3 octets.
        Frame::new(Number::BEGIN, Bytes::from_static(&[0x08, 0xa3, 0x02, 0x10, 3])),
        Frame::new(Number::PART, Bytes::from_static(&[0x0a, 3, 1, 2, 3])),
        Frame::new(Number::COMMIT, Bytes::new()),
        // DRAIN with a field 9 that this version does not know.
        Frame::new(Number::DRAIN, Bytes::from_static(&[0x08, 1, 0x48, 5])),
    ];
    for frame in later {
        pair.lb.session.handle(frame, pair.now).unwrap();
    }
    assert_eq!(pair.lb.messages(), [Message::Drain(true)]);
    let stats = pair.lb.session.stats();
    assert_eq!((stats.unknown_messages, stats.unknown_fields), (3, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever both sides say and however the network cuts it up: all of it arrives, in order.
    #[test]
    fn any_conversation_arrives_as_it_was_said(
        up in prop::collection::vec(strategies::session_message(), 0..20),
        down in prop::collection::vec(strategies::session_message(), 0..20),
        role in prop::sample::select(vec![PeerRole::DnsLb, PeerRole::DnsASync, PeerRole::Mservice]),
        packet in 1_usize..2_000,
        delay in 0_u64..2_000,
    ) {
        let mut pair = Pair::established(role);
        pair.packet = packet;
        pair.delay = Duration::from_millis(delay);
        let (mut said_up, mut said_down) = (vec![], vec![]);
        for (message, says_up) in up.iter().map(|m| (m, true)).chain(down.iter().map(|m| (m, false))) {
            let (end, said) = if says_up { (&mut pair.lb, &mut said_up) } else { (&mut pair.b, &mut said_down) };
            if end.session.send(message).is_ok() {
                said.push(message.clone());
            }
            pair.run(Duration::from_millis(300));
        }
        pair.run(10 * SECOND);
        prop_assert_eq!(&pair.lb.violation, &None);
        prop_assert_eq!(pair.b.messages(), said_up);
        prop_assert_eq!(pair.lb.messages(), said_down);
    }
}
