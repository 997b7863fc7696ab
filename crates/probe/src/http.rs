//! A probe over HTTP/1.1 or HTTP/2, in the clear or under TLS.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use dglb_core::{
    catalogue::{HttpProbe, Method},
    name::Name,
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::{self, HeaderMap},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};

use crate::{
    connection::connect,
    outcome::{Failure, Phase},
    probe::{Means, Run, Stop},
    report,
};

/// Longest response head in octets.
pub(crate) const MAX_HEAD: usize = 16 << 10;

/// Asks once; `host` is the service's host name.
pub(crate) async fn ask(
    run: &mut Run,
    to: IpAddr,
    (wanted, host): (&HttpProbe, &Name),
    means: &Means,
) -> Result<(), Stop> {
    let host = wanted.host.as_ref().unwrap_or(host);
    let request = request(wanted, host)?;
    let exchange = Exchange { wanted, limit: limit(wanted, means.body_limit) };
    let limits = &wanted.phases;
    let connecting = connect(run, SocketAddr::new(to, wanted.port));
    let stream = within(limits.connect_ms, Phase::Connect, connecting).await?;
    match &wanted.tls {
        None => exchange.over(run, stream, request).await,
        Some(tls) => {
            run.phase = Phase::Tls;
            let name = tls.server_name.as_ref().unwrap_or(host);
            let securing = means.trust.handshake(stream, name, tls.verify, wanted.http2);
            let stream = within(limits.tls_ms, Phase::Tls, securing).await?;
            run.times.tls = Some(run.started.elapsed());
            run.phase = Phase::FirstByte;
            exchange.over(run, stream, request).await
        }
    }
}

/// Not beyond the limit of a phase, if it has one.
async fn within<T>(
    limit: Option<NonZeroU32>,
    phase: Phase,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    let Some(limit) = limit else { return work.await };
    let limited = timeout(Duration::from_millis(limit.get().into()), work).await;
    limited.unwrap_or(Err(Stop::Failed(Failure::TimedOut(phase))))
}

fn limit(wanted: &HttpProbe, most: u64) -> u64 {
    wanted.max_body.map_or(most, |limit| most.min(limit.get().into()))
}

/// One request and its response.
struct Exchange<'w> {
    wanted: &'w HttpProbe,
    /// Most octets of the body.
    limit: u64,
}

impl Exchange<'_> {
    async fn over<S>(&self, run: &mut Run, stream: S, request: Request<Empty<Bytes>>) -> Result<(), Stop>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        if self.wanted.http2 {
            let tasks = Tasks::default();
            let mut builder = http2::Builder::new(tasks.spawner());
            let handshake = builder.max_header_list_size(MAX_HEAD as u32).handshake(io);
            let (mut sender, connection) = handshake.await.map_err(|e| of_http(&e))?;
            let talk = async { self.take(run, sender.send_request(request)).await };
            return watched(talk, connection).await;
        }
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io);
        let (mut sender, connection) = handshake.await.map_err(|e| of_http(&e))?;
        let talk = async { self.take(run, sender.send_request(request)).await };
        watched(talk, connection).await
    }

    async fn take(
        &self,
        run: &mut Run,
        response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    ) -> Result<(), Stop> {
        let limits = &self.wanted.phases;
        let head = async { response.await.map_err(|e| of_http(&e)) };
        let response = within(limits.first_byte_ms, Phase::FirstByte, head).await?;
        run.times.first_byte = Some(run.started.elapsed());
        run.phase = Phase::Body;
        run.told = report::of_headers(response.headers());
        let status = response.status().as_u16();
        let good = self.wanted.is_good(status);
        // What a site says of itself counts most when it is not well.
        if !good && !self.wanted.status_document {
            return Err(Stop::Failed(Failure::WrongStatus(status)));
        }
        let body = within(limits.body_ms, Phase::Body, self.read(run, response.into_body())).await?;
        if self.wanted.status_document
            && let Some(told) = report::of_document(&body)
        {
            run.told = told;
        }
        if !good {
            return Err(Stop::Failed(Failure::WrongStatus(status)));
        }
        match &self.wanted.body {
            Some(text) if memmem::find(&body, text.as_bytes()).is_none() => Err(Stop::Failed(Failure::WrongBody)),
            _ => Ok(()),
        }
    }

    /// Reads the body, and keeps it if somebody looks at it.
    async fn read(&self, run: &mut Run, mut body: Incoming) -> Result<Vec<u8>, Stop> {
        let keeps = self.wanted.body.is_some() || self.wanted.status_document;
        let mut kept = Vec::new();
        while run.times.bytes < self.limit {
            let Some(frame) = body.frame().await else { return Ok(kept) };
            let frame = frame.map_err(|e| of_http(&e))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = (self.limit - run.times.bytes).min(data.len() as u64) as usize;
            run.times.bytes += data.len() as u64;
            if keeps {
                kept.extend_from_slice(&data[..room]);
            }
        }
        Ok(kept)
    }
}

