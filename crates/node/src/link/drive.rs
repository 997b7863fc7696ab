//! One connection from its first octet to its last.

mod identity;
mod octets;
mod pressure;
mod time;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use dglb_core::proto::{
    CloseReason, CodecError, Event, FrameCodec, ProtocolError, SendError, Session,
    message::{Bye, ByeReason, Refuse, RefuseReason},
    session::Stats,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{
    codec::{Decoder, Encoder},
    sync::CancellationToken,
};
use tracing::{debug, warn};

use super::{
    Command, Decision, Down, DownReason, Events, LinkEvent, LinkId, LinkMetrics, LinkSender, LinkSettings,
    credentials::Certified, quota::Account,
};

/// Frames are collected up to this size for one write.
const BATCH: usize = 64 << 10;
/// A read asks for this much.
const READ: usize = 4 << 10;
/// A read buffer that has grown beyond this is given back once it is empty.
const KEEP: usize = 32 << 10;

/// Runs one [`Session`] over one byte stream.
pub struct Driver {
    /// The link, as the events name it.
    pub id: LinkId,
    /// The other side.
    pub remote: SocketAddr,
    /// Times and sizes.
    pub settings: LinkSettings,
    /// Where the daemon listens.
    pub events: Events,
    /// What is counted.
    pub metrics: LinkMetrics,
    /// Whether this side dialled. A daemon that accepts is not told of connections that never came
    /// to a HELLO.
    pub dialled: bool,
    /// Given back when the link is up, or over.
    pub handshake: Option<OwnedSemaphorePermit>,
    /// Who is there, as its certificate has it; nothing without TLS.
    pub certified: Option<Box<Certified>>,
    /// Leaves with BYE when cancelled.
    pub stop: CancellationToken,
}

impl Driver {
    /// Runs the session until the link is over, everything that could be said was said, and the
    /// daemon was told of the end. Returns how long the link was up, `None` if it never was.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, session: Session) -> Option<Duration> {
        let (commands, queue) = mpsc::channel(self.settings.commands.max(1));
        let (closing, close) = mpsc::channel(1);
        let link = Link {
            codec: FrameCodec::default(),
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            sent_all: Instant::now(),
            flushed: true,
            why: None,
            broken: None,
            over: None,
            pending: None,
            queue,
            close,
            sender: Some(LinkSender { commands, closing }),
            decision: None,
            up_since: None,
            announced: self.dialled,
            counted: Stats::default(),
            session,
            account: pressure::account(&self),
            held_until: None,
            driver: self,
        };
        link.run(stream).await
    }
}

struct Link {
    driver: Driver,
    session: Session,
    codec: FrameCodec,
    inbound: BytesMut,
    outbound: BytesMut,
    /// When nothing was left to be written for the last time.
    sent_all: Instant,
    /// Whether nothing that was written waits below, in what TLS has made of it.
    flushed: bool,
    /// What says more about the end than the session can.
    why: Option<DownReason>,
    /// When writing has failed. What the peer said before may still be there to be read.
    broken: Option<Instant>,
    /// When the session has closed.
    over: Option<Instant>,
    /// What the daemon has had no room for yet. While there is one nothing is read.
    pending: Option<Event>,
    queue: mpsc::Receiver<Command>,
    close: mpsc::Receiver<Bye>,
    /// Given to the daemon when the link is up.
    sender: Option<LinkSender>,
    decision: Option<oneshot::Receiver<Decision>>,
    up_since: Option<Instant>,
    announced: bool,
    /// What the metrics have of the session's.
    counted: Stats,
    /// What the peer has used up of what it may say.
    account: Account,
    /// Nothing is read before then: the peer has said too much.
    held_until: Option<Instant>,
}

