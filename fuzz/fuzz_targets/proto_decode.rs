//! A stream of frames. The first octet says whether the magic is still to come.
#![no_main]

use bytes::BytesMut;
use dglb_core::proto::{Frame, FrameCodec, Number, body};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::{Decoder, Encoder};

fuzz_target!(|input: &[u8]| {
    let Some((mode, octets)) = input.split_first() else { return };
    let mut codec = FrameCodec::default();
    let mut arrived = BytesMut::new();
    if mode & 1 != 0 {
        codec.encode(Frame::new(Number::PING, Default::default()), &mut arrived).expect("fits");
        assert!(codec.decode(&mut arrived).expect("sound").is_some());
        codec.set_limit(1 << 20);
    }
    let mut arrived = BytesMut::from(octets);
    let room = arrived.capacity();
    while let Ok(Some(frame)) = codec.decode(&mut arrived) {
        let Ok(Some(decoded)) = body::decode(frame.number, frame.body, 1_000) else { continue };
        let again = decoded.message.encode().expect("what was taken can be said");
        let twice = body::decode(again.number(), again.body().clone(), usize::MAX);
        let twice = twice.expect("and is taken again").expect("and is known");
        assert_eq!((twice.message, twice.unknown_fields), (decoded.message, 0));
    }
    assert!(arrived.capacity() <= room, "an announced length was allocated");
});
