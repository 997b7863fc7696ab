//! From what an answer says to the records of its sections: whole RRsets or none.

use std::net::IpAddr;

use super::{
    qname::QName,
    rrset::{LABEL_SERVERS, of_family},
    rtype, svcb,
    writer::{Full, Pointer, RECORD, Section, Writer},
};
use crate::{
    answer::{Apex, Chance, Cut, Place, Says},
    catalogue::Service,
    fleet::{Fleet, FleetServer},
    lbs::LbFacts,
    ranked::RankedSites,
};

/// Most seconds that "this site has no such family now" may be cached (design section 5).
const FAMILY_DOWN: u32 = 30;
/// QNAME, the owner of every record in the answer section.
const QNAME: Pointer = Pointer::QNAME;

/// The sections of one answer.
pub(super) struct Sections<'s, 'd> {
    pub(super) place: &'s Place<'d>,
    pub(super) name: &'s QName,
    pub(super) qtype: u16,
}

impl<'d> Sections<'_, 'd> {
    /// Writes them. [`Full`] if something required was left out, which TC says (RFC 2181 section 9).
    #[inline]
    pub(super) fn write(&self, writer: &mut Writer<'_>, says: &Says<'d>) -> Result<(), Full> {
        let ttl = &self.place.fleet.ttl;
        match *says {
            Says::Cname { lb, ttl, referral } => {
                // The label is in the target, behind what precedes the zone in QNAME.
                let label = writer.length() + RECORD + self.name.start(self.place.labels);
                set(writer, Section::Answer, |w| self.cname(w, lb, ttl))?;
                if let Some(cut) = referral {
                    self.referral_beside(writer, label, &cut);
                }
                Ok(())
            }
            Says::Sites { service, ranking, chance, ttl, apex } => {
                self.sites(writer, (service, ranking, chance), ttl, &apex)
            }
            Says::Addresses { list, rtype, ttl } => {
                set(writer, Section::Answer, |w| addresses(w, QNAME, ttl, (list, rtype)))
            }
            Says::Records(list) => set(writer, Section::Answer, |w| {
                for record in list {
                    // RFC 2181 section 5.2: one TTL for the set.
                    w.record(QNAME, record.rtype, list[0].ttl, [&record.rdata])?;
                }
                Ok(list.len() as u16)
            }),
            Says::Identity => set(writer, Section::Answer, |w| self.identity(w)),
            Says::Soa(apex) => set(writer, Section::Answer, |w| self.soa(w, &apex, ttl.negative)),
            Says::Nothing(apex) => set(writer, Section::Authority, |w| self.soa(w, &apex, ttl.negative)),
            // The addresses beside an answer are a courtesy.
            Says::Servers(Apex::Zone) => self.zone_servers(writer),
            Says::Servers(Apex::Label(cut)) => {
                let names = self.label_servers(writer, Section::Answer, self.label(), &cut)?;
                let _ = self.label_glue(writer, names, &cut);
                Ok(())
            }
            // RFC 9471 section 3: glue of a referral is required.
            Says::Referral(cut) => {
                let names = self.label_servers(writer, Section::Authority, self.label(), &cut)?;
                self.label_glue(writer, names, &cut)
            }
        }
    }

    /// The apex of the zone, which QNAME ends with.
    #[inline]
    fn zone(&self) -> Pointer {
        Pointer::into_question(self.name.start(self.place.labels))
    }

    /// The apex of the label zone that QNAME is in.
    #[inline]
    fn label(&self) -> Pointer {
        Pointer::into_question(self.name.start(self.place.labels.saturating_sub(1)))
    }

    /// What precedes the zone in QNAME, the DNS-LB's label, the zone.
    #[inline]
    fn cname(&self, w: &mut Writer<'_>, lb: &LbFacts, ttl: u32) -> Result<u16, Full> {
        let relative = &self.name[..self.name.start(self.place.labels)];
        w.record(QNAME, rtype::CNAME, ttl, [relative, lb.label(), &self.zone().wire()])?;
        Ok(1)
    }

    fn sites(
        &self,
        writer: &mut Writer<'_>,
        (service, ranking, chance): (&Service, &RankedSites, Chance),
        ttl: u32,
        apex: &Apex<'_>,
    ) -> Result<(), Full> {
        if self.qtype == rtype::HTTPS
            && let Some(https) = &service.https
        {
            return set(writer, Section::Answer, |w| svcb::record(w, ttl, https, (service, ranking, chance)));
        }
        // RFC 8482 section 4.1: one RRset is enough for ANY.
        let families = [rtype::A, rtype::AAAA];
        for rtype in families.into_iter().filter(|family| [*family, rtype::ANY].contains(&self.qtype)) {
            let found = chance.addresses(service, ranking, rtype == rtype::A);
            if !found.is_empty() {
                return set(writer, Section::Answer, |w| addresses(w, QNAME, ttl, (&found, rtype)));
            }
        }
        // Not for longer than an address would have been: a family that is down comes back.
        let ttl = ttl.min(FAMILY_DOWN).min(self.place.fleet.ttl.negative);
        set(writer, Section::Authority, |w| self.soa(w, apex, ttl))
    }

    /// The label and the nonce, each of which is a character string as it stands in QNAME.
    fn identity(&self, w: &mut Writer<'_>) -> Result<u16, Full> {
        let (name, labels) = (self.name, self.place.labels);
        let (nonce, label) = (&name[..name.start(1)], &name[name.start(labels - 1)..name.start(labels)]);
        w.record(QNAME, rtype::TXT, 0, [label, nonce])?;
        Ok(1)
    }

    /// That of the zone, or of the label zone.
    fn soa(&self, w: &mut Writer<'_>, apex: &Apex<'_>, ttl: u32) -> Result<u16, Full> {
        let Place { fleet, zone, .. } = self.place;
        let (owner, server, serial, ttl) = match apex {
            Apex::Zone => (self.zone(), fleet.servers[0].label(), zone.catalogue().soa_serial, ttl),
            Apex::Label(cut) => {
                let nobody = cut.lb.is_none() && cut.fallbacks.len() > 0;
                (self.label(), LABEL_SERVERS[usize::from(nobody)], fleet.serial, ttl.min(cut.limit))
            }
        };
        start_of_authority(w, (owner, server), fleet, (serial, ttl))
    }

    /// `<identity>.<zone>` of every dns-b, and their addresses as far as they fit.
    fn zone_servers(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        let (servers, ttl, zone) = (&self.place.fleet.servers, self.place.fleet.ttl.apex_ns, self.zone());
        let mut at = writer.length() + RECORD;
        set(writer, Section::Answer, |w| {
            for server in servers {
                w.record(zone, rtype::NS, ttl, [server.label(), &zone.wire()])?;
            }
            Ok(servers.len() as u16)
        })?;
        let glue = |server: &FleetServer| {
            let name = Pointer::to(at)?;
            at += server.label().len() + 2 + RECORD;
            both_families(writer, name, ttl, &server.referral)
        };
        let _ = servers.iter().try_for_each(glue);
        Ok(())
    }

    /// `ns`, `f1`, `f2` of a label zone. Returns where the first of these names was written.
    fn label_servers(
        &self,
        writer: &mut Writer<'_>,
        section: Section,
        apex: Pointer,
        cut: &Cut<'_>,
    ) -> Result<usize, Full> {
        let ttl = self.place.fleet.ttl.label_ns.min(cut.limit);
        let names = writer.length() + RECORD;
        set(writer, section, |w| {
            let servers = &LABEL_SERVERS[usize::from(cut.lb.is_none())..=cut.fallbacks.len()];
            for server in servers {
                w.record(apex, rtype::NS, ttl, [server, &apex.wire()])?;
            }
            Ok(servers.len() as u16)
        })?;
        Ok(names)
    }

    /// A referral beside a CNAME, whose target has the label at `at`. None of it is required, so it is
    /// never a reason for TC (RFC 2181 section 9); without its glue it would be of no use.
    fn referral_beside(&self, writer: &mut Writer<'_>, at: usize, cut: &Cut<'_>) {
        let mark = writer.mark();
        let whole = Pointer::to(at)
            .and_then(|apex| self.label_servers(writer, Section::Authority, apex, cut))
            .and_then(|names| self.label_glue(writer, names, cut));
        if whole.is_err() {
            writer.rewind(mark);
        }
    }

    /// The addresses of those servers, whose names begin at `at`.
    fn label_glue(&self, writer: &mut Writer<'_>, mut at: usize, cut: &Cut<'_>) -> Result<(), Full> {
        let ttl = self.place.fleet.ttl.label_ns.min(cut.limit);
        let fallbacks = cut.fallbacks.of(self.place.fleet).map(|server| &server.fallback[..]);
        for addresses in cut.lb.map(|_| cut.addresses()).into_iter().chain(fallbacks) {
            both_families(writer, Pointer::to(at)?, ttl, addresses)?;
            at += LABEL_SERVERS[0].len() + 2 + RECORD;
        }
        Ok(())
    }
}

