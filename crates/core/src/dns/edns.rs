//! The OPT record (RFC 6891) and its options, reading and writing.

use super::{
    query::{Edns, Record, Subnet},
    rcode,
};

/// Option codes, from the IANA registry "DNS EDNS0 Option Codes".
pub(super) const NSID: u16 = 3;
pub(super) const CLIENT_SUBNET: u16 = 8;
pub(super) const COOKIE: u16 = 10;
pub(super) const KEEPALIVE: u16 = 11;
pub(super) const PADDING: u16 = 12;
pub(super) const EXTENDED_ERROR: u16 = 15;

/// EDE INFO-CODEs (RFC 8914 section 4).
pub(super) const EDE_OTHER: u16 = 0;
pub(super) const EDE_STALE: u16 = 3;
pub(super) const EDE_NOT_READY: u16 = 14;
pub(super) const EDE_NOT_AUTHORITATIVE: u16 = 20;
pub(super) const EDE_NOT_SUPPORTED: u16 = 21;

/// Reads an OPT record; the response code that it deserves.
#[inline(always)]
pub(super) fn read<'p>(record: &Record<'p>, edns: &mut Option<Edns<'p>>) -> u16 {
    let [_extended_rcode, version, flags, _] = record.ttl;
    let edns = edns.insert(Edns { payload: record.class, dnssec_ok: flags & 0x80 != 0, ..Edns::default() });
    // RFC 6891 section 6.1.3: an unknown version is told so, whatever else is in the record.
    if version > 0 {
        return rcode::BADVERS;
    }
    let mut rest = record.rdata;
    while let [c0, c1, l0, l1, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some((data, tail)) = tail.split_at_checked(length) else {
            return rcode::FORMERR;
        };
        rest = tail;
        match u16::from_be_bytes([*c0, *c1]) {
            // RFC 5001 section 2.1: who asks sends it empty.
            NSID => edns.nsid |= data.is_empty(),
            // RFC 7873 section 5.2: the first one counts; section 5.2.2: other lengths are no cookie.
            COOKIE if edns.cookie.is_some() => {}
            COOKIE if matches!(data.len(), 8 | 16..=40) => edns.cookie = Some(data),
            COOKIE => return rcode::FORMERR,
            KEEPALIVE => edns.keepalive = Some(data.len() as u16),
            PADDING => edns.padding = true,
            CLIENT_SUBNET => match Subnet::read(data) {
                Some(subnet) if edns.subnet.is_none() => edns.subnet = Some(subnet),
                _ => return rcode::FORMERR,
            },
            // RFC 6891 section 6.1.2: unknown options are ignored.
            _ => {}
        }
    }
    if rest.is_empty() { rcode::NOERROR } else { rcode::FORMERR }
}
