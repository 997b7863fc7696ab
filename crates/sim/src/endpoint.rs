//! One side of a connection: a [`Session`] and what `dglb_node::link` has around it, without sockets.
//! The same order of things, the same bounds, only smaller, so that they are reached.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use dglb_core::proto::{
    CodecError, Config, Encoded, Event, FrameCodec, ProtocolError, Session,
    message::{Bye, ByeReason, Message},
};
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    Ms,
    net::{Pipe, Read, Way},
};

/// Messages that wait for the session; the daemon is told that there is no room for more.
pub const COMMANDS: usize = 6;
/// A peer that takes nothing for so long is left.
const STALL: Ms = 4_000;
/// What is collected for one write.
const BATCH: usize = 2 << 10;
/// Most octets that may wait to be decoded: a whole frame and what came with it.
pub const INBOUND: usize = (1 << 20) + crate::net::WINDOW;

/// The times and bounds of every session.
pub fn session_config() -> Config {
    Config {
        handshake_timeout: Duration::from_secs(3),
        dial_timeout: Duration::from_secs(3),
        ping_after: Duration::from_secs(1),
        dead_after: Duration::from_secs(3),
        queue_messages: 6,
        ..Config::default()
    }
}

/// To be said.
#[derive(Clone, Debug)]
pub enum Command {
    /// To this peer alone.
    One(Message),
    /// To many.
    Shared(Encoded),
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// No room.
    Full,
    /// The link is over.
    Closed,
}

/// See the module's description.
#[derive(Debug)]
pub struct Endpoint {
    /// The protocol.
    pub session: Session,
    codec: FrameCodec,
    inbound: BytesMut,
    outbound: BytesMut,
    commands: VecDeque<Command>,
    /// When the last whole frame came.
    pub heard: Ms,
    /// When nothing was left to be written for the last time.
    sent_all: Ms,
    ended: bool,
    /// The daemon was told that it is over.
    pub over: bool,
    /// The daemon was told that it is up, or asked whether it may be.
    pub announced: bool,
}

impl Endpoint {
    /// Around a session that has just begun.
    pub fn new(session: Session, now: Ms) -> Self {
        Self {
            session,
            codec: FrameCodec::default(),
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            commands: VecDeque::new(),
            heard: now,
            sent_all: now,
            ended: false,
            over: false,
            announced: false,
        }
    }

    /// The next thing that the daemon has to know. Reads no further before that.
    pub fn step(&mut self, pipe: &mut Pipe, open: bool, (now, instant): (Ms, Instant)) -> Option<Event> {
        loop {
            if let Some(event) = self.session.poll_event() {
                self.over |= matches!(event, Event::Closed(_));
                return Some(event);
            }
            if self.session.is_closed() {
                return None;
            }
            self.codec.set_limit(self.session.frame_limit());
            match self.codec.decode(&mut self.inbound) {
                Ok(Some(frame)) => {
                    self.heard = now;
                    // The session's own close event says what was wrong.
                    let _ = self.session.handle(frame, instant);
                    continue;
                }
                Ok(None) => {}
                Err(CodecError::Frame(error)) => {
                    self.session.fail(ProtocolError::Frame(error));
                    continue;
                }
                Err(CodecError::Io(_)) => {
                    self.session.lost();
                    continue;
                }
            }
            match if open { pipe.read(now) } else { Read::Wait } {
                Read::Some(octets) => self.inbound.extend_from_slice(&octets),
                Read::End => self.lose(),
                Read::Wait => return None,
            }
        }
    }

    /// The connection is gone.
    pub fn lose(&mut self) {
        self.outbound.clear();
        self.ended = true;
        self.session.lost();
    }

    /// Says something, if there is room.
    ///
    /// # Errors
    /// [`Unsent`].
    pub fn send(&mut self, command: Command) -> Result<(), Unsent> {
        if self.session.is_closed() {
            return Err(Unsent::Closed);
        }
        if self.commands.len() >= COMMANDS {
            return Err(Unsent::Full);
        }
        self.commands.push_back(command);
        Ok(())
    }

    /// Leaves, after what was said before.
    pub fn close(&mut self, bye: Bye) {
        self.hand_over();
        self.commands.clear();
        self.session.close(bye);
    }

    /// Looks at the clock.
    pub fn time(&mut self, (now, instant): (Ms, Instant)) {
        if !self.outbound.is_empty() && now >= self.sent_all + STALL {
            self.session.close(Bye { reason: ByeReason::Slow, text: "not reading".to_owned() });
            self.forget(instant);
        }
        self.session.handle_timeout(instant);
    }

    /// Writes what there is and fits. Returns when it arrives, if anything was written.
    pub fn flush(&mut self, pipe: &mut Pipe, way: Way, (now, instant): (Ms, Instant)) -> Option<Ms> {
        let mut arrives = None;
        loop {
            self.hand_over();
            if self.outbound.is_empty() {
                self.sent_all = now;
                self.fill(instant);
            }
            if self.outbound.is_empty() {
                break;
            }
            let (count, at) = pipe.write(&self.outbound, now, way);
            if count == 0 {
                break;
            }
            self.outbound.advance(count);
            arrives = Some(at);
        }
        if self.session.is_closed() && self.outbound.is_empty() && !pipe.is_finished() {
            pipe.finish();
            arrives = Some(now + way.delay);
        }
        arrives
    }

    /// Whether nothing more is going to happen here.
    pub fn is_done(&self) -> bool {
        self.over && self.outbound.is_empty()
    }

    /// Messages that wait before the session, and octets that wait to be decoded.
    pub fn waiting(&self) -> (usize, usize) {
        (self.commands.len(), self.inbound.len())
    }

    fn hand_over(&mut self) {
        while self.session.is_established()
            && self.session.has_room()
            && let Some(command) = self.commands.pop_front()
        {
            // What a session does not take is a mistake of the daemon's, and shows elsewhere.
            let _ = match command {
                Command::One(message) => self.session.send(&message),
                Command::Shared(encoded) => self.session.send_encoded(encoded),
            };
        }
    }

    fn fill(&mut self, instant: Instant) {
        if self.ended {
            self.forget(instant);
        }
        while self.outbound.len() < BATCH
            && let Some(frame) = self.session.poll_transmit(instant)
        {
            if self.codec.encode(frame, &mut self.outbound).is_err() {
                self.session.lost();
            }
        }
    }

    fn forget(&mut self, instant: Instant) {
        self.outbound.clear();
        while self.session.poll_transmit(instant).is_some() {}
    }
}
