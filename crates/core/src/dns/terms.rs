//! On which terms a question is answered: what its transport and its sender are owed beside the
//! content, and whether content is owed at all.

use std::net::IpAddr;

use super::{
    Decision, Handled, Transport, chaos,
    conduct::Conduct,
    cookie::{Standing, WHOLE},
    query::{Class, Edns, Query},
    rcode,
    render::{self, Rendered},
    rrset::Ede,
    rtype,
};

/// Found once for each question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'r> {
    /// How we conduct ourselves.
    pub(super) conduct: &'r Conduct,
    /// What the question came over.
    pub(super) transport: Transport,
    /// What its cookie says of its sender.
    pub(super) standing: Standing,
    /// The COOKIE option of the reply.
    pub(super) cookie: Option<[u8; WHOLE]>,
}

impl<'r> Terms<'r> {
    /// For a question of which nothing was read yet.
    #[inline(always)]
    pub(super) fn new(conduct: &'r Conduct, transport: Transport) -> Self {
        Self { conduct, transport, standing: Standing::Absent, cookie: None }
    }

    /// Judges the cookie in this OPT from `client`, at `now` in seconds since 1970.
    #[inline(always)]
    pub(super) fn judge(&mut self, edns: Option<&Edns<'_>>, (client, now): (IpAddr, u32)) {
        let sent = edns.and_then(|edns| edns.cookie);
        if let (Some(cookies), Some(sent)) = (&self.conduct.cookies, sent) {
            (self.standing, self.cookie) = cookies.judge(sent, client, now);
        }
    }

    /// The reply to a question whose answer no directory has: badly formed for its transport,
    /// without the cookie that it must have, about the server itself, or of a class or type that
    /// is not served.
    #[inline(always)]
    pub(super) fn without_content(&self, query: &Query<'_>, reply: &mut [u8]) -> Option<Handled> {
        let malformed = query.edns.as_ref().is_some_and(|edns| edns.keepalive.is_some_and(|length| length != 0));
        if malformed && self.transport.is_kept_alive() {
            // RFC 7828 section 3.2.1: a client's option is empty. Over UDP it is ignored.
            return Some(self.refuse(query, (rcode::FORMERR, None, Decision::Malformed), reply));
        }
        if self.wants_cookie() {
            return Some(self.bad_cookie(query, Decision::BadCookie, reply));
        }
        let refused = match query.class {
            Class::Chaos => return Some(chaos::answer(query, self, reply)),
            Class::Other => Ede::NotAuthoritative,
            // Meta types other than ANY: transfers are not offered.
            Class::In if (rtype::FIRST_META..=rtype::LAST_META).contains(&query.qtype) => Ede::NotSupported,
            Class::In => return None,
        };
        Some(self.refuse(query, (rcode::REFUSED, Some(refused), Decision::Refused), reply))
    }

    /// RFC 7873 section 5.2.3: a client that knows cookies is told to come back with a good one.
    /// Over a connection its address is not forged (section 5.2.3 speaks of UDP alone).
    #[inline]
    fn wants_cookie(&self) -> bool {
        let required = self.conduct.cookies.as_ref().is_some_and(|cookies| cookies.require);
        required && self.transport.is_datagram() && self.could_have_cookie()
    }

    /// Whether the sender knows cookies and has no good one.
    pub(super) fn could_have_cookie(&self) -> bool {
        matches!(self.standing, Standing::ClientOnly | Standing::Invalid)
    }

    /// BADCOOKIE, with a good one.
    pub(super) fn bad_cookie(&self, query: &Query<'_>, decision: Decision, reply: &mut [u8]) -> Handled {
        self.refuse(query, (rcode::BADCOOKIE, None, decision), reply)
    }

    /// A response code and nothing else.
    pub(super) fn refuse(
        &self,
        query: &Query<'_>,
        (rcode, ede, decision): (u16, Option<Ede>, Decision),
        reply: &mut [u8],
    ) -> Handled {
        self.handled(&render::reject((query, rcode), self, ede, reply), rcode, decision)
    }

    /// What is to be counted of a reply.
    #[inline]
    pub(super) fn handled(&self, rendered: &Rendered, rcode: u16, decision: Decision) -> Handled {
        Handled {
            length: rendered.length,
            rcode,
            truncated: rendered.truncated,
            decision,
            kind: rendered.kind(rcode),
            standing: self.standing,
        }
    }

    /// Limit of a reply without content in octets: it fits what every client takes, so that what
    /// this one takes need not be known.
    pub(super) fn short(&self, room: usize) -> usize {
        if self.transport.is_datagram() { room.min(512) } else { room }
    }
}
