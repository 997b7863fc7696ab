//! Questions octet by octet: whatever RFC 1035 and its successors allow, and what they do not.

use crate::raw;

/// TYPEs by their numbers (IANA registry "Resource Record TYPEs").
#[allow(missing_docs)]
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const DNSKEY: u16 = 48;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
    pub const ANY: u16 = 255;
    pub const CAA: u16 = 257;
}

/// Option codes (IANA registry "DNS EDNS0 Option Codes").
#[allow(missing_docs)]
pub mod option {
    pub const NSID: u16 = 3;
    pub const CLIENT_SUBNET: u16 = 8;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const EXTENDED_ERROR: u16 = 15;
}

/// Recursion desired, in the header's flags.
pub const RD: u16 = 0x0100;
/// Checking disabled.
pub const CD: u16 = 0x0010;
/// Authentic data.
pub const AD: u16 = 0x0020;

/// A question that is being put together.
#[derive(Clone, Debug)]
pub struct Packet {
    id: u16,
    flags: u16,
    name: Vec<u8>,
    rtype: u16,
    class: u16,
    opt: Option<Opt>,
}

#[derive(Clone, Debug)]
struct Opt {
    payload: u16,
    version: u8,
    flags: u16,
    options: Vec<u8>,
}

impl Packet {
    /// For a name of class IN, without flags and without EDNS, with an id of its own.
    pub fn new(name: &str, rtype: u16) -> Self {
        Self { id: raw::id(), flags: 0, name: wire(name), rtype, class: 1, opt: None }
    }

    /// Of another class.
    #[must_use]
    pub fn class(mut self, class: u16) -> Self {
        self.class = class;
        self
    }

    /// With these bits of the header's second word.
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    /// With another OPCODE, 0 to 15.
    #[must_use]
    pub fn opcode(self, opcode: u16) -> Self {
        self.flags(opcode << 11)
    }

    /// With an OPT record that offers so many octets.
    #[must_use]
    pub fn edns(mut self, payload: u16) -> Self {
        self.opt = Some(Opt { payload, version: 0, flags: 0, options: vec![] });
        self
    }

    /// With another EDNS version.
    ///
    /// # Panics
    /// Without EDNS.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.opt.as_mut().expect("a version is EDNS's").version = version;
        self
    }

    /// With these EDNS flags, of which DO is the highest bit.
    ///
    /// # Panics
    /// Without EDNS.
    #[must_use]
    pub fn edns_flags(mut self, flags: u16) -> Self {
        self.opt.as_mut().expect("EDNS flags are EDNS's").flags = flags;
        self
    }

    /// With one more option; with EDNS for 1 232 octets, if there is none yet.
    ///
    /// # Panics
    /// When `data` is longer than an option may be.
    #[must_use]
    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        if self.opt.is_none() {
            self = self.edns(1_232);
        }
        if let Some(opt) = &mut self.opt {
            opt.options.extend(code.to_be_bytes());
            opt.options.extend(u16::try_from(data.len()).expect("a short option").to_be_bytes());
            opt.options.extend(data);
        }
        self
    }

    /// With a client subnet option (RFC 7871 section 6): family, source prefix, address octets.
    #[must_use]
    pub fn subnet(self, family: u16, source: u8, address: &[u8]) -> Self {
        let data = [&family.to_be_bytes()[..], &[source, 0], address].concat();
        self.option(option::CLIENT_SUBNET, &data)
    }

    /// Whether it has an OPT record.
    pub fn has_edns(&self) -> bool {
        self.opt.is_some()
    }

    /// The question section.
    pub fn question(&self) -> Vec<u8> {
        [&self.name[..], &self.rtype.to_be_bytes(), &self.class.to_be_bytes()].concat()
    }

    /// The OPT record in wire form; empty if there is none.
    pub fn opt(&self) -> Vec<u8> {
        let Some(opt) = &self.opt else { return vec![] };
        let [f0, f1] = opt.flags.to_be_bytes();
        let length = u16::try_from(opt.options.len()).unwrap_or(u16::MAX).to_be_bytes();
        let [p0, p1] = opt.payload.to_be_bytes();
        [&[0, 0, 41, p0, p1, 0, opt.version, f0, f1], &length[..], &opt.options].concat()
    }

    /// The whole message.
    pub fn octets(&self) -> Vec<u8> {
        self.with_sections([1, 0, 0, u16::from(self.has_edns())], &self.opt())
    }

    /// The whole message, signed with a key that nobody shares (RFC 8945 section 4.2).
    pub fn signed(&self) -> Vec<u8> {
        let additional = 1 + u16::from(self.has_edns());
        let mut rdata = wire("hmac-sha256");
        // Time signed, fudge, MAC, original id, error and other data.
        rdata.extend([0, 0, 0x6a, 0, 0, 0, 1, 44, 0, 32]);
        rdata.extend([7; 32]);
        rdata.extend([self.id.to_be_bytes(), [0; 2], [0; 2]].concat());
        let length = u16::try_from(rdata.len()).unwrap_or(u16::MAX).to_be_bytes();
        // Class ANY, TTL 0.
        let record = [&wire("a.key")[..], &[0, 250, 0, 255, 0, 0, 0, 0], &length, &rdata].concat();
        self.with_sections([1, 0, 0, additional], &[self.opt(), record].concat())
    }

    /// The header with these counts, the question, and `tail` behind it.
    pub fn with_sections(&self, counts: [u16; 4], tail: &[u8]) -> Vec<u8> {
        let header = [[self.id, self.flags], [counts[0], counts[1]], [counts[2], counts[3]]].concat();
        let header: Vec<u8> = header.into_iter().flat_map(u16::to_be_bytes).collect();
        let question = if counts[0] == 0 { vec![] } else { self.question() };
        [&header[..], &question, tail].concat()
    }
}

/// A name in wire form, letter case as it is; `\DDD` is not understood, `""` is the root.
///
/// # Panics
/// When a label is longer than 255 octets; longer than 63 is what some want to send.
pub fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let label = |label: &str| {
        let length = u8::try_from(label.len()).expect("a label's length is one octet");
        [&[length], label.as_bytes()].concat()
    };
    labels.flat_map(label).chain([0]).collect()
}
