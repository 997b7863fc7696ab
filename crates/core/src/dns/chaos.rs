//! Questions about the server itself, in class CHAOS (RFC 4892).

use super::{
    Decision, Handled,
    conduct::Text,
    opt::Opt,
    query::{HEADER, Query},
    rcode,
    render::Rendered,
    rrset::Ede,
    rtype,
    terms::Terms,
    writer::{Full, Section, Writer},
};

const CLASS_CH: u16 = 3;

/// Who we are or what we run, or REFUSED: for other names and types, and for what the operator
/// does not want said.
pub(super) fn answer(query: &Query<'_>, terms: &Terms<'_>, reply: &mut [u8]) -> Handled {
    let asked = matches!(query.qtype, rtype::TXT | rtype::ANY);
    match text(query, terms).filter(|_| asked) {
        Some(text) => terms.handled(&render(query, terms, text, reply), rcode::NOERROR, Decision::Chaos),
        None => terms.refuse(query, (rcode::REFUSED, Some(Ede::NotAuthoritative), Decision::Refused), reply),
    }
}

fn text<'r>(query: &Query<'_>, terms: &Terms<'r>) -> Option<&'r Text> {
    match &query.name[..] {
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => terms.conduct.identity.as_ref(),
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => terms.conduct.version.as_ref(),
        _ => None,
    }
}

fn render(query: &Query<'_>, terms: &Terms<'_>, text: &Text, reply: &mut [u8]) -> Rendered {
    let limit = terms.short(reply.len());
    let mut writer = Writer::new(reply, limit, 0, query.header, query.question);
    writer.set_authoritative();
    // It fits: name and text are short, and an OPT has its bounds ([`Text::MAX`]).
    let _ = record(&mut writer, text);
    if let Some(asked) = &query.edns {
        let _ = Opt { asked, terms, rcode: rcode::NOERROR, subnet: None, ede: None }.write(&mut writer);
    }
    Rendered { length: writer.finish(), truncated: false, authoritative: true, answers: 1 }
}

/// The owner is the question's name, by a pointer, so its letter case is kept. TTL 0 (RFC 4892
/// section 2): the next one to answer may be another server at the same address.
fn record(writer: &mut Writer<'_>, text: &Text) -> Result<(), Full> {
    writer.u16(0xc000 | HEADER as u16)?;
    writer.u16(rtype::TXT)?;
    writer.u16(CLASS_CH)?;
    writer.u32(0)?;
    let text = text.as_bytes();
    writer.rdata(|w| w.bytes(&[text.len() as u8]).and_then(|()| w.bytes(text)))?;
    writer.count(Section::Answer, 1);
    Ok(())
}
