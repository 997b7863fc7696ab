//! Two sessions over a network of their own: octets arrive after a delay, in pieces, or not at
//! all, and time is a number.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dglb_core::proto::{
    CloseReason, CodecError, Config, Event, FrameCodec, ProtocolError, Session,
    message::{Hello, Message, PeerRole, Welcome},
};
use tokio_util::codec::{Decoder, Encoder};

use crate::samples;

/// One side, with what it was told.
pub(crate) struct End {
    pub(crate) session: Session,
    codec: FrameCodec,
    arrived: BytesMut,
    pub(crate) events: VecDeque<Event>,
    pub(crate) violation: Option<ProtocolError>,
}

/// Octets on their way.
struct Packet {
    due: Instant,
    to_b: bool,
    octets: Bytes,
}

/// A dialling side and an accepting side.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    /// One way.
    pub(crate) delay: Duration,
    /// Nothing arrives any more and nobody is told; what was sent arrives when it heals, as with
    /// TCP.
    pub(crate) cut: bool,
    /// Octets of one packet.
    pub(crate) packet: usize,
    pub(crate) lb: End,
    pub(crate) b: End,
    wire: VecDeque<Packet>,
}

/// Some instant: only differences count.
#[allow(clippy::disallowed_methods, reason = "an arbitrary beginning; the clock is not read again")]
pub(crate) fn beginning() -> Instant {
    Instant::now()
}

impl End {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            codec: FrameCodec::default(),
            arrived: BytesMut::new(),
            events: VecDeque::new(),
            violation: None,
        }
    }

    /// What it wants to send.
    pub(crate) fn transmit(&mut self, now: Instant) -> BytesMut {
        let mut octets = BytesMut::new();
        while let Some(frame) = self.session.poll_transmit(now) {
            self.codec.encode(frame, &mut octets).unwrap();
        }
        octets
    }

    /// Takes octets as a driver does.
    pub(crate) fn receive(&mut self, octets: &[u8], now: Instant) {
        self.arrived.extend_from_slice(octets);
        while !self.session.is_closed() {
            self.codec.set_limit(self.session.frame_limit());
            let handled = match self.codec.decode(&mut self.arrived) {
                Ok(Some(frame)) => self.session.handle(frame, now),
                Ok(None) => break,
                Err(CodecError::Frame(error)) => {
                    self.session.fail(error.into());
                    Err(error.into())
                }
                Err(CodecError::Io(error)) => panic!("{error}"),
            };
            self.collect();
            if let Err(error) = handled {
                self.violation = Some(error);
            }
        }
    }

    pub(crate) fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    /// Messages among the events so far, which are then gone.
    pub(crate) fn messages(&mut self) -> Vec<Message> {
        self.collect();
        let messages = self.events.drain(..).filter_map(|e| match e {
            Event::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// The close, if it came; panics on a second one, or on anything after it.
    pub(crate) fn closed(&mut self) -> Option<CloseReason> {
        self.collect();
        let at = self.events.iter().position(|e| matches!(e, Event::Closed(_)))?;
        assert_eq!(at + 1, self.events.len(), "events after the close: {:?}", self.events);
        match self.events.pop_back() {
            Some(Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }
}

impl Pair {
    /// A DNS-LB that dials a dns-b, nothing sent yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self::with(config, config, samples::hello(PeerRole::DnsLb))
    }

    pub(crate) fn with(dialler: &Config, acceptor: &Config, hello: Hello) -> Self {
        let now = beginning();
        Self {
            now,
            start: now,
            delay: Duration::from_millis(20),
            cut: false,
            packet: 1_000,
            lb: End::new(Session::dial(dialler.clone(), hello, now).unwrap()),
            b: End::new(Session::accept(acceptor.clone(), now)),
            wire: VecDeque::new(),
        }
    }

    /// An established one, its handshake's events taken.
    pub(crate) fn established(role: PeerRole) -> Self {
        let mut pair = Self::with(&Config::default(), &Config::default(), samples::hello(role));
        pair.let_in(samples::welcome());
        pair.lb.events.clear();
        pair.b.events.clear();
        pair
    }

    /// Runs the handshake, answering HELLO with `welcome`.
    pub(crate) fn let_in(&mut self, welcome: Welcome) {
        self.run(Duration::from_millis(100));
        assert!(matches!(self.b.events.pop_front(), Some(Event::HelloReceived(_))), "no HELLO came");
        self.b.session.welcome(welcome, self.now).unwrap();
        self.run(Duration::from_millis(100));
        assert!(self.lb.session.is_established() && self.b.session.is_established());
    }

    /// Lets `span` pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.flush();
            let timeouts = [self.lb.session.poll_timeout(), self.b.session.poll_timeout()];
            let arrival = self.wire.front().filter(|_| !self.cut).map(|p| p.due);
            let Some(next) = timeouts.into_iter().flatten().chain(arrival).min().filter(|t| *t <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(packet) = self.wire.pop_front_if(|p| !self.cut && p.due <= self.now) {
                let to = if packet.to_b { &mut self.b } else { &mut self.lb };
                to.receive(&packet.octets, self.now);
            }
            for end in [&mut self.lb, &mut self.b] {
                end.session.handle_timeout(self.now);
                end.collect();
            }
        }
        self.now = end;
    }

    fn flush(&mut self) {
        for to_b in [true, false] {
            let from = if to_b { &mut self.lb } else { &mut self.b };
            let mut octets = from.transmit(self.now).freeze();
            while !octets.is_empty() {
                let piece = octets.split_to(octets.len().min(self.packet));
                self.wire.push_back(Packet { due: self.now + self.delay, to_b, octets: piece });
            }
        }
    }

    /// How much time has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}
