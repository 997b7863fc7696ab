//! From packets to packets: the one way that every transport takes.

use std::array;

use arrayvec::ArrayVec;

use super::{
    Asked, Decision, Exchange, Handled, Kind, Role, Transport, batch,
    conduct::Conduct,
    cookie::Standing,
    prove,
    qname::QName,
    query::{self, Parsed, Query},
    rate::{Limiter, Verdict},
    rcode,
    render::{self, Rendered},
    terms::Terms,
};
use crate::{
    answer::{Answer, Question},
    directory::Directory,
    locate::Client,
    residence::{Family, Nonce, Secret},
};

/// In the third octet of a header (RFC 1035 section 4.1.1).
const TC: u8 = 0x02;

/// Questions that go through the core together; more of them would only push each other out of the
/// cache.
const BATCH: usize = 32;

/// Room for the names that a batch asks for, kept from batch to batch: to clear it each time would cost an
/// eighth of all that answering does.
#[derive(Debug)]
pub struct Names([QName; BATCH]);

impl Default for Names {
    fn default() -> Self {
        Self(array::from_fn(|_| QName::default()))
    }
}

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

/// A question that the directory has an answer to. It is put down where it stays, field by field: to make it
/// first and move it then would take as long as reading it.
pub(super) struct Admitted<'q> {
    pub(super) query: Query<'q>,
    pub(super) terms: Terms<'q>,
    pub(super) client: Client,
    role: Role,
    pub(super) limit: usize,
}

impl<'q> Admitted<'q> {
    /// Of which nothing was read yet.
    #[inline(always)]
    fn new(asked: &Asked<'_>, conduct: &'q Conduct) -> Self {
        Self {
            query: Query::default(),
            terms: Terms::new(conduct, asked.transport),
            client: Client::new(asked.peer.ip()),
            role: asked.role,
            limit: 0,
        }
    }

    /// Parses the packet, and judges the cookie in it at `now` in seconds since 1970.
    #[inline(always)]
    fn parse(&mut self, packet: &'q [u8], name: &'q mut QName, now: u32) -> Parsed {
        let parsed = query::parse(packet, name, &mut self.query);
        self.terms.judge(self.query.edns.as_ref(), (self.client.address, now));
        parsed
    }

    /// Reads the packet. What needs no directory is replied to at once.
    #[inline(always)]
    fn read(
        &mut self,
        packet: &'q [u8],
        name: &'q mut QName,
        responder: &Responder<'_>,
        reply: &mut [u8],
    ) -> Option<Handled> {
        let parsed = self.parse(packet, name, responder.unix_seconds);
        let Self { query, terms, client, limit, .. } = self;
        match parsed {
            Parsed::Drop => return Some(Handled::DROPPED),
            Parsed::Reject(rcode) => {
                let decision = if rcode == rcode::NOTAUTH { Decision::Signed } else { Decision::Malformed };
                return Some(terms.refuse(query, (rcode, None, decision), reply));
            }
            Parsed::Query => {}
        }
        if let Some(subnet) = query.edns.as_ref().and_then(|edns| edns.subnet) {
            client.take_subnet(responder.directory, subnet);
        }
        *limit = size_limit(query, terms.transport, terms.conduct);
        terms.without_content(query, reply)
    }