/// One RRset of as many records as `records` says, whole or not at all.
#[inline]
pub(super) fn set(
    writer: &mut Writer<'_>,
    section: Section,
    records: impl FnOnce(&mut Writer<'_>) -> Result<u16, Full>,
) -> Result<(), Full> {
    let mark = writer.mark();
    match records(writer) {
        Ok(count) => {
            writer.count(section, count);
            Ok(())
        }
        Err(Full) => {
            writer.rewind(mark);
            Err(Full)
        }
    }
}

/// The SOA of `owner`, below which the first name server has this label (RFC 1035 section 3.3.13).
pub(super) fn start_of_authority(
    w: &mut Writer<'_>,
    (owner, server): (Pointer, &[u8]),
    fleet: &Fleet,
    (serial, ttl): (u32, u32),
) -> Result<u16, Full> {
    let (contact, timers) = (fleet.hostmaster.wire(), &fleet.ttl);
    let fields = [serial, timers.refresh, timers.retry, timers.expire, timers.negative].map(u32::to_be_bytes);
    w.record(owner, rtype::SOA, ttl, [server, &owner.wire(), contact, fields.as_flattened()])?;
    Ok(1)
}

/// Additional A and AAAA records, an RRset each.
fn both_families(writer: &mut Writer<'_>, owner: Pointer, ttl: u32, list: &[IpAddr]) -> Result<(), Full> {
    [rtype::A, rtype::AAAA]
        .into_iter()
        .try_for_each(|rtype| set(writer, Section::Additional, |w| addresses(w, owner, ttl, (list, rtype))))
}

/// Those addresses of a list that a record of this type holds.
#[inline]
pub(super) fn addresses(
    w: &mut Writer<'_>,
    owner: Pointer,
    ttl: u32,
    (list, rtype): (&[IpAddr], u16),
) -> Result<u16, Full> {
    let mut count = 0;
    for address in list.iter().filter(|address| of_family(address, rtype)) {
        match address {
            IpAddr::V4(v4) => w.record(owner, rtype, ttl, [&v4.octets()])?,
            IpAddr::V6(v6) => w.record(owner, rtype, ttl, [&v6.octets()])?,
        }
        count += 1;
    }
    Ok(count)
}
