//! Map tables of the size that the design asks for, the same in every run: prefixes with the
//! lengths that routing tables have, held by 10 000 DNS-LBs.
#![allow(dead_code, reason = "each user takes what it needs")]

pub(crate) mod content;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dglb_core::{
    net::Prefix,
    table::{Claim, LbIndex, MapTable, Registry, Source},
};

/// How many DNS-LBs hold the prefixes.
pub(crate) const DNS_LBS: u32 = 10_000;

/// Lengths with the number of prefixes in a thousand that have them.
type Mix = &'static [(u8, usize)];

/// After the public IPv4 routing tables of 2024, with some resolvers of their own.
const V4_LENGTHS: Mix = &[
    (24, 600),
    (22, 110),
    (23, 100),
    (21, 50),
    (20, 45),
    (32, 28),
    (19, 26),
    (16, 14),
    (18, 14),
    (17, 8),
    (15, 2),
    (14, 2),
    (12, 1),
];

/// After the public IPv6 routing tables of 2024, with resolvers as /64 and /128.
const V6_LENGTHS: Mix =
    &[(48, 460), (32, 120), (44, 100), (64, 100), (40, 90), (36, 40), (29, 40), (46, 40), (128, 10)];

/// The splitmix64 generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// An IPv4 address anywhere in unicast space: the worst case for caches.
    pub(crate) fn v4(&mut self) -> IpAddr {
        Ipv4Addr::from_bits((0x0100_0000 + self.below(0xdf00_0000)) as u32).into()
    }

    /// An IPv6 address in one of some 6 000 allocations under the prefixes of the registries.
    pub(crate) fn v6(&mut self) -> IpAddr {
        const REGISTRIES: [usize; 6] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
        let registry = (REGISTRIES[self.below(6)] + self.below(4)) as u128;
        let allocation = self.below(250) as u128 * 251;
        let rest = u128::from(self.next()) << 32 | u128::from(self.next() >> 32);
        Ipv6Addr::from_bits(registry << 112 | allocation << 96 | rest).into()
    }

    /// A claim on some prefix of the family.
    pub(crate) fn claim(&mut self, v6: bool) -> Claim {
        let (address, mix) = if v6 { (self.v6(), V6_LENGTHS) } else { (self.v4(), V4_LENGTHS) };
        let mut at = self.below(1000);
        let mut bits = mix[0].0;
        for (length, share) in mix {
            if at < *share {
                bits = *length;
                break;
            }
            at -= share;
        }
        let prefix = Prefix::containing(address, bits).expect("the lengths are the family's");
        Claim { prefix, preference: self.below(3) as u16, weight: 10, source: Source::Static }
    }

    /// An address inside of a prefix.
    pub(crate) fn inside(&mut self, prefix: Prefix) -> IpAddr {
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        let free = |width: u32| random & u128::MAX.checked_shr(128 - width + u32::from(prefix.bits())).unwrap_or(0);
        match prefix.address() {
            IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() | free(32) as u32).into(),
            IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() | free(128)).into(),
        }
    }
}

/// A registry of so many IPv4 and IPv6 prefixes.
pub(crate) fn registry(v4: usize, v6: usize) -> Registry {
    registry_of(DNS_LBS, v4, v6)
}

/// The same with another number of DNS-LBs.
pub(crate) fn registry_of(dns_lbs: u32, v4: usize, v6: usize) -> Registry {
    let (mut registry, mut random) = (Registry::new(), Random(1));
    for (v6, wanted) in [(false, v4), (true, v6)] {
        let wanted = registry.table().len() + wanted;
        while registry.table().len() < wanted {
            let count = (wanted - registry.table().len()).min(1000);
            let lb = LbIndex(random.below(dns_lbs as usize) as u32);
            let claims: Vec<_> = (0..count).map(|_| random.claim(v6)).collect();
            registry.add(lb, 1, None, claims).expect("far within the bound");
        }
    }
    registry
}

/// `count` addresses, each inside a random entry of the family.
pub(crate) fn mapped(table: &MapTable, v6: bool, count: usize) -> Vec<IpAddr> {
    let mut random = Random(2);
    let prefixes: Vec<_> = table.iter().map(|(p, _)| p).filter(|p| p.address().is_ipv6() == v6).collect();
    (0..count)
        .map(|_| random.below(prefixes.len()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|i| random.inside(prefixes[i]))
        .collect()
}

/// Octets of memory that this process has in use.
pub(crate) fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|s| s.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}
