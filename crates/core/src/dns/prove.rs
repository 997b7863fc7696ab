//! Replies in a dns-b's zones for proofs of residence (see [`crate::residence`]): SOA, NS and the name
//! server's addresses like any zone's, and a name for every nonce. Which nonces there are, nobody is
//! told: each that is well formed exists, and all but one question for it get NODATA.

use super::{
    Decision, Handled,
    opt::Opt,
    query::Query,
    rcode,
    render::Rendered,
    responder::Admitted,
    rrset::family,
    rtype,
    sections::{addresses, set, start_of_authority},
    writer::{Full, Pointer, RECORD, Section, Writer},
};
use crate::{
    directory::Directory,
    fleet::Fleet,
    residence::{Family, Nonce, ProveZone, Secret},
};

/// The only name server's label.
const SERVER: &[u8] = b"\x02ns";

/// What a name in such a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Apex,
    Server,
    Nonce(Nonce),
    Nothing,
}

/// What there is of the type that was asked for.
#[derive(Clone, Copy)]
enum Says<'s> {
    Soa,
    Servers,
    /// Of this type.
    Addresses(u16),
    Secret(&'s Secret),
    Nothing,
}

/// A question's zone, and where in QNAME it begins.
struct Place<'d> {
    fleet: &'d Fleet,
    zone: &'d ProveZone,
    apex: Pointer,
    node: Node,
}

impl<'d> Place<'d> {
    fn of(directory: &'d Directory, query: &Query<'_>) -> Option<Self> {
        let name = query.name;
        let (zone, labels) = directory.prove_zone_of(name)?;
        let label = name.get(name.start(labels.saturating_sub(1))..name.start(labels))?;
        let node = match labels {
            0 => Node::Apex,
            1 if label == SERVER => Node::Server,
            1 => label.get(1..).and_then(Nonce::from_label).map_or(Node::Nothing, Node::Nonce),
            _ => Node::Nothing,
        };
        Some(Self { fleet: directory.fleet()?, zone, apex: Pointer::into_question(name.start(labels)), node })
    }
}

/// The nonce that is asked for: only its text is a secret.
pub(super) fn nonce(directory: &Directory, admitted: &Admitted<'_>) -> Option<(Nonce, Family)> {
    let place = Place::of(directory, &admitted.query)?;
    match place.node {
        Node::Nonce(nonce) if admitted.query.qtype == rtype::TXT => Some((nonce, place.zone.family)),
        _ => None,
    }
}

/// Writes the reply. Without a secret, a question for a nonce is [`Decision::Proof`]: the slow lane may
/// know one.
pub(super) fn answer(
    directory: &Directory,
    admitted: &Admitted<'_>,
    secret: Option<&Secret>,
    reply: &mut [u8],
) -> Handled {
    let Admitted { query, terms, client, limit, .. } = admitted;
    let Some(place) = Place::of(directory, query) else {
        return terms.refuse(query, (rcode::SERVFAIL, None, Decision::NotReady), reply);
    };
    let says = says(&place, query.qtype, secret);
    let rcode = if place.node == Node::Nothing { rcode::NXDOMAIN } else { rcode::NOERROR };
    let is_nonce = matches!(place.node, Node::Nonce(_)) && query.qtype == rtype::TXT;
    let decision = if is_nonce { Decision::Proof } else { Decision::Authority };
    let subnet = client.subnet.as_ref().map(|subnet| (subnet, 0));
    let opt = query.edns.as_ref().map(|asked| Opt { asked, terms, rcode, subnet, ede: None });
    let reserved = opt.as_ref().map_or(0, Opt::length);
    let mut writer = Writer::new(reply, *limit, reserved, query.header, query.question);
    writer.set_authoritative();
    writer.set_rcode(rcode);
    let truncated = place.write(&mut writer, says).is_err();
    if truncated {
        writer.set_truncated();
    }
    if let Some(opt) = opt {
        writer.release(reserved);
        // Exactly this room was reserved.
        let _ = opt.write(&mut writer);
    }
    let answers = writer.counted(Section::Answer);
    let rendered = Rendered { length: writer.finish(), truncated, authoritative: true, answers };
    terms.handled(&rendered, rcode, decision)
}

fn says<'s>(place: &Place<'_>, qtype: u16, secret: Option<&'s Secret>) -> Says<'s> {
    match (place.node, qtype) {
        // RFC 8482 section 4.1: one RRset is enough for ANY.
        (Node::Apex, rtype::SOA | rtype::ANY) => Says::Soa,
        (Node::Apex, rtype::NS) => Says::Servers,
        (Node::Server, _) => family(&place.zone.addresses, qtype).map_or(Says::Nothing, Says::Addresses),
        (Node::Nonce(_), rtype::TXT) => secret.map_or(Says::Nothing, Says::Secret),
        _ => Says::Nothing,
    }
}

impl Place<'_> {
    /// Writes the sections; [`Full`] if something required was left out.
    fn write(&self, writer: &mut Writer<'_>, says: Says<'_>) -> Result<(), Full> {
        match says {
            Says::Soa => set(writer, Section::Answer, |w| self.soa(w)),
            Says::Nothing => set(writer, Section::Authority, |w| self.soa(w)),
            Says::Secret(secret) => set(writer, Section::Answer, |w| text(w, secret)),
            Says::Addresses(rtype) => {
                let (list, ttl) = (&self.zone.addresses[..], self.fleet.ttl.apex_ns);
                set(writer, Section::Answer, |w| addresses(w, Pointer::QNAME, ttl, (list, rtype)))
            }
            Says::Servers => self.servers(writer),
        }
    }

    fn soa(&self, w: &mut Writer<'_>) -> Result<u16, Full> {
        start_of_authority(w, (self.apex, SERVER), self.fleet, (self.fleet.serial, self.fleet.ttl.negative))
    }

    /// The name server, and its addresses as far as they fit.
    fn servers(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        let (list, ttl) = (&self.zone.addresses[..], self.fleet.ttl.apex_ns);
        let name = Pointer::to(writer.length() + RECORD)?;
        set(writer, Section::Answer, |w| {
            w.record(self.apex, rtype::NS, ttl, [SERVER, &self.apex.wire()])?;
            Ok(1)
        })?;
        let rtype = if self.zone.family == Family::V4 { rtype::A } else { rtype::AAAA };
        let _ = set(writer, Section::Additional, |w| addresses(w, name, ttl, (list, rtype)));
        Ok(())
    }
}

/// TXT with the secret, for nobody's cache.
fn text(w: &mut Writer<'_>, secret: &Secret) -> Result<u16, Full> {
    let text = secret.text();
    w.record(Pointer::QNAME, rtype::TXT, 0, [&[text.len() as u8], &text])?;
    Ok(1)
}
