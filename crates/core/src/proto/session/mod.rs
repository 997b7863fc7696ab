//! One link between two daemons, without its socket and clock. The session decides who may say
//! what when; a daemon sees only whole messages in their place, and at most one close.
//!
//! Each side says something every few seconds, PING if nothing else. It counts what it sends for
//! that, not what it hears: a side that is busy with a long backlog of the other's still shows that
//! it lives, while the answer to a PING would wait at the end of that backlog.
//!
//! A driver loops over five verbs: [`Session::handle`] a frame that came, [`Session::poll_event`]
//! until `None`, [`Session::poll_transmit`] until `None`, wait for a frame or until
//! [`Session::poll_timeout`], then [`Session::handle_timeout`].

mod config;
mod error;
mod outbox;
mod receive;
mod transfer;

use std::{collections::VecDeque, time::Instant};

pub use config::Config;
pub use error::{CloseReason, ProtocolError, SendError};

use self::{outbox::Outbox, transfer::Assembly};
use super::{
    Encoded, Frame, HANDSHAKE_FRAME, Number,
    direction::{self, Direction},
    message::{Bye, ByeReason, Hello, Message, PeerRole, Refuse, RefuseReason, Welcome},
};

/// What a daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Accepting side: somebody asks to be let in. Answer with [`Session::welcome`] or
    /// [`Session::refuse`] before the handshake's time is over.
    HelloReceived(Hello),
    /// The link is up. Once.
    Established(Peer),
    /// The peer said this, and may.
    Message(Message),
    /// The link is over. Once, and nothing after it.
    Closed(CloseReason),
}

/// Who the other side is.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// It dialled, and this was its HELLO.
    Dialler(Hello),
    /// It accepted, and this was its WELCOME.
    Acceptor(Box<Welcome>),
}

/// What a session has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames handled.
    pub frames_in: u64,
    /// Frames handed out to be sent.
    pub frames_out: u64,
    /// Messages of unknown or only reserved numbers, skipped.
    pub unknown_messages: u64,
    /// Unknown fields in known messages, skipped.
    pub unknown_fields: u64,
    /// PINGs sent.
    pub pings: u64,
}

/// One link, either side of it.
#[derive(Debug)]
pub struct Session {
    config: Config,
    /// Which way this side speaks: up if it dialled.
    speaks: Direction,
    state: State,
    /// The dialling side's: ours at once, the peer's once it has come.
    hello: Option<Hello>,
    version: u16,
    outbox: Outbox,
    assembly: Option<Assembly>,
    events: VecDeque<Event>,
    reading: bool,
    last_heard: Instant,
    /// From when silence is held against the peer: later than `last_heard` after a pause of ours.
    silent_since: Instant,
    next_ping: Instant,
    handshake_end: Instant,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Accepting: HELLO has not come.
    AwaitHello,
    /// Accepting: the daemon has not decided.
    AwaitDecision,
    /// Dialling: neither WELCOME nor REFUSE has come.
    AwaitWelcome,
    Established,
    Closed,
}

impl Session {
    /// The side that dials; `hello` is the first thing it sends.
    ///
    /// # Errors
    /// [`SendError::NotAllowed`] for a role that does not dial, [`SendError::Body`] for a HELLO
    /// that no peer would take.
    pub fn dial(config: Config, hello: Hello, now: Instant) -> Result<Self, SendError> {
        if !hello.role.dials() {
            return Err(SendError::NotAllowed { number: Number::HELLO });
        }
        let mut session = Self::new(config, Direction::Up, State::AwaitWelcome, now);
        session.outbox.push(Message::Hello(hello.clone()).encode()?);
        session.hello = Some(hello);
        Ok(session)
    }

    /// The side that was dialled; it waits for HELLO.
    pub fn accept(config: Config, now: Instant) -> Self {
        Self::new(config, Direction::Down, State::AwaitHello, now)
    }

