//! Reading a question: a strict, allocation-free parser of what a DNS server may be sent.
//!
//! It yields a [`Query`], or what to say instead, or nothing at all; it never fails otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{edns, qname::QName, rcode};

/// Octets of a DNS header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

const QR: u8 = 0x80;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;
const TYPE_OPT: u16 = 41;
const TYPE_TSIG: u16 = 250;

/// A question that deserves an answer.
#[derive(Clone, Debug)]
pub struct Query<'p> {
    /// What a reply copies.
    pub header: Header,
    /// The question section as it was asked, letter case and all.
    pub question: &'p [u8],
    /// QNAME, lower-cased.
    pub name: &'p QName,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub class: Class,
    /// The OPT record, if there was one.
    pub edns: Option<Edns<'p>>,
}

/// Header fields that go into the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// ID.
    pub id: u16,
    /// OPCODE, 0 to 15.
    pub opcode: u8,
    /// Recursion desired; copied (RFC 1035 section 4.1.1).
    pub recursion_desired: bool,
    /// Checking disabled; copied (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

/// QCLASS as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Internet.
    In,
    /// CHAOS.
    Chaos,
    /// Anything else.
    Other,
}

/// The OPT record of a question (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Edns<'p> {
    /// The largest UDP payload that the client takes.
    pub payload: u16,
    /// DNSSEC OK (RFC 3225); copied.
    pub dnssec_ok: bool,
    /// Client subnet (RFC 7871).
    pub subnet: Option<Subnet>,
    /// Cookie option (RFC 7873), as sent: 8, or 16 to 40 octets.
    pub cookie: Option<&'p [u8]>,
    /// Whether the name server identifier is wanted (RFC 5001).
    pub nsid: bool,
    /// Octets of the edns-tcp-keepalive option, if there was one (RFC 7828).
    pub keepalive: Option<u16>,
    /// Whether there was padding (RFC 7830).
    pub padding: bool,
}

/// A well-formed client subnet option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The address, zero beyond `source`.
    pub address: IpAddr,
    /// SOURCE PREFIX-LENGTH, 0 to 32 or 128.
    pub source: u8,
}

/// What a packet turned out to be.
#[derive(Clone, Debug)]
pub enum Parsed<'p> {
    /// To be answered.
    Query(Query<'p>),
    /// To be answered with a response code alone.
    Reject(Reject<'p>),
    /// Not to be answered: too short for a header, or itself a response.
    Drop,
}

/// A packet that gets a response code and nothing else.
#[derive(Clone, Debug)]
pub struct Reject<'p> {
    /// What a reply copies.
    pub header: Header,
    /// The question section, where one could be read.
    pub question: Option<&'p [u8]>,
    /// Whether an OPT record was seen: then the reply has one too (RFC 6891 section 7).
    pub edns: Option<Edns<'p>>,
    /// Extended response code.
    pub rcode: u16,
}

/// Reads one packet, and its QNAME into `name`.
#[inline(always)]
pub fn parse<'p>(packet: &'p [u8], name: &'p mut QName) -> Parsed<'p> {
    let Some([i0, i1, first, second, counts @ ..]) = packet.first_chunk::<HEADER>() else {
        return Parsed::Drop;
    };
    if first & QR != 0 {
        return Parsed::Drop;
    }
    let header = Header {
        id: u16::from_be_bytes([*i0, *i1]),
        opcode: first >> 3 & 0x0f,
        recursion_desired: first & 0x01 != 0,
        checking_disabled: second & 0x10 != 0,
    };
    let reject = |edns, rcode| Parsed::Reject(Reject { header, question: None, edns, rcode });
    let [q0, q1, a0, a1, n0, n1, r0, r1] = *counts;
    let counts = [[q0, q1], [a0, a1], [n0, n1], [r0, r1]].map(u16::from_be_bytes);
    let mut cursor = Cursor { packet, at: HEADER };
    if header.opcode != 0 {
        // The body of another opcode is none of our business; the opcode itself is echoed.
        return reject(cursor.opt_alone(counts, name), rcode::NOTIMP);
    }
    // RFC 9619 section 4: QDCOUNT is one for opcode 0.
    if counts[0] != 1 {
        return reject(cursor.opt_alone(counts, name), rcode::FORMERR);
    }
    let Some((qtype, class)) = cursor.question(name) else {
        return reject(None, rcode::FORMERR);
    };
    let question = &packet[HEADER..cursor.at];
    let reject = |edns, rcode| Parsed::Reject(Reject { header, question: Some(question), edns, rcode });
    let edns = match cursor.records(counts[1], counts[2], counts[3]) {
        Ok(edns) => edns,
        Err(Malformed { edns, rcode }) => return reject(edns, rcode),
    };
    let class = match class {
        CLASS_IN => Class::In,
        CLASS_CH => Class::Chaos,
        _ => Class::Other,
    };
    Parsed::Query(Query { header, question, name, qtype, class, edns })
}

