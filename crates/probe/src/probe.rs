//! One probe of one site's address: the only file that touches sites.
//!
//! Invariant: a probe ends within its timeout, whatever the site does, and says how. It goes to
//! the site's own address and never through DNS.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dglb_core::{
    catalogue::{Probe, ProbeKind},
    name::Name,
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::tcp_info;

/// Longest response head in octets.
const MAX_HEAD: usize = 16 << 10;

/// How one probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Good(Times),
    /// The site or the way to it failed.
    Failed(Failure),
    /// This host failed (no descriptors, no memory): it says nothing about the site.
    Local,
}

/// Every value of [`Outcome::as_str`].
pub const OUTCOMES: [&str; 11] = [
    "ok",
    "local",
    "refused",
    "reset",
    "timeout-connect",
    "timeout-first-byte",
    "timeout-body",
    "wrong-status",
    "truncated",
    "malformed",
    "unreachable",
];

/// How long the phases of a good probe took, each from the start of the probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The network round trip: until the connection stood.
    pub connect: Duration,
    /// Until the head of the response was there; `None` for a TCP probe.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub whole: Duration,
    /// Octets of the body that were read.
    pub bytes: u64,
}

/// In what way a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The timeout ran out in this phase.
    TimedOut(Phase),
    /// A response, but neither 2xx nor 3xx.
    WrongStatus(u16),
    /// The connection ended before the response did.
    Truncated,
    /// What came back is not HTTP/1.
    Malformed,
    /// No way to the address.
    Unreachable,
}

/// The phases of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Until the connection stands.
    #[default]
    Connect,
    /// Until the head of the response is there.
    FirstByte,
    /// Until the end of the body.
    Body,
}

impl Outcome {
    /// The value of the metric's `outcome` label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Good(_) => "ok",
            Self::Local => "local",
            Self::Failed(failure) => match failure {
                Failure::Refused => "refused",
                Failure::Reset => "reset",
                Failure::TimedOut(Phase::Connect) => "timeout-connect",
                Failure::TimedOut(Phase::FirstByte) => "timeout-first-byte",
                Failure::TimedOut(Phase::Body) => "timeout-body",
                Failure::WrongStatus(_) => "wrong-status",
                Failure::Truncated => "truncated",
                Failure::Malformed => "malformed",
                Failure::Unreachable => "unreachable",
            },
        }
    }
}

/// Probes `address` once in the way of `probe`, asking for `host`. Of a longer body only
/// `body_limit` octets are read, which is no failure.
pub async fn probe(probe: &Probe, address: IpAddr, host: &Name, body_limit: u64) -> Outcome {
    let mut run = Run::start();
    let whole = Duration::from_millis(probe.timeout_ms.into());
    let ended = match &probe.kind {
        ProbeKind::Tcp { port } => timeout(whole, run.connect((address, *port).into())).await.map(|r| r.map(drop)),
        ProbeKind::Http { port, path } => {
            timeout(whole, run.http((address, *port).into(), host, path, body_limit)).await
        }
    };
    match ended {
        Ok(Ok(())) => Outcome::Good(Times { whole: run.started.elapsed(), ..run.times }),
        Ok(Err(Stop::Failed(failure))) => Outcome::Failed(failure),
        Ok(Err(Stop::Local)) => Outcome::Local,
        Err(_) => Outcome::Failed(Failure::TimedOut(run.phase)),
    }
}

/// A probe under way: how far it came.
struct Run {
    started: Instant,
    phase: Phase,
    times: Times,
}

/// Why a run ended before its time.
enum Stop {
    Failed(Failure),
    Local,
}

impl Run {
    fn start() -> Self {
        Self { started: Instant::now(), phase: Phase::Connect, times: Times::default() }
    }

    async fn connect(&mut self, to: SocketAddr) -> Result<TcpStream, Stop> {
        let stream = TcpStream::connect(to).await.map_err(|e| of_connect(&e))?;
        let waited = self.started.elapsed();
        self.times.connect = tcp_info::round_trip(&stream).map_or(waited, |kernel| kernel.min(waited));
        self.phase = Phase::FirstByte;
        Ok(stream)
    }

