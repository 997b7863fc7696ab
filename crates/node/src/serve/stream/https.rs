//! DNS over HTTPS (RFC 8484), HTTP/1.1 and HTTP/2 by hyper. Whatever DNS has to say about a
//! question, HTTP says 200; other codes are for what is no question at all.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use data_encoding::BASE64URL_NOPAD;
use dglb_core::dns::{Asked, Role, Transport, framing::MAX_MESSAGE};
use hickory_proto::{op::Message, rr::RData};
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::TcpStream,
    sync::Notify,
    task::spawn_local,
    time::{Instant, sleep_until},
};
use tokio_rustls::server::TlsStream;

use super::{
    Place,
    tab::{Share, Tab},
};
use crate::{metrics::ConnectionEvent, serve::source::Source};

/// RFC 8484 section 6.
const DNS_MESSAGE: &str = "application/dns-message";
/// Octets of a request's head, in which GET carries the question.
const HEAD: usize = 16_384;
/// Octets of requests that may be under way on one HTTP/2 connection.
const WINDOW: u32 = 65_536;
/// Requests under way on one HTTP/2 connection; fewer are not advised (RFC 9113 section 6.5.2).
const REQUESTS: u32 = 100;
/// How long what is under way may take once the connection is to end.
const FAREWELL: Duration = Duration::from_millis(200);

/// Serves one connection to its end, and notes how it ended.
pub(super) async fn serve<S: Source>(
    stream: TlsStream<TcpStream>,
    (peer, role): (SocketAddr, Role),
    path: Arc<str>,
    place: Place<S>,
) {
    let limits = place.thread().limits;
    let stop = place.thread().stop.clone();
    let conversation = Rc::new(Conversation::new(place, (peer, role), path));
    let service = service_fn(|request| {
        let conversation = Rc::clone(&conversation);
        async move { Ok::<_, Infallible>(conversation.answer(request).await) }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let expiry = limits.life.map(|life| Instant::now() + life);
    let mut ending = None;
    let mut deadline = Instant::now() + limits.idle;
    loop {
        let end = tokio::select! {
            biased;
            done = connection.as_mut() => {
                let fallen = if done.is_ok() { ConnectionEvent::Finished } else { ConnectionEvent::Broken };
                break conversation.end(ending.unwrap_or(fallen));
            }
            () = stop.cancelled(), if ending.is_none() => ConnectionEvent::Stopped,
            () = conversation.enough.notified(), if ending.is_none() => ConnectionEvent::Expired,
            () = sleep_until(deadline) => match ending {
                Some(end) => break conversation.end(end),
                None => {
                    let idle = conversation.last.get() + limits.idle;
                    let until = expiry.map_or(idle, |expiry| expiry.min(idle));
                    if until > Instant::now() {
                        deadline = until;
                        continue;
                    }
                    if expiry == Some(until) { ConnectionEvent::Expired } else { ConnectionEvent::Idle }
                }
            },
        };
        ending = Some(end);
        deadline = Instant::now() + FAREWELL;
        connection.as_mut().graceful_shutdown();
    }
}

fn builder() -> Builder<Local> {
    // Time-outs are our own: they count questions.
    let mut builder = Builder::new(Local);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD as u32)
        .max_send_buf_size(WINDOW as usize);
    builder
}

/// The thread's own tasks carry HTTP/2's streams.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

/// What the requests of one connection share.
struct Conversation<S: Source> {
    place: RefCell<Place<S>>,
    tab: Rc<Tab<S>>,
    peer: SocketAddr,
    role: Role,
    path: Arc<str>,
    answered: Cell<u64>,
    /// When the last question was answered: octets alone are no way to stay.
    last: Cell<Instant>,
    /// As much was asked as may be.
    enough: Notify,
}

type Reply<S> = Response<Whole<S>>;

/// A body, sent at once, and what its octets take of the connection's memory until they are sent.
struct Whole<S: Source>(Option<Charged<S>>);

/// See [`Whole`].
struct Charged<S: Source> {
    octets: Bytes,
    _share: Option<Share<S>>,
}

impl<S: Source> Whole<S> {
    fn new(octets: impl Into<Bytes>, share: Option<Share<S>>) -> Self {
        Self(Some(Charged { octets: octets.into(), _share: share }))
    }
}

// Nothing of it is pinned.
impl<S: Source> Unpin for Whole<S> {}

impl<S: Source> Body for Whole<S> {
    type Data = Charged<S>;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Charged<S>>, Infallible>>> {
        Poll::Ready(self.0.take().map(|charged| Ok(Frame::data(charged))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |charged| charged.octets.len() as u64))
    }
}

impl<S: Source> Buf for Charged<S> {
    fn remaining(&self) -> usize {
        self.octets.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.octets.chunk()
    }

    fn advance(&mut self, octets: usize) {
        self.octets.advance(octets);
    }
}

impl<S: Source> Conversation<S> {
    fn new(place: Place<S>, (peer, role): (SocketAddr, Role), path: Arc<str>) -> Self {
        let (tab, last) = (Tab::new(&place), Cell::new(Instant::now()));
        let (place, answered, enough) = (RefCell::new(place), Cell::new(0), Notify::new());
        Self { place, tab, peer, role, path, answered, last, enough }
    }

    fn end(&self, end: ConnectionEvent) {
        self.place.borrow_mut().end = end;
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply<S> {
        let mut share = self.tab.share();
        let question = match self.question(request, &mut share).await {
            Ok(question) => question,
            Err(refusal) => return refusal.reply(),
        };
        share.work();
        let thread = Rc::clone(self.place.borrow().thread());
        let asked = Asked { packet: &question, peer: self.peer, transport: Transport::Https, role: self.role };
        let reply = thread.reply(&asked).await;
        self.last.set(Instant::now());
        self.answered.set(self.answered.get() + 1);
        let Some(reply) = reply else { return Refusal::NoQuestion.reply() };
        drop(question);
        if !share.hold(reply.capacity()) {
            return Refusal::NoMemory.reply();
        }
        let cache_control = cache_control(&reply);
        let mut response = Response::new(Whole::new(reply, Some(share)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
        headers.insert(CACHE_CONTROL, cache_control);
        if self.answered.get() >= thread.limits.messages_per_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            self.enough.notify_one();
        }
        response
    }

    /// The DNS message in a request (RFC 8484 section 4.1).
    async fn question(&self, request: Request<Incoming>, held: &mut Share<S>) -> Result<Vec<u8>, Refusal> {
        if request.uri().path() != &*self.path {
            return Err(Refusal::OtherPath);
        }
        match *request.method() {
            Method::GET => in_query(request.uri().query().unwrap_or_default()),
            Method::POST => {
                let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let kind = kind.split(';').next().unwrap_or_default().trim();
                if !kind.eq_ignore_ascii_case(DNS_MESSAGE) {
                    return Err(Refusal::OtherKind);
                }
                in_body(request.into_body(), held).await
            }
            _ => Err(Refusal::OtherMethod),
        }
    }
}

async fn in_body<S: Source>(mut body: Incoming, held: &mut Share<S>) -> Result<Vec<u8>, Refusal> {
    if body.size_hint().lower() > MAX_MESSAGE as u64 {
        return Err(Refusal::TooLong);
    }
    let mut question = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::NoQuestion)?;
        let Some(data) = frame.data_ref() else { continue };
        if question.len() + data.len() > MAX_MESSAGE {
            return Err(Refusal::TooLong);
        }
        question.extend_from_slice(data);
        if !held.hold(question.capacity()) {
            return Err(Refusal::NoMemory);
        }
    }
    Ok(question)
}

/// The variable `dns` of a query string (RFC 8484 section 4.1.1).
fn in_query(query: &str) -> Result<Vec<u8>, Refusal> {
    let value = query.split('&').find_map(|variable| variable.strip_prefix("dns=")).ok_or(Refusal::NoQuestion)?;
    BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| Refusal::NoQuestion)
}