impl Link {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) -> Option<Duration> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (events, stop) = (self.driver.events.clone(), self.driver.stop.clone());
        self.charge_link();
        let reason = loop {
            self.advance();
            if let Some(Event::Closed(_)) = self.pending
                && self.is_written()
                && let Some(Event::Closed(reason)) = self.pending.take()
            {
                break reason;
            }
            let deadline = self.deadline();
            let established = self.session.is_established();
            let reading = self.reads();
            if reading {
                self.inbound.reserve(READ);
            }
            tokio::select! {
                read = reader.read_buf(&mut self.inbound), if reading => self.has_read(&read),
                wrote = octets::write(&mut writer, &self.outbound), if !self.is_written() => self.has_written(&wrote),
                permit = events.reserve(), if self.can_tell() => match permit {
                    Ok(permit) => self.tell(permit),
                    // The daemon listens no more.
                    Err(_) => {
                        self.pending = None;
                        self.leave();
                    }
                },
                command = self.queue.recv(), if established && self.session.has_room() => {
                    self.command(command);
                    self.take_waiting();
                }
                Some(bye) = self.close.recv(), if established => self.farewell(bye),
                decision = wait(&mut self.decision), if self.decision.is_some() => self.decide(decision),
                () = identity::revoked(&mut self.driver.certified), if self.over.is_none() => self.distrust(),
                () = stop.cancelled(), if self.over.is_none() => self.leave(),
                () = tokio::time::sleep_until(deadline.into()) => {
                    // What has come while this task had no turn is a sign of life, too.
                    if reading && let Some(read) = octets::read_now(&mut reader, &mut self.inbound).await {
                        self.has_read(&read);
                        self.advance();
                    }
                    self.time();
                }
            }
        };
        self.end(reason, &mut reader, &mut writer).await
    }

    /// Says goodbye, and tells the daemon. How long the link was up.
    async fn end(
        mut self,
        reason: CloseReason,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Option<Duration> {
        self.count_end(&reason);
        let up_for = self.up_since.map(|since| since.elapsed());
        let ours =
            matches!(reason, CloseReason::ByeFromUs(_) | CloseReason::RefusedByUs(_) | CloseReason::Violation(_));
        let goodbye = async {
            if ours {
                let _ = timeout(self.driver.settings.linger, octets::say_goodbye(reader, writer)).await;
            }
        };
        let down = async {
            if self.announced {
                let (was_up, last_heard) = (up_for.is_some(), Some(self.session.last_heard()));
                let reason = self.why.take().unwrap_or_else(|| reason.into());
                let down = LinkEvent::Down(Down { reason, last_heard, was_up });
                // Nobody listens: the daemon is on its way out.
                let _ = self.driver.events.send((self.driver.id, down)).await;
            }
        };
        tokio::join!(down, goodbye);
        up_for
    }

    /// Brings everything forward that needs no waiting.
    fn advance(&mut self) {
        if self.pending.is_none() {
            self.pending = self.next_event();
        }
        self.look_at_hold();
        while self.reads() && !self.session.is_closed() && self.decode() {
            self.pending = self.next_event();
        }
        self.session.set_reading(self.reads(), Instant::now());
        if self.inbound.is_empty() && self.inbound.capacity() > KEEP {
            self.inbound = BytesMut::new();
        }
        // While TLS has not got rid of the last batch the next one collects, so that what waits
        // together goes into few records.
        if self.is_written() {
            self.sent_all = Instant::now();
            self.fill();
        }
        self.count();
        if self.session.is_closed() && self.over.is_none() {
            self.over = Some(Instant::now());
            self.driver.handshake = None;
        }
        if let Some(Event::Established(_)) = self.pending
            && self.up_since.is_none()
        {
            self.up_since = Some(Instant::now());
            self.driver.handshake = None;
            self.driver.metrics.established.inc();
            self.driver.metrics.up.inc();
        }
    }

    /// Counts what has happened since the last time.
    fn count(&mut self) {
        let (now, before, metrics) = (self.session.stats(), self.counted, &self.driver.metrics);
        metrics.frames_in.inc_by(now.frames_in - before.frames_in);
        metrics.frames_out.inc_by(now.frames_out - before.frames_out);
        metrics.unknown_messages.inc_by(now.unknown_messages - before.unknown_messages);
        metrics.unknown_fields.inc_by(now.unknown_fields - before.unknown_fields);
        self.counted = now;
    }

    /// Handles one frame; says whether there was one.
    fn decode(&mut self) -> bool {
        self.codec.set_limit(self.session.frame_limit());
        match self.codec.decode(&mut self.inbound) {
            Ok(Some(frame)) => {
                // The session's own close event says what was wrong.
                let _ = self.session.handle(frame, Instant::now());
                self.charge(1, 0);
                true
            }
            Ok(None) => false,
            Err(CodecError::Frame(error)) => {
                self.session.fail(ProtocolError::Frame(error));
                true
            }
            Err(CodecError::Io(_)) => {
                self.session.lost();
                true
            }
        }
    }

    fn fill(&mut self) {
        if self.broken.is_some() {
            self.forget();
        }
        while self.outbound.len() < BATCH {
            let Some(frame) = self.session.poll_transmit(Instant::now()) else { return };
            if self.codec.encode(frame, &mut self.outbound).is_err() {
                // Bodies are far below what a length field can say.
                self.session.lost();
                return;
            }
        }
    }

    fn command(&mut self, command: Option<Command>) {
        let sent = match command {
            Some(Command::Message(message)) => self.session.send(&message),
            Some(Command::Encoded(encoded)) => self.session.send_encoded(encoded),
            // The daemon has dropped its sender.
            None => return self.leave(),
        };
        match sent {
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                self.driver.metrics.unsendable.inc();
                warn!(peer = %self.driver.remote, %error, "message not sent");
            }
        }
    }

    /// Takes what waits, so that it goes into one write, and under TLS into few records.
    fn take_waiting(&mut self) {
        while self.session.has_room()
            && let Ok(command) = self.queue.try_recv()
        {
            self.command(Some(command));
        }
    }

    /// Leaves after what the daemon has said before.
    fn farewell(&mut self, bye: Bye) {
        self.queue.close();
        self.take_waiting();
        self.session.close(bye);
    }

    fn leave(&mut self) {
        self.farewell(Bye { reason: ByeReason::Shutdown, text: "shutting down".to_owned() });
    }

    fn decide(&mut self, decision: Option<Decision>) {
        self.decision = None;
        let refuse = match decision {
            Some(Decision::Welcome(welcome)) => match self.session.welcome(*welcome, Instant::now()) {
                Ok(()) | Err(SendError::Closed) => return,
                Err(error) => {
                    self.driver.metrics.unsendable.inc();
                    warn!(peer = %self.driver.remote, %error, "WELCOME not sent");
                    Refuse { reason: RefuseReason::Busy, text: "cannot say WELCOME".to_owned() }
                }
            },
            Some(Decision::Refuse(refuse)) => refuse,
            None => Refuse { reason: RefuseReason::Busy, text: "nobody decides".to_owned() },
        };
        // Closed meanwhile: nothing left to refuse.
        let _ = self.session.refuse(refuse);
    }

    /// Hands the pending event to the daemon.
    fn tell(&mut self, permit: mpsc::Permit<'_, (LinkId, LinkEvent)>) {
        let remote = self.driver.remote;
        let event = match self.pending.take() {
            Some(Event::HelloReceived(hello)) => {
                let (decision, wait) = oneshot::channel();
                self.decision = Some(wait);
                LinkEvent::Hello { hello, remote, decision }
            }
            Some(Event::Established(peer)) => match self.sender.take() {
                Some(link) => LinkEvent::Up { peer, remote, link },
                None => return,
            },
            Some(Event::Message(message)) => LinkEvent::Message(message),
            Some(Event::Closed(_)) | None => return,
        };
        self.announced = true;
        permit.send((self.driver.id, event));
    }

    fn can_tell(&self) -> bool {
        self.pending.as_ref().is_some_and(|e| !matches!(e, Event::Closed(_)))
    }

    fn count_end(&self, reason: &CloseReason) {
        let metrics = &self.driver.metrics;
        match reason {
            CloseReason::Violation(_) => metrics.violations.inc(),
            CloseReason::TimedOut => metrics.timed_out.inc(),
            CloseReason::ByeFromUs(Bye { reason: ByeReason::Slow, .. }) => metrics.slow.inc(),
            CloseReason::ByeFromUs(Bye { reason: ByeReason::Quota, .. }) => metrics.over_quota.inc(),
            _ => 0,
        };
        if self.up_since.is_some() {
            metrics.up.dec();
        } else {
            metrics.handshake_failures.inc();
        }
        debug!(peer = %self.driver.remote, %reason, "link over");
    }
}

/// The daemon's decision, `None` if it dropped the question.
async fn wait(decision: &mut Option<oneshot::Receiver<Decision>>) -> Option<Decision> {
    match decision {
        Some(receiver) => receiver.await.ok(),
        None => std::future::pending().await,
    }
}
