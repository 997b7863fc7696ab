//! Connections that wait for others' handshakes.

use super::*;

/// An acceptor with one place for a handshake, and somebody in it who says no more.
async fn occupied(within: Duration, queue_timeout: Duration) -> (Side, SocketAddr, Raw) {
    let mut link = settings();
    link.session.handshake_timeout = within;
    let (b, address) =
        Side::accept(AcceptSettings { link, handshakes: 1, queue_timeout, ..AcceptSettings::default() }).await;
    let half = Raw::connect_and_say(address, &[0]).await;
    until("the half connection", || b.metrics.connections.get() == 1).await;
    (b, address, half)
}

impl Raw {
    async fn connect_and_say(address: SocketAddr, octets: &[u8]) -> Self {
        let mut raw = Self::connect(address).await;
        within(raw.stream.write_all(octets)).await.unwrap();
        raw
    }
}

#[tokio::test]
async fn the_silent_take_no_place_among_the_handshakes() {
    let mut link = settings();
    link.session.handshake_timeout = LONG * 2;
    let (mut b, address) = Side::accept(AcceptSettings { link, handshakes: 1, ..AcceptSettings::default() }).await;
    let silent = Raw::connect(address).await;
    until("the silent connection", || b.metrics.connections.get() == 1).await;
    let _up = Raw::up(address, &mut b).await;
    assert_eq!((b.metrics.connections.get(), b.metrics.handshake_failures.get()), (2, 0));
    drop(silent);
    until("its end", || b.metrics.handshake_failures.get() == 1).await;
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_closed() {
    let mut link = settings();
    link.session.handshake_timeout = Duration::from_millis(100);
    let (b, address) = acceptor(link).await;
    let mut silent = Raw::connect(address).await;
    assert!(silent.frame().await.is_none(), "closed without a word");
    assert_eq!((b.metrics.handshake_failures.get(), b.metrics.timed_out.get()), (1, 0));
}

#[tokio::test]
async fn nothing_is_begun_with_those_that_have_gone() {
    let (mut b, address, half) = occupied(LONG * 2, LONG * 2).await;
    for _ in 0..3 {
        let mut gone = Raw::connect(address).await;
        gone.send(&Message::Hello(hello())).await;
    }
    until("those that go", || b.metrics.connections.get() == 4).await;
    let mut lb = Side::dial(address, settings());
    until("the one that stays", || b.metrics.connections.get() == 5).await;
    drop(half);
    // The first HELLO that anybody hears of is that of the last.
    b.let_in().await;
    let _up = (lb.up().await, b.up().await);
    assert_eq!((b.metrics.handshake_failures.get(), b.metrics.frames_in.get()), (4, 1));
}

#[tokio::test]
async fn who_has_waited_for_too_long_is_turned_away() {
    let (b, address, _half) = occupied(LONG * 2, Duration::from_millis(100)).await;
    let mut lb = Side::dial(address, settings());
    assert!(!lb.down().await.was_up);
    assert!(b.metrics.turned_away.get() >= 1);
    assert_eq!(b.metrics.established.get(), 0);
}
