//! The OPT record of a reply (RFC 6891): planned before the sections, so that its room is kept,
//! and written behind them.

use std::net::IpAddr;

use super::{
    conduct::Conduct,
    edns,
    query::{Edns, Subnet},
    rrset::Ede,
    writer::{Full, Section, Writer},
};

/// OPT without options (RFC 6891 section 6.1.2).
const FIXED: usize = 11;

/// An OPT record that is to be written.
pub(super) struct Opt<'r> {
    /// The question's.
    pub(super) asked: Edns<'r>,
    /// How we conduct ourselves.
    pub(super) conduct: &'r Conduct,
    /// Extended response code.
    pub(super) rcode: u16,
    /// The client subnet that is echoed, with its scope.
    pub(super) subnet: Option<(Subnet, u8)>,
    /// Extended error.
    pub(super) ede: Option<Ede>,
}

impl Opt<'_> {
    /// Octets that [`Opt::write`] will write.
    pub(super) fn length(&self) -> usize {
        let subnet = self.subnet.map_or(0, |(subnet, _)| 8 + used(&subnet));
        FIXED + subnet + self.ede.map_or(0, |e| 6 + e.wire().1.len())
    }

    /// Writes the record and counts it.
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        writer.count(Section::Additional, 1);
        writer.bytes(&[0])?;
        writer.u16(41)?;
        writer.u16(self.conduct.udp_payload)?;
        let flags = if self.asked.dnssec_ok { 0x80 } else { 0 };
        // RFC 6891 section 6.1.3: the upper eight bits of the response code; version 0.
        writer.bytes(&[(self.rcode >> 4) as u8, 0, flags, 0])?;
        writer.rdata(|w| {
            if let Some((subnet, scope)) = &self.subnet {
                echo(w, subnet, *scope)?;
            }
            if let Some((code, text)) = self.ede.map(Ede::wire) {
                w.u16(edns::EXTENDED_ERROR)?;
                w.u16(2 + text.len() as u16)?;
                w.u16(code)?;
                w.bytes(text.as_bytes())?;
            }
            Ok(())
        })
    }
}

/// Octets of an address within its source prefix.
fn used(subnet: &Subnet) -> usize {
    usize::from(subnet.source.div_ceil(8))
}

/// RFC 7871 section 7.2.1: family, source prefix and address as asked.
fn echo(writer: &mut Writer<'_>, subnet: &Subnet, scope: u8) -> Result<(), Full> {
    let used = used(subnet);
    writer.u16(edns::CLIENT_SUBNET)?;
    writer.u16(4 + used as u16)?;
    writer.u16(if subnet.address.is_ipv4() { 1 } else { 2 })?;
    writer.bytes(&[subnet.source, scope])?;
    match subnet.address {
        IpAddr::V4(v4) => writer.bytes(&v4.octets()[..used]),
        IpAddr::V6(v6) => writer.bytes(&v6.octets()[..used]),
    }
}
