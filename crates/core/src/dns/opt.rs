//! The OPT record of a reply (RFC 6891): planned before the sections, so that its room is kept,
//! and written behind them.

use std::net::IpAddr;

use super::{
    edns,
    query::{Edns, Subnet},
    rrset::Ede,
    terms::Terms,
    writer::{Full, Section, Writer},
};

/// OPT without options (RFC 6891 section 6.1.2).
const FIXED: usize = 11;
/// An option's code and length.
const HEAD: usize = 4;

/// An OPT record that is to be written.
pub(super) struct Opt<'r> {
    /// The question's.
    pub(super) asked: &'r Edns<'r>,
    /// What is owed to whoever asked.
    pub(super) terms: &'r Terms<'r>,
    /// Extended response code.
    pub(super) rcode: u16,
    /// The client subnet that is echoed, with its scope.
    pub(super) subnet: Option<(&'r Subnet, u8)>,
    /// Extended error.
    pub(super) ede: Option<Ede>,
}

impl Opt<'_> {
    /// Octets that [`Opt::write`] will write, but for padding, which takes what room there is.
    #[inline]
    pub(super) fn length(&self) -> usize {
        if self.is_plain() {
            return FIXED;
        }
        let subnet = self.subnet.map_or(0, |(subnet, _)| HEAD + 4 + used(subnet));
        let cookie = self.terms.cookie.map_or(0, |cookie| HEAD + cookie.len());
        let nsid = self.nsid().map_or(0, |nsid| HEAD + nsid.len());
        let keepalive = self.keepalive().map_or(0, |_| HEAD + 2);
        FIXED + subnet + cookie + nsid + keepalive + self.ede.map_or(0, |e| HEAD + 2 + e.wire().1.len())
    }

    /// Writes the record and counts it.
    #[inline]
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        writer.count(Section::Additional, 1);
        let [p0, p1] = self.terms.conduct.udp_payload.to_be_bytes();
        let flags = if self.asked.dnssec_ok { 0x80 } else { 0 };
        // RFC 6891 section 6.1.3: the upper eight bits of the response code; version 0.
        let fixed: [u8; FIXED] = [0, 0, 41, p0, p1, (self.rcode >> 4) as u8, 0, flags, 0, 0, 0];
        if self.is_plain() {
            return writer.bytes(&fixed);
        }
        writer.bytes(&fixed[..FIXED - 2])?;
        writer.rdata(|w| self.options(w))
    }

    /// Whether there is no option at all, as in most answers.
    #[inline]
    fn is_plain(&self) -> bool {
        let Edns { nsid, keepalive, padding, .. } = self.asked;
        self.subnet.is_none()
            && self.terms.cookie.is_none()
            && self.ede.is_none()
            && !(*nsid || *padding || keepalive.is_some())
    }

    #[inline]
    fn options(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        if let Some((subnet, scope)) = self.subnet {
            echo(w, subnet, scope)?;
        }
        if let Some(cookie) = &self.terms.cookie {
            option(w, edns::COOKIE, cookie)?;
        }
        if let Some(nsid) = self.nsid() {
            option(w, edns::NSID, nsid)?;
        }
        if let Some(timeout) = self.keepalive() {
            option(w, edns::KEEPALIVE, &timeout.to_be_bytes())?;
        }
        if let Some((code, text)) = self.ede.map(Ede::wire) {
            w.u16(edns::EXTENDED_ERROR)?;
            w.u16(2 + text.len() as u16)?;
            w.u16(code)?;
            w.bytes(text.as_bytes())?;
        }
        // The last one: it depends on all that stands before it.
        if self.asked.padding && self.terms.transport.is_encrypted() {
            let mark = w.mark();
            if pad(w, usize::from(self.terms.conduct.padding)).is_err() {
                w.rewind(mark);
            }
        }
        Ok(())
    }

    #[inline]
    fn nsid(&self) -> Option<&[u8]> {
        self.terms.conduct.nsid.as_ref().filter(|_| self.asked.nsid).map(|nsid| nsid.as_bytes())
    }

    /// RFC 7828 section 3.3.2: told to who asks, over connections alone.
    #[inline]
    fn keepalive(&self) -> Option<u16> {
        self.terms.conduct.keepalive.filter(|_| self.asked.keepalive == Some(0) && self.terms.transport.is_kept_alive())
    }
}

fn option(writer: &mut Writer<'_>, code: u16, data: &[u8]) -> Result<(), Full> {
    let ([c0, c1], [l0, l1]) = (code.to_be_bytes(), (data.len() as u16).to_be_bytes());
    writer.bytes(&[c0, c1, l0, l1])?;
    writer.bytes(data)
}

/// RFC 8467 section 4.1: up to the next multiple of `block`. What would grow beyond the largest
/// message stays as it is.
fn pad(writer: &mut Writer<'_>, block: usize) -> Result<(), Full> {
    const ZEROS: [u8; 512] = [0; 512];
    if block == 0 {
        return Ok(());
    }
    let mut missing = (writer.length() + HEAD).next_multiple_of(block) - writer.length() - HEAD;
    writer.u16(edns::PADDING)?;
    writer.u16(missing as u16)?;
    while missing > 0 {
        let some = missing.min(ZEROS.len());
        writer.bytes(&ZEROS[..some])?;
        missing -= some;
    }
    Ok(())
}

/// Octets of an address within its source prefix.
fn used(subnet: &Subnet) -> usize {
    usize::from(subnet.source.div_ceil(8))
}

/// RFC 7871 section 7.2.1: family, source prefix and address as asked.
fn echo(writer: &mut Writer<'_>, subnet: &Subnet, scope: u8) -> Result<(), Full> {
    let used = used(subnet);
    let family = if subnet.address.is_ipv4() { 1 } else { 2 };
    // Of IPv6, 20 octets at most.
    let head = [0, edns::CLIENT_SUBNET as u8, 0, 4 + used as u8, 0, family, subnet.source, scope];
    writer.bytes(&head)?;
    match subnet.address {
        IpAddr::V4(v4) => writer.bytes(&v4.octets()[..used]),
        IpAddr::V6(v6) => writer.bytes(&v6.octets()[..used]),
    }
}
