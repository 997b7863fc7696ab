//! The map table: from the prefix of whoever asks to the DNS-LBs that serve it (design section 4).
//!
//! A [`MapTable`] never changes. The writer's [`Registry`] makes the next version by copying the
//! path to what differs and shares the rest, so a version is cloned in no time, readers need no
//! lock, and an old version answers as it always did.
//!
//! Every answer comes with its *scope*: the least number of leading bits of the address such that
//! every address that shares them gets the same answer. A resolver may give the answer to all of
//! them (RFC 7871 section 7.3).

mod group;
pub mod reference;
mod registry;

use std::{net::IpAddr, sync::Arc};

pub use group::{Group, GroupId, Member};
pub use registry::{Changes, Claim, Held, Registry, RegistryError, Source};

use crate::net::Prefix;
use group::Groups;

/// The number under which a DNS-LB is known inside this process; it means nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LbIndex(pub u32);

/// Prefixes and their groups, IPv4 and IPv6 apart. The default is the empty table.
#[derive(Clone, Debug, Default)]
pub struct MapTable {
    entries: Arc<reference::Scan<GroupId>>,
    groups: Groups,
}

/// What the table says of an address.
#[derive(Clone, Copy, Debug)]
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
        let found = self.entries.lookup(address, source);
        self.located(found.value.copied(), found.matched, found.scope)
    }

    /// For an address that nothing covers: the entry whose addresses share most leading bits with
    /// it, the numerically nearest among equals, if they share `least_bits` or more.
    ///
    /// The scope is the least depth, but not less than `least_bits`, at which nobody is answered
    /// differently by an entry or by this rule. Where something does cover the address, this is
    /// [`MapTable::lookup`] of the whole address.
    pub fn nearest(&self, address: IpAddr, least_bits: u8) -> Option<Located<'_>> {
        let found = self.entries.nearest(address, least_bits)?;
        Some(self.located(found.value.copied(), found.matched, found.scope))
    }

    /// The group of exactly this prefix.
    pub fn exact(&self, prefix: Prefix) -> Option<&Group> {
        self.iter().find(|(p, _)| *p == prefix).map(|(_, g)| g)
    }

    /// How many prefixes have an entry.
    pub fn len(&self) -> usize {
        self.entries.sorted().len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry: IPv4 first, by address, shorter prefixes before longer ones.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &Group)> {
        self.entries.sorted().into_iter().filter_map(|(prefix, id)| Some((prefix, self.groups.at(*id)?)))
    }

    fn located(&self, group: Option<GroupId>, matched: Option<u8>, scope: u8) -> Located<'_> {
        Located { group: group.and_then(|id| self.groups.at(id)), matched, scope }
    }

    fn set(&mut self, prefix: Prefix, group: Option<GroupId>) {
        Arc::make_mut(&mut self.entries).set(prefix, group);
    }
}

#[cfg(test)]
mod tests;
