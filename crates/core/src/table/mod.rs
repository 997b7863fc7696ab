//! Temporary.
#![allow(missing_docs)]
use std::net::IpAddr;
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LbIndex(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub lb: LbIndex,
    pub preference: u16,
    pub weight: u16,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    pub members: Vec<Member>,
}
#[derive(Clone, Debug, Default)]
pub struct MapTable {}
#[derive(Clone, Copy, Debug)]
pub struct Located<'t> {
    pub group: Option<&'t Group>,
    pub matched: Option<u8>,
    pub scope: u8,
}
impl MapTable {
    pub fn lookup(&self, _address: IpAddr, _source: u8) -> Located<'_> {
        Located { group: None, matched: None, scope: 0 }
    }
    pub fn nearest(&self, _address: IpAddr, _least_bits: u8) -> Option<Located<'_>> {
        None
    }
}
