//! What comes in: every frame is checked for its place before its body is looked at.

use std::time::Instant;

use bytes::Bytes;

use super::{Assembly, Event, Peer, ProtocolError, Session, State, error::CloseReason, transfer::begun};
use crate::proto::{
    Frame, Number, body,
    body::BodyError,
    direction::{self, Direction},
    message::{Hello, Message, PeerRole, Welcome},
    scan, wire,
};

impl Session {
    /// Takes one frame. Frames after the close are ignored.
    ///
    /// # Errors
    /// [`ProtocolError`]: the link is over, the peer will be told why, and
    /// [`Event::Closed`] says the same.
    pub fn handle(&mut self, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        if self.state == State::Closed {
            return Ok(());
        }
        self.stats.frames_in += 1;
        self.last_heard = now;
        self.silent_since = now;
        let done = match self.state {
            State::AwaitHello => self.first(frame),
            State::AwaitWelcome => self.answer(frame, now),
            State::AwaitDecision => self.early(frame),
            State::Established | State::Closed => self.established(frame),
        };
        done.inspect_err(|error| self.fail(error.clone()))
    }

    /// Accepting: the first frame.
    fn first(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        let Message::Hello(hello) = self.only(frame, &[Number::HELLO])? else {
            return Err(ProtocolError::Unexpected { number: Number::HELLO });
        };
        self.version = self.agree(&hello)?;
        if !hello.role.dials() {
            return Err(ProtocolError::Role { role: hello.role });
        }
        self.hello = Some(hello.clone());
        self.state = State::AwaitDecision;
        self.events.push_back(Event::HelloReceived(hello));
        Ok(())
    }

    /// Accepting: HELLO has come, WELCOME has not gone.
    fn early(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        if let Message::Bye(bye) = self.only(frame, &[Number::BYE])? {
            self.finish(CloseReason::ByeFromPeer(bye));
        }
        Ok(())
    }

