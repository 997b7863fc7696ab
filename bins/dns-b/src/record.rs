//! What dns-b keeps in its store, as octets. Every record begins with the version of its own form, so
//! one kind can change without the others.
//!
//! Invariant: what was written here is read back as it was, and whatever else stands there is refused
//! as a whole: half a record is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, BufMut};
use dglb_core::{
    catalogue::CatalogueUpdate,
    fleet::Fleet,
    identity::Identity,
    net::Prefix,
    proto::{
        Number,
        message::{BootId, Message, Report},
    },
    table::{Claim, Source},
};
use dglb_node::store::{
    Schema, Step,
    record::{FORM, RecordError, content, message},
};

/// The file's name in the state directory.
pub const FILE: &str = "dns-b.redb";
/// DNS-LBs, by identity: [`LbRecord`].
pub const LBS: &str = "dns-lbs";
/// Catalogues, by zone in wire form: the CATALOGUE that DNS-LBs get, be it that the zone is gone.
pub const ZONES: &str = "zones";
/// Last reports, by [`report_key`]: a REPORT with base 0, or a part of one.
pub const REPORTS: &str = "reports";
/// The fleet document in use, under an empty key.
pub const FLEET: &str = "fleet";

/// What the file holds.
pub static SCHEMA: Schema =
    Schema { kind: "dns-b", format: 1, tables: &[LBS, ZONES, REPORTS, FLEET], upgrades: &UPGRADES };

/// No release has written format 0, which has a report in one record: its step keeps the way of upgrades
/// open, and tests walk it.
static UPGRADES: [Step; 1] = [crate::upgrade::from_0];

/// Rankings in one record: what is written anew when one of them changes.
pub const RANKINGS: usize = 1_000;
/// What is kept of one DNS-LB beside its report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LbRecord {
    /// The run of it that said all this.
    pub boot: BootId,
    /// Of its MAP; 0 if its lease is over.
    pub map_generation: u64,
    /// How long its entries outlive the link, in milliseconds.
    pub lease_ms: u64,
    /// It said READY for this MAP.
    pub ready: bool,
    /// Its name may be in caches.
    pub handed_out: bool,
    /// The operator wants no new clients sent there.
    pub drained: bool,
    /// Where it answers.
    pub addresses: Vec<IpAddr>,
    /// What it holds; `true` for client networks.
    pub claims: Vec<(Claim, bool)>,
}

const READY: u8 = 0x01;
const HANDED_OUT: u8 = 0x02;
const DRAINED: u8 = 0x04;

const V6: u8 = 0x01;
const CLIENT: u8 = 0x02;
const PROVEN: u8 = 0x04;

impl LbRecord {
    /// As octets. An entry takes 10 of them for IPv4 and 22 for IPv6.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + 17 * self.addresses.len() + 22 * self.claims.len());
        out.put_u8(FORM);
        out.put_slice(&self.boot.0);
        out.put_u64(self.map_generation);
        out.put_u64(self.lease_ms);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put_u8(flag(self.ready, READY) | flag(self.handed_out, HANDED_OUT) | flag(self.drained, DRAINED));
        out.put_u32(self.addresses.len() as u32);
        for address in &self.addresses {
            out.put_u8(flag(address.is_ipv6(), V6));
            put_address(&mut out, *address);
        }
        out.put_u32(self.claims.len() as u32);
        for (claim, client) in &self.claims {
            let proven = claim.source == Source::Proven;
            let address = claim.prefix.address();
            out.put_u8(flag(address.is_ipv6(), V6) | flag(*client, CLIENT) | flag(proven, PROVEN));
            out.put_u8(claim.prefix.bits());
            out.put_u16(claim.preference);
            out.put_u16(claim.weight);
            put_address(&mut out, address);
        }
        out
    }

    /// Back from octets.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let mut rest = content(octets)?;
        let cut = |_| RecordError::Cut;
        let mut boot = [0; 16];
        rest.try_copy_to_slice(&mut boot).map_err(cut)?;
        let map_generation = rest.try_get_u64().map_err(cut)?;
        let lease_ms = rest.try_get_u64().map_err(cut)?;
        let flags = rest.try_get_u8().map_err(cut)?;
        let count = rest.try_get_u32().map_err(cut)?;
        // No more room is made than there can be addresses and entries in what is left.
        let mut addresses = Vec::with_capacity((count as usize).min(rest.len() / 5));
        for _ in 0..count {
            let family = rest.try_get_u8().map_err(cut)?;
            addresses.push(address(&mut rest, family)?);
        }
        let count = rest.try_get_u32().map_err(cut)?;
        let mut claims = Vec::with_capacity((count as usize).min(rest.len() / 10));
        for _ in 0..count {
            claims.push(claim(&mut rest)?);
        }
        if !rest.is_empty() {
            return Err(RecordError::Long(rest.len()));
        }
        let (ready, handed_out, drained) = (flags & READY != 0, flags & HANDED_OUT != 0, flags & DRAINED != 0);
        Ok(Self { boot: BootId(boot), map_generation, lease_ms, ready, handed_out, drained, addresses, claims })
    }
}

