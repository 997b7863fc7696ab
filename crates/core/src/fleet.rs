//! The fleet document: one operator file, the same for every dns-b and passed on to every DNS-LB
//! and dns-a-sync (design section 2). Every NS set and every SOA comes from it and from nothing
//! else, so all servers say the same.

use std::{hash::Hasher, net::IpAddr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{identity::Identity, name::Name};

/// Most fall-backs in one label's NS set; their names are `f1` and `f2`.
pub const MAX_FALLBACKS: usize = 2;

/// The fleet document. Built by [`Fleet::new`], which sorts and checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Set by the operator, higher is newer. Also the serial of every label zone's SOA.
    pub serial: u32,
    /// A zone of the operator's own, for names that belong to no customer.
    pub operator_zone: Name,
    /// The RNAME of every SOA (RFC 1035 section 3.3.13).
    pub hostmaster: Name,
    /// The dns-bs, sorted by identity.
    pub servers: Vec<FleetServer>,
    /// DNS-LBs whose addresses the operator states; others are known from their MAP messages.
    pub labels: Vec<FleetLabel>,
    /// Seconds.
    pub ttl: FleetTtls,
}

/// One dns-b. Its name server name in a zone is `<identity>.<zone>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetServer {
    /// Also the label of its name in every zone, so no DNS-LB may have it.
    pub identity: Identity,
    /// Where it refers label zones, one address a family or more.
    pub referral: Vec<IpAddr>,
    /// Where it answers label zones itself; empty if it serves as nobody's fall-back.
    pub fallback: Vec<IpAddr>,
}

/// A DNS-LB of which the operator states the DNS addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLabel {
    /// The DNS-LB.
    pub identity: Identity,
    /// Its DNS addresses.
    pub addresses: Vec<IpAddr>,
}

/// Times to live and SOA timers that hold for the whole fleet, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetTtls {
    /// Apex NS records of the zones and the addresses of the dns-bs' names. Default 86 400.
    pub apex_ns: u32,
    /// NS records of label zones, their glue, and the same records in the child. Default 3 600.
    pub label_ns: u32,
    /// SOA REFRESH. Default 3 600.
    pub refresh: u32,
    /// SOA RETRY. Default 600.
    pub retry: u32,
    /// SOA EXPIRE. Default 604 800.
    pub expire: u32,
    /// SOA MINIMUM, the negative TTL (RFC 2308 section 4); also the TTL of the SOA. Default 30.
    pub negative: u32,
}

impl Default for FleetTtls {
    fn default() -> Self {
        Self { apex_ns: 86_400, label_ns: 3_600, refresh: 3_600, retry: 600, expire: 604_800, negative: 30 }
    }
}

/// Why the parts do not make a [`Fleet`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FleetError {
    /// No dns-b at all.
    #[error("the fleet document names no dns-b")]
    NoServer,
    /// One identity twice, be it as dns-b or as label.
    #[error("identity \"{0}\" stands twice in the fleet document")]
    Twice(Identity),
    /// One address for two roles: the role of a question is decided by the address asked.
    #[error("address {0} stands twice in the fleet document; every role needs an address of its own")]
    SharedAddress(IpAddr),
    /// A dns-b without a referral address, or a label without any.
    #[error("\"{0}\" has no address in the fleet document")]
    NoAddress(Identity),
}

impl FleetServer {
    /// The label of its name in every zone, in wire form.
    pub fn label(&self) -> &[u8] {
        self.identity.wire_label()
    }
}

impl Fleet {
    /// Sorts and checks the parts.
    ///
    /// # Errors
    /// [`FleetError`], the first that applies.
    pub fn new(mut fleet: Self) -> Result<Self, FleetError> {
        if fleet.servers.is_empty() {
            return Err(FleetError::NoServer);
        }
        fleet.servers.sort_by(|a, b| a.identity.cmp(&b.identity));
        fleet.labels.sort_by(|a, b| a.identity.cmp(&b.identity));
        let mut identities = std::collections::HashSet::new();
        let mut addresses = std::collections::HashSet::new();
        let servers = fleet.servers.iter().map(|s| (&s.identity, &s.referral, &s.fallback[..]));
        let labels = fleet.labels.iter().map(|l| (&l.identity, &l.addresses, &[][..]));
        for (identity, first, second) in servers.chain(labels) {
            if !identities.insert(identity) {
                return Err(FleetError::Twice(identity.clone()));
            }
            if first.is_empty() {
                return Err(FleetError::NoAddress(identity.clone()));
            }
            if let Some(shared) = first.iter().chain(second).find(|a| !addresses.insert(**a)) {
                return Err(FleetError::SharedAddress(*shared));
            }
        }
        Ok(fleet)
    }

    /// The dns-b of this identity.
    pub fn server(&self, identity: &Identity) -> Option<&FleetServer> {
        self.servers.iter().find(|s| s.identity == *identity)
    }

