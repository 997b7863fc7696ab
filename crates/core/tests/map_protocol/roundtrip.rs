//! What is sent is what arrives, whatever it is.

use bytes::{Bytes, BytesMut};
use dglb_core::proto::{
    BodyError, Frame, FrameCodec, Number,
    body::{MAX_ELEMENTS, decode},
    message::{Bye, ByeReason, Message},
};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

use crate::{samples, strategies};

fn there_and_back(message: &Message) -> Message {
    let encoded = message.encode().expect("can be sent");
    let decoded = decode(encoded.number(), encoded.body().clone(), MAX_ELEMENTS).expect("is taken");
    let decoded = decoded.expect("is known");
    assert_eq!(decoded.unknown_fields, 0, "a field is not in the shape");
    decoded.message
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_back_as_it_went(message in strategies::message()) {
        prop_assert_eq!(&there_and_back(&message), &message);
    }

    #[test]
    fn unknown_fields_are_skipped_wherever_they_stand(message in strategies::message(), front in any::<bool>()) {
        // Field 1000 as a varint, 1001 as octets that look like a message.
        let later = [0xc0, 0x3e, 0x05, 0xca, 0x3e, 0x02, 0x08, 0x01];
        let encoded = message.encode().unwrap();
        let body: Vec<u8> = if front {
            [&later[..], encoded.body()].concat()
        } else {
            [encoded.body(), &later[..]].concat()
        };
        let decoded = decode(encoded.number(), body.into(), MAX_ELEMENTS).unwrap().unwrap();
        prop_assert_eq!(decoded.unknown_fields, 2);
        prop_assert_eq!(decoded.message, message);
    }

    #[test]
    fn frames_come_whole_however_they_are_cut(
        messages in prop::collection::vec(strategies::session_message(), 1..6),
        cuts in prop::collection::vec(1_usize..200, 1..50),
    ) {
        let (mut encoder, mut decoder) = (FrameCodec::default(), FrameCodec::default());
        decoder.set_limit(1 << 20);
        let mut stream = BytesMut::new();
        for message in &messages {
            let encoded = message.encode().unwrap();
            encoder.encode(Frame::new(encoded.number(), encoded.body().clone()), &mut stream).unwrap();
        }
        let (mut arrived, mut got) = (BytesMut::new(), Vec::new());
        let mut cuts = cuts.iter().cycle();
        while !stream.is_empty() {
            let n = stream.len().min(*cuts.next().unwrap());
            arrived.extend_from_slice(&stream.split_to(n));
            while let Some(frame) = decoder.decode(&mut arrived).unwrap() {
                got.push(decode(frame.number, frame.body, MAX_ELEMENTS).unwrap().unwrap().message);
            }
        }
        prop_assert_eq!(got, messages);
        prop_assert!(arrived.is_empty());
    }

    #[test]
    fn no_octets_at_all_are_a_panic(number in prop::sample::select(Number::ALL), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(number, body.into(), MAX_ELEMENTS);
    }

    #[test]
    fn a_damaged_body_is_an_error_or_another_sound_message(
        message in strategies::message(),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let encoded = message.encode().unwrap();
        let mut body = encoded.body().to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = octet;
        }
        if let Ok(Some(decoded)) = decode(encoded.number(), body.into(), MAX_ELEMENTS) {
            // Whatever was taken can be said again, and is taken again.
            prop_assert_eq!(there_and_back(&decoded.message), decoded.message);
        }
    }
}

#[test]
fn every_number_that_is_not_reserved_has_a_sample_that_comes_back() {
    let samples = samples::all();
    for number in Number::ALL {
        let known = decode(*number, Bytes::new(), MAX_ELEMENTS) != Ok(None);
        let transfer = matches!(*number, Number::BEGIN | Number::PART | Number::COMMIT);
        assert_eq!(samples.iter().any(|m| m.number() == *number), known && !transfer, "{number}");
    }
    let forms = samples::forms().into_iter().map(|(_, message)| message);
    for message in samples.into_iter().chain(forms) {
        assert_eq!(there_and_back(&message), message);
    }
}

#[test]
fn texts_for_people_are_cut_between_characters() {
    let bye = |text: &str| Message::Bye(Bye { reason: ByeReason::Shutdown, text: text.to_owned() });
    let long = "ä".repeat(300);
    assert_eq!(there_and_back(&bye(&long)), bye(&"ä".repeat(256)));
    assert_eq!(there_and_back(&bye(&format!("x{long}"))), bye(&format!("x{}", "ä".repeat(255))));
}

#[test]
fn what_no_peer_would_take_is_not_encoded() {
    let mut map = samples::map();
    map.addresses = vec!["192.0.2.1".parse().unwrap(); 17];
    assert_eq!(Message::Map(map).encode(), Err(BodyError::TooMany { field: "addresses", cap: 16 }));
    let mut report = samples::report();
    report.rankings[0].sites[0].score = Some(f64::NAN);
    assert_eq!(Message::Report(report).encode(), Err(BodyError::NotFinite { field: "score" }));
    let mut report = samples::report();
    report.rankings[0].sites[0].site = "x".repeat(256);
    assert_eq!(Message::Report(report).encode(), Err(BodyError::TooLong { field: "site", length: 256, limit: 255 }));
}

#[test]
fn addresses_of_one_family_have_one_form() {
    let mut map = samples::map();
    map.addresses = vec!["::ffff:192.0.2.1".parse().unwrap()];
    let Message::Map(back) = there_and_back(&Message::Map(map)) else { panic!("not a MAP") };
    assert_eq!(back.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    let mapped = [&[0x1a, 16][..], &[0; 10], &[0xff, 0xff, 192, 0, 2, 1]].concat();
    let refused = decode(Number::MAP, mapped.into(), MAX_ELEMENTS);
    assert_eq!(refused, Err(BodyError::Address { field: "addresses", length: 16 }));
}
