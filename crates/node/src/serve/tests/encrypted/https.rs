//! DNS over HTTPS.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// The path that asks this.
pub(super) fn path(question: &[u8]) -> String {
    format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(question))
}

/// Head and body of the reply to this.
fn exchange(stream: &mut Client, request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

pub(super) fn get(stream: &mut Client, path: &str) -> (String, Vec<u8>) {
    exchange(stream, format!("GET {path} HTTP/1.1\r\nHost: dns.example\r\n\r\n").as_bytes())
}

fn post(stream: &mut Client, fields: &str, body: &[u8]) -> (String, Vec<u8>) {
    let head = format!("POST /dns-query HTTP/1.1\r\nHost: dns.example\r\n{fields}\r\n\r\n");
    exchange(stream, &[head.as_bytes(), body].concat())
}

const DNS: &str = "Content-Type: application/dns-message";

fn client(encrypted: &Encrypted) -> Client {
    let config = client_config(encrypted.directory.path(), &[b"http/1.1"]);
    tls_client(encrypted.address(Transport::Https), config)
}

#[tokio::test]
async fn http_1_1_by_get_and_post() {
    let encrypted = Encrypted::new(|_| {});
    let mut stream = client(&encrypted);
    let posted = post(&mut stream, &format!("{DNS}\r\nContent-Length: 5"), b"hello");
    for (head, body) in [get(&mut stream, &path(b"hello")), posted] {
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/dns-message\r\n"), "{head}");
        assert!(head.contains("\r\ncache-control: private, max-age=0\r\n"), "{head}");
        assert_eq!(body, b"hello\0\0");
    }
    let (head, body) = post(&mut stream, &format!("{DNS}\r\nContent-Length: 65535"), &[7; 65_535]);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body.len(), 65_535);
    assert_eq!(encrypted.serving.counters.totals().questions(Transport::Https), 3);
}

#[tokio::test]
async fn what_is_no_question_gets_an_http_status() {
    let encrypted = Encrypted::new(|_| {});
    let status = |reply: (String, Vec<u8>)| reply.0.split(' ').nth(1).unwrap().to_owned();
    let mut stream = client(&encrypted);
    for (path, wanted) in [
        ("/dns-query", "400"),
        ("/dns-query?name=example.com", "400"),
        ("/dns-query?dns=not*base64", "400"),
        ("/dns-query?dns=", "400"),
        ("/other?dns=AAAA", "404"),
        ("/", "404"),
    ] {
        assert_eq!(status(get(&mut stream, path)), wanted, "{path}");
    }
    assert_eq!(status(post(&mut stream, "Content-Type: application/json\r\nContent-Length: 2", b"{}")), "415");
    assert_eq!(status(post(&mut stream, &format!("{DNS}\r\nContent-Length: 7"), b"silence")), "400");
    let put = b"PUT /dns-query HTTP/1.1\r\nHost: dns.example\r\nContent-Length: 0\r\n\r\n";
    let (head, body) = exchange(&mut stream, put);
    assert!(head.starts_with("http/1.1 405") && head.contains("\r\nallow: get, post\r\n"), "{head}");
    assert_eq!(body, b"GET or POST\n");
    assert_eq!(status(post(&mut stream, &format!("{DNS}\r\nContent-Length: 65536"), b"")), "413");
    // What is not announced is counted as it comes.
    let chunk = [&b"4000\r\n"[..], &[7; 0x4000], b"\r\n"].concat();
    let chunked = format!("{DNS}\r\nTransfer-Encoding: chunked");
    assert_eq!(status(post(&mut client(&encrypted), &chunked, &chunk.repeat(5))), "413");
    let totals = encrypted.serving.counters.totals();
    assert_eq!((totals.questions(Transport::Https), totals.decision(Decision::Dropped)), (2, 2));
}