    /// The fall-backs `f1`, `f2` of a label's zones (its octets in lower case), at most [`MAX_FALLBACKS`], in order:
    /// rendezvous hashing over the dns-bs that have a fall-back address, so every server computes
    /// the same and one dns-b more or less moves as few labels as can be.
    pub fn fallbacks(&self, label: &[u8]) -> arrayvec::ArrayVec<&FleetServer, MAX_FALLBACKS> {
        self.fallback_numbers(label).of(self).collect()
    }

    /// The same as numbers, to be kept beside what they belong to.
    pub(crate) fn fallback_numbers(&self, label: &[u8]) -> Fallbacks {
        let mut best: arrayvec::ArrayVec<(u64, u16), { MAX_FALLBACKS + 1 }> = arrayvec::ArrayVec::new();
        for (number, server) in (0..u16::MAX).zip(&self.servers).filter(|(_, s)| !s.fallback.is_empty()) {
            let weight = rendezvous(server.identity.as_str().as_bytes(), label);
            let at = best.partition_point(|(w, _)| *w > weight);
            if at < MAX_FALLBACKS {
                best.insert(at, (weight, number));
                best.truncate(MAX_FALLBACKS);
            }
        }
        let mut numbers = Fallbacks::default();
        numbers.0.iter_mut().zip(best).for_each(|(to, (_, number))| *to = number);
        numbers
    }
}

/// Which servers of a fleet document are a label's fall-backs; none by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fallbacks([u16; MAX_FALLBACKS]);

impl Default for Fallbacks {
    fn default() -> Self {
        Self([u16::MAX; MAX_FALLBACKS])
    }
}

impl Fallbacks {
    /// The servers in the fleet document that they were found in.
    pub(crate) fn of(self, fleet: &Fleet) -> impl Iterator<Item = &FleetServer> {
        self.0.into_iter().filter_map(|number| fleet.servers.get(usize::from(number)))
    }

    /// `f1` for 0, `f2` for 1.
    pub(crate) fn nth(self, n: usize, fleet: &Fleet) -> Option<&FleetServer> {
        fleet.servers.get(usize::from(*self.0.get(n)?))
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.0.iter().filter(|number| **number != u16::MAX).count()
    }
}

/// A weight that every build of every server must agree on: FNV-1a over both names, then mixed.
fn rendezvous(server: &[u8], label: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    // `str::hash` may change between releases of Rust; the bytes may not.
    hash.write(server);
    hash.write(b"/");
    hash.write(label);
    mix(hash.finish())
}

/// 64-bit FNV-1a, for values that go into answers and must not differ between hosts or releases.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Spreads the entropy of FNV's low bits over the whole word (the finaliser of MurmurHash3).
pub(crate) fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(servers: &[&str]) -> Fleet {
        Fleet::new(Fleet {
            serial: 1,
            operator_zone: "ops.test".parse().unwrap(),
            hostmaster: "hostmaster.ops.test".parse().unwrap(),
            servers: servers
                .iter()
                .enumerate()
                .map(|(i, s)| FleetServer {
                    identity: s.parse().unwrap(),
                    referral: vec![format!("192.0.2.{}", 2 * i).parse().unwrap()],
                    fallback: vec![format!("192.0.2.{}", 2 * i + 1).parse().unwrap()],
                })
                .collect(),
            labels: vec![],
            ttl: FleetTtls::default(),
        })
        .unwrap()
    }

    #[test]
    fn fallbacks_are_two_distinct_and_spread() {
        let fleet = fleet(&["b1", "b2", "b3", "b4"]);
        let mut load = std::collections::HashMap::new();
        for n in 0..1000 {
            let chosen = fleet.fallbacks(format!("lb{n}").as_bytes());
            assert_eq!(chosen.len(), 2);
            assert_ne!(chosen[0], chosen[1]);
            for server in chosen {
                *load.entry(server.identity.clone()).or_insert(0) += 1;
            }
        }
        assert!(load.values().all(|n| (400..600).contains(n)), "{load:?}");
    }

    #[test]
    fn losing_a_server_moves_only_its_labels() {
        let (four, three) = (fleet(&["b1", "b2", "b3", "b4"]), fleet(&["b1", "b2", "b3"]));
        for n in 0..200 {
            let label = format!("lb{n}").into_bytes();
            let before: Vec<_> = four.fallbacks(&label).iter().map(|s| s.identity.clone()).collect();
            let after: Vec<_> = three.fallbacks(&label).iter().map(|s| s.identity.clone()).collect();
            if before.iter().all(|i| i.as_str() != "b4") {
                assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn one_address_has_one_role() {
        let mut f = fleet(&["b1"]);
        f.servers[0].fallback = f.servers[0].referral.clone();
        assert!(matches!(Fleet::new(f), Err(FleetError::SharedAddress(_))));
    }
}
