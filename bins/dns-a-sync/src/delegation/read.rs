//! What DNS-A serves now, by asking it. Whatever it says that cannot be made sense of is an error,
//! never taken for "nothing there".

use dglb_core::name::Name;
use dglb_node::ask::Via;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};
use thiserror::Error;

use super::{
    plan::{Cut, Host},
    records::{Data, RrSet},
    wanted::Wanted,
};
use crate::{
    dns_a::{AskError, DnsA},
    wire::from_hickory,
};

/// Types that people put at a host's name, beside aliases.
const USUAL: [RecordType; 6] =
    [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::CAA, RecordType::HTTPS];

/// Why it is not known what DNS-A serves.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It answers for the zone itself, so nobody ever sees a delegation.
    #[error("DNS-A serves {0} itself: remove that zone from it, since it shall be delegated")]
    Child(Name),
    /// The name is not the enterprise zone's to delegate.
    #[error("{name} lies below {cut}, which DNS-A delegates or serves as a zone of its own")]
    Below {
        /// The name asked for.
        name: Name,
        /// The zone in between.
        cut: Name,
    },
}

/// What DNS-A, whose zone `parent` is, serves at the zone that shall be delegated as `wanted`.
///
/// # Errors
/// [`ReadError`].
pub async fn read_cut(dns_a: &DnsA, parent: &Name, wanted: &Wanted) -> Result<Cut, ReadError> {
    let zone = &wanted.zone;
    let ds = has_answer(&dns_a.ask_authority(zone, RecordType::DS).await?, zone, RecordType::DS);
    // By TCP, so that no glue is left out for want of room.
    let answer = dns_a.ask(zone, RecordType::NS, Via::Tcp).await?;
    let mut cut = Cut { ns: None, glue: Vec::new(), ds, alias: None, hidden: Vec::new() };
    if has_answer(&answer, zone, RecordType::NS) {
        return Err(ReadError::Child(zone.clone()));
    }
    if !answer.authoritative {
        cut.ns = Some(referral(dns_a, &answer, zone, parent)?);
        cut.glue = glue(&answer, cut.ns.as_ref(), wanted);
        return Ok(cut);
    }
    if let Some((target, _)) = alias(&answer, zone) {
        if !is_wildcard(dns_a, &answer, zone, RecordType::CNAME).await? {
            cut.alias = Some(target);
        }
        return Ok(cut);
    }
    proven_by(dns_a, &answer, zone, parent)?;
    if answer.response_code != ResponseCode::NXDomain {
        cut.hidden = types_at(dns_a, zone).await?;
        for name in wanted.servers.keys() {
            for rtype in [RecordType::A, RecordType::AAAA] {
                let answer = dns_a.ask_authority(name, rtype).await?;
                if !is_wildcard(dns_a, &answer, name, rtype).await? {
                    cut.glue.extend(RrSet::find(&answer.answers, name, rtype));
                }
            }
        }
    }
    Ok(cut)
}

/// What DNS-A, whose zone `parent` is, serves at the name that clients use.
///
/// # Errors
/// [`ReadError`].
pub async fn read_host(dns_a: &DnsA, parent: &Name, host: &Name) -> Result<Host, ReadError> {
    let answer = dns_a.ask(host, RecordType::CNAME, Via::UdpThenTcp).await?;
    if let Some((_, set)) = alias(&answer, host).filter(|_| answer.authoritative) {
        let alias = (!is_wildcard(dns_a, &answer, host, RecordType::CNAME).await?).then_some(set);
        return Ok(Host { alias, others: Vec::new() });
    }
    proven_by(dns_a, &answer, host, parent)?;
    let unused = answer.response_code == ResponseCode::NXDomain;
    Ok(Host { alias: None, others: if unused { Vec::new() } else { types_at(dns_a, host).await? } })
}

fn has_answer(answer: &Message, name: &Name, rtype: RecordType) -> bool {
    !data(answer, name, rtype).is_empty()
}

fn data<'a>(answer: &'a Message, name: &Name, rtype: RecordType) -> Vec<&'a RData> {
    let matching = answer.answers.iter().filter(|r| r.record_type() == rtype);
    matching.filter(|r| from_hickory(&r.name).as_ref() == Some(name)).map(|r| &r.data).collect()
}