fn claim(rest: &mut &[u8]) -> Result<(Claim, bool), RecordError> {
    let cut = |_| RecordError::Cut;
    let flags = rest.try_get_u8().map_err(cut)?;
    let bits = rest.try_get_u8().map_err(cut)?;
    let preference = rest.try_get_u16().map_err(cut)?;
    let weight = rest.try_get_u16().map_err(cut)?;
    let prefix = Prefix::strict(address(rest, flags)?, bits).map_err(|e| RecordError::Content(e.to_string()))?;
    let source = if flags & PROVEN != 0 { Source::Proven } else { Source::Static };
    Ok((Claim { prefix, preference, weight, source }, flags & CLIENT != 0))
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => out.put_slice(&a.octets()),
        IpAddr::V6(a) => out.put_slice(&a.octets()),
    }
}

fn address(rest: &mut &[u8], flags: u8) -> Result<IpAddr, RecordError> {
    let cut = |_| RecordError::Cut;
    if flags & V6 == 0 {
        Ok(Ipv4Addr::from_bits(rest.try_get_u32().map_err(cut)?).into())
    } else {
        Ok(Ipv6Addr::from_bits(rest.try_get_u128().map_err(cut)?).into())
    }
}

/// A catalogue, or that a zone is gone.
///
/// # Errors
/// [`RecordError`].
pub fn catalogue(octets: &[u8]) -> Result<CatalogueUpdate, RecordError> {
    match message(Number::CATALOGUE, octets)? {
        Message::Catalogue(update) => match *update {
            CatalogueUpdate::Delta(_) => Err(RecordError::Content("it is no whole catalogue".to_owned())),
            whole => Ok(whole),
        },
        _ => Err(RecordError::Content("it is no catalogue".to_owned())),
    }
}

/// A report, or a part of one.
///
/// # Errors
/// [`RecordError`].
pub fn report(octets: &[u8]) -> Result<Report, RecordError> {
    match message(Number::REPORT, octets)? {
        Message::Report(report) => Ok(report),
        _ => Err(RecordError::Content("it is no report".to_owned())),
    }
}

/// A fleet document.
///
/// # Errors
/// [`RecordError`].
pub fn fleet(octets: &[u8]) -> Result<Fleet, RecordError> {
    match message(Number::FLEET, octets)? {
        Message::Fleet(fleet) => Ok(*fleet),
        _ => Err(RecordError::Content("it is no fleet document".to_owned())),
    }
}

/// The key of a DNS-LB's `part`-th part of its report: parts of one DNS-LB stand together.
pub fn report_key(identity: &Identity, part: u32) -> Vec<u8> {
    [identity.as_str().as_bytes(), &[0], &part.to_be_bytes()].concat()
}

/// Whose report a key is of.
pub fn report_owner(key: &[u8]) -> Option<Identity> {
    let (identity, part) = key.split_at_checked(key.len().checked_sub(5)?)?;
    (part[0] == 0).then(|| std::str::from_utf8(identity).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|a| Ipv4Addr::from(a).into()),
            any::<u128>().prop_map(|a| Ipv6Addr::from(a).into())
        ]
    }

    fn any_claim() -> impl Strategy<Value = (Claim, bool)> {
        (any_address(), any::<u8>(), any::<u16>(), any::<u16>(), any::<bool>(), any::<bool>()).prop_map(
            |(address, bits, preference, weight, proven, client)| {
                let bits = bits % (dglb_core::net::family_bits(address) + 1);
                let prefix = Prefix::containing(address, bits).unwrap();
                let source = if proven { Source::Proven } else { Source::Static };
                (Claim { prefix, preference, weight, source }, client)
            },
        )
    }

    prop_compose! {
        fn any_record()(
            boot in any::<[u8; 16]>(), map_generation in any::<u64>(), lease_ms in any::<u64>(),
            ready in any::<bool>(), handed_out in any::<bool>(), drained in any::<bool>(),
            addresses in prop::collection::vec(any_address(), 0..4), claims in prop::collection::vec(any_claim(), 0..40),
        ) -> LbRecord {
            LbRecord { boot: BootId(boot), map_generation, lease_ms, ready, handed_out, drained, addresses, claims }
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was_and_no_part_of_it_is_one(record in any_record(), cut in any::<prop::sample::Index>()) {
            let octets = record.encode();
            prop_assert_eq!(LbRecord::decode(&octets), Ok(record));
            prop_assert!(LbRecord::decode(&octets[..cut.index(octets.len())]).is_err());
            prop_assert_eq!(LbRecord::decode(&[&octets[..], &[0]].concat()), Err(RecordError::Long(1)));
        }

        #[test]
        fn whatever_stands_there_is_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let octets = [&[FORM], &octets[..]].concat();
            let _ = (LbRecord::decode(&octets), catalogue(&octets), report(&octets), fleet(&octets), report_owner(&octets));
        }
    }

    #[test]
    fn a_later_form_is_refused() {
        let octets = [FORM + 1, 0, 0];
        assert_eq!(LbRecord::decode(&octets), Err(RecordError::Form(2)));
        assert_eq!(report(&octets), Err(RecordError::Form(2)));
    }

    #[test]
    fn a_key_says_whose_it_is() {
        let identity: Identity = "sea1".parse().unwrap();
        assert_eq!(report_owner(&report_key(&identity, 258)), Some(identity));
        assert_eq!(report_owner(b"sea1"), None);
        assert_eq!(report_owner(b""), None);
    }
}
