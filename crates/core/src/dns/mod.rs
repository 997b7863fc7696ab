//! DNS on the wire: one packet in, one packet out, the same for every transport.

pub mod conduct;
pub mod cookie;
pub mod explain;
pub mod framing;
pub mod qname;
pub mod query;
pub mod rate;
pub mod rcode;
pub mod rrset;
pub mod rtype;

mod batch;
mod chaos;
mod edns;
mod opt;
mod prove;
mod render;
mod responder;
mod sections;
mod svcb;
mod terms;
pub(crate) mod writer;

use std::net::SocketAddr;

pub use conduct::Conduct;
pub use cookie::{STANDINGS, Standing};
pub use responder::{Names, Responder};

/// How a question came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram; the answer is bounded by what the client can take.
    Udp,
    /// TCP; up to 65 535 octets.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

/// Number of [`Transport`]s, for tables of counters indexed by `transport as usize`.
pub const TRANSPORTS: usize = 5;

impl Transport {
    /// Every transport, in the order of their discriminants.
    pub const ALL: [Self; TRANSPORTS] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https, Self::Quic];

    /// The value of the metric's `transport` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }

    /// Whether a reply is one datagram and the source address may be forged.
    pub fn is_datagram(self) -> bool {
        self == Self::Udp
    }

    /// Whether DNS itself decides how long the connection stays (RFC 7828); QUIC and HTTP do that
    /// by themselves.
    pub fn is_kept_alive(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Whether the sizes of messages are to be hidden (RFC 8467).
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }
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

/// A packet of a batch, room for its reply, and what became of it.
#[derive(Debug)]
pub struct Exchange<'b> {
    /// The question.
    pub asked: Asked<'b>,
    /// Where the reply goes.
    pub reply: &'b mut [u8],
    /// Filled in by [`Responder::respond_batch`].
    pub handled: Handled,
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
    /// What sort of reply it is.
    pub kind: Kind,
    /// What the question's cookie says of its sender.
    pub standing: Standing,
}

impl Handled {
    /// No reply at all.
    pub const DROPPED: Self = Self {
        length: 0,
        rcode: rcode::NOERROR,
        truncated: false,
        decision: Decision::Dropped,
        kind: Kind::Error,
        standing: Standing::Absent,
    };
}

/// Sorts of replies, each of which is limited in rate by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// NOERROR with an answer section.
    Answer,
    /// NOERROR, NS set in the authority section, no authority.
    Referral,
    /// NOERROR without an answer (RFC 2308 section 2.2).
    NoData,
    /// NXDOMAIN.
    NxDomain,
    /// Any other response code.
    Error,
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
    /// BADCOOKIE: a good cookie was asked for.
    BadCookie,
    /// More than its network gets: no reply, or a short one instead.
    RateLimited,
    /// NOTAUTH: signed with a key, of which we have none (RFC 8945 section 5.2.1). The reply is whole
    /// but for its TSIG record, which says so.
    Signed,
    /// At a DNS-LB: its label is in the name, and it does not know the zone or has not measured the
    /// service, so a dns-b is to be asked. The reply is what is said if none answers: SERVFAIL with
    /// EDE 14.
    Relay,
    /// Who and what the server is, in class CHAOS.
    Chaos,
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
    /// The name of a nonce was asked for (see [`crate::residence`]): whether it is one, and whose, the
    /// slow lane knows.
    Proof,
    /// Everything else with authority: SOA, NS, glue, static records, NODATA, NXDOMAIN.
    Authority,
}

/// Number of [`Decision`]s, for tables of counters indexed by `decision as usize`.
pub const DECISIONS: usize = 20;

impl Decision {
    /// Every decision, in the order of their discriminants.
    pub const ALL: [Self; DECISIONS] = [
        Self::Dropped,
        Self::Malformed,
        Self::Refused,
        Self::BadCookie,
        Self::RateLimited,
        Self::Signed,
        Self::Relay,
        Self::Chaos,
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
        Self::Proof,
        Self::Authority,
    ];

    /// Whether the slow lane has a better reply than the one at hand.
    #[inline]
    pub fn is_for_the_slow_lane(self) -> bool {
        matches!(self, Self::Signed | Self::Proof | Self::Relay)
    }

    /// The value of the metric's `decision` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::BadCookie => "bad-cookie",
            Self::RateLimited => "rate-limited",
            Self::Signed => "signed",
            Self::Relay => "relay",
            Self::Chaos => "chaos",
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
            Self::Proof => "proof",
            Self::Authority => "authority",
        }
    }
}