    fn new(config: Config, speaks: Direction, state: State, now: Instant) -> Self {
        let dials = state == State::AwaitWelcome;
        let within = if dials { config.dial_timeout } else { config.handshake_timeout };
        Self {
            speaks,
            state,
            hello: None,
            version: 0,
            outbox: Outbox::default(),
            assembly: None,
            events: VecDeque::new(),
            reading: true,
            last_heard: now,
            silent_since: now,
            next_ping: now + config.ping_after,
            handshake_end: now + within,
            stats: Stats::default(),
            config: config.clamped(),
        }
    }

    /// Lets the dialling side in. The session sets the version that was agreed on.
    ///
    /// # Errors
    /// [`SendError::NotEstablished`] unless a HELLO waits for the decision; [`SendError::Body`]
    /// and [`SendError::TooLarge`] for a WELCOME that no peer would take.
    pub fn welcome(&mut self, mut welcome: Welcome, now: Instant) -> Result<(), SendError> {
        let (State::AwaitDecision, Some(hello)) = (self.state, self.hello.clone()) else {
            return Err(self.not_now());
        };
        welcome.version = self.version;
        let encoded = Message::Welcome(Box::new(welcome)).encode()?;
        self.check_size(&encoded, self.config.welcome_limit())?;
        self.outbox.push(encoded);
        self.establish(Peer::Dialler(hello), now);
        Ok(())
    }

    /// Turns the dialling side away and closes.
    ///
    /// # Errors
    /// [`SendError::NotEstablished`] unless the handshake is still under way on the accepting side.
    pub fn refuse(&mut self, refuse: Refuse) -> Result<(), SendError> {
        if !matches!(self.state, State::AwaitHello | State::AwaitDecision) {
            return Err(self.not_now());
        }
        self.say_last(&Message::Refuse(refuse.clone()));
        self.finish(CloseReason::RefusedByUs(refuse));
        Ok(())
    }

    /// Queues a message. Check [`Session::has_room`] first where losing it would matter.
    ///
    /// # Errors
    /// [`SendError`]; the link goes on.
    pub fn send(&mut self, message: &Message) -> Result<(), SendError> {
        if self.state == State::Established && !self.may(|role| direction::allows(message, role, self.speaks)) {
            return Err(SendError::NotAllowed { number: message.number() });
        }
        self.send_encoded(message.encode()?)
    }