/// Whether the records at `name` may come from a wildcard (RFC 4592): a name beside it, which
/// nobody ever wrote, has the same. A wildcard is nobody's record at the name itself; should there
/// be one all the same, the update's prerequisites find it.
async fn is_wildcard(dns_a: &DnsA, answer: &Message, name: &Name, rtype: RecordType) -> Result<bool, ReadError> {
    let found = data(answer, name, rtype);
    let beside = name.parent().and_then(|parent| parent.child(&format!("{:016x}", rand::random::<u64>())).ok());
    let (false, Some(beside)) = (found.is_empty(), beside) else { return Ok(false) };
    let other = dns_a.ask_authority(&beside, rtype).await?;
    let other = data(&other, &beside, rtype);
    Ok(found.len() == other.len() && found.iter().all(|d| other.contains(d)))
}

fn alias(answer: &Message, name: &Name) -> Option<(Name, RrSet)> {
    let set = RrSet::find(&answer.answers, name, RecordType::CNAME)?;
    let target = set.data.iter().find_map(|d| if let Data::Cname(to) = d { Some(to.clone()) } else { None })?;
    Some((target, set))
}

/// The NS set of a referral to `zone`.
fn referral(dns_a: &DnsA, answer: &Message, zone: &Name, parent: &Name) -> Result<RrSet, ReadError> {
    if let Some(set) = RrSet::find(&answer.authorities, zone, RecordType::NS) {
        return Ok(set);
    }
    Err(elsewhere(dns_a, answer, RecordType::NS, zone, parent))
}

/// That there is no record must be said with authority by the enterprise's own zone.
fn proven_by(dns_a: &DnsA, answer: &Message, name: &Name, parent: &Name) -> Result<(), ReadError> {
    let soa = answer.authorities.iter().find(|r| r.record_type() == RecordType::SOA);
    match soa.and_then(|r| from_hickory(&r.name)) {
        Some(owner) if answer.authoritative && owner == *parent => Ok(()),
        Some(_) => Err(elsewhere(dns_a, answer, RecordType::SOA, name, parent)),
        None => Err(elsewhere(dns_a, answer, RecordType::NS, name, parent)),
    }
}

/// The error for an answer that comes from another zone than `parent`.
fn elsewhere(dns_a: &DnsA, answer: &Message, rtype: RecordType, name: &Name, parent: &Name) -> ReadError {
    let owners = answer.authorities.iter().filter(|r| r.record_type() == rtype).filter_map(|r| from_hickory(&r.name));
    let between = owners.into_iter().find(|owner| owner.is_within(parent) && owner != parent && name.is_within(owner));
    match between {
        Some(cut) if rtype == RecordType::SOA && cut == *name => ReadError::Child(cut),
        Some(cut) => ReadError::Below { name: name.clone(), cut },
        None => AskError::Lame { server: dns_a.server(), name: name.clone() }.into(),
    }
}

/// The address sets of the name servers, old and new, in a referral's additional section.
fn glue(answer: &Message, ns: Option<&RrSet>, wanted: &Wanted) -> Vec<RrSet> {
    let served = ns.into_iter().flat_map(|set| &set.data);
    let served = served.filter_map(|d| if let Data::Ns(name) = d { Some(name) } else { None });
    let names: std::collections::BTreeSet<&Name> = served.chain(wanted.servers.keys()).collect();
    let sets = names.into_iter().flat_map(|name| [(name, RecordType::A), (name, RecordType::AAAA)]);
    sets.filter_map(|(name, rtype)| RrSet::find(&answer.additionals, name, rtype)).collect()
}

async fn types_at(dns_a: &DnsA, name: &Name) -> Result<Vec<RecordType>, ReadError> {
    let mut found = Vec::new();
    for rtype in USUAL {
        let answer = dns_a.ask_authority(name, rtype).await?;
        if has_answer(&answer, name, rtype) && !is_wildcard(dns_a, &answer, name, rtype).await? {
            found.push(rtype);
        }
    }
    Ok(found)
}
