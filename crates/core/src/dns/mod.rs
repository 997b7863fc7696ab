//! DNS on the wire: one packet in, one packet out, the same for every transport.

pub mod query;
pub mod rcode;
pub mod rrset;
pub mod rtype;

mod edns;
mod render;
pub(crate) mod writer;

use std::net::SocketAddr;

use self::{
    query::{Class, Parsed, Query},
    render::{OwnEdns, Rendered},
};
use crate::{
    answer::{Question, answer},
    directory::Directory,
    locate::Client,
};

/// How a question came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram; the answer is bounded by what the client can take.
    Udp,
    /// TCP; up to 65 535 octets.
    Tcp,
}

/// What the address that was asked is for (design section 3). A server that is the parent of a
/// label zone and also listed for the child decides by this whether to refer or to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A dns-b's referral address: label zones are referred to their DNS-LB.
    Referral,
    /// A dns-b's fall-back address: label zones are answered from the DNS-LB's last report.
    Fallback,
    /// A DNS-LB: its own label zones are answered from its own measurements.
    DnsLb,
}

/// One packet as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The DNS message, without TCP's length prefix.
    pub packet: &'a [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// Role of the address that it was sent to.
    pub role: Role,
}

/// What became of a packet: how long the reply is and what to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Octets of the reply at the start of the buffer; 0 for silence.
    pub length: usize,
    /// Extended response code (RFC 6891 section 6.1.3).
    pub rcode: u16,
    /// Whether the reply has TC set.
    pub truncated: bool,
    /// By which way the answer was found.
    pub decision: Decision,
}

/// By which way an answer was found; one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// No reply at all: a response, too short, source port 0.
    Dropped,
    /// FORMERR, NOTIMP, BADVERS.
    Malformed,
    /// Not in our zones, or a class or type that we refuse.
    Refused,
    /// SERVFAIL with EDE 14: no catalogue or measurement yet.
    NotReady,
    /// The map table matched and a living DNS-LB of the entry was handed out.
    Mapped,
    /// The map table matched, but only a suspect DNS-LB was left.
    Suspect,
    /// An entry of a neighbouring prefix was used.
    Neighbour,
    /// Nobody matched: the default group.
    DefaultGroup,
    /// Answered directly from the located DNS-LB's ranking.
    Direct,
    /// Answered directly from the aggregate of all DNS-LBs' rankings.
    Aggregate,
    /// Answered directly in the customer's order: no report was ever seen.
    CustomerOrder,
    /// A label zone was referred to its DNS-LB.
    Referral,
    /// A service in a label zone, from the DNS-LB's ranking.
    Label,
    /// Everything else with authority: SOA, NS, glue, static records, NODATA, NXDOMAIN.
    Authority,
}

/// Number of [`Decision`]s, for tables of counters indexed by `decision as usize`.
pub const DECISIONS: usize = 14;

impl Decision {
    /// Every decision, in the order of their discriminants.
    pub const ALL: [Self; DECISIONS] = [
        Self::Dropped,
        Self::Malformed,
        Self::Refused,
        Self::NotReady,
        Self::Mapped,
        Self::Suspect,
        Self::Neighbour,
        Self::DefaultGroup,
        Self::Direct,
        Self::Aggregate,
        Self::CustomerOrder,
        Self::Referral,
        Self::Label,
        Self::Authority,
    ];

    /// The value of the metric's `decision` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::NotReady => "not-ready",
            Self::Mapped => "mapped",
            Self::Suspect => "suspect",
            Self::Neighbour => "neighbour",
            Self::DefaultGroup => "default-group",
            Self::Direct => "direct",
            Self::Aggregate => "aggregate",
            Self::CustomerOrder => "customer-order",
            Self::Referral => "referral",
            Self::Label => "label",
            Self::Authority => "authority",
        }
    }
}

/// Answers one packet into `reply`, which must hold 65 535 octets for TCP and at least 1 232 for
/// UDP. Total: whatever the packet is, this returns.
pub fn respond(directory: &Directory, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
    let own = OwnEdns { payload: directory.settings().udp_payload };
    // A source port of 0 can only be a forgery: a reply to it goes nowhere (RFC 6056 section 3.2).
    let parsed = if asked.peer.port() == 0 { Parsed::Drop } else { query::parse(asked.packet) };
    match parsed {
        Parsed::Drop => Handled { length: 0, rcode: rcode::NOERROR, truncated: false, decision: Decision::Dropped },
        Parsed::Reject(reject) => handled(&render::reject(&reject, &own, reply), reject.rcode, Decision::Malformed),
        Parsed::Query(query) if refused(&query) => {
            handled(&render::refusal(&query, &own, reply), rcode::REFUSED, Decision::Refused)
        }
        Parsed::Query(query) => {
            let subnet = query.edns.and_then(|e| e.subnet);
            let client = Client::new(directory, asked.peer.ip(), subnet);
            let question = Question { name: &query.name, qtype: query.qtype, client, role: asked.role };
            let answer = answer(directory, &question);
            let limit = size_limit(&query, asked.transport, &own);
            let rendered = render::answer(&query, &answer, &client, &own, (reply, limit));
            handled(&rendered, answer.rcode, answer.decision)
        }
    }
}

fn handled(rendered: &Rendered, rcode: u16, decision: Decision) -> Handled {
    Handled { length: rendered.length, rcode, truncated: rendered.truncated, decision }
}

/// Classes that nobody has here, and meta types other than ANY: transfers are not offered.
fn refused(query: &Query<'_>) -> bool {
    query.class != Class::In || (rtype::FIRST_META..=rtype::LAST_META).contains(&query.qtype)
}

/// RFC 1035 section 4.2.1 without EDNS, RFC 6891 section 6.2.3 with it.
fn size_limit(query: &Query<'_>, transport: Transport, own: &OwnEdns) -> usize {
    match (transport, &query.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(edns)) => usize::from(edns.payload.min(own.payload).max(512)),
    }
}
