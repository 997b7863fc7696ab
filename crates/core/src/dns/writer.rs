//! Writing a message: whole RRsets or nothing, never beyond the limit. Every name of an answer ends
//! in a suffix of QNAME or in a name just written, so whoever writes one knows what to point at (RFC
//! 1035 section 4.1.4) and nothing is searched for.

use super::query::{HEADER, Header};

/// Octets of a record in front of its RDATA, the owner being a pointer.
pub(super) const RECORD: usize = 12;

/// A pointer has 14 bits for the offset.
const MAX_TARGET: usize = 0x3fff;

/// Sections behind the question; the number is how far left its count stands in [`Writer::counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer = 32,
    Authority = 16,
    Additional = 0,
}

/// The message did not fit. What was written since the last [`Writer::mark`] is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A name that is already there, as two octets (RFC 1035 section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer([u8; 2]);

impl Pointer {
    /// To QNAME.
    pub(super) const QNAME: Self = Self([0xc0, HEADER as u8]);

    /// To QNAME without its first `octets` octets.
    pub(super) fn into_question(octets: usize) -> Self {
        // A name has at most 255 octets.
        Self((0xc000 | (HEADER + octets) as u16).to_be_bytes())
    }

    /// To what was written at `at`, if that is not too far from the start.
    pub(super) fn to(at: usize) -> Result<Self, Full> {
        if at > MAX_TARGET { Err(Full) } else { Ok(Self((0xc000 | at as u16).to_be_bytes())) }
    }

    /// The octets.
    pub(super) fn wire(self) -> [u8; 2] {
        self.0
    }
}

/// A message under construction at the start of a buffer. The header comes last.
pub(super) struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
    limit: usize,
    id: [u8; 2],
    /// The third and fourth octet of the header.
    flags: [u8; 2],
    /// QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT, as one number: a record has eleven octets or more, so that none is
    /// carried over to the next.
    counts: u64,
}

/// A place to return to when an RRset turns out not to fit.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    counts: u64,
}

impl<'b> Writer<'b> {
    /// Writes the question; `limit` bounds the whole message, `reserved` octets of it are kept for
    /// [`Writer::release`].
    #[inline]
    pub(super) fn new(buffer: &'b mut [u8], limit: usize, reserved: usize, header: Header, question: &[u8]) -> Self {
        let limit = limit.min(buffer.len()).saturating_sub(reserved);
        let counts = u64::from(!question.is_empty()) << 48;
        let mut writer = Self { buffer, at: HEADER, limit, id: header.id, flags: header.reply_flags(), counts };
        // A header and a question as they were received always fit 512 octets.
        let _ = writer.bytes(question);
        writer
    }