/// Why the records behind the question are no good, or need a look by somebody else, and whether there was an OPT among them.
struct Malformed<'p> {
    edns: Option<Edns<'p>>,
    rcode: u16,
}

struct Cursor<'p> {
    packet: &'p [u8],
    at: usize,
}

impl<'p> Cursor<'p> {
    #[inline]
    fn take(&mut self, octets: usize) -> Option<&'p [u8]> {
        let taken = self.packet.get(self.at..self.at.checked_add(octets)?)?;
        self.at += octets;
        Some(taken)
    }

    /// QNAME, QTYPE and QCLASS.
    #[inline(always)]
    fn question(&mut self, name: &mut QName) -> Option<(u16, u16)> {
        self.at += name.read(&self.packet[self.at..])?;
        let [t0, t1, c0, c1] = *self.packet.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4;
        Some((u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1])))
    }

    /// A name that is only skipped; returns whether it is the root.
    #[inline]
    fn skip_name(&mut self) -> Option<bool> {
        let start = self.at;
        loop {
            match *self.packet.get(self.at)? {
                0 => {
                    self.at += 1;
                    return Some(self.at == start + 1);
                }
                length @ 1..=63 => self.take(1 + usize::from(length))?,
                0xc0.. => {
                    self.take(2)?;
                    return Some(false);
                }
                _ => return None,
            };
        }
    }

    /// Walks over the three record sections; the last may hold one OPT.
    #[inline(always)]
    fn records(&mut self, answers: u16, authorities: u16, additionals: u16) -> Result<Option<Edns<'p>>, Malformed<'p>> {
        let malformed = |edns| Malformed { edns, rcode: rcode::FORMERR };
        let (mut edns, mut signed): (Option<Edns<'p>>, bool) = (None, false);
        let others = u32::from(answers) + u32::from(authorities);
        let all = others + u32::from(additionals);
        for index in 0..all {
            let record = self.record().ok_or_else(|| malformed(edns))?;
            if record.rtype != TYPE_OPT {
                if record.rtype == TYPE_TSIG {
                    // RFC 8945 section 5.1: the last record of all, in the additional section.
                    if index + 1 != all || additionals == 0 {
                        return Err(malformed(edns));
                    }
                    signed = true;
                }
                continue;
            }
            // RFC 6891 section 6.1.1: one OPT, in the additional section, owned by the root.
            if edns.is_some() || !record.root || index < others {
                return Err(malformed(edns.or(Some(Edns::default()))));
            }
            let (read, rcode) = edns::read(&record);
            edns = Some(read);
            if rcode != rcode::NOERROR {
                return Err(Malformed { edns, rcode });
            }
        }
        if self.at != self.packet.len() {
            return Err(malformed(edns));
        }
        if signed {
            return Err(Malformed { edns, rcode: rcode::NOTAUTH });
        }
        Ok(edns)
    }

    /// The OPT record of a message that is not one question: another opcode's, whose sections have
    /// the form of a question's as far as anybody knows (RFC 6895 section 2), one of several
    /// questions, and one of none, which may ask for a cookie (RFC 7873 section 5.4).
    fn opt_alone(
        &mut self,
        [questions, answers, authorities, additionals]: [u16; 4],
        name: &mut QName,
    ) -> Option<Edns<'p>> {
        for _ in 0..questions {
            self.question(name)?;
        }
        // Whatever is wrong with it or with what else is there: it is answered with one of ours (RFC 6891
        // section 7).
        match self.records(answers, authorities, additionals) {
            Ok(edns) | Err(Malformed { edns, .. }) => edns,
        }
    }

    #[inline(always)]
    fn record(&mut self) -> Option<Record<'p>> {
        let root = self.skip_name()?;
        let [t0, t1, c0, c1, ttl @ .., l0, l1] = *self.packet.get(self.at..)?.first_chunk::<10>()?;
        self.at += 10;
        let rdata = self.take(usize::from(u16::from_be_bytes([l0, l1])))?;
        Some(Record { root, rtype: u16::from_be_bytes([t0, t1]), class: u16::from_be_bytes([c0, c1]), ttl, rdata })
    }
}

/// One record behind the question, its fields uninterpreted.
pub(super) struct Record<'p> {
    root: bool,
    rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: [u8; 4],
    pub(super) rdata: &'p [u8],
}

