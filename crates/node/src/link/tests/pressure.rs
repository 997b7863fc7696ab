//! Peers that say too much.

use dglb_core::proto::message::Ready;

use super::*;

fn quota(frames_per_second: u32, patience: Duration) -> LinkSettings {
    let quota = LinkQuota { frames_per_second, patience, ..LinkQuota::default() };
    LinkSettings { quota, ..settings() }
}

/// A small message that says which one it is.
fn numbered(map_generation: u64) -> Message {
    Message::Ready(Ready { map_generation, servers: vec![] })
}

/// Octets of so many messages, HELLO not among them.
fn many(count: u64) -> Vec<u8> {
    let (mut codec, mut octets) = (FrameCodec::default(), BytesMut::new());
    let hello = Message::Hello(hello()).encode().unwrap();
    codec.encode(Frame::new(hello.number(), hello.body().clone()), &mut octets).unwrap();
    octets.clear();
    for n in 0..count {
        let encoded = numbered(n).encode().unwrap();
        codec.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut octets).unwrap();
    }
    octets.to_vec()
}

#[tokio::test]
async fn who_says_too_much_is_not_read_for_a_while_and_loses_nothing() {
    const COUNT: u64 = 2_100;
    let (mut b, address) = acceptor(quota(20, LONG)).await;
    let (mut raw, _to_lb) = Raw::up(address, &mut b).await;
    let begin = Instant::now();
    within(raw.stream.write_all(&many(COUNT))).await.unwrap();
    for expected in 0..COUNT {
        let event = b.next().await;
        let LinkEvent::Message(Message::Ready(ready)) = event else { panic!("{event:?}") };
        assert_eq!(ready.map_generation, expected);
    }
    // 2 000 at once, of which the link itself and HELLO took 21; the rest as it was earned.
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert!(b.metrics.throttled.get() > 50, "{}", b.metrics.throttled.get());
    assert_eq!((b.metrics.over_quota.get(), b.metrics.up.get()), (0, 1));
}

#[tokio::test]
async fn who_goes_on_is_told_to_leave() {
    let (mut b, address) = acceptor(quota(20, Duration::from_secs(1))).await;
    let (mut raw, _to_lb) = Raw::up(address, &mut b).await;
    within(raw.stream.write_all(&many(5_000))).await.unwrap();
    let reason = loop {
        match b.next().await {
            LinkEvent::Message(_) => {}
            LinkEvent::Down(down) => break down.reason,
            other => panic!("{other:?}"),
        }
    };
    let DownReason::Closed(CloseReason::ByeFromUs(bye)) = reason else { panic!("{reason:?}") };
    assert_eq!((bye.reason, b.metrics.over_quota.get(), b.metrics.violations.get()), (ByeReason::Quota, 1, 0));
    let Some(Message::Bye(heard)) = raw.last_words().await else { panic!("no BYE") };
    assert_eq!(heard.reason, ByeReason::Quota);
}

/// Replies that are not taken hold up what is asked for next, and no more of them are made.
#[tokio::test]
async fn who_does_not_take_replies_is_not_read() {
    let (mut b, address) = acceptor(settings()).await;
    let (mut raw, to_lb) = Raw::up(address, &mut b).await;
    let fleet = Message::Fleet(Box::new(large_fleet())).encode().unwrap();
    within(raw.stream.write_all(&many(1_000))).await.unwrap();
    let mut replies = 0;
    while let Ok(Some((_, event))) = timeout(Duration::from_millis(500), b.events.recv()).await {
        assert!(matches!(event, LinkEvent::Message(_)), "{event:?}");
        within(async {
            while to_lb.try_send_encoded(fleet.clone()) == Err(LinkSendError::Full) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        replies += 1;
    }
    assert!(replies < 900, "{replies} replies were made for a peer that takes none");
    // It takes them, and goes on.
    let mut heard = 0;
    while heard < replies {
        let frame = raw.frame().await.expect("the link is up");
        heard += usize::from(frame.number == Number::COMMIT || frame.number == Number::FLEET);
    }
    assert!(matches!(b.next().await, LinkEvent::Message(_)));
    assert_eq!(b.metrics.slow.get(), 0);
}
