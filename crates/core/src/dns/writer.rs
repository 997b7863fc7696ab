//! Writing a message: whole RRsets or nothing, names compressed (RFC 1035 section 4.1.4), never
//! beyond the limit.

use arrayvec::ArrayVec;

use super::query::{HEADER, Header};
use crate::name::MAX_NAME;

/// A name as a row of wire-form pieces, the last of which ends with the root label. All names in
/// our answers are made of pieces that exist already: a service's relative name, a label, a zone.
pub(crate) type Parts<'d> = ArrayVec<&'d [u8], 4>;

/// Offsets of labels that later names may point at; more are not worth looking through.
const TARGETS: usize = 24;
/// A pointer has 14 bits for the offset.
const MAX_TARGET: usize = 0x3fff;

/// Where the record counts are in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer = 6,
    Authority = 8,
    Additional = 10,
}

/// The message did not fit. What was written since the last [`Writer::mark`] is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A message under construction at the start of a buffer.
pub(super) struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
    limit: usize,
    targets: ArrayVec<u16, TARGETS>,
}

/// A place to return to when an RRset turns out not to fit.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    targets: usize,
}

impl<'b> Writer<'b> {
    /// Writes header and question; `limit` bounds the whole message, `reserved` octets of it are
    /// kept for [`Writer::release`].
    pub(super) fn new(buffer: &'b mut [u8], limit: usize, reserved: usize, header: Header, question: &[u8]) -> Self {
        let limit = limit.min(buffer.len()).saturating_sub(reserved);
        let mut writer = Self { buffer, at: 0, limit, targets: ArrayVec::new() };
        let flags = u8::from(header.recursion_desired) | header.opcode << 3 | 0x80;
        let copied = u8::from(header.checking_disabled) << 4;
        let [i0, i1] = header.id.to_be_bytes();
        let questions = u8::from(!question.is_empty());
        // A header and a question as they were received always fit 512 octets.
        let _ = writer.bytes(&[i0, i1, flags, copied, 0, questions, 0, 0, 0, 0, 0, 0]);
        let _ = writer.bytes(question);
        if !question.is_empty() {
            writer.remember_from(HEADER);
        }
        writer
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, targets: self.targets.len() }
    }

    pub(super) fn rewind(&mut self, mark: Mark) {
        self.at = mark.at;
        self.targets.truncate(mark.targets);
    }

    /// Makes `octets` of the reserved room usable.
    pub(super) fn release(&mut self, octets: usize) {
        self.limit = (self.limit + octets).min(self.buffer.len());
    }

    pub(super) fn set_authoritative(&mut self) {
        self.buffer[2] |= 0x04;
    }

    pub(super) fn set_truncated(&mut self) {
        self.buffer[2] |= 0x02;
    }

    /// The lower four bits of the response code (RFC 1035 section 4.1.1).
    pub(super) fn set_rcode(&mut self, rcode: u16) {
        self.buffer[3] |= (rcode & 0x0f) as u8;
    }

    pub(super) fn count(&mut self, section: Section, records: u16) {
        let at = section as usize;
        let sum = self.counted(section).saturating_add(records);
        self.buffer[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// How many records [`Writer::count`] has counted in a section.
    pub(super) fn counted(&self, section: Section) -> u16 {
        let at = section as usize;
        u16::from_be_bytes([self.buffer[at], self.buffer[at + 1]])
    }

    pub(super) fn length(&self) -> usize {
        self.at
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return Err(Full);
        }
        self.buffer[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    pub(super) fn u16(&mut self, value: u16) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }

    /// TYPE, CLASS IN and TTL behind an owner name.
    pub(super) fn record_head(&mut self, owner: &Parts<'_>, rtype: u16, ttl: u32) -> Result<(), Full> {
        self.name(owner)?;
        self.u16(rtype)?;
        self.u16(1)?;
        self.u32(ttl)
    }

    /// RDLENGTH, then what `rdata` writes.
    pub(super) fn rdata(&mut self, rdata: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        let at = self.at;
        self.u16(0)?;
        rdata(self)?;
        let length = (self.at - at - 2) as u16;
        self.buffer[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// A name, pointing at its longest suffix that is already there.
    pub(super) fn name(&mut self, parts: &Parts<'_>) -> Result<(), Full> {
        let mut name: ArrayVec<u8, MAX_NAME> = ArrayVec::new();
        for part in parts {
            // Checked when catalogue and fleet were accepted; a longer name is simply not written.
            name.try_extend_from_slice(part).map_err(|_| Full)?;
        }
        let start = self.at;
        let mut rest = name.as_slice();
        while let Some(&length) = rest.first().filter(|length| **length != 0) {
            if let Some(target) = self.targets.iter().copied().find(|&t| self.matches(usize::from(t), rest)) {
                self.u16(0xc000 | target)?;
                self.remember_from(start);
                return Ok(());
            }
            let label = 1 + usize::from(length);
            self.bytes(rest.get(..label).ok_or(Full)?)?;
            rest = &rest[label..];
        }
        self.bytes(&[0])?;
        self.remember_from(start);
        Ok(())
    }

    /// Remembers every label of the name written at `at`, up to its pointer or root.
    fn remember_from(&mut self, mut at: usize) {
        while let Some(length @ 1..=63) = self.buffer.get(at).copied() {
            if at > MAX_TARGET || self.targets.try_push(at as u16).is_err() {
                return;
            }
            at += 1 + usize::from(length);
        }
    }

    /// Whether the name at `at` equals `name`, letter case aside (RFC 4343).
    fn matches(&self, mut at: usize, mut name: &[u8]) -> bool {
        loop {
            let length = usize::from(self.buffer[at]);
            if length >= 0xc0 {
                // We only ever point backwards, so this ends.
                at = (length & 0x3f) << 8 | usize::from(self.buffer[at + 1]);
                continue;
            }
            let (here, there) = (&self.buffer[at..=at + length], name.get(..=length));
            if !there.is_some_and(|there| here.eq_ignore_ascii_case(there)) {
                return false;
            }
            if length == 0 {
                return true;
            }
            at += 1 + length;
            name = &name[1 + length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn header() -> Header {
        Header { id: 7, opcode: 0, recursion_desired: false, checking_disabled: false }
    }

    fn parts<'d>(pieces: &[&'d [u8]]) -> Parts<'d> {
        pieces.iter().copied().collect()
    }

    #[test]
    fn names_are_compressed_against_the_question_in_any_case() {
        let mut buffer = [0; 512];
        let question = b"\x03wWw\x03gLb\x04test\0\0\x01\0\x01";
        let mut writer = Writer::new(&mut buffer, 512, 0, header(), question);
        let zone: Name = "glb.test".parse().unwrap();
        writer.name(&parts(&[b"\x03www", zone.wire()])).unwrap();
        writer.name(&parts(&[b"\x03www", b"\x04sea1", zone.wire()])).unwrap();
        writer.name(&parts(&[b"\x02ns", b"\x04sea1", zone.wire()])).unwrap();
        writer.name(&parts(&[Name::root().wire()])).unwrap();
        let end = writer.length();
        let behind = HEADER + question.len();
        assert_eq!(&buffer[behind..end], b"\xc0\x0c\x03www\x04sea1\xc0\x10\x02ns\xc0\x24\0",);
    }

    #[test]
    fn what_does_not_fit_can_be_taken_back() {
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer, 40, 11, header(), b"\x01a\0\0\x01\0\x01");
        let mark = writer.mark();
        assert_eq!(writer.bytes(&[0; 11]), Err(Full));
        writer.rewind(mark);
        assert_eq!(writer.length(), 19);
        assert_eq!(writer.bytes(&[0; 10]), Ok(()));
        writer.release(11);
        assert_eq!(writer.bytes(&[0; 11]), Ok(()));
        assert_eq!(writer.bytes(&[0]), Err(Full));
    }
}
