//! Small facts about RRsets that decisions and the writing of records share.

use std::net::IpAddr;

use super::{edns, rtype};
use crate::fleet::MAX_FALLBACKS;

/// Names of `ns`, `f1`, `f2` as wire labels, all of the same length.
pub(crate) const LABEL_SERVERS: [&[u8]; 1 + MAX_FALLBACKS] = [b"\x02ns", b"\x02f1", b"\x02f2"];

/// The type that `qtype` asks for of these addresses, if there are any of it; the first that there is
/// for ANY (RFC 8482 section 4.1).
pub(crate) fn family(addresses: &[IpAddr], qtype: u16) -> Option<u16> {
    let wanted: &[u16] = if qtype == rtype::ANY { &[rtype::A, rtype::AAAA] } else { &[qtype] };
    wanted.iter().copied().find(|family| addresses.iter().any(|a| of_family(a, *family)))
}

/// Whether an address goes into a record of this type.
pub(crate) fn of_family(address: &IpAddr, qtype: u16) -> bool {
    match address {
        IpAddr::V4(_) => qtype == rtype::A,
        IpAddr::V6(_) => qtype == rtype::AAAA,
    }
}

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
            Self::NotReady => (edns::EDE_NOT_READY, "nothing known yet"),
            Self::NotAuthoritative => (edns::EDE_NOT_AUTHORITATIVE, ""),
            Self::AllSitesDown => (edns::EDE_OTHER, "all sites down"),
            Self::StaleRanking => (edns::EDE_STALE, "ranking is old"),
            Self::NotSupported => (edns::EDE_NOT_SUPPORTED, ""),
        }
    }
}
