//! How the dns-bs want a zone delegated: several say so, one delegation comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dglb_core::{identity::Identity, name::Name, proto::message::Delegation};
use hickory_proto::rr::RecordType;
use thiserror::Error;

use super::records::{Data, RrSet};

/// Most name servers of one zone: more than any fleet has, and their glue fits one message.
const MOST_SERVERS: usize = 64;

/// A DELEGATION that a dns-b gave, and the serial of the fleet document it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The fleet document's serial.
    pub serial: u32,
    /// What it gave.
    pub delegation: Delegation,
}

/// How a zone shall be delegated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The zone.
    pub zone: Name,
    /// Seconds, for the NS set and the glue.
    pub ttl: u32,
    /// Name servers, each within the zone and with at least one address.
    pub servers: BTreeMap<Name, BTreeSet<IpAddr>>,
}

/// Why a DELEGATION is not heeded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadDelegation {
    /// Not ours to write: glue outside the zone belongs to somebody else.
    #[error("name server {0} is not <identity>.{1}")]
    Name(Name, Name),
    /// A name server that nobody could ask.
    #[error("name server {0} has no usable address")]
    Address(Name),
    /// None, or too many.
    #[error("{0} name servers; 1 to {MOST_SERVERS} can be")]
    Count(usize),
    /// Outside what RFC 2181 section 8 allows, or 0, which would take the zone out of caches.
    #[error("a TTL of {0} s")]
    Ttl(u32),
}

/// Whether `name` is that of a dns-b in `zone`: one label in front of it, an identity. Only such
/// name servers, and their addresses, are ours.
pub fn is_ours(name: &Name, zone: &Name) -> bool {
    name.parent().as_ref() == Some(zone) && name.labels().next().is_some_and(Identity::is_valid_label)
}

/// Whether a DELEGATION can be heeded.
///
/// # Errors
/// [`BadDelegation`], the first that applies.
pub fn check(delegation: &Delegation) -> Result<(), BadDelegation> {
    let Delegation { zone, ttl, servers } = delegation;
    if !(1..=MOST_SERVERS).contains(&servers.len()) {
        return Err(BadDelegation::Count(servers.len()));
    }
    if *ttl == 0 || *ttl > i32::MAX as u32 {
        return Err(BadDelegation::Ttl(*ttl));
    }
    for (name, addresses) in servers {
        if !is_ours(name, zone) {
            return Err(BadDelegation::Name(name.clone(), zone.clone()));
        }
        if addresses.is_empty() || addresses.iter().any(|a| a.is_unspecified() || a.is_multicast()) {
            return Err(BadDelegation::Address(name.clone()));
        }
    }
    Ok(())
}

/// What the offers, all for one zone and all checked, come to: those with the newest fleet
/// document count, and all of them together, with the least TTL. `None` without any.
pub fn merge<'a>(offers: impl Iterator<Item = &'a Offer> + Clone) -> Option<Wanted> {
    let newest = offers.clone().map(|o| o.serial).max()?;
    let mut delegations = offers.filter(|o| o.serial == newest).map(|o| &o.delegation);
    let mut wanted = Wanted::of(delegations.next()?);
    for delegation in delegations {
        let other = Wanted::of(delegation);
        wanted.ttl = wanted.ttl.min(other.ttl);
        for (name, addresses) in other.servers {
            wanted.servers.entry(name).or_default().extend(addresses);
        }
    }
    Some(wanted)
}

impl Wanted {
    fn of(delegation: &Delegation) -> Self {
        let mut servers: BTreeMap<Name, BTreeSet<IpAddr>> = BTreeMap::new();
        for (name, addresses) in &delegation.servers {
            servers.entry(name.clone()).or_default().extend(addresses);
        }
        Self { zone: delegation.zone.clone(), ttl: delegation.ttl, servers }
    }

    /// The NS set.
    pub fn ns(&self) -> RrSet {
        let data = self.servers.keys().cloned().map(Data::Ns).collect();
        RrSet { name: self.zone.clone(), rtype: RecordType::NS, ttl: self.ttl, data }
    }

    /// The glue, one set for each name and family.
    pub fn glue(&self) -> impl Iterator<Item = RrSet> {
        self.servers.iter().flat_map(move |(name, addresses)| {
            [RecordType::A, RecordType::AAAA].into_iter().filter_map(move |rtype| {
                let all = addresses.iter().copied().map(Data::Address);
                let data: BTreeSet<Data> = all.filter(|d| d.rtype() == rtype).collect();
                (!data.is_empty()).then(|| RrSet { name: name.clone(), rtype, ttl: self.ttl, data })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delegation(ttl: u32, servers: &[(&str, &[&str])]) -> Delegation {
        let servers = servers
            .iter()
            .map(|(name, addresses)| (name.parse().unwrap(), addresses.iter().map(|a| a.parse().unwrap()).collect()));
        Delegation { zone: "glb.foobar.com".parse().unwrap(), ttl, servers: servers.collect() }
    }

    #[test]
    fn the_newest_fleet_document_wins_and_its_holders_are_merged() {
        let old = Offer { serial: 6, delegation: delegation(86_400, &[("b9.glb.foobar.com", &["192.0.2.9"])]) };
        let one = Offer { serial: 7, delegation: delegation(3600, &[("b1.glb.foobar.com", &["192.0.2.1"])]) };
        let two = Offer {
            serial: 7,
            delegation: delegation(
                60,
                &[("b1.glb.foobar.com", &["2001:db8::1"]), ("b2.glb.foobar.com", &["192.0.2.2"])],
            ),
        };
        let offers = [old, one, two];
        let wanted = merge(offers.iter()).unwrap();
        assert_eq!(wanted.ttl, 60);
        let glue: Vec<_> = wanted.glue().map(|set| (set.name.to_string(), set.rtype)).collect();
        let (b1, b2) = ("b1.glb.foobar.com.".to_owned(), "b2.glb.foobar.com.".to_owned());
        assert_eq!(glue, [(b1.clone(), RecordType::A), (b1, RecordType::AAAA), (b2, RecordType::A)]);
        assert_eq!(wanted.ns().data.len(), 2);
        assert_eq!(merge([].iter()), None);
    }

    #[test]
    fn only_usable_servers_inside_the_zone_are_heeded() {
        let good = delegation(60, &[("b1.glb.foobar.com", &["192.0.2.1"])]);
        assert_eq!(check(&good), Ok(()));
        for (ttl, name, address) in [
            (60, "b1.foobar.com", "192.0.2.1"),
            (60, "glb.foobar.com", "192.0.2.1"),
            (60, "x.b1.glb.foobar.com", "192.0.2.1"),
            (60, "ns.glb.foobar.com", "192.0.2.1"),
            (60, "b_1.glb.foobar.com", "192.0.2.1"),
            (60, "b1.glb.foobar.com", "0.0.0.0"),
            (60, "b1.glb.foobar.com", "ff02::1"),
            (0, "b1.glb.foobar.com", "192.0.2.1"),
            (1 << 31, "b1.glb.foobar.com", "192.0.2.1"),
        ] {
            assert!(check(&delegation(ttl, &[(name, &[address])])).is_err(), "{ttl} {name} {address}");
        }
        assert!(check(&delegation(60, &[("b1.glb.foobar.com", &[])])).is_err());
        assert!(check(&delegation(60, &[])).is_err());
    }
}