    /// What the directory is asked.
    #[inline]
    pub(super) fn question(&self) -> Question<'_> {
        Question { name: self.query.name, qtype: self.query.qtype, role: self.role, client: &self.client }
    }
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
        let mut alone = [Exchange { asked: *asked, reply, handled: Handled::DROPPED }];
        batch::respond(self, &mut alone, &mut [QName::default()], |_, _, _| ());
        let [Exchange { handled, .. }] = alone;
        handled
    }

    /// The reply to a question that was [`Decision::Proof`], now that `secret_of` is asked whether the
    /// nonce is one and this is who gets its secret; NODATA if not.
    pub fn respond_proof(
        &self,
        asked: &Asked<'_>,
        secret_of: impl FnOnce(&Nonce, Family) -> Option<Secret>,
        reply: &mut [u8],
    ) -> Handled {
        let mut name = QName::default();
        let mut admitted: ArrayVec<Admitted<'_>, 1> = ArrayVec::new();
        if let Some(handled) = self.admit(asked, &mut name, reply, &mut admitted) {
            return handled;
        }
        let Some(admitted) = admitted.first() else { return Handled::DROPPED };
        let nonce = prove::nonce(self.directory, admitted);
        let secret = nonce.and_then(|(nonce, family)| secret_of(&nonce, family));
        prove::answer(self.directory, admitted, secret.as_ref(), reply)
    }

    /// Answers a batch, each packet as [`Responder::respond`] does.
    pub fn respond_batch(&self, exchanges: &mut [Exchange<'_>], names: &mut Names) {
        exchanges.chunks_mut(BATCH).for_each(|some| batch::respond(self, some, &mut names.0, |_, _, _| ()));
    }

    /// Reads a packet. What needs no directory is replied to at once; else the question is added to
    /// those that do, of which there is room for one more.
    #[inline(always)]
    pub(super) fn admit<'q, const N: usize>(
        &self,
        asked: &Asked<'q>,
        name: &'q mut QName,
        reply: &mut [u8],
        admitted: &mut ArrayVec<Admitted<'q>, N>,
    ) -> Option<Handled>
    where
        'a: 'q,
    {
        // A source port of 0 can only be a forgery: a reply to it goes nowhere (RFC 6056 section 3.2).
        if asked.peer.port() == 0 {
            return Some(Handled::DROPPED);
        }
        admitted.push(Admitted::new(asked, self.conduct));
        let handled = admitted.last_mut()?.read(asked.packet, name, self, reply);
        if handled.is_some() {
            admitted.pop();
        }
        handled
    }

    /// Writes the reply with an answer.
    #[inline(always)]
    pub(super) fn render(&self, admitted: &Admitted<'_>, answer: &Answer<'_>, reply: &mut [u8]) -> Handled {
        let Admitted { query, terms, client, limit, .. } = admitted;
        if answer.decision == Decision::Proof {
            return prove::answer(self.directory, admitted, None, reply);
        }
        let rendered = render::answer(query, answer, client, terms, (reply, *limit));
        terms.handled(&rendered, answer.rcode, answer.decision)
    }

    /// Takes back what is too much of a batch that was answered over UDP: such a reply is not sent,
    /// or a short one is sent instead. `now` is in milliseconds since any fixed moment.
    pub fn limit_batch(&self, exchanges: &mut [Exchange<'_>], limiter: &mut Limiter, now: u64) {
        let Some(limits) = &self.conduct.limits else { return };
        for Exchange { asked, reply, handled } in exchanges {
            // Whoever has a good cookie is who it says it is.
            if handled.length == 0 || handled.standing == Standing::Valid || !asked.transport.is_datagram() {
                continue;
            }
            match limiter.take(limits, asked.peer.ip(), handled.kind, now) {
                Verdict::Send => {}
                Verdict::Drop => {
                    let standing = handled.standing;
                    *handled = Handled { decision: Decision::RateLimited, standing, ..Handled::DROPPED };
                }
                Verdict::Slip => *handled = self.decline(asked, reply),
            }
        }
    }

    /// Replies without content to a question that is one too many: a client that knows cookies
    /// gets one, with which it is not limited any more (RFC 7873 section 5.2.3); others are told by
    /// TC to come back over TCP.
    pub fn decline(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        let (mut name, mut admitted) = (QName::default(), Admitted::new(asked, self.conduct));
        let parsed = admitted.parse(asked.packet, &mut name, self.unix_seconds);
        let Admitted { query, terms, .. } = admitted;
        let rcode = match parsed {
            Parsed::Drop => return Handled::DROPPED,
            Parsed::Reject(rcode) => rcode,
            Parsed::Query if terms.could_have_cookie() => {
                return terms.bad_cookie(&query, Decision::RateLimited, reply);
            }
            Parsed::Query => rcode::NOERROR,
        };
        let mut handled = terms.refuse(&query, (rcode, None, Decision::RateLimited), reply);
        if let Some(flags) = reply.get_mut(2) {
            *flags |= TC;
            handled.truncated = true;
        }
        handled
    }
}

/// RFC 1035 section 4.2.1 without EDNS, RFC 6891 section 6.2.3 with it.
#[inline]
fn size_limit(query: &Query<'_>, transport: Transport, own: &Conduct) -> usize {
    match (transport.is_datagram(), &query.edns) {
        (false, _) => usize::from(u16::MAX),
        (true, None) => 512,
        (true, Some(edns)) => usize::from(edns.payload.min(own.udp_payload).max(512)),
    }
}

impl Rendered {
    /// What sort of reply this is.
    #[inline]
    pub(super) fn kind(&self, rcode: u16) -> Kind {
        match rcode {
            rcode::NXDOMAIN => Kind::NxDomain,
            rcode::NOERROR if self.answers > 0 => Kind::Answer,
            rcode::NOERROR if self.authoritative => Kind::NoData,
            rcode::NOERROR => Kind::Referral,
            _ => Kind::Error,
        }
    }
}