    /// Writes the header and returns the length of the message.
    #[inline]
    pub(super) fn finish(self) -> usize {
        let ([i0, i1], [f0, f1]) = (self.id, self.flags);
        let Some(header) = self.buffer.first_chunk_mut::<HEADER>() else { return 0 };
        let (first, counts) = header.split_at_mut(HEADER - 8);
        first.copy_from_slice(&[i0, i1, f0, f1]);
        counts.copy_from_slice(&self.counts.to_be_bytes());
        self.at
    }

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, counts: self.counts }
    }

    #[inline]
    pub(super) fn rewind(&mut self, mark: Mark) {
        (self.at, self.counts) = (mark.at, mark.counts);
    }

    /// Makes `octets` of the reserved room usable.
    #[inline]
    pub(super) fn release(&mut self, octets: usize) {
        self.limit = (self.limit + octets).min(self.buffer.len());
    }

    pub(super) fn set_authoritative(&mut self) {
        self.flags[0] |= 0x04;
    }

    pub(super) fn set_truncated(&mut self) {
        self.flags[0] |= 0x02;
    }

    /// The lower four bits of the response code (RFC 1035 section 4.1.1).
    pub(super) fn set_rcode(&mut self, rcode: u16) {
        self.flags[1] |= (rcode & 0x0f) as u8;
    }

    #[inline]
    pub(super) fn count(&mut self, section: Section, records: u16) {
        self.counts += u64::from(records) << section as u32;
    }

    /// How many records [`Writer::count`] has counted in a section.
    #[inline]
    pub(super) fn counted(&self, section: Section) -> u16 {
        (self.counts >> section as u32) as u16
    }

    pub(super) fn length(&self) -> usize {
        self.at
    }

    /// The next `octets` octets, to be filled in.
    #[inline]
    fn room(&mut self, octets: usize) -> Result<&mut [u8], Full> {
        let end = self.at + octets;
        if end > self.limit {
            return Err(Full);
        }
        let room = self.buffer.get_mut(self.at..end).ok_or(Full)?;
        self.at = end;
        Ok(room)
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }

    /// A record of class IN, whose RDATA is these parts.
    #[inline]
    pub(super) fn record<const N: usize>(
        &mut self,
        owner: Pointer,
        rtype: u16,
        ttl: u32,
        rdata: [&[u8]; N],
    ) -> Result<(), Full> {
        let ([o0, o1], [t0, t1], [l0, l1, l2, l3]) = (owner.0, rtype.to_be_bytes(), ttl.to_be_bytes());
        let length: usize = rdata.iter().map(|part| part.len()).sum();
        let room = self.room(RECORD + length)?;
        // What does not fit 16 bits does not fit the message either.
        let [r0, r1] = (length as u16).to_be_bytes();
        let (head, mut rest) = room.split_first_chunk_mut::<RECORD>().ok_or(Full)?;
        *head = [o0, o1, t0, t1, 0, 1, l0, l1, l2, l3, r0, r1];
        for part in rdata {
            let (to, behind) = rest.split_at_mut_checked(part.len()).ok_or(Full)?;
            to.copy_from_slice(part);
            rest = behind;
        }
        Ok(())
    }

    /// RDLENGTH, then what `rdata` writes.
    #[inline]
    pub(super) fn rdata(&mut self, rdata: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        let at = self.at;
        self.u16(0)?;
        rdata(self)?;
        let length = (self.at - at - 2) as u16;
        self.buffer[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { id: [0, 7], ..Header::default() }
    }

    #[test]
    fn records_point_into_the_question() {
        let mut buffer = [0; 512];
        let question = b"\x03wWw\x03gLb\x04test\0\0\x01\0\x01";
        let mut writer = Writer::new(&mut buffer, 512, 0, header(), question);
        let at = writer.length() + RECORD;
        let apex = Pointer::into_question(4);
        writer.record(apex, 2, 0x0102_0304, [b"\x02b1", &apex.wire()]).unwrap();
        writer.record(Pointer::to(at).unwrap(), 1, 5, []).unwrap();
        let end = writer.finish();
        let behind = HEADER + question.len();
        let expected = b"\xc0\x10\0\x02\0\x01\x01\x02\x03\x04\0\x05\x02b1\xc0\x10\xc0\x2a\0\x01\0\x01\0\0\0\x05\0\0";
        assert_eq!(&buffer[behind..end], expected);
        assert_eq!(Pointer::to(0x3fff).map(Pointer::wire), Ok([0xff, 0xff]));
        assert_eq!(Pointer::to(0x4000), Err(Full));
    }

    #[test]
    fn parts_of_any_length_are_put_behind_each_other() {
        let octets: Vec<u8> = (0..40).collect();
        for cut in 0..=octets.len() {
            let mut buffer = [0; 512];
            let mut writer = Writer::new(&mut buffer, 512, 0, header(), b"\x01a\0\0\x01\0\x01");
            let at = writer.length();
            writer.record(Pointer::QNAME, 16, 0, [&octets[..cut], &octets[cut..]]).unwrap();
            let end = writer.finish();
            assert_eq!(buffer[at + RECORD..end], octets, "{cut}");
        }
    }

    #[test]
    fn what_does_not_fit_can_be_taken_back() {
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer, 40, 11, header(), b"\x01a\0\0\x01\0\x01");
        let mark = writer.mark();
        writer.count(Section::Answer, 3);
        assert_eq!(writer.bytes(&[0; 11]), Err(Full));
        writer.rewind(mark);
        assert_eq!((writer.length(), writer.counted(Section::Answer)), (19, 0));
        assert_eq!(writer.bytes(&[0; 10]), Ok(()));
        writer.release(11);
        assert_eq!(writer.bytes(&[0; 11]), Ok(()));
        assert_eq!(writer.bytes(&[0]), Err(Full));
        writer.count(Section::Authority, 258);
        assert_eq!(writer.counted(Section::Authority), 258);
        assert_eq!(writer.finish(), 40);
        assert_eq!(buffer[..HEADER], [0, 7, 0x80, 0, 0, 1, 0, 0, 1, 2, 0, 0]);
        let tiny = Writer::new(&mut buffer[..5], 512, 11, header(), b"\x01a\0\0\x01\0\x01");
        assert_eq!(tiny.finish(), 0);
    }
}
