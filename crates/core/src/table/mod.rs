//! The map table: from the prefix of whoever asks to the DNS-LBs that serve it (design section 4).
//!
//! A [`MapTable`] never changes. The writer's [`Registry`] makes the next version by copying the
//! path to what differs and shares the rest, so a version is cloned in no time, readers need no
//! lock, and an old version answers as it always did.
//!
//! Every answer comes with its *scope*: the least number of leading bits of the address such that
//! every address that shares them gets the same answer. A resolver may give the answer to all of
//! them (RFC 7871 section 7.3).

mod batch;
mod group;
mod key;
mod ranges;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod registry;
mod summary;
mod trie;
mod update;
mod walk;

use std::net::IpAddr;

pub(crate) use batch::BATCH;
pub use group::{Group, GroupId, Member};
pub use registry::{Changes, Claim, Held, Registry, RegistryError, Source};

use crate::net::Prefix;
use group::Groups;
use key::Key;
use trie::{Found, Trie};
use update::Change;

/// The number under which a DNS-LB is known inside this process; it means nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LbIndex(pub u32);

/// Prefixes and their groups, IPv4 and IPv6 apart. The default is the empty table.
#[derive(Clone, Debug, Default)]
pub struct MapTable {
    v4: Trie<u32>,
    v6: Trie<u128>,
    groups: Groups,
}

/// What the table says of an address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located<'t> {
    /// The DNS-LBs of the entry that decided; `None` if nothing matched.
    pub group: Option<&'t Group>,
    /// The length in bits of that entry's prefix.
    pub matched: Option<u8>,
    /// The depth in bits at which no different answer can be reached below (design section 4),
    /// for a hit and for a miss. Beyond the SOURCE length if only more bits of the address could
    /// tell which answer is right.
    pub scope: u8,
}

impl MapTable {
    /// Finds the longest prefix that matches `address` among those of at most `source` bits.
    ///
    /// `source` is the SOURCE PREFIX-LENGTH of the client subnet option, or the whole address (32
    /// or 128) of a resolver; bits of the address beyond it play no part. IPv4-mapped addresses are
    /// for the caller to unwrap ([`crate::net::canonical`]). Total: every question has an answer.
    ///
    /// If everybody within `source` bits is answered alike, the scope is the least depth of which
    /// that is true. Else it is the least depth at which whoever asks with that many bits, from
    /// anywhere within `source` bits, gets the answer that the whole address would have got.
    pub fn lookup(&self, address: IpAddr, source: u8) -> Located<'_> {
        self.located(match address {
            IpAddr::V4(a) => self.v4.lookup(a.to_bits(), source.min(u32::BITS as u8)),
            IpAddr::V6(a) => self.v6.lookup(a.to_bits(), source.min(u128::BITS as u8)),
        })
    }

    /// For an address that nothing covers: the entry whose addresses share most leading bits with
    /// it, the numerically nearest among equals, if they share `least_bits` or more.
    ///
    /// The scope is the least depth, but not less than `least_bits`, at which nobody is answered
    /// differently by an entry or by this rule. Where something does cover the address, this is
    /// [`MapTable::lookup`] of the whole address.
    pub fn nearest(&self, address: IpAddr, least_bits: u8) -> Option<Located<'_>> {
        let found = match address {
            IpAddr::V4(a) => self.v4.nearest(a.to_bits(), least_bits),
            IpAddr::V6(a) => self.v6.nearest(a.to_bits(), least_bits),
        };
        found.map(|f| self.located(f))
    }

    /// The group of exactly this prefix.
    pub fn exact(&self, prefix: Prefix) -> Option<&Group> {
        let id = match prefix.address() {
            IpAddr::V4(a) => self.v4.exact(a.to_bits(), prefix.bits()),
            IpAddr::V6(a) => self.v6.exact(a.to_bits(), prefix.bits()),
        };
        self.groups.at(id?)
    }

    /// How many prefixes have an entry.
    pub fn len(&self) -> usize {
        self.v4.len + self.v6.len
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry: IPv4 first, by address, shorter prefixes before longer ones.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &Group)> {
        let v4 = self.v4.entries().map(|e| (e.key.address(), e.bits, e.group));
        let v6 = self.v6.entries().map(|e| (e.key.address(), e.bits, e.group));
        let known = |(address, bits, id)| Some((Prefix::containing(address, bits).ok()?, self.groups.at(id)?));
        v4.chain(v6).filter_map(known)
    }

    /// Octets of memory that this version occupies, shared with others or not; counted by a walk
    /// through all of it.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes() + self.groups.bytes()
    }

    fn located(&self, found: Found) -> Located<'_> {
        found.located(&self.groups)
    }

    /// Gives prefixes their groups, or takes them away. No prefix is named twice.
    fn apply(&mut self, mut changes: Vec<(Prefix, Option<GroupId>)>) {
        changes.sort_unstable_by_key(|(prefix, _)| *prefix);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, group) in changes {
            let bits = prefix.bits();
            match prefix.address() {
                IpAddr::V4(a) => v4.push(Change { key: a.to_bits(), bits, group }),
                IpAddr::V6(a) => v6.push(Change { key: a.to_bits(), bits, group }),
            }
        }
        if !v4.is_empty() {
            self.v4.apply(&v4);
        }
        if !v6.is_empty() {
            self.v6.apply(&v6);
        }
    }
}

#[cfg(test)]
mod tests;