    /// Dialling: WELCOME, in one frame or in parts, or REFUSE.
    fn answer(&mut self, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        let message = match frame.number {
            Number::BEGIN => {
                let limit = self.config.welcome_limit();
                return self.begin(frame, limit, |number| number == Number::WELCOME);
            }
            Number::PART | Number::COMMIT => self.continued(frame)?,
            number if self.assembly.is_some() => return Err(self.interleaved(number)),
            _ => Some(self.only(frame, &[Number::WELCOME, Number::REFUSE])?),
        };
        match message {
            Some(Message::Welcome(welcome)) => self.welcomed(welcome, now)?,
            Some(Message::Refuse(refuse)) => {
                self.outbox.clear();
                self.finish(CloseReason::RefusedByPeer(refuse));
            }
            _ => {}
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: Box<Welcome>, now: Instant) -> Result<(), ProtocolError> {
        let offered = self.hello.as_ref().map_or(0..=0, |h| h.version_min..=h.version_max);
        if !offered.contains(&welcome.version) {
            return Err(ProtocolError::Version {
                theirs_min: welcome.version,
                theirs_max: welcome.version,
                ours_min: *offered.start(),
                ours_max: *offered.end(),
            });
        }
        self.version = welcome.version;
        self.establish(Peer::Acceptor(welcome), now);
        Ok(())
    }

    fn established(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        let number = frame.number;
        let message = match number {
            Number::PING | Number::PONG | Number::BYE => self.decode(number, frame.body)?,
            Number::BEGIN => {
                let limit = self.message_limit();
                return self.begin(frame, limit, |number| number.0 > Number::COMMIT.0);
            }
            Number::PART | Number::COMMIT => self.continued(frame)?,
            _ if wire::shape(number).is_none() => {
                self.stats.unknown_messages += 1;
                return Ok(());
            }
            _ if self.assembly.is_some() => return Err(self.interleaved(number)),
            _ => {
                self.check_direction(number)?;
                self.decode(number, frame.body)?
            }
        };
        match message {
            Some(Message::Ping(value)) => self.outbox.pong(value),
            Some(Message::Bye(bye)) => {
                self.outbox.clear();
                self.finish(CloseReason::ByeFromPeer(bye));
            }
            Some(Message::Pong(_)) | None => {}
            Some(message) => self.deliver(message)?,
        }
        Ok(())
    }

    /// A message whose number may come this way; its content may still say otherwise.
    fn deliver(&mut self, message: Message) -> Result<(), ProtocolError> {
        let from = self.speaks.opposite();
        match &self.hello {
            Some(hello) if !direction::allows(&message, hello.role, from) => {
                Err(ProtocolError::Direction { number: message.number(), dialler: hello.role })
            }
            _ => {
                self.events.push_back(Event::Message(message));
                Ok(())
            }
        }
    }

    /// BEGIN: the place of what it begins is checked before any of it comes.
    fn begin(&mut self, frame: Frame, limit: usize, may: fn(Number) -> bool) -> Result<(), ProtocolError> {
        let begin: wire::Begin = self.parse(frame)?;
        let number = begun(&begin);
        if self.assembly.is_some() {
            return Err(self.interleaved(Number::BEGIN));
        }
        if !may(number) {
            return Err(ProtocolError::Unexpected { number });
        }
        let known = wire::shape(number).is_some();
        if known && self.state == State::Established {
            self.check_direction(number)?;
        }
        self.assembly = Some(Assembly::begin(&begin, known, limit)?);
        Ok(())
    }

    /// PART and COMMIT; the message, if this was its COMMIT.
    fn continued(&mut self, frame: Frame) -> Result<Option<Message>, ProtocolError> {
        let number = frame.number;
        let Some(mut assembly) = self.assembly.take() else {
            return Err(ProtocolError::Transfer { number, transfer: None });
        };
        if number == Number::PART {
            assembly.part(&self.parse(frame)?)?;
            self.assembly = Some(assembly);
            return Ok(None);
        }
        self.scan(&frame)?;
        let whole = assembly.number();
        match assembly.commit()? {
            Some(body) => self.decode(whole, body),
            None => {
                self.stats.unknown_messages += 1;
                Ok(None)
            }
        }
    }

    /// A message that must have one of these numbers.
    fn only(&mut self, frame: Frame, numbers: &[Number]) -> Result<Message, ProtocolError> {
        let unexpected = ProtocolError::Unexpected { number: frame.number };
        if !numbers.contains(&frame.number) {
            return Err(unexpected);
        }
        self.decode(frame.number, frame.body)?.ok_or(unexpected)
    }

    fn decode(&mut self, number: Number, octets: Bytes) -> Result<Option<Message>, ProtocolError> {
        let decoded = body::decode(number, octets, self.config.max_elements)
            .map_err(|error| ProtocolError::Body { number, error })?;
        Ok(decoded.map(|decoded| {
            self.stats.unknown_fields += u64::from(decoded.unknown_fields);
            decoded.message
        }))
    }

    /// BEGIN or PART.
    fn parse<T: prost::Message + Default>(&mut self, frame: Frame) -> Result<T, ProtocolError> {
        self.scan(&frame)?;
        let number = frame.number;
        wire::parse(frame.body).map_err(|error| ProtocolError::Body { number, error })
    }

    fn scan(&mut self, frame: &Frame) -> Result<(), ProtocolError> {
        let number = frame.number;
        let error = |error: BodyError| ProtocolError::Body { number, error };
        if let Some(shape) = wire::shape(number) {
            let found = scan::scan(shape, &frame.body, self.config.max_elements).map_err(error)?;
            self.stats.unknown_fields += u64::from(found.unknown);
        }
        Ok(())
    }

    /// The longest message that the peer may say in parts.
    fn message_limit(&self) -> usize {
        let dialler = self.hello.as_ref().filter(|_| self.speaks == Direction::Down).map(|hello| hello.role);
        match dialler {
            Some(PeerRole::DnsLb | PeerRole::Mservice) => self.config.max_measured,
            _ => self.config.max_message,
        }
    }

    fn check_direction(&self, number: Number) -> Result<(), ProtocolError> {
        match &self.hello {
            Some(hello) if direction::allowed(number, hello.role, self.speaks.opposite()) => Ok(()),
            Some(hello) if number.0 > Number::COMMIT.0 => Err(ProtocolError::Direction { number, dialler: hello.role }),
            _ => Err(ProtocolError::Unexpected { number }),
        }
    }

    fn interleaved(&self, number: Number) -> ProtocolError {
        ProtocolError::Transfer { number, transfer: self.assembly.as_ref().map(Assembly::number) }
    }

    /// The highest version that both sides know.
    fn agree(&self, hello: &Hello) -> Result<u16, ProtocolError> {
        let (ours_min, ours_max) = (self.config.version_min, self.config.version_max);
        let highest = hello.version_max.min(ours_max);
        let both = hello.version_min <= hello.version_max && highest >= hello.version_min.max(ours_min);
        let (theirs_min, theirs_max) = (hello.version_min, hello.version_max);
        both.then_some(highest).ok_or(ProtocolError::Version { theirs_min, theirs_max, ours_min, ours_max })
    }
}
