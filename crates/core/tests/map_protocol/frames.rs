//! Octets that are frames, and octets that are none.

use bytes::{Bytes, BytesMut};
use dglb_core::proto::{CodecError, Frame, FrameCodec, FrameError, MAGIC, Number};
use tokio_util::codec::{Decoder, Encoder};

fn stream(frames: &[(Number, &[u8])]) -> Vec<u8> {
    let (mut codec, mut octets) = (FrameCodec::default(), BytesMut::new());
    for (number, body) in frames {
        codec.encode(Frame::new(*number, Bytes::copy_from_slice(body)), &mut octets).unwrap();
    }
    octets.to_vec()
}

/// What a fresh decoder makes of `octets` that come one by one.
fn drip(octets: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut codec, mut arrived, mut frames) = (FrameCodec::default(), BytesMut::new(), Vec::new());
    for octet in octets {
        arrived.extend_from_slice(&[*octet]);
        match codec.decode(&mut arrived) {
            Ok(frame) => frames.extend(frame),
            Err(CodecError::Frame(error)) => return Err(error),
            Err(CodecError::Io(error)) => panic!("{error}"),
        }
    }
    Ok(frames)
}

#[test]
fn the_header_is_what_the_document_says() {
    let octets = stream(&[(Number::PING, &[8, 1]), (Number::MAP_ACK, &[])]);
    let expected = [&[0, 0, 0, 14, 0, 4, 0, 0][..], b"DGLB-MAP", &[8, 1], &[0, 0, 0, 4, 0, 0x21, 0, 0]];
    assert_eq!(octets, expected.concat());
}

#[test]
fn every_split_gives_the_same_frames() {
    let octets = stream(&[(Number::HELLO, b"body"), (Number::PING, &[]), (Number(0x7777), b"unknown")]);
    let whole = drip(&octets).unwrap();
    assert_eq!(whole.len(), 3);
    for cut in 0..=octets.len() {
        let (mut codec, mut arrived, mut frames) = (FrameCodec::default(), BytesMut::new(), Vec::new());
        for part in [&octets[..cut], &octets[cut..]] {
            arrived.extend_from_slice(part);
            while let Some(frame) = codec.decode(&mut arrived).unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, whole, "cut at {cut}");
    }
}

#[test]
fn a_partial_frame_is_no_error_until_the_stream_ends() {
    let octets = stream(&[(Number::HELLO, b"body")]);
    for cut in 1..octets.len() {
        let mut codec = FrameCodec::default();
        let mut arrived = BytesMut::from(&octets[..cut]);
        assert!(codec.decode(&mut arrived).unwrap().is_none(), "cut at {cut}");
        let error = codec.decode_eof(&mut arrived).expect_err("cut");
        let CodecError::Frame(FrameError::Cut { missing }) = error else { panic!("{error:?}") };
        // Before the length is known, the least a frame has is what is missing.
        assert_eq!(missing, if cut < 4 { 8 - cut } else { octets.len() - cut }, "cut at {cut}");
    }
    let mut codec = FrameCodec::default();
    let mut arrived = BytesMut::from(&octets[..]);
    assert!(codec.decode_eof(&mut arrived).unwrap().is_some());
    assert!(codec.decode_eof(&mut arrived).unwrap().is_none(), "a clean end");
}

#[test]
fn a_stranger_is_turned_away_at_its_first_wrong_octet() {
    let mut wrong = stream(&[(Number::HELLO, b"body")]);
    wrong[8 + 3] ^= 0x20;
    assert_eq!(drip(&wrong), Err(FrameError::Magic));
    let mut codec = FrameCodec::default();
    let mut early = BytesMut::from(&wrong[..8 + 4]);
    assert!(matches!(codec.decode(&mut early), Err(CodecError::Frame(FrameError::Magic))));
    // HTTP and TLS look like frames of a gigabyte, DNS over TCP like one of some megabytes.
    for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\x00\x1d\x12\x34\x01\x00"] {
        assert!(matches!(drip(stranger), Err(FrameError::TooLong { limit: 4_096, .. })), "{stranger:?}");
    }
}

#[test]
fn lengths_are_checked_when_they_are_announced() {
    for (length, good) in [(0, false), (4, false), (11, false), (12, true), (4_096, true), (4_097, false)] {
        let announced = u32::to_be_bytes(length);
        assert_eq!(drip(&announced).is_ok(), good, "{length} before WELCOME");
    }
    assert_eq!(drip(&[0xff; 4]), Err(FrameError::TooLong { announced: u32::MAX, limit: 4_096 }));
    assert_eq!(drip(&[0, 0, 0, 3]), Err(FrameError::TooShort { announced: 3 }));

    let mut codec = FrameCodec::default();
    let mut arrived = BytesMut::from(&stream(&[(Number::HELLO, &[])])[..]);
    assert!(codec.decode(&mut arrived).unwrap().is_some());
    codec.set_limit(1 << 20);
    for (length, good) in [(3_u32, false), (4, true), (1 << 20, true), ((1 << 20) + 1, false)] {
        let mut arrived = BytesMut::from(&length.to_be_bytes()[..]);
        assert_eq!(codec.decode(&mut arrived).is_ok(), good, "{length} after WELCOME");
        assert!(arrived.capacity() < 64, "an announced length was allocated");
    }
}

#[test]
fn flags_of_a_later_version_are_carried_and_ignored() {
    let mut octets = stream(&[(Number::HELLO, b"body")]);
    octets[6..8].copy_from_slice(&[0x80, 0x01]);
    let frames = drip(&octets).unwrap();
    assert_eq!((frames[0].flags, &frames[0].body[..]), (0x8001, &b"body"[..]));
    assert_eq!(MAGIC.len(), 8);
}
