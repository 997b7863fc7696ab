//! What waits to be sent, in order, long messages in parts. Liveness does not wait: PING and PONG
//! overtake, and there is never more than one of each.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message as _;

use crate::proto::{Encoded, Frame, HANDSHAKE_FRAME, MAGIC, Number, PART, message::Message, wire};

/// Octets of a body, or of a part, that fit into a frame before WELCOME with everything around them.
const HANDSHAKE_PART: usize = HANDSHAKE_FRAME - MAGIC.len() - 16;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Encoded>,
    octets: usize,
    sending: Option<Sending>,
    ping: Option<u64>,
    pong: Option<u64>,
}

/// The rest of a message that goes in parts.
#[derive(Debug)]
struct Sending {
    number: Number,
    rest: Bytes,
    part: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, encoded: Encoded) {
        self.octets += encoded.body().len();
        self.queue.push_back(encoded);
    }

    pub(super) fn ping(&mut self, value: u64) {
        self.ping = Some(value);
    }

    pub(super) fn pong(&mut self, value: u64) {
        self.pong = Some(value);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Messages that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + usize::from(self.sending.is_some())
    }

    /// Octets of their bodies.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        if !self.in_handshake() {
            if let Some(value) = self.pong.take() {
                return frame(&Message::Pong(value));
            }
            if let Some(value) = self.ping.take() {
                return frame(&Message::Ping(value));
            }
        }
        if let Some(sending) = &mut self.sending {
            if sending.rest.is_empty() {
                self.sending = None;
                return Some(Frame::new(Number::COMMIT, Bytes::new()));
            }
            let octets = sending.rest.split_to(sending.part.min(sending.rest.len()));
            self.octets -= octets.len();
            return Some(Frame::new(Number::PART, wire::Part { octets }.encode_to_vec().into()));
        }
        let encoded = self.queue.pop_front()?;
        let (number, body) = (encoded.number(), encoded.body().clone());
        let part = if is_handshake(number) { HANDSHAKE_PART } else { PART };
        if body.len() <= part {
            self.octets -= body.len();
            return Some(Frame::new(number, body));
        }
        let begin = wire::Begin { number: number.0.into(), length: body.len() as u64 };
        self.sending = Some(Sending { number, rest: body, part });
        Some(Frame::new(Number::BEGIN, begin.encode_to_vec().into()))
    }

    /// Whether HELLO, WELCOME or REFUSE is still to go: nothing may overtake those.
    fn in_handshake(&self) -> bool {
        let next = self.sending.as_ref().map(|s| s.number).or_else(|| self.queue.front().map(Encoded::number));
        next.is_some_and(is_handshake)
    }
}

fn is_handshake(number: Number) -> bool {
    matches!(number, Number::HELLO | Number::WELCOME | Number::REFUSE)
}

fn frame(message: &Message) -> Option<Frame> {
    // PING and PONG hold one number and always encode.
    message.encode().ok().map(|e| Frame::new(e.number(), e.body().clone()))
}
