//! From packets to packets: the one way that every transport takes.

use super::{
    Asked, Decision, Exchange, Handled, Kind, Transport,
    conduct::Conduct,
    query::{self, Class, Parsed, Query},
    rcode,
    render::{self, Rendered},
    rtype,
};
use crate::{
    answer::{Question, answer},
    directory::Directory,
    locate::Client,
};

/// Everything that replies depend on, held for one batch of questions.
#[derive(Clone, Copy, Debug)]
pub struct Responder<'a> {
    /// What to answer.
    pub directory: &'a Directory,
    /// How to answer.
    pub conduct: &'a Conduct,
    /// Seconds since 1970, which stand in server cookies (RFC 9018 section 4.3); nothing else
    /// depends on the time of day.
    pub unix_seconds: u32,
}

impl<'a> Responder<'a> {
    /// With the default conduct, in 1970: what tests, benches and tools need.
    pub fn with_defaults(directory: &'a Directory) -> Self {
        static DEFAULT: Conduct = Conduct::DEFAULT;
        Self { directory, conduct: &DEFAULT, unix_seconds: 0 }
    }

    /// Answers one packet into `reply`, which must hold 65 535 octets for TCP and at least 1 232
    /// for UDP. Total: whatever the packet is, this returns.
    pub fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        // A source port of 0 can only be a forgery: a reply to it goes nowhere (RFC 6056 section 3.2).
        let parsed = if asked.peer.port() == 0 { Parsed::Drop } else { query::parse(asked.packet) };
        match parsed {
            Parsed::Drop => Handled::DROPPED,
            Parsed::Reject(reject) => {
                handled(&render::reject(&reject, self.conduct, reply), reject.rcode, Decision::Malformed)
            }
            Parsed::Query(query) if refused(&query) => {
                handled(&render::refusal(&query, self.conduct, reply), rcode::REFUSED, Decision::Refused)
            }
            Parsed::Query(query) => {
                let subnet = query.edns.and_then(|e| e.subnet);
                let client = Client::new(self.directory, asked.peer.ip(), subnet);
                let question = Question { name: &query.name, qtype: query.qtype, client, role: asked.role };
                let answer = answer(self.directory, &question);
                let limit = size_limit(&query, asked.transport, self.conduct);
                let rendered = render::answer(&query, &answer, &client, self.conduct, (reply, limit));
                handled(&rendered, answer.rcode, answer.decision)
            }
        }
    }

    /// Answers a batch, each packet as [`Responder::respond`] does.
    pub fn respond_batch(&self, exchanges: &mut [Exchange<'_>]) {
        for exchange in exchanges {
            exchange.handled = self.respond(&exchange.asked, exchange.reply);
        }
    }
}

fn handled(rendered: &Rendered, rcode: u16, decision: Decision) -> Handled {
    Handled { length: rendered.length, rcode, truncated: rendered.truncated, decision, kind: rendered.kind(rcode) }
}

/// Classes that nobody has here, and meta types other than ANY: transfers are not offered.
fn refused(query: &Query<'_>) -> bool {
    query.class != Class::In || (rtype::FIRST_META..=rtype::LAST_META).contains(&query.qtype)
}

/// RFC 1035 section 4.2.1 without EDNS, RFC 6891 section 6.2.3 with it.
fn size_limit(query: &Query<'_>, transport: Transport, own: &Conduct) -> usize {
    match (transport.is_datagram(), &query.edns) {
        (false, _) => usize::from(u16::MAX),
        (true, None) => 512,
        (true, Some(edns)) => usize::from(edns.payload.min(own.udp_payload).max(512)),
    }
}

impl Rendered {
    fn kind(&self, rcode: u16) -> Kind {
        match rcode {
            rcode::NXDOMAIN => Kind::NxDomain,
            rcode::NOERROR if self.answers > 0 => Kind::Answer,
            rcode::NOERROR if self.authoritative => Kind::NoData,
            rcode::NOERROR => Kind::Referral,
            _ => Kind::Error,
        }
    }
}
