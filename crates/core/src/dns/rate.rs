//! How many replies one network gets over UDP, where the sender's address may be forged: a server
//! that answers all that it is asked is a weapon against whoever is named as the asker.
//!
//! Replies are counted by client network, an IPv4 /24 or an IPv6 /56, and by [`Kind`]. Each has a
//! bucket that holds one second's worth of replies and is refilled steadily. Buckets live in a
//! table of a fixed size; time comes in from outside.

use std::net::IpAddr;

use super::Kind;
use crate::net::{Prefix, canonical};

/// Octets of the table for one bucket.
pub const BUCKET: usize = size_of::<Bucket>();

/// Nanoseconds of credit that a bucket holds at most: one second's worth of replies.
const BURST: u64 = 1_000_000_000;
/// Buckets that a network's may be in: a cache line of them.
const WAYS: usize = 4;

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nanoseconds from one reply to the next at the highest lasting rate.
    interval: u64,
    /// Every how many-th reply that is one too many is sent short; 0 for none.
    slip: u32,
    /// Networks that are never limited.
    exempt: Exempt,
}

/// Networks as first and last addresses: in order, without a common address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exempt {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Limits {
    /// So many replies in each second, at least one; of what is more, every `slip`-th is sent
    /// short (0 for none); networks in `exempt` get whatever they ask for.
    pub fn new(replies_per_second: u32, slip: u32, exempt: impl IntoIterator<Item = Prefix>) -> Self {
        Self { interval: BURST / u64::from(replies_per_second.max(1)), slip, exempt: Exempt::new(exempt) }
    }
}

impl Exempt {
    fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            let bits = u32::from(prefix.bits());
            match prefix.address() {
                IpAddr::V4(first) => {
                    let first = first.to_bits();
                    v4.push((first, first | u32::MAX.checked_shr(bits).unwrap_or(0)));
                }
                IpAddr::V6(first) => {
                    let first = first.to_bits();
                    v6.push((first, first | u128::MAX.checked_shr(bits).unwrap_or(0)));
                }
            }
        }
        Self { v4: outermost(v4), v6: outermost(v6) }
    }

    fn contains(&self, client: IpAddr) -> bool {
        match client {
            IpAddr::V4(v4) => is_in(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => is_in(&self.v6, v6.to_bits()),
        }
    }
}

/// Prefixes hold each other or have nothing in common; those that are held are left out.
fn outermost<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Box<[(N, N)]> {
    ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
    ranges.into()
}

fn is_in<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

/// What is to be done with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent as it is.
    Send,
    /// A short one is sent instead, with which a real client gets on: over TCP, or with a cookie.
    Slip,
    /// Not sent.
    Drop,
}

/// The buckets of one serving thread, which nobody else writes.
#[derive(Debug)]
pub struct Limiter {
    sets: Box<[Set]>,
    seed: [u64; 2],
    share: u64,
}

/// Where a network's bucket may be.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

/// One network's replies of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When it will be full again, in nanoseconds: the further ahead, the emptier it is.
    full: u64,
    /// The part of the hash that does not say where it is.
    tag: u32,
    /// Replies that were one too many.
    refused: u32,
}

impl Limiter {
    /// Room for `buckets`, rounded up to a power of two of at least 4; [`BUCKET`] octets each.
    /// `seed` is random, so that nobody can choose networks that share buckets; of `threads` that a
    /// client's questions are spread over, each allows its share.
    pub fn new(buckets: usize, seed: [u64; 2], threads: usize) -> Self {
        let sets = buckets.div_ceil(WAYS).next_power_of_two();
        let seed = [seed[0], seed[1] | 1];
        Self { sets: vec![Set::default(); sets].into(), seed, share: threads.max(1) as u64 }
    }

    /// Whether `client` gets one more reply of this kind, at `now` in milliseconds since any fixed
    /// moment. Who is exempt takes up no bucket.
    pub fn take(&mut self, limits: &Limits, client: IpAddr, kind: Kind, now: u64) -> Verdict {
        let client = canonical(client);
        if limits.exempt.contains(client) {
            return Verdict::Send;
        }
        // Half of what 64 bits hold is 292 years.
        let now = now.saturating_mul(1_000_000).min(u64::MAX / 2);
        let interval = limits.interval.saturating_mul(self.share).min(BURST);
        let bucket = self.bucket(client, kind);
        let full = bucket.full.max(now) + interval;
        if full <= now + BURST {
            bucket.full = full;
            return Verdict::Send;
        }
        bucket.refused = bucket.refused.wrapping_add(1);
        if limits.slip > 0 && bucket.refused.is_multiple_of(limits.slip) { Verdict::Slip } else { Verdict::Drop }
    }

