//! From an answer to octets: sections in order, whole RRsets or none, OPT always kept.

use super::{
    opt::Opt,
    query::Query,
    rrset::Ede,
    sections::Sections,
    terms::Terms,
    writer::{Section, Writer},
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
#[inline]
pub(super) fn answer(
    query: &Query<'_>,
    answer: &Answer<'_>,
    client: &Client,
    terms: &Terms<'_>,
    (buffer, limit): (&mut [u8], usize),
) -> Rendered {
    let subnet = client.subnet.as_ref().map(|subnet| (subnet, answer.scope));
    let opt = query.edns.as_ref().map(|asked| Opt { asked, terms, rcode: answer.rcode, subnet, ede: answer.ede });
    let reserved = opt.as_ref().map_or(0, Opt::length);
    let mut writer = Writer::new(buffer, limit, reserved, query.header, query.question);
    let authoritative = answer.is_authoritative();
    if authoritative {
        writer.set_authoritative();
    }
    writer.set_rcode(answer.rcode);
    let truncated = answer.content.as_ref().is_some_and(|(place, says)| {
        Sections { place, name: query.name, qtype: query.qtype }.write(&mut writer, says).is_err()
    });
    if truncated {
        writer.set_truncated();
    }
    if let Some(opt) = opt {
        writer.release(reserved);
        // Exactly this room was reserved.
        let _ = opt.write(&mut writer);
    }
    let answers = writer.counted(Section::Answer);
    Rendered { length: writer.finish(), truncated, authoritative, answers }
}

/// Writes a reply that is an extended response code and no more.
pub(super) fn reject(
    (query, rcode): (&Query<'_>, u16),
    terms: &Terms<'_>,
    ede: Option<Ede>,
    buffer: &mut [u8],
) -> Rendered {
    let limit = terms.short(buffer.len());
    let mut writer = Writer::new(buffer, limit, 0, query.header, query.question);
    writer.set_rcode(rcode);
    if let Some(asked) = &query.edns {
        let _ = Opt { asked, terms, rcode, subnet: None, ede }.write(&mut writer);
    }
    Rendered { length: writer.finish(), truncated: false, authoritative: false, answers: 0 }
}
