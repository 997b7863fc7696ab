//! Short names for what is too long to be sent when the other side may have it already. Every build
//! of every daemon computes the same, since both hash the octets that go over the wire.
//!
//! A digest tells honest mistakes apart, not forgeries: who may say a document at all follows from
//! the link that it came over.

use std::hash::Hasher;

use super::{message::FleetStamp, wire};
use crate::{
    catalogue::ZoneCatalogue,
    fleet::{Fleet, Fnv, mix},
};

impl Fleet {
    /// Which document this is.
    pub fn stamp(&self) -> FleetStamp {
        FleetStamp { serial: self.serial, digest: digest(&wire::fleet(self)) }
    }
}

impl ZoneCatalogue {
    /// Of the whole content, generation and order included; never 0.
    pub fn digest(&self) -> u64 {
        digest(&wire::snapshot(self))
    }
}

/// 64 bits of FNV-1a, mixed; never 0, which means "none".
fn digest(octets: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(octets);
    mix(hash.finish()).max(1)
}
