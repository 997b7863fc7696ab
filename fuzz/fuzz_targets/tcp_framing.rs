//! A TCP stream in pieces, questions among it: whatever the pieces are, the same messages come out,
//! what is held grows with what came, and the replies that a stream gets can be put together again.
#![no_main]

use arbitrary::Arbitrary;
use dglb_core::dns::{
    Asked, Responder, Transport,
    framing::{Framing, MAX_MESSAGE, PREFIX, prefix},
};
use dglb_fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Part {
    Question(Input),
    Message(Vec<u8>),
    /// A length that promises more than comes, and what comes.
    Announced(u16, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Stream {
    parts: Vec<Part>,
    pieces: Vec<u16>,
    release: bool,
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&prefix(message.len()).expect("short enough")[..], message].concat()
}

impl Part {
    fn octets(&self) -> Vec<u8> {
        match self {
            Self::Question(question) => framed(&question.packet()),
            Self::Message(octets) => framed(&octets[..octets.len().min(MAX_MESSAGE)]),
            Self::Announced(length, octets) => [&length.to_be_bytes()[..], octets].concat(),
        }
    }
}

/// The same cut without any state: the oracle.
fn messages(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [l0, l1, rest @ ..] = stream {
        let Some((message, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1]))) else { break };
        found.push(message);
        stream = rest;
    }
    found
}

fuzz_target!(|input: Stream| {
    let stream: Vec<u8> = input.parts.iter().take(16).flat_map(Part::octets).collect();
    let expected = messages(&stream);
    let question = input.parts.iter().find_map(|part| match part {
        Part::Question(question) => Some(question),
        _ => None,
    });
    let (mut framing, mut rest, mut taken) = (Framing::default(), &stream[..], 0);
    let (mut replies, mut reply) = (Framing::default(), vec![0; MAX_MESSAGE]);
    let mut pieces = input.pieces.iter().map(|piece| usize::from(*piece).max(1));
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(pieces.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        framing.feed(piece);
        while let Some(message) = framing.take() {
            assert_eq!(message, expected[taken], "message {taken}");
            taken += 1;
            if let Some(question) = question {
                let ((directory, role), peer) = (question.server(), question.peer());
                let asked = Asked { packet: message, peer, transport: Transport::Tcp, role };
                let handled = Responder::with_defaults(directory).respond(&asked, &mut reply);
                replies.feed(&prefix(handled.length).expect("a reply that has a length"));
                replies.feed(&reply[..handled.length]);
                assert_eq!(replies.take(), Some(&reply[..handled.length]));
            }
        }
        assert!(!framing.has_message());
        assert!(framing.len() < PREFIX + MAX_MESSAGE, "more than an unfinished message is kept");
        if input.release {
            framing.release();
            assert_eq!(framing.capacity(), framing.len());
        }
    }
    assert_eq!(taken, expected.len());
    assert!(replies.is_empty());
});
