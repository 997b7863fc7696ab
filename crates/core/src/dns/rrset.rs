//! RRsets as an answer names them: borrowed from the directory, turned into records only when
//! they are written.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{edns, rtype, writer::Parts};
use crate::{
    answer::MAX_ANSWERS,
    catalogue::StaticRecord,
    fleet::{Fleet, FleetServer, FleetTtls, MAX_FALLBACKS},
    name::Name,
};

/// All records of one owner and type.
#[derive(Clone, Debug)]
pub struct RrSet<'d> {
    pub(crate) owner: Parts<'d>,
    /// TYPE.
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    pub(crate) data: Data<'d>,
}

/// What the records hold.
#[derive(Clone, Debug)]
pub(crate) enum Data<'d> {
    /// A CNAME's target.
    Name(Parts<'d>),
    /// A or AAAA chosen for this answer; all of the family that the type says.
    Addresses(ArrayVec<IpAddr, MAX_ANSWERS>),
    /// A or AAAA as configured; those of the family that the type says.
    Fixed(&'d [IpAddr]),
    /// `<identity>.<zone>` of every dns-b.
    FleetNs { fleet: &'d Fleet, zone: &'d Name },
    /// `ns`, `f1`, `f2` below the owner.
    LabelNs { lb: bool, fallbacks: usize },
    /// SOA.
    Soa(Soa<'d>),
    /// One TXT record of two strings of at most 63 octets.
    Text([&'d [u8]; 2]),
    /// Static records of one owner and type.
    Records(&'d [StaticRecord]),
}

impl<'d> Data<'d> {
    /// The addresses of the family that `qtype` asks for, with their type, if there are any; of the
    /// first there is for ANY (RFC 8482 section 4.1).
    pub(crate) fn family(addresses: &'d [IpAddr], qtype: u16) -> Option<(u16, Self)> {
        let wanted: &[u16] = if qtype == rtype::ANY { &[rtype::A, rtype::AAAA] } else { &[qtype] };
        let found = wanted.iter().find(|family| addresses.iter().any(|a| of_family(a, **family)))?;
        Some((*found, Self::Fixed(addresses)))
    }
}

/// Whether an address goes into a record of this type.
pub(crate) fn of_family(address: &IpAddr, qtype: u16) -> bool {
    match address {
        IpAddr::V4(_) => qtype == rtype::A,
        IpAddr::V6(_) => qtype == rtype::AAAA,
    }
}

/// An SOA's fields (RFC 1035 section 3.3.13).
#[derive(Clone, Debug)]
pub(crate) struct Soa<'d> {
    pub(crate) mname: Parts<'d>,
    pub(crate) rname: &'d [u8],
    pub(crate) serial: u32,
    pub(crate) ttl: FleetTtls,
}

/// Names of `ns`, `f1`, `f2` as wire labels.
pub(crate) const LABEL_SERVERS: [&[u8]; 1 + MAX_FALLBACKS] = [b"\x02ns", b"\x02f1", b"\x02f2"];

/// Address records in the additional section.
#[derive(Clone, Debug)]
pub enum Glue<'d> {
    /// None.
    None,
    /// A label zone's name servers: a referral is useless without (RFC 9471).
    #[allow(missing_docs)]
    Label { apex: LabelApex<'d>, ttl: u32, lb: &'d [IpAddr], fallbacks: ArrayVec<&'d FleetServer, MAX_FALLBACKS> },
    /// The dns-bs' names in a zone: a courtesy.
    #[allow(missing_docs)]
    Fleet { fleet: &'d Fleet, zone: &'d Name },
}

/// The owner name of a label zone.
pub(crate) type LabelApex<'d> = Parts<'d>;

/// Why an answer is not as good as it should be (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ede {
    /// No catalogue, label or first measurement yet.
    NotReady,
    /// The name is in none of our zones.
    NotAuthoritative,
    /// Every site fails its probes; these are the last good ones.
    AllSitesDown,
    /// The DNS-LB's ranking is old.
    StaleRanking,
    /// A transfer, or something else that is not offered.
    NotSupported,
}

impl Ede {
    /// INFO-CODE and EXTRA-TEXT.
    pub(crate) fn wire(self) -> (u16, &'static str) {
        match self {
            Self::NotReady => (edns::EDE_NOT_READY, "no measurement yet"),
            Self::NotAuthoritative => (edns::EDE_NOT_AUTHORITATIVE, ""),
            Self::AllSitesDown => (edns::EDE_OTHER, "all sites down"),
            Self::StaleRanking => (edns::EDE_STALE, "ranking is old"),
            Self::NotSupported => (edns::EDE_NOT_SUPPORTED, ""),
        }
    }
}
