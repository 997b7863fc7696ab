//! Record types (IANA registry "Resource Record (RR) TYPEs") that mean something to us.
#![allow(missing_docs)]

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const OPT: u16 = 41;
pub const DS: u16 = 43;
pub const NSEC: u16 = 47;
pub const DNSKEY: u16 = 48;
pub const CDS: u16 = 59;
pub const CDNSKEY: u16 = 60;
pub const ZONEMD: u16 = 63;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;
/// First of the QTYPEs and meta types that are never data (RFC 6895 section 3.1).
pub const FIRST_META: u16 = 128;
/// Last of them but for ANY.
pub const LAST_META: u16 = 254;
pub const ANY: u16 = 255;
