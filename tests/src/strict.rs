//! A reader of DNS replies that forgives nothing: every octet must be accounted for, every pointer
//! must lead back to where a label began (RFC 1035 section 4.1.4), every RRset must be whole, in one
//! place and of one TTL (RFC 2181 section 5). It shares no code with what it reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::packet::{option, rtype};

/// A reply.
#[derive(Clone, Debug)]
pub struct Strict {
    /// As it came.
    pub octets: Vec<u8>,
    /// ID.
    pub id: u16,
    /// The header's second word.
    pub flags: u16,
    /// The question section, octet by octet; empty if it is.
    pub question: Vec<u8>,
    /// Answer section.
    pub answer: Vec<Record>,
    /// Authority section.
    pub authority: Vec<Record>,
    /// Additional section without the OPT record.
    pub additional: Vec<Record>,
    /// The OPT record.
    pub opt: Option<Opt>,
}

/// A record, its names written out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Owner name in wire form, letter case as it came.
    pub owner: Vec<u8>,
    /// TYPE.
    pub rtype: u16,
    /// CLASS.
    pub class: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// RDATA, with the names of RFC 1035's own types written out.
    pub rdata: Vec<u8>,
}

/// An OPT record (RFC 6891 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// What the server takes over UDP.
    pub payload: u16,
    /// Upper eight bits of the response code.
    pub extended: u8,
    /// VERSION.
    pub version: u8,
    /// DO and what follows.
    pub flags: u16,
    /// Code and data of every option, in order.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Strict {
    /// Reads a reply.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(octets: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { octets, at: 0, labels: BTreeSet::new() };
        let [id, flags] = [reader.u16()?, reader.u16()?];
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        check(flags & 0x8000 != 0, || "QR is not set".to_owned())?;
        check(flags & 0x0040 == 0, || "Z is set (RFC 1035 section 4.1.1)".to_owned())?;
        check(counts[0] <= 1, || format!("{} questions", counts[0]))?;
        let start = reader.at;
        if counts[0] == 1 {
            reader.name()?;
            reader.take(4)?;
        }
        let question = octets[start..reader.at].to_vec();
        let mut sections = [vec![], vec![], vec![]];
        let mut opt = None;
        for (index, section) in sections.iter_mut().enumerate() {
            for _ in 0..counts[index + 1] {
                let record = reader.record()?;
                if record.rtype != rtype::OPT {
                    section.push(record);
                    continue;
                }
                check(index == 2 && record.owner == [0], || "OPT where it may not be".to_owned())?;
                check(opt.is_none(), || "a second OPT record".to_owned())?;
                opt = Some(Opt::read(&record)?);
            }
            whole(section)?;
        }
        check(reader.at == octets.len(), || format!("{} octets behind the end", octets.len() - reader.at))?;
        let [answer, authority, additional] = sections;
        Ok(Self { octets: octets.to_vec(), id, flags, question, answer, authority, additional, opt })
    }

    /// The extended response code.
    pub fn rcode(&self) -> u16 {
        let upper = self.opt.as_ref().map_or(0, |opt| u16::from(opt.extended) << 4);
        upper | self.flags & 0x000f
    }

    /// AA.
    pub fn is_authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    /// TC.
    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// Data of an option; `None` if it is not there.
    ///
    /// # Panics
    /// When it is there twice.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let mut found = self.opt.iter().flat_map(|opt| &opt.options).filter(|(other, _)| *other == code);
        let first = found.next();
        assert!(found.next().is_none(), "option {code} twice in {self:?}");
        first.map(|(_, data)| &data[..])
    }

    /// INFO-CODE of the extended error (RFC 8914 section 2).
    pub fn extended_error(&self) -> Option<u16> {
        let data = self.option(option::EXTENDED_ERROR)?;
        data.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// `owner ttl TYPE data` of every answer, in order, in lower case.
    pub fn answers(&self) -> Vec<String> {
        self.answer.iter().map(Record::text).collect()
    }

    /// The same of the authority section.
    pub fn authorities(&self) -> Vec<String> {
        self.authority.iter().map(Record::text).collect()
    }

    /// The same of the additional section.
    pub fn additionals(&self) -> Vec<String> {
        self.additional.iter().map(Record::text).collect()
    }
}

impl Record {
    /// `owner ttl TYPE data`, names in lower case.
    pub fn text(&self) -> String {
        let data = &self.rdata;
        let (kind, data) = match self.rtype {
            rtype::A => ("A".to_owned(), v4(data)),
            rtype::AAAA => ("AAAA".to_owned(), v6(data)),
            rtype::NS => ("NS".to_owned(), Some(dotted(data))),
            rtype::CNAME => ("CNAME".to_owned(), Some(dotted(data))),
            rtype::SOA => ("SOA".to_owned(), soa(data)),
            rtype::TXT => ("TXT".to_owned(), strings(data)),
            other => (format!("TYPE{other}"), None),
        };
        format!("{} {} {kind} {}", dotted(&self.owner), self.ttl, data.unwrap_or_else(|| hex(&self.rdata)))
    }
}

impl Opt {
    fn read(record: &Record) -> Result<Self, String> {
        let [extended, version, f0, f1] = record.ttl.to_be_bytes();
        let mut options = vec![];
        let mut rest = &record.rdata[..];
        while let [c0, c1, l0, l1, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let (data, tail) = tail.split_at_checked(length).ok_or("an option is cut off")?;
            options.push((u16::from_be_bytes([*c0, *c1]), data.to_vec()));
            rest = tail;
        }
        check(rest.is_empty(), || "half an option".to_owned())?;
        Ok(Self { payload: record.class, extended, version, flags: u16::from_be_bytes([f0, f1]), options })
    }
}

