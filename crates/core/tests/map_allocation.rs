//! A hostile length costs nothing: what decoding allocates is bounded by what was received.
//! One test alone in its process, since the allocator counts for all of it.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::{Bytes, BytesMut};
use dglb_core::{
    fleet::{Fleet, FleetServer, FleetTtls},
    identity::Identity,
    name::Name,
    proto::{
        Config, Frame, FrameCodec, Number, Session,
        body::{BodyError, decode},
        message::{BootId, FleetStamp, Hello, Message, PeerRole, Welcome},
    },
};
use tokio_util::codec::Decoder;

/// The system's allocator, counting.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `pointer` came from `System` in `alloc`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most octets that `work` had allocated at any moment, beyond what was there before.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

fn frame(number: Number, body: &[u8]) -> Frame {
    Frame::new(number, Bytes::copy_from_slice(body))
}

/// A varint of protobuf.
fn varint(mut value: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    while value > 0x7f {
        octets.push(value as u8 | 0x80);
        value >>= 7;
    }
    octets.push(value as u8);
    octets
}

#[allow(clippy::disallowed_methods, reason = "an arbitrary instant")]
fn some_instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// An accepting session of a dns-a-sync, established.
fn established() -> Session {
    let now = some_instant();
    let mut b = Session::accept(Config::default(), now);
    let identity: Identity = "a".parse().unwrap();
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        role: PeerRole::DnsASync,
        identity: identity.clone(),
        boot: BootId([1; 16]),
        uptime_ms: 0,
        features: 0,
        fleet: FleetStamp::default(),
    };
    b.handle(frame(Number::HELLO, Message::Hello(hello).encode().unwrap().body()), now).unwrap();
    let server =
        FleetServer { identity: identity.clone(), referral: vec![IpAddr::from([192, 0, 2, 1])], fallback: vec![] };
    let welcome = Welcome {
        version: 1,
        identity,
        boot: BootId([2; 16]),
        observed: SocketAddr::from(([192, 0, 2, 9], 1)),
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
    };
    b.welcome(welcome, now).unwrap();
    while b.poll_event().is_some() || b.poll_transmit(now).is_some() {}
    b
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    // The longest frame, announced and never sent.
    let octets = peak(|| {
        let mut codec = FrameCodec::default();
        codec.set_limit(1 << 30);
        let mut arrived = BytesMut::new();
        arrived.extend_from_slice(&[0x3f, 0xff, 0xff, 0xff, 0, 1, 0, 0]);
        arrived.extend_from_slice(b"DGLB-MAP");
        for _ in 0..100 {
            arrived.extend_from_slice(&[0; 10]);
            assert!(codec.decode(&mut arrived).unwrap().is_none());
        }
    });
    assert!((1_000..8_192).contains(&octets), "{octets} octets for a thousand");

    // The longest message in parts, announced; one part comes.
    let mut b = established();
    let octets = peak(|| {
        let begin = [&[0x08, 0x40, 0x10][..], &varint(64 << 20)].concat();
        b.handle(frame(Number::BEGIN, &begin), some_instant()).unwrap();
        let part = [&[0x0a][..], &varint(10_000), &[0; 10_000]].concat();
        b.handle(frame(Number::PART, &part), some_instant()).unwrap();
    });
    assert!((10_000..50_000).contains(&octets), "{octets} octets for ten thousand");

    // Empty sub-messages take two octets each and would become some hundred each: over the cap, so
    // nothing of them is decoded.
    let body = Bytes::from([0x32, 0x00].repeat(400_000));
    let octets = peak(|| {
        let error = decode(Number::CATALOGUE, body.clone(), 262_144);
        assert_eq!(error, Err(BodyError::TooMany { field: "services", cap: 16_384 }));
    });
    assert!(octets < 1_024, "{octets} octets for {}", body.len());

    // The dearest message that passes: as many empty sites as the limit allows. It lacks a zone,
    // which is found only when all of it is decoded.
    let sites = [0x42, 0x00].repeat(1_000);
    let service = [&[0x32][..], &varint(sites.len()), &sites].concat();
    let body = Bytes::from(service.repeat(262_144 / 1_001));
    let octets = peak(|| {
        let error = decode(Number::CATALOGUE, body.clone(), 262_144);
        assert_eq!(error, Err(BodyError::Missing { field: "zone" }));
    });
    println!("a body of {} octets costs {octets} octets at most", body.len());
    assert!((1 << 20..64 << 20).contains(&octets), "{octets} octets for {}", body.len());
}