/// Talks while the connection works. The connection knows better than the request what went wrong, so
/// both are listened to.
async fn watched(
    talk: impl Future<Output = Result<(), Stop>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<(), Stop> {
    let mut talk = pin!(talk);
    tokio::select! {
        biased;
        done = &mut talk => done,
        ended = connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(of_http(&error)),
        },
    }
}

/// What an HTTP/2 connection does beside the request; it ends with the probe.
#[derive(Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// A way to give them more. Weak, for tasks hold one.
#[derive(Clone, Debug)]
struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}

/// What is sent. None of it can fail: the path is escaped, a name's text is printable ASCII, headers were
/// checked with the catalogue. Were it to, the fault would not be the site's.
fn request(wanted: &HttpProbe, host: &Name) -> Result<Request<Empty<Bytes>>, Stop> {
    let host = host.to_string();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let (scheme, own_port) = if wanted.tls.is_some() { ("https", 443) } else { ("http", 80) };
    // RFC 9110 section 7.2: the port is left out where it is the scheme's own.
    let authority = if wanted.port == own_port { host.to_owned() } else { format!("{host}:{}", wanted.port) };
    let path = escaped(&wanted.path);
    // HTTP/2 has the authority in the target, HTTP/1.1 in a header.
    let target = if wanted.http2 { format!("{scheme}://{authority}{path}") } else { path };
    let uri: Uri = target.parse().map_err(|_| Stop::Local)?;
    let method = match wanted.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Options => hyper::Method::OPTIONS,
    };
    let mut request = Request::new(Empty::new());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    fill(request.headers_mut(), wanted, &authority).ok_or(Stop::Local)?;
    Ok(request)
}

fn fill(headers: &mut HeaderMap, wanted: &HttpProbe, authority: &str) -> Option<()> {
    if !wanted.http2 {
        headers.insert(header::HOST, authority.parse().ok()?);
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    let agent = concat!("dglb-probe/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static(agent));
    for (name, value) in &wanted.headers {
        let name: header::HeaderName = name.parse().ok()?;
        // The operator's instead of ours; of several that the operator has, all.
        if name == header::USER_AGENT {
            headers.remove(&name);
        }
        headers.append(name, value.parse().ok()?);
    }
    Some(())
}

/// `path` with everything percent-encoded that RFC 3986 section 3.3 and 3.4 do not allow there.
fn escaped(path: &str) -> String {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    path.bytes().map(|b| if allowed(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn of_http(error: &hyper::Error) -> Stop {
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Of HTTP/2 the connection's own error is one level further down, and not among the sources.
        let of_stream = inner.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
        match inner.downcast_ref::<io::Error>().or(of_stream).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe) => {
                return Stop::Failed(Failure::Reset);
            }
            Some(io::ErrorKind::UnexpectedEof) => return Stop::Failed(Failure::Truncated),
            _ => cause = inner.source(),
        }
    }
    Stop::Failed(if error.is_parse() || error.is_parse_too_large() { Failure::Malformed } else { Failure::Truncated })
}
