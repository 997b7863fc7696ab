//! Response codes (IANA registry "DNS RCODEs").

/// No error.
pub const NOERROR: u16 = 0;
/// The question could not be read.
pub const FORMERR: u16 = 1;
/// The server cannot answer now.
pub const SERVFAIL: u16 = 2;
/// The name does not exist.
pub const NXDOMAIN: u16 = 3;
/// The opcode is not implemented.
pub const NOTIMP: u16 = 4;
/// The server will not answer this.
pub const REFUSED: u16 = 5;
/// The signature is not one that we could know (RFC 8945 section 5.2.1).
pub const NOTAUTH: u16 = 9;
/// Unknown EDNS version (RFC 6891 section 9).
pub const BADVERS: u16 = 16;
/// A cookie is missing or not good (RFC 7873 section 8).
pub const BADCOOKIE: u16 = 23;