impl Subnet {
    /// Reads the option's data; `None` where RFC 7871 section 7.1.2 asks for FORMERR: another
    /// family, a prefix beyond the family, a scope in a question, a length that does not fit the
    /// prefix, or bits beyond it.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let [f0, f1, source, scope, octets @ ..] = data else {
            return None;
        };
        let limit = match (f0, f1) {
            (0, 1) => 32,
            (0, 2) => 128,
            _ => return None,
        };
        if *source > limit || *scope != 0 || octets.len() != usize::from(source.div_ceil(8)) {
            return None;
        }
        let address = if limit == 32 {
            let mut a = [0; 4];
            a[..octets.len()].copy_from_slice(octets);
            IpAddr::V4(Ipv4Addr::from(a))
        } else {
            let mut a = [0; 16];
            a[..octets.len()].copy_from_slice(octets);
            IpAddr::V6(Ipv6Addr::from(a))
        };
        (crate::net::mask(address, *source) == address).then_some(Self { address, source: *source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &[u8]) -> Vec<u8> {
        let mut p = vec![0x12, 0x34, 0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 0];
        p.extend_from_slice(name);
        p.extend_from_slice(&[0, 1, 0, 1]);
        p
    }

    fn with_opt(mut p: Vec<u8>, root: &[u8], ttl: [u8; 4], options: &[u8]) -> Vec<u8> {
        p[11] += 1;
        p.extend_from_slice(root);
        p.extend_from_slice(&[0, 41, 0x04, 0xd0]);
        p.extend_from_slice(&ttl);
        p.extend_from_slice(&(options.len() as u16).to_be_bytes());
        p.extend_from_slice(options);
        p
    }

    fn rejected(packet: &[u8]) -> (u16, bool) {
        match parse(packet, &mut QName::default()) {
            Parsed::Reject(r) => (r.rcode, r.edns.is_some()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_question() {
        let packet = question(b"\x03WwW\x04test\0");
        let mut name = QName::default();
        let Parsed::Query(q) = parse(&packet, &mut name) else { panic!() };
        assert_eq!(&q.name[..], b"\x03www\x04test\0");
        assert_eq!(q.question, b"\x03WwW\x04test\0\0\x01\0\x01");
        assert_eq!((q.qtype, q.class, q.edns), (1, Class::In, None));
        assert_eq!(q.header, Header { id: 0x1234, opcode: 0, recursion_desired: true, checking_disabled: true });
    }

    #[test]
    fn what_is_dropped() {
        assert!(matches!(parse(&[0; 11], &mut QName::default()), Parsed::Drop));
        assert!(matches!(parse(&[], &mut QName::default()), Parsed::Drop));
        let mut response = question(b"\0");
        response[2] |= QR;
        assert!(matches!(parse(&response, &mut QName::default()), Parsed::Drop));
    }

    #[test]
    fn what_is_malformed() {
        let good = question(b"\x03www\0");
        for cut in HEADER..good.len() {
            assert_eq!(rejected(&good[..cut]), (rcode::FORMERR, false), "{cut}");
        }
        let mut two = good.clone();
        two[5] = 2;
        assert_eq!(rejected(&two).0, rcode::FORMERR);
        let mut none = good.clone();
        none[5] = 0;
        assert_eq!(rejected(&none).0, rcode::FORMERR);
        let mut trailing = good.clone();
        trailing.push(0);
        assert_eq!(rejected(&trailing).0, rcode::FORMERR);
        let mut missing = good.clone();
        missing[7] = 1;
        assert_eq!(rejected(&missing).0, rcode::FORMERR);
        assert_eq!(rejected(&question(b"\xc0\x0c")).0, rcode::FORMERR);
        let long: Vec<u8> = [[63; 64]; 4].concat().into_iter().chain([0]).collect();
        assert_eq!(rejected(&question(&long)).0, rcode::FORMERR);
        let mut name = QName::default();
        for opcode in 1..16 {
            let mut other = good.clone();
            other[2] = opcode << 3;
            let Parsed::Reject(r) = parse(&other, &mut name) else { panic!() };
            assert_eq!((r.rcode, r.header.opcode), (rcode::NOTIMP, opcode));
        }
    }

    #[test]
    fn edns_is_read_and_checked() {
        let good = question(b"\x03www\0");
        let packet = with_opt(good.clone(), b"\0", [0, 0, 0x80, 0], &[0, 3, 0, 0, 0xff, 0xfe, 0, 1, 7]);
        let mut name = QName::default();
        let Parsed::Query(q) = parse(&packet, &mut name) else { panic!() };
        let edns = q.edns.unwrap();
        assert_eq!((edns.payload, edns.dnssec_ok, edns.nsid, edns.subnet), (1232, true, true, None));
        // Version 1: BADVERS, with an OPT.
        assert_eq!(rejected(&with_opt(good.clone(), b"\0", [0, 1, 0, 0], &[])), (rcode::BADVERS, true));
        // Two OPTs, an OPT with a name, an option longer than the record.
        let twice = with_opt(with_opt(good.clone(), b"\0", [0; 4], &[]), b"\0", [0; 4], &[]);
        assert_eq!(rejected(&twice), (rcode::FORMERR, true));
        assert_eq!(rejected(&with_opt(good.clone(), b"\x01x\0", [0; 4], &[])), (rcode::FORMERR, true));
        assert_eq!(rejected(&with_opt(good, b"\0", [0; 4], &[0, 3, 0, 1])), (rcode::FORMERR, true));
    }

    /// RFC 8945 sections 5.1 and 5.2.1: nobody shares a key with us.
    #[test]
    fn signed_messages_are_told_apart() {
        let tsig = |mut p: Vec<u8>| {
            p[11] += 1;
            p.extend_from_slice(b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\0");
            p
        };
        let good = question(b"\x03www\0");
        assert_eq!(rejected(&tsig(good.clone())), (rcode::NOTAUTH, false));
        let with_edns = with_opt(good.clone(), b"\0", [0; 4], &[]);
        assert_eq!(rejected(&tsig(with_edns.clone())), (rcode::NOTAUTH, true));
        assert_eq!(rejected(&with_opt(tsig(good.clone()), b"\0", [0; 4], &[])), (rcode::FORMERR, false));
        assert_eq!(rejected(&tsig(tsig(good.clone()))), (rcode::FORMERR, false));
        let mut answer = tsig(good.clone());
        (answer[7], answer[11]) = (1, 0);
        assert_eq!(rejected(&answer), (rcode::FORMERR, false));
        // Of other opcodes, NOTIFY here, nothing is served, whoever signs them.
        let mut notify = tsig(with_edns);
        notify[2] = 4 << 3;
        assert_eq!(rejected(&notify), (rcode::NOTIMP, true));
    }

    /// RFC 6891 section 7: whatever else is wrong, a question with OPT is answered with OPT.
    #[test]
    fn other_opcodes_and_counts_keep_their_opt() {
        let good = question(b"\x03www\0");
        let bad_subnet = [0, 8, 0, 4, 0, 3, 8, 0];
        let once = with_opt(good.clone(), b"\0", [0; 4], &[]);
        let wrong = [
            ("another version", with_opt(good.clone(), b"\0", [0, 1, 0, 0], &[])),
            ("a bad subnet", with_opt(good.clone(), b"\0", [0; 4], &bad_subnet)),
            ("half an option", with_opt(good.clone(), b"\0", [0; 4], &[0, 3, 0, 1])),
            ("an owner", with_opt(good.clone(), b"\x01x\0", [0; 4], &[])),
            ("two of them", with_opt(once.clone(), b"\0", [0; 4], &[])),
            ("octets behind it", [&once[..], &[7]].concat()),
        ];
        for (what, packet) in wrong {
            for opcode in 1..16 {
                let mut other = packet.clone();
                other[2] = opcode << 3;
                assert_eq!(rejected(&other), (rcode::NOTIMP, true), "{what}, opcode {opcode}");
            }
            let mut two = packet.clone();
            two[5] = 2;
            two.splice(HEADER..HEADER, good[HEADER..].iter().copied());
            assert_eq!(rejected(&two), (rcode::FORMERR, true), "{what}, two questions");
            let mut none = packet;
            none[5] = 0;
            none.drain(HEADER..good.len());
            assert_eq!(rejected(&none), (rcode::FORMERR, true), "{what}, no question");
        }
        // Where there is none that could be read there is none to answer.
        for cut in HEADER..once.len() {
            let mut other = once[..cut].to_vec();
            other[2] = 4 << 3;
            assert_eq!(rejected(&other), (rcode::NOTIMP, false), "{cut}");
        }
    }

    #[test]
    fn client_subnets_are_strict() {
        let read = |hex: &[u8]| Subnet::read(hex);
        let ok = read(&[0, 1, 24, 0, 192, 0, 2]).unwrap();
        assert_eq!((ok.address.to_string().as_str(), ok.source), ("192.0.2.0", 24));
        assert_eq!(read(&[0, 1, 0, 0]).unwrap().source, 0);
        assert_eq!(read(&[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 1]).unwrap().source, 56);
        assert_eq!(read(&[0, 1, 20, 0, 192, 0, 0x20]).unwrap().source, 20);
        for bad in [
            &[0, 1, 24][..],
            &[0, 0, 0, 0],                    // family 0
            &[0, 3, 8, 0, 1],                 // unknown family
            &[0, 1, 33, 0, 1, 2, 3, 4, 0x80], // beyond the family
            &[0, 1, 24, 1, 192, 0, 2],        // scope in a question
            &[0, 1, 24, 0, 192, 0],           // too short
            &[0, 1, 24, 0, 192, 0, 2, 0],     // too long
            &[0, 1, 20, 0, 192, 0, 0x21],     // bits beyond the prefix
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