/// Why a request is not answered by DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoQuestion,
    OtherPath,
    OtherMethod,
    OtherKind,
    TooLong,
    NoMemory,
}

impl Refusal {
    fn reply<S: Source>(self) -> Reply<S> {
        let (status, reason) = match self {
            Self::NoQuestion => (StatusCode::BAD_REQUEST, "no DNS message\n"),
            Self::OtherPath => (StatusCode::NOT_FOUND, "nothing here\n"),
            Self::OtherMethod => (StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
            Self::OtherKind => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/dns-message\n"),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "at most 65535 octets\n"),
            Self::NoMemory => (StatusCode::SERVICE_UNAVAILABLE, "later\n"),
        };
        let mut response = Response::new(Whole::new(Bytes::from_static(reason.as_bytes()), None));
        *response.status_mut() = status;
        if self == Self::OtherMethod {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

/// How long HTTP caches may keep a reply: as long as DNS does (RFC 8484 section 5.1), and only that
/// of the client itself, since others may get another answer.
fn cache_control(reply: &[u8]) -> HeaderValue {
    let text = format!("private, max-age={}", freshness(reply).unwrap_or(0));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("no-store"))
}

/// The least TTL of the answer section; without one, the negative TTL (RFC 2308 section 5), or that of a
/// referral. Errors are not kept.
fn freshness(reply: &[u8]) -> Option<u32> {
    let message = Message::from_vec(reply).ok()?;
    if !matches!(u16::from(message.response_code), 0 | 3) {
        return None;
    }
    let least = message.answers.iter().map(|record| record.ttl).min();
    least.or_else(|| {
        let negative = |record: &hickory_proto::rr::Record| match &record.data {
            RData::SOA(soa) => record.ttl.min(soa.minimum),
            _ => record.ttl,
        };
        message.authorities.iter().map(negative).min()
    })
}