    /// The bucket of the client's network. Where there is none yet, it takes the place of the
    /// fullest in its set: whoever had that one loses the least. So those that are limited stay
    /// so, however many other networks somebody makes up.
    fn bucket(&mut self, client: IpAddr, kind: Kind) -> &mut Bucket {
        let product = u128::from(key(client, kind) ^ self.seed[0]) * u128::from(self.seed[1]);
        let hash = (product >> 64) as u64 ^ product as u64;
        // The number of sets is a power of two.
        let at = hash as usize & (self.sets.len() - 1);
        let (set, tag) = (&mut self.sets[at].0, (hash >> 32) as u32);
        // Two networks of one hash, one in 2^32 of those in a set, share a bucket.
        let way = set.iter().position(|bucket| bucket.tag == tag).unwrap_or_else(|| displace(set, tag));
        &mut set[way]
    }
}

/// Puts a full bucket in the place of the fullest.
#[cold]
fn displace(set: &mut [Bucket; WAYS], tag: u32) -> usize {
    let fullest = (0..WAYS).min_by_key(|way| set[*way].full).unwrap_or_default();
    set[fullest] = Bucket { full: 0, tag, refused: 0 };
    fullest
}

/// A number for each network and kind: 56 bits of network, a bit for the family, the kind.
fn key(client: IpAddr, kind: Kind) -> u64 {
    let network = match client {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 72) as u64 | 1 << 56,
    };
    network | (kind as u64) << 57
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Answer, Kind::Referral, Kind::NoData, Kind::NxDomain, Kind::Error];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn limiter() -> Limiter {
        Limiter::new(1024, [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], 1)
    }

    /// How many of `asked` replies at one moment are sent, slipped and dropped.
    fn burst(limiter: &mut Limiter, limits: &Limits, client: &str, now: u64, asked: usize) -> [usize; 3] {
        let mut verdicts = [0; 3];
        for _ in 0..asked {
            verdicts[limiter.take(limits, ip(client), Kind::Answer, now) as usize] += 1;
        }
        verdicts
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_the_rate() {
        let (mut limiter, limits) = (limiter(), Limits::new(100, 2, []));
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 5_000, 300), [100, 100, 100]);
        // Another address of the network has the same bucket, the next network has its own.
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.255", 5_000, 2), [0, 1, 1]);
        assert_eq!(burst(&mut limiter, &limits, "192.0.3.0", 5_000, 100), [100, 0, 0]);
        // A hundred a second is one in ten milliseconds.
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 5_009, 1)[0], 0);
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 5_010, 2)[0], 1);
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 5_510, 60)[0], 50);
        // However long nobody asks, no more than a second's worth is saved up.
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 1_000_000, 300)[0], 100);
        // A clock that stands still or is at its end refills nothing and breaks nothing.
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 0, 1)[0], 0);
        burst(&mut limiter, &limits, "192.0.2.1", u64::MAX, 300);
    }

    #[test]
    fn the_lasting_rate_is_what_was_configured() {
        for (rate, threads) in [(1, 1), (3, 1), (7, 2), (1_000, 1), (1_000, 3), (100_000, 4)] {
            let mut limiter = Limiter::new(64, [1, 2], threads);
            let limits = Limits::new(rate, 0, []);
            burst(&mut limiter, &limits, "192.0.2.1", 0, 100_001);
            let seconds = 20;
            let sent: usize =
                (1..=seconds * 1_000).map(|now| burst(&mut limiter, &limits, "192.0.2.1", now, 110)[0]).sum();
            let share = (f64::from(rate) / threads as f64).max(1.0) * seconds as f64;
            assert!((sent as f64 - share).abs() <= 1.0 + share / 1_000.0, "{rate} by {threads}: {sent}, not {share}");
        }
    }

    #[test]
    fn every_kind_has_its_own_bucket() {
        let (mut limiter, limits) = (limiter(), Limits::new(10, 1, []));
        for client in ["192.0.2.1", "2001:db8::1"] {
            for kind in KINDS {
                let verdicts: Vec<_> = (0..11).map(|_| limiter.take(&limits, ip(client), kind, 0)).collect();
                assert_eq!(verdicts[..10], [Verdict::Send; 10]);
                assert_eq!(verdicts[10], Verdict::Slip);
            }
        }
    }

    #[test]
    fn ipv6_networks_have_56_bits_and_mapped_addresses_are_ipv4() {
        let (mut limiter, limits) = (limiter(), Limits::new(1, 1, []));
        let mut sent = |client: &str| limiter.take(&limits, ip(client), Kind::Answer, 0) == Verdict::Send;
        assert!(sent("2001:db8:0:100::1"));
        assert!(!sent("2001:db8:0:1ff:ffff::"));
        assert!(sent("2001:db8:0:200::1"));
        assert!(sent("::ffff:192.0.2.1"));
        assert!(!sent("192.0.2.2"));
    }

    #[test]
    fn the_exempt_are_never_limited_and_slip_is_as_configured() {
        let mut limiter = limiter();
        let limits = Limits::new(1, 0, prefixes(&["192.0.2.0/25", "192.0.2.7", "2001:db8::/32"]));
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 0, 100), [100, 0, 0]);
        assert_eq!(burst(&mut limiter, &limits, "2001:db8::1", 0, 100), [100, 0, 0]);
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.128", 0, 100), [1, 0, 99]);
        let always = Limits::new(1, 1, []);
        assert_eq!(burst(&mut limiter, &always, "198.51.100.1", 0, 100), [1, 99, 0]);
        let seldom = Limits::new(1, 10, []);
        assert_eq!(burst(&mut limiter, &seldom, "203.0.113.1", 0, 101), [1, 10, 90]);
    }

    #[test]
    fn the_exempt_are_found_as_their_prefixes_say() {
        let all = prefixes(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.128/25",
            "192.0.2.0/25",
            "203.0.113.9",
            "255.255.255.255",
            "0.0.0.0/32",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ]);
        let mut asked: Vec<IpAddr> =
            ["9.255.255.255", "11.0.0.0", "192.0.3.0", "192.0.1.255", "2001:db9::", "::", "::2"].map(ip).into();
        for prefix in &all {
            let (first, last) = match prefix.address() {
                IpAddr::V4(v4) => {
                    let last = v4.to_bits() | u32::MAX.checked_shr(prefix.bits().into()).unwrap_or(0);
                    (v4.to_bits().wrapping_sub(1).to_be_bytes().into(), last.wrapping_add(1).to_be_bytes().into())
                }
                IpAddr::V6(v6) => {
                    let last = v6.to_bits() | u128::MAX.checked_shr(prefix.bits().into()).unwrap_or(0);
                    (v6.to_bits().wrapping_sub(1).to_be_bytes().into(), last.wrapping_add(1).to_be_bytes().into())
                }
            };
            asked.extend([first, last, prefix.address()]);
        }
        for some in [&all[..], &all[3..], &all[..1], &[], &prefixes(&["0.0.0.0/0", "::/0"])] {
            let exempt = Exempt::new(some.iter().copied());
            for client in &asked {
                assert_eq!(exempt.contains(*client), some.iter().any(|p| p.contains(*client)), "{client} in {some:?}");
            }
        }
    }

    #[test]
    fn who_is_limited_stays_so_among_many_others() {
        let mut limiter = Limiter::new(4_096, [3, 0x9e37_79b9_7f4a_7c15], 1);
        assert_eq!(limiter.sets.len() * size_of::<Set>(), 4_096 * BUCKET);
        let limits = Limits::new(1_000, 0, []);
        burst(&mut limiter, &limits, "192.0.2.1", 0, 1_000);
        for network in 0..100_000_u32 {
            let client = IpAddr::from((network << 8 | 1 << 31).to_be_bytes());
            assert_eq!(limiter.take(&limits, client, Kind::Answer, 0), Verdict::Send);
        }
        assert_eq!(burst(&mut limiter, &limits, "192.0.2.1", 0, 10), [0, 0, 10]);
    }
}