/// Records of one RRset stand together, differ, and live equally long.
fn whole(section: &[Record]) -> Result<(), String> {
    let key = |record: &Record| (record.owner.to_ascii_lowercase(), record.rtype, record.class);
    let mut ttls: BTreeMap<_, u32> = BTreeMap::new();
    for run in section.chunk_by(|a, b| key(a) == key(b)) {
        let first = &run[0];
        check(ttls.insert(key(first), first.ttl).is_none(), || format!("an RRset in two places: {}", first.text()))?;
        check(run.iter().all(|r| r.ttl == first.ttl), || format!("TTLs differ: {}", first.text()))?;
        let distinct: HashSet<_> = run.iter().map(|r| &r.rdata).collect();
        check(distinct.len() == run.len(), || format!("a record twice: {}", first.text()))?;
    }
    Ok(())
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

struct Reader<'o> {
    octets: &'o [u8],
    at: usize,
    /// Where labels began so far; a pointer may lead nowhere else.
    labels: BTreeSet<usize>,
}

impl<'o> Reader<'o> {
    fn take(&mut self, octets: usize) -> Result<&'o [u8], String> {
        let taken = self.octets.get(self.at..self.at + octets);
        let taken = taken.ok_or_else(|| format!("{octets} octets are not there at {}", self.at))?;
        self.at += octets;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take(2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// A name, written out, and the labels that begin in it remembered.
    fn name(&mut self) -> Result<Vec<u8>, String> {
        let mut name = vec![];
        let mut began = vec![];
        loop {
            let start = self.at;
            let length = self.take(1)?[0];
            match length {
                0 => name.push(0),
                1..=63 => {
                    began.push(start);
                    name.push(length);
                    name.extend(self.take(usize::from(length))?);
                    continue;
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.take(1)?[0]);
                    check(target < start && self.labels.contains(&target), || {
                        format!("the pointer at {start} leads to {target}, where no label began before")
                    })?;
                    self.written_out(target, &mut name)?;
                }
                _ => return Err(format!("a label of an unknown kind at {start}")),
            }
            break;
        }
        check(name.len() <= 255, || format!("a name of {} octets", name.len()))?;
        self.labels.extend(began);
        Ok(name)
    }

    /// What stands at an earlier label, pointers and all.
    fn written_out(&self, mut at: usize, name: &mut Vec<u8>) -> Result<(), String> {
        loop {
            let length = usize::from(self.octets[at]);
            if length >= 0xc0 {
                // It was checked to lead backwards when it was read.
                at = (length & 0x3f) << 8 | usize::from(self.octets[at + 1]);
                continue;
            }
            name.extend(&self.octets[at..=at + length]);
            check(name.len() <= 255, || "a name of more than 255 octets".to_owned())?;
            if length == 0 {
                return Ok(());
            }
            at += 1 + length;
        }
    }

    fn record(&mut self) -> Result<Record, String> {
        let owner = self.name()?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        check(end <= self.octets.len(), || format!("RDATA ends at {end}, behind the message"))?;
        let mut rdata = vec![];
        // RFC 3597 section 4: names are compressed in types of RFC 1035 alone.
        match rtype {
            rtype::NS | rtype::CNAME | rtype::PTR => rdata = self.name()?,
            rtype::MX => {
                rdata.extend(self.take(2)?);
                rdata.extend(self.name()?);
            }
            rtype::SOA => {
                rdata = self.name()?;
                rdata.extend(self.name()?);
                rdata.extend(self.take(20)?);
            }
            _ => rdata.extend(self.take(length)?),
        }
        check(self.at == end, || format!("RDLENGTH says {length}, the data of type {rtype} ends elsewhere"))?;
        let sizes = match rtype {
            rtype::A => length == 4,
            rtype::AAAA => length == 16,
            rtype::TXT => strings(&rdata).is_some(),
            _ => true,
        };
        check(sizes, || format!("{} is no data of type {rtype}", hex(&rdata)))?;
        Ok(Record { owner, rtype, class, ttl, rdata })
    }
}

/// A written-out name as people write it, in lower case.
pub fn dotted(name: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let Some((&length @ 1.., tail)) = rest.split_first() {
        let (label, tail) = tail.split_at_checked(usize::from(length)).unwrap_or((tail, &[]));
        text.push_str(&String::from_utf8_lossy(label).to_lowercase());
        text.push('.');
        rest = tail;
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

fn v4(data: &[u8]) -> Option<String> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string())
}

fn v6(data: &[u8]) -> Option<String> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string())
}

/// `mname rname serial refresh retry expire minimum`
fn soa(data: &[u8]) -> Option<String> {
    let (names, numbers) = data.split_at_checked(data.len().checked_sub(20)?)?;
    let first = end_of_name(names)?;
    let mut text = format!("{} {}", dotted(&names[..first]), dotted(&names[first..]));
    for number in numbers.chunks_exact(4) {
        let number = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
        write!(text, " {number}").ok()?;
    }
    Some(text)
}

fn end_of_name(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The strings of a TXT record in quotes; `None` if they do not fill it.
fn strings(data: &[u8]) -> Option<String> {
    let mut text = vec![];
    let mut rest = data;
    while let Some((&length, tail)) = rest.split_first() {
        let (string, tail) = tail.split_at_checked(usize::from(length))?;
        text.push(format!("{:?}", String::from_utf8_lossy(string)));
        rest = tail;
    }
    (!text.is_empty()).then(|| text.join(" "))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
