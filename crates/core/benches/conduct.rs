//! What the conduct of replies costs beside their content: the bucket of a client's network, and
//! questions with cookies. "plain" is the same question without any.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use criterion::{Criterion, criterion_group, criterion_main};
use dglb_core::{
    directory::{Directory, Settings},
    dns::{
        Asked, Conduct, Kind, Responder, Role, Transport,
        cookie::{Cookies, Secret},
        rate::{Limiter, Limits},
    },
};

/// Clients in `networks` of their own, in an order without order.
fn clients(networks: u32) -> Vec<IpAddr> {
    let scattered = (0..networks).map(|n| n.wrapping_mul(0x9e37_79b1) % networks);
    scattered.map(|n| Ipv4Addr::from_bits(0x0a00_0001 + (n << 8)).into()).collect()
}

fn rates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rate");
    let seed = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    for (name, networks) in [("1 network", 1), ("1 000 networks", 1_000), ("60 000 networks", 60_000)] {
        let (mut limiter, clients) = (Limiter::new(65_536, seed, 2), clients(networks));
        let limits = Limits::new(1_000_000, 2, []);
        let mut turn = (0, 0_u64);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn = ((turn.0 + 1) % clients.len(), turn.1 + 1);
                limiter.take(&limits, black_box(clients[turn.0]), Kind::Answer, turn.1 >> 8)
            });
        });
    }
    let exempt = ["127.0.0.0/8", "10.0.0.0/8"].map(|text| text.parse().expect("a prefix"));
    let (mut limiter, limits) = (Limiter::new(65_536, seed, 2), Limits::new(1, 2, exempt));
    let client = IpAddr::from([10, 0, 0, 1]);
    group.bench_function("exempt", |bencher| {
        bencher.iter(|| limiter.take(&limits, black_box(client), Kind::Answer, 0));
    });
    group.finish();
}

fn cookies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cookie");
    let directory = Directory::new(Settings::default());
    let cookies = Cookies { current: Secret::new([1; 16]), next: None, require: false };
    let conduct = Conduct { cookies: Some(cookies), ..Conduct::DEFAULT };
    let responder = Responder { directory: &directory, conduct: &conduct, unix_seconds: 1_800_000_000 };
    let peer: SocketAddr = "192.0.2.1:5300".parse().expect("an address");
    let mut reply = vec![0; 1_232];
    let mut ask = |packet: &[u8]| {
        let asked = Asked { packet, peer, transport: Transport::Udp, role: Role::Referral };
        let handled = responder.respond(&asked, &mut reply);
        reply[..handled.length].to_vec()
    };
    // EDE 14 comes last in the reply, 24 octets; the cookie stands before it.
    let first = ask(&question(&[7; 8]));
    let good = first[first.len() - 48..first.len() - 24].to_vec();
    for (name, packet) in [
        ("plain", question(&[])),
        ("of the client alone", question(&[7; 8])),
        ("good", question(&good)),
        ("bad", question(&[7; 24])),
    ] {
        let mut reply = vec![0; 1_232];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let asked = Asked { packet: black_box(&packet), peer, transport: Transport::Udp, role: Role::Referral };
                responder.respond(&asked, &mut reply)
            });
        });
    }
    group.finish();
}

/// `x.test A` with an OPT record that has this cookie, if there is one.
fn question(cookie: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(b"\x01x\x04test\0\0\x01\0\x01");
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    let option = if cookie.is_empty() { vec![] } else { [&[0, 10, 0, cookie.len() as u8], cookie].concat() };
    packet.extend((option.len() as u16).to_be_bytes());
    packet.extend(option);
    packet
}

criterion_group!(benches, rates, cookies);
criterion_main!(benches);