    /// Queues a message that was encoded before, for many peers perhaps.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_encoded(&mut self, encoded: Encoded) -> Result<(), SendError> {
        if self.state != State::Established {
            return Err(self.not_now());
        }
        let number = encoded.number();
        let own = matches!(number, Number::PING | Number::PONG | Number::BYE);
        if own || !self.may(|role| direction::allowed(number, role, self.speaks)) {
            return Err(SendError::NotAllowed { number });
        }
        self.check_size(&encoded, self.config.max_message)?;
        if !self.has_room() {
            return Err(SendError::Full { messages: self.outbox.len(), octets: self.outbox.octets() });
        }
        self.outbox.push(encoded);
        Ok(())
    }

    /// Leaves. What is queued goes first, then BYE (REFUSE, where nobody was let in yet).
    pub fn close(&mut self, bye: Bye) {
        match self.state {
            State::Closed => return,
            State::AwaitHello | State::AwaitDecision => {
                self.say_last(&Message::Refuse(Refuse { reason: RefuseReason::Busy, text: bye.text.clone() }));
            }
            State::AwaitWelcome | State::Established => self.say_last(&Message::Bye(bye.clone())),
        }
        self.finish(CloseReason::ByeFromUs(bye));
    }

    /// Ends the link for a fault that the driver found: octets that are no frames. What is queued
    /// is dropped, the peer is told why.
    pub fn fail(&mut self, error: ProtocolError) {
        self.outbox.clear();
        let text = error.to_string();
        match self.state {
            State::Closed => return,
            State::AwaitHello | State::AwaitDecision => {
                self.say_last(&Message::Refuse(Refuse { reason: error.refuse_reason(), text }));
            }
            State::AwaitWelcome | State::Established => {
                self.say_last(&Message::Bye(Bye { reason: ByeReason::Protocol, text }));
            }
        }
        self.finish(CloseReason::Violation(error));
    }

    /// The stream has ended or broken.
    pub fn lost(&mut self) {
        self.outbox.clear();
        self.finish(CloseReason::Lost);
    }

    /// Says whether the driver reads. While it does not (its own consumer is behind), silence is
    /// not held against the peer; PINGs go on, so the peer sees this side alive.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        if reading && !self.reading {
            self.silent_since = now;
        }
        self.reading = reading;
    }

    /// Takes note of the time. Call when [`Session::poll_timeout`] has come; early calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closed => {}
            State::Established => {
                if self.reading && now >= self.silent_since + self.config.dead_after {
                    self.outbox.clear();
                    let text = format!("nothing heard for {:?}", self.config.dead_after);
                    self.say_last(&Message::Bye(Bye { reason: ByeReason::TimedOut, text }));
                    self.finish(CloseReason::TimedOut);
                } else if now >= self.next_ping {
                    self.next_ping = now + self.config.ping_after;
                    self.stats.pings += 1;
                    self.outbox.ping(self.stats.pings);
                }
            }
            _ if now >= self.handshake_end => {
                self.outbox.clear();
                self.finish(CloseReason::HandshakeTimedOut);
            }
            _ => {}
        }
    }

    /// When [`Session::handle_timeout`] wants to be called; `None` once closed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Established if self.reading => Some(self.next_ping.min(self.silent_since + self.config.dead_after)),
            State::Established => Some(self.next_ping),
            _ => Some(self.handshake_end),
        }
    }

    /// The next frame to send. After the close too: BYE or REFUSE may still be in here.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Frame> {
        let frame = self.outbox.pop()?;
        self.stats.frames_out += 1;
        self.next_ping = now + self.config.ping_after;
        Some(frame)
    }

    /// The next event. The driver drains them before it handles the next frame, so there are
    /// never more than two.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The longest frame that may be read now, counted like the length field.
    pub fn frame_limit(&self) -> usize {
        if self.state == State::Established { self.config.max_frame } else { HANDSHAKE_FRAME }
    }

    /// Whether [`Session::send`] would find room for one more message.
    pub fn has_room(&self) -> bool {
        self.outbox.len() < self.config.queue_messages && self.outbox.octets() < self.config.queue_octets
    }

    /// Octets of messages that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.outbox.octets()
    }

    /// Whether the link is up.
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// Whether the link is over; frames may be left to transmit.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When the last frame came, or the session began: leases count from here.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// The version agreed on, 0 before.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn establish(&mut self, peer: Peer, now: Instant) {
        self.state = State::Established;
        self.silent_since = now;
        self.next_ping = now + self.config.ping_after;
        self.events.push_back(Event::Established(peer));
    }

    fn finish(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.assembly = None;
            self.events.push_back(Event::Closed(reason));
        }
    }

    /// Texts are cut to what may be sent, so farewells always encode.
    fn say_last(&mut self, message: &Message) {
        if let Ok(encoded) = message.encode() {
            self.outbox.push(encoded);
        }
    }

    fn may(&self, test: impl FnOnce(PeerRole) -> bool) -> bool {
        self.hello.as_ref().is_some_and(|h| test(h.role))
    }

    fn check_size(&self, encoded: &Encoded, limit: usize) -> Result<(), SendError> {
        let length = encoded.body().len();
        if length > limit { Err(SendError::TooLarge { length, limit }) } else { Ok(()) }
    }

    fn not_now(&self) -> SendError {
        if self.state == State::Closed { SendError::Closed } else { SendError::NotEstablished }
    }
}
