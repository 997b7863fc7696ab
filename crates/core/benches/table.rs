//! The map table at the size that the design asks for: 1 000 000 IPv4 and 250 000 IPv6 prefixes
//! with the lengths that routing tables have, held by 10 000 DNS-LBs.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dglb_core::{
    net::{Prefix, mask},
    table::{Claim, LbIndex, MapTable, Registry, Source},
};

const V4: usize = 1_000_000;
const V6: usize = 250_000;
const DNS_LBS: u32 = 10_000;

/// Questions that a thread takes from its socket at once.
const BATCH: usize = 32;

/// Per mille of the prefixes that have a length, after the public routing tables of 2024.
const V4_LENGTHS: [(u8, u32); 13] = [
    (24, 600),
    (23, 100),
    (22, 110),
    (21, 50),
    (20, 45),
    (19, 26),
    (18, 14),
    (17, 8),
    (16, 14),
    (15, 2),
    (14, 2),
    (12, 1),
    (32, 28),
];
const V6_LENGTHS: [(u8, u32); 9] =
    [(48, 460), (32, 120), (44, 100), (40, 90), (36, 40), (29, 40), (64, 100), (46, 40), (128, 10)];

/// The splitmix64 generator: every run measures the same table.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (u128::from(self.next()) * n as u128 >> 64) as usize
    }

    fn length(&mut self, mix: &[(u8, u32)]) -> u8 {
        let mut at = self.below(1000) as u32;
        let found = mix.iter().find(|(_, share)| {
            let here = at < *share;
            at = at.saturating_sub(*share);
            here
        });
        found.unwrap_or(&mix[0]).0
    }

    /// Unicast space, evenly: the worst case for caches.
    fn v4(&mut self) -> IpAddr {
        Ipv4Addr::from_bits((0x0100_0000 + self.below(0xdf00_0000)) as u32).into()
    }

    /// In some 6 000 allocations of the space in use, as the registries hand it out.
    fn v6(&mut self) -> IpAddr {
        const REGISTRIES: [u128; 6] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
        let registry = REGISTRIES[self.below(6)] + self.below(16) as u128 / 4;
        let allocation = self.below(250) as u128 * 251;
        let rest = u128::from(self.next()) << 32 | u128::from(self.next() >> 32);
        Ipv6Addr::from_bits(registry << 112 | allocation << 96 | rest).into()
    }

    fn claim(&mut self, v6: bool) -> Claim {
        let (address, bits) =
            if v6 { (self.v6(), self.length(&V6_LENGTHS)) } else { (self.v4(), self.length(&V4_LENGTHS)) };
        let prefix = Prefix::containing(address, bits).expect("the lengths are the family's");
        Claim { prefix, preference: self.below(3) as u16, weight: 10, source: Source::Static }
    }
}

fn filled(v4: usize, v6: usize) -> Registry {
    let (mut registry, mut random) = (Registry::new(), Random(1));
    for (v6, count) in [(false, v4), (true, v6)] {
        let mut missing = count;
        while missing > 0 {
            let lb = LbIndex(random.below(DNS_LBS as usize) as u32);
            let claims: Vec<_> = (0..missing.min(1000)).map(|_| random.claim(v6)).collect();
            let before = registry.table().len();
            registry.add(lb, 1, None, claims).expect("within the bound");
            missing -= registry.table().len() - before;
        }
    }
    registry
}

/// Addresses inside random entries.
fn mapped(table: &MapTable, v6: bool) -> Vec<IpAddr> {
    let mut random = Random(2);
    let mut inside: Vec<_> = table.iter().map(|(p, _)| p).filter(|p| p.address().is_ipv6() == v6).collect();
    for i in (1..inside.len()).rev() {
        inside.swap(i, random.below(i + 1));
    }
    inside.truncate(1 << 17);
    let host = |p: Prefix| match (p.address(), random.next()) {
        (IpAddr::V4(a), r) => {
            let host = r as u32 & !bits(mask(Ipv4Addr::BROADCAST.into(), p.bits()));
            Ipv4Addr::from_bits(a.to_bits() | host).into()
        }
        (IpAddr::V6(a), r) => {
            let free = u128::MAX.checked_shr(u32::from(p.bits())).unwrap_or(0);
            Ipv6Addr::from_bits(a.to_bits() | u128::from(r) * 0x1_0000_0001 & free).into()
        }
    };
    inside.into_iter().map(host).collect()
}

fn bits(address: IpAddr) -> u32 {
    if let IpAddr::V4(a) = address { a.to_bits() } else { 0 }
}

fn lookup(c: &mut Criterion) {
    let registry = filled(V4, V6);
    let table = registry.table();
    let mut random = Random(3);
    let anywhere4: Vec<_> = (0..1 << 17).map(|_| IpAddr::V4(Ipv4Addr::from_bits(random.next() as u32))).collect();
    let anywhere6: Vec<_> = (0..1 << 17).map(|_| random.v6()).collect();
    let sets = [
        ("ipv4 anywhere", anywhere4, 32),
        ("ipv4 mapped", mapped(table, false), 32),
        ("ipv4 mapped, source 24", mapped(table, false), 24),
        ("ipv6 anywhere", anywhere6, 128),
        ("ipv6 mapped", mapped(table, true), 128),
        ("ipv6 mapped, source 56", mapped(table, true), 56),
    ];
    let mut group = c.benchmark_group("table/lookup");
    for (name, addresses, source) in &sets {
        let answer = |address: IpAddr| {
            let located = table.lookup(address, *source);
            u32::from(located.scope) + located.group.map_or(0, |g| g.members()[0].lb.0)
        };
        group.throughput(Throughput::Elements(1));
        // The next address depends on the last answer, so nothing overlaps: the latency.
        group.bench_function(format!("{name}, one after the other"), |b| {
            let (mut at, mut last) = (0, 0);
            b.iter(|| {
                at = (at + 1 + (last as usize & 1)) % addresses.len();
                last = answer(addresses[at]);
                last
            });
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("{name}, batches of {BATCH}"), |b| {
            let mut at = 0;
            b.iter(|| {
                at = (at + BATCH) % addresses.len();
                addresses[at..at + BATCH].iter().map(|a| answer(*a)).fold(0, u32::wrapping_add)
            });
        });
    }
    group.finish();
}

fn update(c: &mut Criterion) {
    let mut registry = filled(V4, V6);
    let mut random = Random(4);
    let mut group = c.benchmark_group("table/update");
    for (name, v6) in [("ipv4", false), ("ipv6", true)] {
        // The clone stands for the readers: what they can see must be copied, not changed.
        group.bench_function(format!("{name}, one entry in and out"), |b| {
            b.iter(|| {
                let seen = registry.table().clone();
                let claim = random.claim(v6);
                registry.add(LbIndex(DNS_LBS), 1, None, [claim]).expect("within the bound");
                let next = registry.table().clone();
                registry.remove(LbIndex(DNS_LBS), [claim.prefix]);
                black_box((seen, next))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, update);
criterion_main!(benches);
