//! Where the nonces are asked for: each dns-b has a zone below the operator zone that can only be
//! reached over IPv4, and one that can only be reached over IPv6, so both of a resolver's egress
//! addresses are learnt.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{DIGITS, Nonce};
use crate::{dns::qname::QName, fleet::Fleet, identity::Identity, name::Name};

/// The label between a dns-b's identity and the operator zone.
const PROVE: &str = "prove";

/// Over what a zone can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `4.<b>.prove.<operator zone>`
    V4 = 0,
    /// `6.<b>.prove.<operator zone>`
    V6 = 1,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn label(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    /// Whether an address is of this family.
    pub fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// One of a dns-b's zones for proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProveZone {
    /// Its name.
    pub name: Name,
    /// Over what it can be reached.
    pub family: Family,
    /// Where its only name server `ns.<name>` is: the dns-b's referral addresses of the family.
    pub addresses: Vec<IpAddr>,
}

impl ProveZone {
    /// The name of a nonce.
    pub fn question(&self, nonce: &Nonce) -> Option<Name> {
        // Digits are ASCII.
        self.name.child(str::from_utf8(&nonce.label()).ok()?).ok()
    }
}

/// A dns-b's zones for proofs: one for each family in which it has a referral address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProveZones(ArrayVec<ProveZone, 2>);

impl ProveZones {
    /// Those of `identity`; none if it is no dns-b of the fleet, or its names would be too long.
    pub fn new(fleet: &Fleet, identity: &Identity) -> Self {
        let zone = |family: Family| {
            let addresses = fleet.server(identity)?.referral.iter().copied().filter(|a| family.has(a));
            let addresses: Vec<IpAddr> = addresses.collect();
            let name = zone_name(&fleet.operator_zone, identity, family)?;
            let zone = ProveZone { name, family, addresses };
            (!zone.addresses.is_empty() && zone.question(&Nonce([0; 16])).is_some()).then_some(zone)
        };
        Self(Family::ALL.into_iter().filter_map(zone).collect())
    }

    /// The zone that a name is in, and how many labels precede the zone in it.
    pub fn of(&self, name: &QName) -> Option<(&ProveZone, usize)> {
        self.0.iter().find_map(|zone| {
            let labels = name.labels().checked_sub(zone.name.label_count())?;
            (name[name.start(labels)..] == *zone.name.wire()).then_some((zone, labels))
        })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ProveZone> {
        self.0.iter()
    }
}

fn zone_name(operator_zone: &Name, identity: &Identity, family: Family) -> Option<Name> {
    operator_zone.child(PROVE).ok()?.child(identity.as_str()).ok()?.child(family.label()).ok()
}

/// The nonce in the name of a challenge, if it is one of the dns-b `server`: all that a DNS-LB may ask
/// its resolver for on a dns-b's word, lest it become anybody's query cannon.
pub fn question_of(name: &Name, operator_zone: &Name, server: &Identity) -> Option<(Nonce, Family)> {
    Family::ALL.into_iter().find_map(|family| {
        let relative = name.strip(&zone_name(operator_zone, server, family)?)?;
        let (length, label) = relative.split_first()?;
        (usize::from(*length) == DIGITS).then(|| Nonce::from_label(label)).flatten().map(|nonce| (nonce, family))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{FleetServer, FleetTtls};

    fn fleet() -> Fleet {
        let server = |identity: &str, referral: &[&str]| FleetServer {
            identity: identity.parse().unwrap(),
            referral: referral.iter().map(|a| a.parse().unwrap()).collect(),
            fallback: vec![],
        };
        Fleet::new(Fleet {
            serial: 1,
            operator_zone: "ops.test".parse().unwrap(),
            hostmaster: "hostmaster.ops.test".parse().unwrap(),
            servers: vec![server("b1", &["192.0.2.1", "2001:db8::1", "192.0.2.2"]), server("b2", &["2001:db8::2"])],
            labels: vec![],
            ttl: FleetTtls::default(),
        })
        .unwrap()
    }

    fn zones(identity: &str) -> Vec<String> {
        let zones = ProveZones::new(&fleet(), &identity.parse().unwrap());
        zones.iter().map(|zone| format!("{} {:?}", zone.name, zone.addresses)).collect()
    }

    #[test]
    fn a_zone_for_each_family_that_there_is() {
        assert_eq!(zones("b1"), ["4.b1.prove.ops.test. [192.0.2.1, 192.0.2.2]", "6.b1.prove.ops.test. [2001:db8::1]"]);
        assert_eq!(zones("b2"), ["6.b2.prove.ops.test. [2001:db8::2]"]);
        assert_eq!(zones("b3"), [""; 0]);
    }

    #[test]
    fn names_are_found_in_their_zone() {
        let zones = ProveZones::new(&fleet(), &"b1".parse().unwrap());
        let of = |name: &str| {
            let name: Name = name.parse().unwrap();
            zones.of(&QName::from(&name)).map(|(zone, labels)| (zone.family, labels))
        };
        assert_eq!(of("4.b1.prove.ops.test"), Some((Family::V4, 0)));
        assert_eq!(of("a.b.6.B1.prove.ops.test"), Some((Family::V6, 2)));
        for other in ["b1.prove.ops.test", "4.b2.prove.ops.test", "x4.b1.prove.ops.test", "5.b1.prove.ops.test", "."] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_dns_lb_asks_for_nothing_but_nonces_of_that_dns_b() {
        let nonce = Nonce([0x5a; 16]);
        let (operator, b1): (Name, Identity) = ("ops.test".parse().unwrap(), "b1".parse().unwrap());
        let of = |name: &str| question_of(&name.parse().unwrap(), &operator, &b1);
        let digits = "5a".repeat(16);
        for zone in ProveZones::new(&fleet(), &b1).iter() {
            let name = zone.question(&nonce).unwrap();
            assert_eq!(question_of(&name, &operator, &b1), Some((nonce, zone.family)));
        }
        for wrong in [
            "victim.test".to_owned(),
            "4.b1.prove.ops.test".to_owned(),
            "www.4.b1.prove.ops.test".to_owned(),
            format!("{digits}.4.b2.prove.ops.test"),
            format!("{digits}.4.b1.prove.victim.test"),
            format!("{digits}.5.b1.prove.ops.test"),
            format!("x.{digits}.4.b1.prove.ops.test"),
            format!("{digits}.b1.prove.ops.test"),
            format!("{}.4.b1.prove.ops.test", "zz".repeat(16)),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
    }
}
