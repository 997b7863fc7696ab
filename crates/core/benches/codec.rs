//! Encoding and decoding of what there is most of: PING, a MAP of 25 prefixes, a REPORT of 100
//! services. "decode" takes octets of a stream to the message, "encode" the other way.

use std::{hint::black_box, net::Ipv4Addr};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dglb_core::{
    net::Prefix,
    proto::{
        Frame, FrameCodec,
        body::{MAX_ELEMENTS, decode},
        message::{EntryKind, Map, MapEntry, Message, Report},
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use tokio_util::codec::{Decoder, Encoder};

fn map() -> Message {
    let entry = |n: u32| MapEntry {
        prefix: Prefix::host(Ipv4Addr::from_bits(0xc633_6400 + n).into()),
        kind: EntryKind::Resolver,
        preference: 10,
        weight: 1,
    };
    let addresses = vec![Ipv4Addr::new(198, 51, 100, 7).into()];
    Message::Map(Map { generation: 5, lease_ms: 60_000, addresses, entries: (0..25).map(entry).collect() })
}

fn report() -> Message {
    let site = |n: u32| RankedSite {
        site: format!("site-{n}"),
        score: Some(12.5 + f64::from(n)),
        addresses: vec![Figures {
            address: Ipv4Addr::from_bits(0xcb00_7100 + n).into(),
            health: Health::Up,
            latency_us: Some(12_500 + n),
        }],
        share: 0,
    };
    let ranking = |n: u32| Ranking {
        service: format!("www{n}.glb.foobar.com").parse().expect("a name"),
        catalogue: 12,
        sites: (0..5).map(site).collect(),
        unsettled: false,
    };
    Message::Report(Report { generation: 9, base: 0, rankings: (0..100).map(ranking).collect(), removed: vec![] })
}

/// A codec past its first frame.
fn codec() -> FrameCodec {
    let mut codec = FrameCodec::default();
    let mut octets = BytesMut::new();
    write(&mut codec, &Message::Ping(0), &mut octets);
    let _ = codec.decode(&mut octets);
    codec.set_limit(1 << 20);
    codec
}

fn write(codec: &mut FrameCodec, message: &Message, into: &mut BytesMut) {
    let encoded = message.encode().expect("can be sent");
    codec.encode(Frame::new(encoded.number(), encoded.body().clone()), into).expect("fits a frame");
}

fn bench(c: &mut Criterion) {
    for (name, message) in [("ping", Message::Ping(300)), ("map 25 prefixes", map()), ("report 100 services", report())]
    {
        let mut group = c.benchmark_group(name);
        let mut stream = BytesMut::new();
        write(&mut codec(), &message, &mut stream);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function("encode", |b| {
            let (mut codec, mut target) = (codec(), BytesMut::new());
            b.iter(|| {
                target.clear();
                write(&mut codec, black_box(&message), &mut target);
                black_box(target.len())
            });
        });
        group.bench_function("decode", |b| {
            let mut codec = codec();
            b.iter(|| {
                let mut arrived = BytesMut::from(&stream[..]);
                let frame = codec.decode(&mut arrived).expect("sound").expect("whole");
                black_box(decode(frame.number, frame.body, MAX_ELEMENTS).expect("sound"))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
