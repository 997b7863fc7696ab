//! One side of a link against anything. The first octet says which side, how far the handshake has
//! come, and the dialling side's role; then octets come in pieces, and time passes.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use dglb_core::{
    fleet::{Fleet, FleetServer, FleetTtls},
    name::Name,
    proto::{
        CodecError, Config, Event, Frame, FrameCodec, Session,
        direction::{Direction, allows},
        message::{BootId, FleetStamp, Hello, Message, PeerRole, Welcome},
    },
};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::{Decoder, Encoder};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

fn hello(role: PeerRole) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        role,
        identity: "sea1".parse().expect("sound"),
        boot: BootId([1; 16]),
        uptime_ms: 0,
        features: 0,
        fleet: FleetStamp::default(),
    }
}

fn welcome() -> Welcome {
    let identity = "b1".parse().expect("sound");
    let server = FleetServer { identity, referral: vec!["192.0.2.1".parse().expect("sound")], fallback: vec![] };
    Welcome {
        version: 1,
        identity: server.identity.clone(),
        boot: BootId([2; 16]),
        observed: "192.0.2.9:1".parse().expect("sound"),
        features: 0,
        fleet: Some(Fleet {
            serial: 1,
            operator_zone: Name::root(),
            hostmaster: Name::root(),
            servers: vec![server],
            labels: vec![],
            ttl: FleetTtls::default(),
        }),
        map_generation: 0,
        report_generation: 0,
        catalogues: vec![],
    }
}

/// A session and the codec of what it reads, as far along as `mode` says.
fn begin(mode: u8, role: PeerRole, now: Instant) -> (Session, FrameCodec, Direction) {
    let config = Config { max_elements: 1_000, max_message: 200_000, queue_messages: 4, ..Config::default() };
    let (established, dials) = (mode & 1 != 0, mode & 2 != 0);
    let mut codec = FrameCodec::default();
    let mut session =
        if dials { Session::dial(config, hello(role), now).expect("sound") } else { Session::accept(config, now) };
    if established {
        let first = if dials { Message::Welcome(Box::new(welcome())) } else { Message::Hello(hello(role)) };
        let (encoded, mut octets) = (first.encode().expect("sound"), BytesMut::new());
        codec.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut octets).expect("fits");
        let frame = codec.decode(&mut octets).expect("sound").expect("whole");
        session.handle(frame, now).expect("sound");
        if !dials {
            session.welcome(welcome(), now).expect("waits for it");
        }
        while session.poll_event().is_some() {}
    }
    (session, codec, if dials { Direction::Down } else { Direction::Up })
}

/// Takes the events, and checks that the daemon sees nothing that it should not.
fn drain(session: &mut Session, closed: &mut bool, role: PeerRole, from: Direction, now: Instant) {
    let mut events = 0;
    while let Some(event) = session.poll_event() {
        assert!(!*closed, "{event:?} after the close");
        events += 1;
        match event {
            Event::HelloReceived(hello) => {
                assert!(hello.role.dials());
                session.welcome(welcome(), now).expect("waits for it");
            }
            Event::Message(message) => {
                assert!(allows(&message, role, from), "{message:?}");
                // Somebody answers now and then.
                let _ = session.send(&Message::GetReport);
            }
            Event::Established(_) => assert!(session.is_established() || session.is_closed()),
            Event::Closed(_) => *closed = true,
        }
    }
    assert!(events <= 3);
    assert_eq!(*closed, session.is_closed());
    assert_eq!(session.poll_timeout().is_none(), session.is_closed());
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, mut octets)) = input.split_first() else { return };
    let roles = [PeerRole::DnsLb, PeerRole::DnsASync, PeerRole::Mservice];
    let role = roles[usize::from(mode >> 2 & 3) % 3];
    let mut now = *BEGINNING;
    let (mut session, mut codec, from) = begin(*mode, role, now);
    // A HELLO of the input may bring another role.
    let known = mode & 3 != 0;
    let (mut closed, mut arrived) = (false, BytesMut::new());
    while !octets.is_empty() && !closed {
        let piece = if mode & 0x80 != 0 { usize::from(octets[0] % 16) + 1 } else { octets.len() };
        let (now_here, later) = octets.split_at(piece.min(octets.len()));
        octets = later;
        arrived.extend_from_slice(now_here);
        loop {
            codec.set_limit(session.frame_limit());
            match codec.decode(&mut arrived) {
                Ok(Some(frame)) => {
                    let broken = session.handle(frame, now).is_err();
                    assert!(!broken || session.is_closed());
                }
                Ok(None) => break,
                Err(CodecError::Frame(error)) => session.fail(error.into()),
                Err(CodecError::Io(error)) => panic!("{error}"),
            }
            if known {
                drain(&mut session, &mut closed, role, from, now);
            } else {
                while let Some(event) = session.poll_event() {
                    assert!(!closed);
                    closed = matches!(event, Event::Closed(_));
                }
            }
            if session.is_closed() {
                break;
            }
        }
        now += Duration::from_millis(u64::from(mode & 0x70) * 10);
        session.handle_timeout(now);
        let mut frames = 0;
        while session.poll_transmit(now).is_some() {
            frames += 1;
        }
        assert!(frames <= 4 + 3, "{frames} frames at once");
        if known {
            drain(&mut session, &mut closed, role, from, now);
        }
    }
    session.lost();
    let last = std::iter::from_fn(|| session.poll_event()).filter(|e| matches!(e, Event::Closed(_))).count();
    assert_eq!(usize::from(closed) + last, 1, "one close");
});
