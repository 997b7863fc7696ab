//! DNS over QUIC.

use quinn::{Connection, ConnectionError, Endpoint as QuicEndpoint, crypto::rustls::QuicClientConfig};

use super::*;

async fn connect(encrypted: &Encrypted) -> (QuicEndpoint, Connection) {
    connect_with(encrypted, quinn::TransportConfig::default()).await.unwrap()
}

async fn connect_with(
    encrypted: &Encrypted,
    transport: quinn::TransportConfig,
) -> Result<(QuicEndpoint, Connection), ConnectionError> {
    let config = client_config(encrypted.directory.path(), &[b"doq"]);
    let crypto = Arc::new(QuicClientConfig::try_from(config).unwrap());
    let endpoint = QuicEndpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(transport));
    let connecting = endpoint.connect_with(config, encrypted.address(Transport::Quic), "dns.example").unwrap();
    Ok((endpoint, connecting.await?))
}

/// What comes back on a stream for these octets.
async fn exchange(connection: &Connection, octets: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // The connection may be closed before all was sent.
    let _ = send.write_all(octets).await;
    let _ = send.finish();
    receive.read_to_end(70_000).await
}

async fn code(connection: &Connection) -> u64 {
    match tokio::time::timeout(SOON, connection.closed()).await.expect("not closed") {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_for_each_question() {
    let encrypted = Encrypted::new(|_| {});
    let (_endpoint, connection) = connect(&encrypted).await;
    // One whose end does not come holds up nobody.
    let (mut slow, mut late) = connection.open_bi().await.unwrap();
    slow.write_all(&framed(b"\0\0slow")[..4]).await.unwrap();
    for n in 0..50 {
        let question = [0, 0, n];
        assert_eq!(exchange(&connection, &framed(&question)).await.unwrap(), framed(&[0, 0, n, 0, 0]));
    }
    let long = [&[0, 0][..], &[7; 65_533]].concat();
    assert_eq!(exchange(&connection, &framed(&long)).await.unwrap().len(), 65_537);
    slow.write_all(&framed(b"\0\0slow")[4..]).await.unwrap();
    slow.finish().unwrap();
    assert_eq!(late.read_to_end(100).await.unwrap(), framed(b"\0\0slow\0\0"));
    connection.close(0_u32.into(), b"");
    encrypted.expect(Transport::Quic, ConnectionEvent::Finished, 1);
    let totals = encrypted.serving.counters.totals();
    assert_eq!((totals.questions(Transport::Quic), totals.open(Transport::Quic)), (52, 0));
}

/// RFC 9250 sections 4.2, 4.2.1, 4.3.3, 5.5.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_the_rules_ends_the_connection() {
    let encrypted = Encrypted::new(|_| {});
    // A question with an OPT record that holds edns-tcp-keepalive.
    let keepalive = b"\0\0\0\0\0\x01\0\0\0\0\0\x01\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0";
    let rules = [
        ("an id", framed(b"\0\x01hello")),
        ("two messages", [framed(b"\0\0one"), framed(b"\0\0two")].concat()),
        ("half a message", framed(b"\0\0half")[..5].to_vec()),
        ("nothing", Vec::new()),
        ("keepalive", framed(keepalive)),
        ("too much", vec![0xff; 65_538]),
    ];
    let count = rules.len() as u64;
    for (rule, octets) in rules {
        let (_endpoint, connection) = connect(&encrypted).await;
        assert!(exchange(&connection, &octets).await.is_err(), "{rule}");
        assert_eq!(code(&connection).await, 2, "{rule}");
    }
    encrypted.expect(Transport::Quic, ConnectionEvent::Nonsense, count);
    // One-way streams are not allowed for: there is nothing to open.
    let (_endpoint, connection) = connect(&encrypted).await;
    let opened = tokio::time::timeout(SILENCE, connection.open_uni()).await;
    assert!(opened.is_err(), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_connections_have_places_too() {
    let idle = Duration::from_secs(3);
    let encrypted = Encrypted::new(|limits| (limits.connections, limits.idle) = (2, idle));
    let (_first, first) = connect(&encrypted).await;
    exchange(&first, &framed(b"\0\0hello")).await.unwrap();
    let (_second, second) = connect(&encrypted).await;
    exchange(&second, &framed(b"\0\0hello")).await.unwrap();
    let (_third, third) = connect(&encrypted).await;
    exchange(&third, &framed(b"\0\0hello")).await.unwrap();
    assert_eq!(code(&first).await, 4);
    encrypted.expect(Transport::Quic, ConnectionEvent::Evicted, 1);
    assert_eq!((code(&second).await, code(&third).await), (0, 0));
    encrypted.expect(Transport::Quic, ConnectionEvent::Idle, 2);
}

/// What waits to be taken by its client counts as what connections hold, and is no idleness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_wait_are_charged_and_are_work_in_progress() {
    let answer = |published: &u8, asked: &Asked<'_>, reply: &mut [u8]| match asked.packet {
        b"\0\0fill" => echo(published, &Asked { packet: b"fill", ..*asked }, reply),
        _ => echo(published, asked, reply),
    };
    let encrypted = Encrypted::with(|limits| (limits.memory, limits.connections) = (1 << 20, 1), answer);
    let mut transport = quinn::TransportConfig::default();
    // Less than a reply, so that it is the client who decides when one is taken.
    transport.stream_receive_window(1_000_u32.into());
    let (_endpoint, connection) = connect_with(&encrypted, transport).await.unwrap();
    let fill = async || {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&framed(b"\0\0fill")).await.unwrap();
        send.finish().unwrap();
        receive
    };
    let mut waiting = Vec::new();
    for n in 1..=10 {
        waiting.push(fill().await);
        encrypted.serving.expect("it is asked", |totals| totals.questions(Transport::Quic) == n);
    }
    let (_other, other) = connect(&encrypted).await;
    assert_eq!(code(&other).await, 4, "work in progress is left alone");
    encrypted.expect(Transport::Quic, ConnectionEvent::Refused, 1);
    for mut receive in waiting {
        assert_eq!(receive.read_to_end(70_000).await.unwrap().len(), 65_537);
    }
    assert_eq!(exchange(&connection, &framed(b"\0\0hello")).await.unwrap(), framed(b"\0\0hello\0\0"));
    // What they held is free again; one more than all that there is ends the connection.
    let begin = encrypted.serving.counters.totals().questions(Transport::Quic);
    let mut waiting = Vec::new();
    for n in 1..=17 {
        waiting.push(fill().await);
        encrypted.serving.expect("it is asked", |totals| totals.questions(Transport::Quic) == begin + n);
    }
    assert_eq!(code(&connection).await, 4);
    encrypted.expect(Transport::Quic, ConnectionEvent::Memory, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_clients_come_again() {
    let encrypted = Encrypted::new(|limits| limits.messages_per_connection = 3);
    let (_endpoint, connection) = connect(&encrypted).await;
    for _ in 0..3 {
        exchange(&connection, &framed(b"\0\0hello")).await.unwrap();
    }
    connection.close(0_u32.into(), b"");
    encrypted.expect(Transport::Quic, ConnectionEvent::Expired, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_stop_clients_hear_of_it() {
    let encrypted = Encrypted::new(|_| {});
    let (_endpoint, connection) = connect(&encrypted).await;
    exchange(&connection, &framed(b"\0\0hello")).await.unwrap();
    let counters = encrypted.serving.counters.clone();
    assert_eq!(encrypted.serving.tasks.stop(SOON).await, Stopped::default());
    assert_eq!(code(&connection).await, 0);
    assert_eq!(counters.totals().connections(Transport::Quic, ConnectionEvent::Stopped), 1);
}
