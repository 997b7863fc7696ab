//! From an answer to octets: sections in order, whole RRsets or none, OPT always kept.

use std::net::IpAddr;

use super::{
    opt::Opt,
    query::{Query, Reject},
    rrset::{Data, Ede, Glue, LABEL_SERVERS, RrSet, of_family},
    rtype,
    terms::Terms,
    writer::{Full, Parts, Section, Writer},
};
use crate::{answer::Answer, locate::Client};

/// How long a reply was and whether something was left out.
pub(super) struct Rendered {
    pub(super) length: usize,
    pub(super) truncated: bool,
    /// AA.
    pub(super) authoritative: bool,
    /// ANCOUNT.
    pub(super) answers: u16,
}

/// Writes the reply to a question.
pub(super) fn answer(
    query: &Query<'_>,
    answer: &Answer<'_>,
    client: &Client,
    terms: &Terms<'_>,
    (buffer, limit): (&mut [u8], usize),
) -> Rendered {
    let subnet = client.subnet.map(|subnet| (subnet, answer.scope));
    let opt = query.edns.map(|asked| Opt { asked, terms, rcode: answer.rcode, subnet, ede: answer.ede });
    let reserved = opt.as_ref().map_or(0, Opt::length);
    let mut writer = Writer::new(buffer, limit, reserved, query.header, query.question);
    if answer.authoritative {
        writer.set_authoritative();
    }
    writer.set_rcode(answer.rcode);
    let truncated = sections(&mut writer, answer).is_err();
    if truncated {
        writer.set_truncated();
    }
    if let Some(opt) = opt {
        writer.release(reserved);
        // Exactly this room was reserved.
        let _ = opt.write(&mut writer);
    }
    Rendered {
        length: writer.length(),
        truncated,
        authoritative: answer.authoritative,
        answers: writer.counted(Section::Answer),
    }
}

/// Writes a reply that is a response code and no more.
pub(super) fn reject(reject: &Reject<'_>, terms: &Terms<'_>, ede: Option<Ede>, buffer: &mut [u8]) -> Rendered {
    let limit = terms.short(buffer.len());
    let mut writer = Writer::new(buffer, limit, 0, reject.header, reject.question.unwrap_or_default());
    writer.set_rcode(reject.rcode);
    if let Some(asked) = reject.edns {
        let _ = Opt { asked, terms, rcode: reject.rcode, subnet: None, ede }.write(&mut writer);
    }
    Rendered { length: writer.length(), truncated: false, authoritative: false, answers: 0 }
}

/// RFC 2181 section 9: TC only when something required was left out. Glue of a referral is
/// required (RFC 9471 section 3), other additional records are not.
fn sections(writer: &mut Writer<'_>, answer: &Answer<'_>) -> Result<(), Full> {
    for set in &answer.answer {
        rrset(writer, Section::Answer, set)?;
    }
    if let Some(set) = &answer.authority {
        rrset(writer, Section::Authority, set)?;
    }
    let required = answer.answer.is_empty();
    match glue(writer, &answer.glue) {
        Err(Full) if required => Err(Full),
        _ => Ok(()),
    }
}

fn glue(writer: &mut Writer<'_>, glue: &Glue<'_>) -> Result<(), Full> {
    match glue {
        Glue::None => Ok(()),
        Glue::Label { apex, ttl, lb, fallbacks } => {
            let addresses = [*lb].into_iter().chain(fallbacks.iter().map(|f| &f.fallback[..]));
            for (server, addresses) in LABEL_SERVERS.iter().zip(addresses) {
                let owner: Parts<'_> = [*server].into_iter().chain(apex.iter().copied()).collect();
                addresses_of(writer, &owner, *ttl, addresses)?;
            }
            Ok(())
        }
        Glue::Fleet { fleet, zone } => {
            for server in &fleet.servers {
                let owner: Parts<'_> = [server.label(), zone.wire()].into_iter().collect();
                addresses_of(writer, &owner, fleet.ttl.apex_ns, &server.referral)?;
            }
            Ok(())
        }
    }
}

fn addresses_of(writer: &mut Writer<'_>, owner: &Parts<'_>, ttl: u32, addresses: &[IpAddr]) -> Result<(), Full> {
    for family in [rtype::A, rtype::AAAA] {
        if addresses.iter().any(|a| of_family(a, family)) {
            let set = RrSet { owner: owner.clone(), rtype: family, ttl, data: Data::Fixed(addresses) };
            rrset(writer, Section::Additional, &set)?;
        }
    }
    Ok(())
}

/// One RRset, whole or not at all.
fn rrset(writer: &mut Writer<'_>, section: Section, set: &RrSet<'_>) -> Result<(), Full> {
    let mark = writer.mark();
    match records(writer, set) {
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

fn records(writer: &mut Writer<'_>, set: &RrSet<'_>) -> Result<u16, Full> {
    let mut count = 0;
    let mut record = |writer: &mut Writer<'_>, rdata: &mut dyn FnMut(&mut Writer<'_>) -> Result<(), Full>| {
        count += 1;
        writer.record_head(&set.owner, set.rtype, set.ttl)?;
        writer.rdata(rdata)
    };
    match &set.data {
        Data::Name(target) => record(writer, &mut |w| w.name(target))?,
        Data::Addresses(addresses) => {
            for address in addresses {
                record(writer, &mut |w| octets(w, address))?;
            }
        }
        Data::Fixed(addresses) => {
            for address in addresses.iter().filter(|a| of_family(a, set.rtype)) {
                record(writer, &mut |w| octets(w, address))?;
            }
        }
        Data::FleetNs { fleet, zone } => {
            for server in &fleet.servers {
                let name: Parts<'_> = [server.label(), zone.wire()].into_iter().collect();
                record(writer, &mut |w| w.name(&name))?;
            }
        }
        Data::LabelNs { lb, fallbacks } => {
            let servers = &LABEL_SERVERS[usize::from(!lb)..=*fallbacks];
            for server in servers {
                let name: Parts<'_> = [*server].into_iter().chain(set.owner.iter().copied()).collect();
                record(writer, &mut |w| w.name(&name))?;
            }
        }
        Data::Soa(soa) => record(writer, &mut |w| {
            w.name(&soa.mname)?;
            w.name(&[soa.rname].into_iter().collect())?;
            [soa.serial, soa.ttl.refresh, soa.ttl.retry, soa.ttl.expire, soa.ttl.negative]
                .iter()
                .try_for_each(|field| w.u32(*field))
        })?,
        Data::Text(strings) => record(writer, &mut |w| {
            strings.iter().try_for_each(|s| w.bytes(&[s.len() as u8]).and_then(|()| w.bytes(s)))
        })?,
        Data::Records(list) => {
            for item in *list {
                record(writer, &mut |w| w.bytes(&item.rdata))?;
            }
        }
    }
    Ok(count)
}

fn octets(writer: &mut Writer<'_>, address: &IpAddr) -> Result<(), Full> {
    match address {
        IpAddr::V4(v4) => writer.bytes(&v4.octets()),
        IpAddr::V6(v6) => writer.bytes(&v6.octets()),
    }
}
