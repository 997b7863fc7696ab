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
/// The lower octet of it; the upper one is 0.
const OPT: u8 = TYPE_OPT as u8;
const TYPE_TSIG: u16 = 250;

/// A question, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Query<'p> {
    /// What a reply copies.
    pub header: Header,
    /// The question section as it was asked, letter case and all; empty where none could be read.
    pub question: &'p [u8],
    /// QNAME, lower-cased.
    pub name: &'p QName,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub class: Class,
    /// The OPT record, if there was one: then the reply has one too (RFC 6891 section 7).
    pub edns: Option<Edns<'p>>,
}

impl Default for Query<'_> {
    /// Of which nothing was read yet.
    fn default() -> Self {
        Self {
            header: Header::default(),
            question: &[],
            name: &QName::EMPTY,
            qtype: 0,
            class: Class::Other,
            edns: None,
        }
    }
}

/// Header fields that go into the reply, as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// ID.
    pub(super) id: [u8; 2],
    /// The third and fourth octet.
    pub(super) flags: [u8; 2],
}

impl Header {
    /// OPCODE, 0 to 15.
    #[inline]
    pub fn opcode(self) -> u8 {
        self.flags[0] >> 3 & 0x0f
    }

    /// The third and fourth octet of a reply's header, without AA, TC and response code: QR; OPCODE and RD
    /// (RFC 1035 section 4.1.1), and CD (RFC 4035 section 3.2.2), as they came.
    #[inline]
    pub(super) fn reply_flags(self) -> [u8; 2] {
        [QR | self.flags[0] & 0x79, self.flags[1] & 0x10]
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A question that deserves an answer.
    Query,
    /// To be answered with this extended response code and nothing else.
    Reject(u16),
    /// Not to be answered: too short for a header, or itself a response.
    Drop,
}

/// Counts of the three record sections, as one number: nothing, and one additional record.
const NONE: u64 = 0;
const ONE_ADDITIONAL: u64 = 1;

/// Reads one packet into `query`, where [`Query::default`] stands, and its QNAME into `name`.
#[inline(always)]
pub fn parse<'p>(packet: &'p [u8], name: &'p mut QName, query: &mut Query<'p>) -> Parsed {
    let Some([i0, i1, first, second, counts @ ..]) = packet.first_chunk::<HEADER>() else {
        return Parsed::Drop;
    };
    if first & QR != 0 {
        return Parsed::Drop;
    }
    query.header = Header { id: [*i0, *i1], flags: [*first, *second] };
    let counts = u64::from_be_bytes(*counts);
    let (questions, records) = (counts >> 48, counts << 16 >> 16);
    let mut cursor = Cursor { packet, at: HEADER };
    if query.header.opcode() != 0 || questions != 1 {
        query.edns = cursor.opt_alone((questions, records), name);
        // The body of another opcode is none of our business. RFC 9619 section 4: QDCOUNT is one for opcode 0.
        return Parsed::Reject(if query.header.opcode() != 0 { rcode::NOTIMP } else { rcode::FORMERR });
    }
    let Some((qtype, class)) = cursor.question(name) else {
        return Parsed::Reject(rcode::FORMERR);
    };
    (query.question, query.name, query.qtype) = (&packet[HEADER..cursor.at], name, qtype);
    query.class = match class {
        CLASS_IN => Class::In,
        CLASS_CH => Class::Chaos,
        _ => Class::Other,
    };
    match cursor.records(records, &mut query.edns) {
        rcode::NOERROR => Parsed::Query,
        rcode => Parsed::Reject(rcode),
    }
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

    /// What stands behind the question: most often nothing, or an OPT record alone, whose options then go to
    /// the end of the packet. The response code that it deserves.
    #[inline(always)]
    fn records(&mut self, counts: u64, edns: &mut Option<Edns<'p>>) -> u16 {
        let rest = &self.packet[self.at..];
        match (counts, rest) {
            (NONE, []) => rcode::NOERROR,
            (ONE_ADDITIONAL, [0, 0, OPT, c0, c1, t0, t1, t2, t3, l0, l1, rdata @ ..])
                if usize::from(u16::from_be_bytes([*l0, *l1])) == rdata.len() =>
            {
                let (class, ttl) = (u16::from_be_bytes([*c0, *c1]), [*t0, *t1, *t2, *t3]);
                edns::read(&Record { root: true, rtype: TYPE_OPT, class, ttl, rdata }, edns)
            }
            _ => self.any_records(counts, edns),
        }
    }

    /// Walks over the three record sections; the last may hold one OPT. The response code that they deserve.
    fn any_records(&mut self, counts: u64, edns: &mut Option<Edns<'p>>) -> u16 {
        let [others, additionals] = [(counts >> 32) + (counts >> 16 & 0xffff), counts & 0xffff];
        let (all, mut signed) = (others + additionals, false);
        for index in 0..all {
            let Some(record) = self.record() else { return rcode::FORMERR };
            if record.rtype != TYPE_OPT {
                if record.rtype == TYPE_TSIG {
                    // RFC 8945 section 5.1: the last record of all, in the additional section.
                    if index + 1 != all || additionals == 0 {
                        return rcode::FORMERR;
                    }
                    signed = true;
                }
                continue;
            }
            // RFC 6891 section 6.1.1: one OPT, in the additional section, owned by the root.
            if edns.is_some() || !record.root || index < others {
                edns.get_or_insert_default();
                return rcode::FORMERR;
            }
            let rcode = edns::read(&record, edns);
            if rcode != rcode::NOERROR {
                return rcode;
            }
        }
        match (self.at == self.packet.len(), signed) {
            (false, _) => rcode::FORMERR,
            (true, true) => rcode::NOTAUTH,
            (true, false) => rcode::NOERROR,
        }
    }

    /// The OPT record of a message that is not one question: another opcode's, whose sections have
    /// the form of a question's as far as anybody knows (RFC 6895 section 2), one of several
    /// questions, and one of none, which may ask for a cookie (RFC 7873 section 5.4).
    #[cold]
    fn opt_alone(&mut self, (questions, records): (u64, u64), name: &mut QName) -> Option<Edns<'p>> {
        for _ in 0..questions {
            self.question(name)?;
        }
        // Whatever is wrong with it or with what else is there: it is answered with one of ours (RFC 6891
        // section 7).
        let mut edns = None;
        self.any_records(records, &mut edns);
        edns
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
    use proptest::prelude::*;

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
        let (mut name, mut query) = (QName::default(), Query::default());
        match parse(packet, &mut name, &mut query) {
            Parsed::Reject(rcode) => (rcode, query.edns.is_some()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_question() {
        let packet = question(b"\x03WwW\x04test\0");
        let (mut name, mut q) = (QName::default(), Query::default());
        assert_eq!(parse(&packet, &mut name, &mut q), Parsed::Query);
        assert_eq!(&q.name[..], b"\x03www\x04test\0");
        assert_eq!(q.question, b"\x03WwW\x04test\0\0\x01\0\x01");
        assert_eq!((q.qtype, q.class, q.edns), (1, Class::In, None));
        assert_eq!((q.header.id, q.header.opcode(), q.header.reply_flags()), ([0x12, 0x34], 0, [0x81, 0x10]));
    }

    #[test]
    fn what_is_dropped() {
        let parsed = |packet: &[u8]| parse(packet, &mut QName::default(), &mut Query::default());
        assert_eq!((parsed(&[0; 11]), parsed(&[])), (Parsed::Drop, Parsed::Drop));
        let mut response = question(b"\0");
        response[2] |= QR;
        assert_eq!(parsed(&response), Parsed::Drop);
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
            let mut query = Query::default();
            assert_eq!(parse(&other, &mut name, &mut query), Parsed::Reject(rcode::NOTIMP));
            assert_eq!(query.header.opcode(), opcode);
        }
    }

    #[test]
    fn edns_is_read_and_checked() {
        let good = question(b"\x03www\0");
        let packet = with_opt(good.clone(), b"\0", [0, 0, 0x80, 0], &[0, 3, 0, 0, 0xff, 0xfe, 0, 1, 7]);
        let (mut name, mut q) = (QName::default(), Query::default());
        assert_eq!(parse(&packet, &mut name, &mut q), Parsed::Query);
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

    /// An OPT record, or what is left of it when some octets are changed and some cut off, and its counts.
    fn records() -> impl Strategy<Value = (u64, Vec<u8>)> {
        let option = (0_u8..16, prop::collection::vec(0_u8..4, 0..9));
        let options = prop::collection::vec(option, 0..4).prop_map(|options| {
            let octets =
                options.into_iter().flat_map(|(code, data)| [vec![0, code, 0, data.len() as u8], data].concat());
            octets.collect::<Vec<u8>>()
        });
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (
            options,
            changes,
            0_usize..4,
            prop_oneof![4 => Just(1_u64), 1 => 0_u64..3, 1 => any::<u16>().prop_map(u64::from)],
        )
            .prop_map(|(options, changes, cut, counts)| {
                let mut octets = with_opt(vec![0; HEADER], b"\0", [0; 4], &options).split_off(HEADER);
                changes.iter().for_each(|(at, value)| *at.get_mut(&mut octets) = *value);
                octets.truncate(octets.len() - if cut < 3 { 0 } else { 2 });
                (counts, octets)
            })
    }

    proptest! {
        /// An OPT record alone, which is read without a walk over the sections, is read alike.
        #[test]
        fn the_short_way_is_the_long_one((counts, octets) in records()) {
            let (mut short, mut long) = (None, None);
            let rcode = Cursor { packet: &octets, at: 0 }.records(counts, &mut short);
            prop_assert_eq!(rcode, Cursor { packet: &octets, at: 0 }.any_records(counts, &mut long));
            prop_assert_eq!(short, long);
        }
    }
}
