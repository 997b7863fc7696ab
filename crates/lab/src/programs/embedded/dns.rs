//! Sockets and replies that the name server and the resolver share. A reply that leaves here fits:
//! hickory-server sizes a UDP reply by the OPT record it carries, writes that OPT and the signature
//! last, and so loses both when it truncates. Replies are therefore cut here, whole sections at a
//! time, before hickory sees them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::Server;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use tokio::net::{TcpListener, UdpSocket};

use super::RunError;

/// The largest UDP payload sent or advertised: what passes without fragments everywhere.
const MAX_UDP: u16 = 1_232;
/// The largest UDP payload for a client without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP: u16 = 512;
/// An idle TCP connection is closed after this long (RFC 7766 section 6.2.3: a few seconds).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Replies that may wait on one TCP connection.
const TCP_BACKLOG: usize = 16;

/// A reply before it is sized and signed.
pub(super) struct Reply {
    /// The header; counts and TC are filled in by [`send`].
    pub(super) metadata: Metadata,
    /// Answer section.
    pub(super) answers: Vec<Record>,
    /// Authority section.
    pub(super) authorities: Vec<Record>,
    /// Additional section, without OPT and TSIG.
    pub(super) additionals: Vec<Record>,
    /// Whether the additional section may be left out without TC: true unless it holds glue that
    /// the authority section cannot do without (RFC 9471).
    pub(super) additionals_optional: bool,
}

impl Reply {
    /// A reply without records.
    pub(super) fn empty(request: &Request, code: ResponseCode) -> Self {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        Self {
            metadata,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            additionals_optional: true,
        }
    }
}

/// Signs an encoded reply; [`send`] calls it once, with the final octets.
pub(super) trait Sign {
    /// The most octets that the signature record takes.
    fn room(&self) -> usize;
    /// The signature record for these octets.
    fn sign(&self, reply: &[u8]) -> Option<Box<Record<TSIG>>>;
}

/// Binds UDP and TCP on every address and answers there with `handler`; returns only on an error.
pub(super) async fn serve(listen: &[SocketAddr], handler: impl RequestHandler) -> Result<(), RunError> {
    let mut server = Server::new(handler);
    for address in listen {
        let fail = |what: &str, source: io::Error| RunError::Socket { what: format!("{what} {address}"), source };
        server.register_socket(UdpSocket::bind(address).await.map_err(|error| fail("udp", error))?);
        let listener = TcpListener::bind(address).await.map_err(|error| fail("tcp", error))?;
        server.register_listener(listener, TCP_IDLE, TCP_BACKLOG);
    }
    let ended = server.block_until_done().await;
    Err(RunError::Ended(format!("the DNS server ended: {ended:?}")))
}

/// What to say to a request that needs no look-up at all: an EDNS version that nobody knows yet.
pub(super) fn settled(request: &Request) -> Option<Reply> {
    (request.version() > 0).then(|| Reply::empty(request, ResponseCode::BADVERS))
}

/// Sizes, signs and sends a reply; tells what was sent.
pub(super) async fn send<R: ResponseHandler>(
    request: &Request,
    mut reply: Reply,
    signature: Option<&(dyn Sign + Sync)>,
    mut handle: R,
) -> ResponseInfo {
    let edns = request.edns.as_ref().map(response_edns);
    let room = signature.map_or(0, Sign::room);
    let limit = limit(request, edns.as_ref()).saturating_sub(room);
    let mut octets = encode(request, &reply, edns.as_ref());
    if octets.len() > limit && reply.additionals_optional && !reply.additionals.is_empty() {
        reply.additionals.clear();
        octets = encode(request, &reply, edns.as_ref());
    }
    if octets.len() > limit {
        reply.metadata.truncation = true;
        reply.answers.clear();
        reply.authorities.clear();
        reply.additionals.clear();
        octets = encode(request, &reply, edns.as_ref());
    }
    let mut response = response(request, &reply, edns.as_ref());
    if let Some(record) = signature.and_then(|signature| signature.sign(&octets)) {
        response.set_signature(record);
    }
    match handle.send_response(response).await {
        Ok(info) => info,
        Err(_) => Header { metadata: reply.metadata, counts: HeaderCounts::default() }.into(),
    }
}

/// Our OPT: our own receive size, version 0, and the DO bit as asked (RFC 3225 section 3).
fn response_edns(asked: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
    edns
}

fn limit(request: &Request, edns: Option<&Edns>) -> usize {
    match (request.protocol(), edns) {
        (Protocol::Udp, Some(_)) => request.max_payload().clamp(PLAIN_UDP, MAX_UDP).into(),
        (Protocol::Udp, None) => PLAIN_UDP.into(),
        _ => u16::MAX.into(),
    }
}

/// The reply's octets without a signature; what cannot be encoded counts as too long, so that it
/// goes out truncated.
fn encode(request: &Request, reply: &Reply, edns: Option<&Edns>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(usize::from(PLAIN_UDP));
    let mut encoder = BinEncoder::new(&mut octets);
    match response(request, reply, edns).destructive_emit(&mut encoder) {
        Ok(_) => octets,
        Err(_) => vec![0; usize::from(u16::MAX) + 1],
    }
}

fn response<'q, 'a>(
    request: &'q Request,
    reply: &'a Reply,
    edns: Option<&'q Edns>,
) -> MessageResponse<
    'q,
    'a,
    std::slice::Iter<'a, Record>,
    std::slice::Iter<'a, Record>,
    std::slice::Iter<'a, Record>,
    std::slice::Iter<'a, Record>,
> {
    MessageResponseBuilder::new(&request.queries, edns).build(
        reply.metadata,
        reply.answers.iter(),
        reply.authorities.iter(),
        [].iter(),
        reply.additionals.iter(),
    )
}