#[tokio::test]
async fn http_2_carries_many_questions_at_once() {
    let encrypted = Encrypted::new(|limits| limits.messages_per_connection = 100);
    let config = Arc::new(client_config(encrypted.directory.path(), &[b"h2"]));
    let stream = tokio::net::TcpStream::connect(encrypted.address(Transport::Https)).await.unwrap();
    let name = ServerName::try_from("dns.example").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..100_u8 {
        let mut sender = sender.clone();
        asking.spawn(async move {
            let uri = format!("https://dns.example{}", path(&[b'q', n]));
            let reply = sender.send_request(Request::get(uri).body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.into_body().collect().await.unwrap().to_bytes()[..], [b'q', n, 0, 0]);
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    // It has asked as much as it may.
    connection.await.unwrap().unwrap();
    encrypted.expect(Transport::Https, ConnectionEvent::Expired, 1);
    assert_eq!(encrypted.serving.counters.totals().questions(Transport::Https), 100);
}

/// What waits to be taken by its client counts as what connections hold, and is no idleness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_wait_are_charged_and_are_work_in_progress() {
    let encrypted = Encrypted::new(|limits| (limits.memory, limits.connections) = (1 << 20, 1));
    let config = Arc::new(client_config(encrypted.directory.path(), &[b"h2"]));
    let stream = tokio::net::TcpStream::connect(encrypted.address(Transport::Https)).await.unwrap();
    let name = ServerName::try_from("dns.example").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // Less than a reply, so that it is the client who decides when one is taken.
    builder.initial_stream_window_size(10_000);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        let uri = format!("https://dns.example{}", path(b"fill"));
        Request::get(uri).body(Full::<Bytes>::default()).unwrap()
    };
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for _ in 0..30 {
        sender.ready().await.unwrap();
        let reply = sender.send_request(request()).await.unwrap();
        match reply.status().as_u16() {
            200 => waiting.push(reply.into_body()),
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((waiting.len(), refused), (16, 14), "replies of 65 535 octets in 1 MiB");
    closed(&mut TcpStream::connect(encrypted.address(Transport::Https)).unwrap());
    encrypted.expect(Transport::Https, ConnectionEvent::Refused, 1);
    for body in waiting {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 65_535);
    }
    // The memory is free again, and the connection idle.
    let reply = sender.send_request(request()).await.unwrap();
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes().len(), 65_535);
    let (head, _) = tokio::task::block_in_place(|| get(&mut client(&encrypted), &path(b"hello")));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    encrypted.expect(Transport::Https, ConnectionEvent::Evicted, 1);
}

/// HTTP/1.1 has one reply under way, of which part waits for a client that does not read.
#[tokio::test]
async fn http_1_1_replies_are_charged_until_they_are_sent() {
    let encrypted = Encrypted::new(|limits| limits.memory = 100_000);
    let (mut first, mut second, mut third) = (client(&encrypted), client(&encrypted), client(&encrypted));
    let ask = format!("GET {} HTTP/1.1\r\nHost: dns.example\r\n\r\n", path(b"fill"));
    // More than the system's buffers take of the replies.
    first.write_all(ask.repeat(100).as_bytes()).unwrap();
    let (mut seen, mut since) = (0, Instant::now());
    encrypted.serving.expect("replies stop", |totals| {
        let asked = totals.questions(Transport::Https);
        if std::mem::replace(&mut seen, asked) != asked {
            since = Instant::now();
        }
        asked > 2 && since.elapsed() > 2 * SILENCE
    });
    assert!(get(&mut second, &path(b"fill")).0.starts_with("http/1.1 503"), "the first holds too much");
    assert!(get(&mut third, &path(b"hello")).0.starts_with("http/1.1 200"), "a little is always there");
    drop(first);
    encrypted.serving.expect("it is gone", |totals| totals.open(Transport::Https) == 2);
    assert!(get(&mut second, &path(b"fill")).0.starts_with("http/1.1 200"), "it is free again");
}

#[tokio::test]
async fn half_a_request_is_no_way_to_stay() {
    let idle = Duration::from_millis(300);
    let encrypted = Encrypted::new(|limits| limits.idle = idle);
    let (mut stream, begin) = (client(&encrypted), Instant::now());
    let head = format!("POST /dns-query HTTP/1.1\r\nHost: dns.example\r\n{DNS}\r\nContent-Length: 900\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.sock.set_read_timeout(Some(idle / 20)).unwrap();
    while begin.elapsed() < SOON && stream.write_all(&[7]).and_then(|()| stream.flush()).is_ok() {
        if matches!(stream.read(&mut [0; 100]), Ok(0)) {
            break;
        }
    }
    assert!(begin.elapsed() < SOON);
    encrypted.expect(Transport::Https, ConnectionEvent::Idle, 1);
}
