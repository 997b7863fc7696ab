//! The table's meaning, said as plainly as possible: a list that is scanned for every question.
//! Far too slow to use, short enough to be believed; tests and fuzzers hold the real table to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{Prefix, family_bits, mask};

/// Prefixes with values, in no order.
#[derive(Clone, Debug)]
pub struct Scan<V>(Vec<(Prefix, V)>);

/// What [`Scan`] has to say of an address; compare with [`super::Located`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'s, V> {
    /// The value of the entry that decided.
    pub value: Option<&'s V>,
    /// The length of that entry.
    pub matched: Option<u8>,
    /// The depth at which no different answer can be reached below.
    pub scope: u8,
}

impl<V> Default for Scan<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: PartialEq> Scan<V> {
    /// Sets, replaces or (with `None`) removes the entry of exactly this prefix.
    pub fn set(&mut self, prefix: Prefix, value: Option<V>) {
        self.0.retain(|(p, _)| *p != prefix);
        self.0.extend(value.map(|v| (prefix, v)));
    }

    /// Every entry in the order of the prefixes.
    pub fn sorted(&self) -> Vec<(Prefix, &V)> {
        let mut all: Vec<_> = self.0.iter().map(|(p, v)| (*p, v)).collect();
        all.sort_by_key(|(p, _)| *p);
        all
    }

    /// See [`super::MapTable::lookup`].
    pub fn lookup(&self, address: IpAddr, source: u8) -> Found<'_, V> {
        let block = block(address, source.min(family_bits(address)));
        let decided = self.decide(block);
        let (value, matched) = (decided.map(|d| d.1), decided.map(|d| d.0.bits()));
        // Everybody in the block is answered like this, however much is known of the address: then
        // so is everybody in the widest block of which that is true. Else only a longer SOURCE
        // can tell the addresses of the block apart.
        let scope = if self.uniform(block, value) {
            (0..=block.bits()).find(|d| self.uniform(self::block(address, *d), value)).unwrap_or(block.bits())
        } else {
            self.settled(block)
        };
        Found { value, matched, scope }
    }

    /// See [`super::MapTable::nearest`].
    pub fn nearest(&self, address: IpAddr, least_bits: u8) -> Option<Found<'_, V>> {
        if self.decide(Prefix::host(address)).is_some() {
            return Some(self.lookup(address, family_bits(address)));
        }
        let common = |a: &IpAddr| common_bits(*a, address);
        let family = || self.0.iter().map(|(p, _)| *p).filter(|p| p.address().is_ipv4() == address.is_ipv4());
        let below = family().map(last).filter(|a| *a < address).max();
        let above = family().map(|p| p.address()).filter(|a| *a > address).min();
        let neighbour = [below, above].into_iter().flatten().max_by_key(common)?;
        if common(&neighbour) < least_bits {
            return None;
        }
        let (prefix, value) = self.decide(Prefix::host(neighbour))?;
        let one = |d: &u8| {
            let answers = || self.answers(block(address, *d));
            answers().all(|v| v.is_none() || v == Some(value)) || answers().all(|v| v.is_none())
        };
        let scope = (least_bits..=family_bits(address)).find(one)?;
        Some(Found { value: Some(value), matched: Some(prefix.bits()), scope })
    }

    /// The longest entry that covers the whole block.
    fn decide(&self, block: Prefix) -> Option<(Prefix, &V)> {
        self.0.iter().filter(|(p, _)| p.covers(&block)).max_by_key(|(p, _)| p.bits()).map(|(p, v)| (*p, v))
    }

    /// Every answer that some address in the block gets; may name one more than once.
    fn answers(&self, block: Prefix) -> impl Iterator<Item = Option<&V>> {
        // The answer changes only where an entry begins and behind its end.
        let inside = self.0.iter().map(|(p, _)| *p).filter(move |p| block.covers(p));
        let changes = inside.flat_map(|p| [Some(p.address()), next(last(p))]).flatten();
        let addresses = changes.chain([block.address()]).filter(move |a| block.contains(*a));
        addresses.map(|a| self.decide(Prefix::host(a)).map(|d| d.1))
    }

    fn uniform(&self, block: Prefix, value: Option<&V>) -> bool {
        self.answers(block).all(|v| v == value)
    }

    /// The least depth at which everybody in the block who is asked for that many bits gets the
    /// answer that the whole address would have got.
    fn settled(&self, block: Prefix) -> u8 {
        if self.uniform(block, self.decide(block).map(|d| d.1)) {
            return block.bits();
        }
        let half = |a| Prefix::containing(a, block.bits() + 1).map_or(0, |h| self.settled(h));
        half(block.address()).max(half(last(block)))
    }
}

/// The block of `bits` bits around the address; `bits` is within the family.
fn block(address: IpAddr, bits: u8) -> Prefix {
    Prefix::containing(address, bits).unwrap_or(Prefix::host(address))
}

/// The last address of a prefix.
fn last(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() | !v4(mask(Ipv4Addr::BROADCAST.into(), prefix.bits()))).into(),
        IpAddr::V6(a) => {
            let ones = Ipv6Addr::from_bits(u128::MAX).into();
            Ipv6Addr::from_bits(a.to_bits() | !v6(mask(ones, prefix.bits()))).into()
        }
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => a.to_bits().checked_add(1).map(|n| Ipv4Addr::from_bits(n).into()),
        IpAddr::V6(a) => a.to_bits().checked_add(1).map(|n| Ipv6Addr::from_bits(n).into()),
    }
}

/// Leading bits that two addresses of one family share.
fn common_bits(a: IpAddr, b: IpAddr) -> u8 {
    let zeros = if a.is_ipv4() { (v4(a) ^ v4(b)).leading_zeros() } else { (v6(a) ^ v6(b)).leading_zeros() };
    zeros as u8
}

fn v4(address: IpAddr) -> u32 {
    if let IpAddr::V4(a) = address { a.to_bits() } else { 0 }
}

fn v6(address: IpAddr) -> u128 {
    if let IpAddr::V6(a) = address { a.to_bits() } else { 0 }
}
