//! Probes of sites that behave in every way.

use std::{net::SocketAddr, num::NonZeroU32};

use dglb_core::{
    catalogue::{HttpProbe, Method, PhaseLimits, ProbeTls, StatusRange},
    load::Stated,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::http::MAX_HEAD;

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
    of(HttpProbe::get(port, "/health?a=b c"))
}

fn of(http: HttpProbe) -> Probe {
    let kind = ProbeKind::Http(Box::new(http));
    Probe { kind, interval_ms: 1_000, timeout_ms: 300, fall: 2, rise: 2 }
}

fn means() -> Means {
    Means { body_limit: 1_000, trust: Trust::nobody() }
}

fn tcp(port: u16) -> Probe {
    Probe { kind: ProbeKind::Tcp { port }, ..http(port) }
}

async fn once(wanted: &Probe, to: IpAddr) -> Outcome {
    probe(wanted, to, &"www.foobar.com".parse().unwrap(), &means()).await.outcome
}

async fn get(to: SocketAddr) -> Outcome {
    once(&http(to.port()), to.ip()).await
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
    assert!(times.connect > Duration::ZERO && times.connect <= first_byte && first_byte <= times.whole, "{times:?}");
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
    assert_eq!(once(&tcp(port), IpAddr::from([127, 0, 0, 1])).await, Outcome::Failed(Failure::Refused));
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
    let outcome = once(&tcp(to.port()), to.ip()).await;
    assert!(matches!(outcome, Outcome::Good(Times { first_byte: None, bytes: 0, .. })), "{outcome:?}");
}

/// Each phase has a limit far below the probe's, and it alone can have ended the probe.
#[tokio::test]
async fn a_phase_may_have_a_limit_of_its_own() {
    let limited = async |to: SocketAddr, tls: bool, phases: PhaseLimits| {
        let mut http = HttpProbe { phases, ..HttpProbe::get(to.port(), "/") };
        http.tls = tls.then_some(ProbeTls { server_name: None, verify: false });
        let wanted = Probe { timeout_ms: 60_000, ..of(http) };
        let outcome = timeout(Duration::from_secs(20), once(&wanted, to.ip())).await;
        outcome.expect("the phase had no limit")
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|to| (silent, to)).unwrap();
    let begun = site(async |mut stream: TcpStream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nh").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let limit = NonZeroU32::new(50);
    let none = PhaseLimits::default();
    let timed_out = |phase| Outcome::Failed(Failure::TimedOut(phase));
    let first_byte = PhaseLimits { first_byte_ms: limit, ..none };
    assert_eq!(limited(silent.1, false, first_byte).await, timed_out(Phase::FirstByte));
    let tls = PhaseLimits { tls_ms: limit, ..none };
    assert_eq!(limited(silent.1, true, tls).await, timed_out(Phase::Tls));
    let body = PhaseLimits { body_ms: limit, ..none };
    assert_eq!(limited(begun, false, body).await, timed_out(Phase::Body));
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
    let phases = PhaseLimits { connect_ms: NonZeroU32::new(50), ..PhaseLimits::default() };
    let limited = Probe { timeout_ms: 60_000, ..of(HttpProbe { phases, ..HttpProbe::get(to.port(), "/") }) };
    let outcome = timeout(Duration::from_secs(20), once(&limited, to.ip())).await;
    assert_eq!(outcome, Ok(Outcome::Failed(Failure::TimedOut(Phase::Connect))));
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
    let outcome = once(&tcp(80), to).await;
    assert_eq!(outcome, Outcome::Failed(Failure::Unreachable));
}

/// What a probe with further wishes makes of a reply.
async fn ask(reply: &'static str, wish: impl FnOnce(&mut HttpProbe)) -> Seen {
    let to = replying(reply).await;
    let mut wanted = HttpProbe::get(to.port(), "/");
    wish(&mut wanted);
    probe(&of(wanted), to.ip(), &"www.foobar.com".parse().unwrap(), &means()).await
}

const READY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall ready";

#[tokio::test]
async fn what_the_catalogue_wants_of_a_response() {
    let status = |first, last| move |http: &mut HttpProbe| http.statuses = vec![StatusRange { first, last }];
    assert_eq!(ask(READY, status(200, 204)).await.outcome.as_str(), "ok");
    assert_eq!(ask(READY, status(401, 401)).await.outcome, Outcome::Failed(Failure::WrongStatus(200)));
    let body = |text: &'static str| move |http: &mut HttpProbe| http.body = Some(text.into());
    assert_eq!(ask(READY, body("ready")).await.outcome.as_str(), "ok");
    assert_eq!(ask(READY, body("Ready")).await.outcome, Outcome::Failed(Failure::WrongBody));
    let short = |http: &mut HttpProbe| {
        (http.body, http.max_body) = (Some("ready".into()), NonZeroU32::new(5));
    };
    assert_eq!(ask(READY, short).await.outcome.as_str(), "wrong-body", "only what is read counts");
}

#[tokio::test]
async fn what_is_asked_beside_the_path() {
    let to = site(async |mut stream: TcpStream, head: String| {
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(lines[0], "HEAD /health HTTP/1.1");
        for line in ["host: other.foobar.com", "user-agent: mine", "x-a: 1", "x-a: 2"] {
            assert_eq!(lines.iter().filter(|l| l.starts_with(line)).count(), 1, "{line}: {lines:?}");
        }
        // A HEAD has no body, however long it is said to be.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n").await.unwrap();
    })
    .await;
    let headers = [("x-a", "1"), ("User-Agent", "mine"), ("x-a", "2")];
    let wanted = HttpProbe {
        method: Method::Head,
        host: Some("other.foobar.com".parse().unwrap()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..HttpProbe::get(to.port(), "/health")
    };
    assert_eq!(once(&of(wanted), to.ip()).await.as_str(), "ok");
}

#[tokio::test]
async fn what_a_site_says_of_itself_is_heard_even_when_it_is_not_well() {
    let seen =
        ask("HTTP/1.1 200 OK\r\nendpoint-load-metrics: TEXT cpu_utilization=0.5\r\ncontent-length: 0\r\n\r\n", |_| {});
    assert_eq!(seen.await.told.utilization, Some(500));
    let draining = "HTTP/1.1 503 Busy\r\ncontent-length: 14\r\n\r\nstate=draining";
    let seen = ask(draining, |http| http.status_document = true).await;
    assert_eq!((seen.outcome.as_str(), seen.told.state), ("wrong-status", Some(Stated::Draining)));
    let seen = ask(draining, |_| {}).await;
    assert_eq!((seen.outcome.as_str(), seen.told.state), ("wrong-status", None), "nobody asked for it");
}

#[tokio::test]
async fn an_echo_comes_back_where_the_system_allows_it() {
    let wanted = Probe { kind: ProbeKind::Icmp, ..tcp(0) };
    for to in ["127.0.0.1", "::1"] {
        match once(&wanted, to.parse().unwrap()).await {
            Outcome::Good(times) => assert!(!times.connect.is_zero()),
            // Where this user's group is not in the system's range.
            outcome => assert_eq!(outcome, Outcome::Local, "{to}"),
        }
    }
}