    async fn http(&mut self, to: SocketAddr, host: &Name, path: &str, body_limit: u64) -> Result<(), Stop> {
        let request = request(host, to.port(), path)?;
        let stream = self.connect(to).await?;
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|e| of_http(&e))?;
        let mut talk = pin!(self.talk(sender, request, body_limit));
        // The connection knows better than the request what went wrong, so both are listened to.
        tokio::select! {
            biased;
            done = &mut talk => done,
            ended = connection => match ended {
                Ok(()) => talk.await,
                Err(error) => Err(of_http(&error)),
            },
        }
    }

    async fn talk(
        &mut self,
        mut sender: http1::SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
        body_limit: u64,
    ) -> Result<(), Stop> {
        let response = sender.send_request(request).await.map_err(|e| of_http(&e))?;
        self.times.first_byte = Some(self.started.elapsed());
        self.phase = Phase::Body;
        let status = response.status();
        if !is_good(status) {
            return Err(Stop::Failed(Failure::WrongStatus(status.as_u16())));
        }
        let mut body = response.into_body();
        while self.times.bytes < body_limit {
            let Some(frame) = body.frame().await else { return Ok(()) };
            let frame = frame.map_err(|e| of_http(&e))?;
            self.times.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(())
    }
}

fn is_good(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

fn request(host: &Name, port: u16, path: &str) -> Result<Request<Empty<Bytes>>, Stop> {
    let host = host.to_string();
    let host = host.strip_suffix('.').unwrap_or(&host);
    // RFC 9110 section 7.2: the port is left out where it is the scheme's own.
    let authority = if port == 80 { host.to_owned() } else { format!("{host}:{port}") };
    let uri: Result<Uri, _> = escaped(path).parse();
    // Neither can fail: the path is escaped and a name's text is printable ASCII. Were it to, the
    // fault would not be the site's.
    let request = uri.map_err(|_| Stop::Local).map(|uri| {
        Request::get(uri)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("dglb-probe/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::new())
    });
    request?.map_err(|_| Stop::Local)
}

/// `path` with everything percent-encoded that RFC 3986 section 3.3 and 3.4 do not allow there.
fn escaped(path: &str) -> String {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    path.bytes().map(|b| if allowed(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn of_connect(error: &io::Error) -> Stop {
    let raw = error.raw_os_error();
    if [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].map(Some).contains(&raw) {
        return Stop::Local;
    }
    Stop::Failed(match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Failure::Reset,
        io::ErrorKind::TimedOut => Failure::TimedOut(Phase::Connect),
        _ => Failure::Unreachable,
    })
}

fn of_http(error: &hyper::Error) -> Stop {
    let mut cause = error.source();
    while let Some(inner) = cause {
        match inner.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe) => {
                return Stop::Failed(Failure::Reset);
            }
            Some(io::ErrorKind::UnexpectedEof) => return Stop::Failed(Failure::Truncated),
            _ => cause = inner.source(),
        }
    }
    Stop::Failed(if error.is_parse() || error.is_parse_too_large() { Failure::Malformed } else { Failure::Truncated })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A site that does with every connection what `script` says, after it read the request's
    /// head.
    async fn site<F, S>(script: S) -> SocketAddr
    where
        S: Fn(TcpStream, String) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(octet) => head.push(octet),
                        Err(_) => break,
                    }
                }
                tokio::spawn(script(stream, String::from_utf8(head).unwrap()));
            }
        });
        address
    }

    /// Sends `reply` and closes.
    async fn replying(reply: &'static str) -> SocketAddr {
        site(async move |mut stream: TcpStream, _| stream.write_all(reply.as_bytes()).await.unwrap()).await
    }

    fn http(port: u16) -> Probe {
        let kind = ProbeKind::Http { port, path: "/health?a=b c".to_owned() };
        Probe { kind, interval_ms: 1_000, timeout_ms: 300, fall: 2, rise: 2 }
    }

    fn tcp(port: u16) -> Probe {
        Probe { kind: ProbeKind::Tcp { port }, ..http(port) }
    }

    async fn get(to: SocketAddr) -> Outcome {
        probe(&http(to.port()), to.ip(), &"www.foobar.com".parse().unwrap(), 1_000).await
    }

    /// Ends a connection by a reset instead of in order.
    fn reset(stream: TcpStream) {
        stream.set_zero_linger().unwrap();
        drop(stream);
    }

    /// A port on which nobody listens.
    async fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn a_good_site_is_asked_by_the_services_name() {
        let to = site(async |mut stream: TcpStream, head: String| {
            let port = stream.local_addr().unwrap().port();
            let lines: Vec<&str> = head.lines().collect();
            assert_eq!(lines[0], "GET /health?a=b%20c HTTP/1.1");
            assert!(lines.contains(&format!("host: www.foobar.com:{port}").as_str()), "{lines:?}");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        })
        .await;
        let Outcome::Good(times) = get(to).await else { panic!("{:?}", get(to).await) };
        assert_eq!(times.bytes, 5);
        let first_byte = times.first_byte.unwrap();
        assert!(
            times.connect > Duration::ZERO && times.connect <= first_byte && first_byte <= times.whole,
            "{times:?}"
        );
    }

    #[tokio::test]
    async fn statuses() {
        for (reply, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", "ok"),
            ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "ok"),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", "ok"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "wrong-status"),
            ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 99\r\n\r\n", "wrong-status"),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
            ("", "truncated"),
            ("HTTP/1.1 200 OK\r\ncont", "truncated"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nonly this", "truncated"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "truncated"),
        ] {
            let outcome = get(replying(reply).await).await;
            assert_eq!(outcome.as_str(), expected, "{reply:?}: {outcome:?}");
            assert!(OUTCOMES.contains(&expected));
        }
        assert_eq!(get(replying("HTTP/1.1 503 No\r\n\r\n").await).await, Outcome::Failed(Failure::WrongStatus(503)));
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let port = closed_port().await;
        assert_eq!(get(([127, 0, 0, 1], port).into()).await, Outcome::Failed(Failure::Refused));
        let host = "www.foobar.com".parse().unwrap();
        let outcome = probe(&tcp(port), IpAddr::from([127, 0, 0, 1]), &host, 1_000).await;
        assert_eq!(outcome, Outcome::Failed(Failure::Refused));
    }

    #[tokio::test]
    async fn a_reset_is_told_in_every_phase() {
        let head = site(async |stream: TcpStream, _| reset(stream)).await;
        let body = site(async |mut stream: TcpStream, _| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await.unwrap();
            // A reset overtakes what was not read yet, so the head must have been taken first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            reset(stream);
        })
        .await;
        for to in [head, body] {
            assert_eq!(get(to).await, Outcome::Failed(Failure::Reset));
        }
    }

    #[tokio::test]
    async fn a_hanging_site_costs_the_timeout_and_tells_its_phase() {
        // A listener that never accepts: the kernel completes the handshake for it.
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = hanging.local_addr().unwrap();
        let started = Instant::now();
        assert_eq!(get(to).await, Outcome::Failed(Failure::TimedOut(Phase::FirstByte)));
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(1_000), "{took:?}");
        // For a probe that only connects, that is good enough.
        let outcome = probe(&tcp(to.port()), to.ip(), &"a.test".parse().unwrap(), 1_000).await;
        assert!(matches!(outcome, Outcome::Good(Times { first_byte: None, bytes: 0, .. })), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_full_listener_times_out_while_connecting() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let to = socket.local_addr().unwrap().as_socket().unwrap();
        // Fill the queue; connections beyond it get no answer to their SYN.
        let fillers: Vec<_> =
            (0..3).map(|_| std::net::TcpStream::connect_timeout(&to, Duration::from_millis(50))).collect();
        assert!(fillers.iter().any(Result::is_err), "the queue did not fill");
        assert_eq!(get(to).await, Outcome::Failed(Failure::TimedOut(Phase::Connect)));
    }

    #[tokio::test]
    async fn a_slow_body_runs_into_the_timeout() {
        let to = site(async |mut stream: TcpStream, _| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n").await.unwrap();
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(get(to).await, Outcome::Failed(Failure::TimedOut(Phase::Body)));
    }

    #[tokio::test]
    async fn an_endless_body_is_read_to_the_limit_only() {
        let to = site(async |mut stream: TcpStream, _| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 500]).await.is_ok() {}
        })
        .await;
        let Outcome::Good(times) = get(to).await else { panic!("{:?}", get(to).await) };
        // One read of the connection may overshoot, by no more than its buffer.
        assert!((1_000..1_000 + MAX_HEAD as u64).contains(&times.bytes), "{times:?}");
    }

    #[tokio::test]
    async fn a_huge_head_is_refused() {
        let to = site(async |mut stream: TcpStream, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
            while stream.write_all(&[b'x'; 500]).await.is_ok() {}
        })
        .await;
        assert_eq!(get(to).await, Outcome::Failed(Failure::Malformed));
    }

    #[tokio::test]
    async fn no_way_is_unreachable() {
        // Connecting to a broadcast address is refused by our own kernel at once.
        let to = IpAddr::from([255, 255, 255, 255]);
        let outcome = probe(&tcp(80), to, &"a.test".parse().unwrap(), 1_000).await;
        assert_eq!(outcome, Outcome::Failed(Failure::Unreachable));
    }
}
