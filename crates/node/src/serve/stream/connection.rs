//! One connection: questions are read, answered and written out in turns. While replies wait to be
//! taken nothing is read, so a client that does not read is soon not able to write either.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Poll, ready},
    time::Duration,
};

use dglb_core::dns::{
    Asked, Role,
    framing::{self, Framing},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, sleep_until, timeout_at},
};

use super::{Buffers, Place, Thread, late::Late};
use crate::{metrics::ConnectionEvent, serve::source::Source};

/// Replies are written out once they are this many octets, before more questions are answered.
const FLUSH: usize = 8_192;
/// What has come in when the daemon stops is answered; what comes later than this is not.
const LAST_QUESTIONS: Duration = Duration::from_millis(20);
/// Most octets that are thrown away so that the client gets its last replies rather than a reset.
const DISCARD: usize = 65_536;

/// One connection over `IO`.
pub(super) struct Connection<IO, S: Source> {
    io: IO,
    peer: SocketAddr,
    role: Role,
    place: Place<S>,
    framing: Framing,
    /// Not written yet, each after its length.
    replies: Vec<u8>,
    answered: u64,
    late: Late,
    /// When it is to end if no whole message comes.
    deadline: Instant,
}

/// What is to be done after the questions at hand were answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read on.
    Read,
    /// Write out; more whole questions are at hand.
    Flush,
    /// Write out and close.
    Close(ConnectionEvent),
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Source> Connection<IO, S> {
    pub(super) fn new(io: IO, (peer, role): (SocketAddr, Role), place: Place<S>) -> Self {
        let deadline = Instant::now() + place.thread().limits.idle;
        let (framing, replies, late) = (Framing::default(), Vec::new(), Late::default());
        Self { io, peer, role, place, framing, replies, answered: 0, late, deadline }
    }

    /// Serves it to its end, and notes how it ended.
    pub(super) async fn serve(mut self) {
        self.place.end = match self.converse().await {
            Ok(end) => end,
            // Over TLS an end without a word before it; whole messages are framed, so nothing is cut.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ConnectionEvent::Finished,
            Err(_) => ConnectionEvent::Broken,
        };
        if !matches!(self.place.end, ConnectionEvent::Broken | ConnectionEvent::Slow) {
            // Others may need what it held. Whether the client hears of the end is its own affair by now.
            (self.framing, self.replies) = (Framing::default(), Vec::new());
            self.place.held.hold(0);
            let _ = timeout_at(Instant::now() + LAST_QUESTIONS, self.farewell()).await;
        }
    }

    async fn converse(&mut self) -> io::Result<ConnectionEvent> {
        let thread = Rc::clone(self.place.thread());
        let (idle, stop) = (thread.limits.idle, &thread.stop);
        let end = thread.limits.life.map(|life| Instant::now() + life);
        let mut stopping = stop.is_cancelled();
        if stopping {
            self.deadline = Instant::now() + LAST_QUESTIONS;
        }
        // How it is to end once the last reply was written.
        let mut closing = None;
        loop {
            let before = (self.answered, self.replies.is_empty());
            let next = if closing.is_none() { self.answer() } else { Next::Read };
            if !self.place.held.hold(self.framing.capacity() + self.replies.capacity()) {
                return Ok(ConnectionEvent::Memory);
            }
            if !self.replies.is_empty() {
                self.place.busy();
                let written = timeout_at(Instant::now() + idle, self.write()).await;
                let Ok(written) = written else { return Ok(ConnectionEvent::Slow) };
                written?;
                if self.late.waiting() == 0 {
                    self.place.idle();
                }
                self.place.held.hold(self.framing.capacity());
            }
            let now = Instant::now();
            match next {
                _ if end.is_some_and(|end| now >= end) => return Ok(ConnectionEvent::Expired),
                Next::Close(end) => closing = Some(end),
                // Whole messages count, and replies that were taken; octets do not: one octet at a time is
                // no way to stay.
                _ if before != (self.answered, true) && !stopping => self.deadline = now + idle,
                _ => {}
            }
            if next == Next::Flush {
                continue;
            }
            if let Some(end) = closing.filter(|_| self.late.waiting() == 0) {
                return Ok(end);
            }
            // More than so many questions are not taken in before some are answered.
            let has_room = closing.is_none() && self.late.waiting() < thread.limits.in_flight;
            let deadline = end.map_or(self.deadline, |end| end.min(self.deadline));
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.deadline = Instant::now() + LAST_QUESTIONS;
                }
                reply = self.late.next() => append(&mut self.replies, &reply),
                read = timeout_at(deadline, read(&mut self.io, &mut self.framing, &thread)), if has_room => match read {
                    Ok(read) => if read? == 0 { closing = Some(ConnectionEvent::Finished) },
                    Err(_) if stopping => return Ok(ConnectionEvent::Stopped),
                    Err(_) if end.is_some_and(|end| end <= deadline) => return Ok(ConnectionEvent::Expired),
                    Err(_) => return Ok(ConnectionEvent::Idle),
                },
                // Nothing is read any more, and what is late does not come.
                () = sleep_until(deadline), if !has_room => return Ok(closing.unwrap_or(ConnectionEvent::Idle)),
            }
        }
    }

    /// Answers the whole questions at hand until there are none or there is enough to write.
    fn answer(&mut self) -> Next {
        let thread = &**self.place.thread();
        let mut next = Next::Read;
        if self.framing.has_message() {
            // One version of everything for all of them.
            let held = thread.source.hold();
            let reply = &mut *thread.buffers.borrow_mut().reply;
            while self.late.waiting() < thread.limits.in_flight
                && let Some(packet) = self.framing.take()
            {
                let asked = Asked { packet, peer: self.peer, transport: self.place.transport, role: self.role };
                let handled = thread.respond(&held, &asked, reply);
                let reply = &reply[..handled.length];
                self.answered += 1;
                // Who gets no answer does not speak DNS, and would wait for one.
                if reply.is_empty() {
                    next = Next::Close(ConnectionEvent::Nonsense);
                    break;
                }
                let decision = handled.decision;
                if decision.is_for_the_slow_lane() && thread.is_taken(&mut self.late, &asked, decision, reply) {
                    self.place.busy();
                } else {
                    append(&mut self.replies, reply);
                }
                if self.answered >= thread.limits.messages_per_connection {
                    next = Next::Close(ConnectionEvent::Expired);
                    break;
                }
                if self.replies.len() >= FLUSH {
                    next = Next::Flush;
                    break;
                }
            }
        }
        if self.framing.is_empty() {
            self.framing.release();
        }
        next
    }

    /// Writes all replies; then their memory is free.
    async fn write(&mut self) -> io::Result<()> {
        self.io.write_all(&self.replies).await?;
        self.io.flush().await?;
        self.replies = Vec::new();
        Ok(())
    }

    /// Says that nothing follows, and throws away what is there to read: the system would otherwise
    /// answer it with a reset, and the last replies would be lost.
    async fn farewell(&mut self) -> io::Result<()> {
        self.io.shutdown().await?;
        let thread = Rc::clone(self.place.thread());
        let mut discarded = 0;
        while discarded < DISCARD {
            match read(&mut self.io, &mut self.framing, &thread).await? {
                0 => break,
                read => discarded += read,
            }
            self.framing = Framing::default();
        }
        Ok(())
    }
}

/// Reads what there is, at least an octet; 0 at the end. Until something comes no buffer is held.
async fn read<S: Source>(
    io: &mut (impl AsyncRead + Unpin),
    framing: &mut Framing,
    thread: &Thread<S>,
) -> io::Result<usize> {
    poll_fn(|context| {
        let Buffers { received, .. } = &mut *thread.buffers.borrow_mut();
        let mut received = ReadBuf::new(received);
        ready!(Pin::new(&mut *io).poll_read(context, &mut received))?;
        framing.feed(received.filled());
        Poll::Ready(Ok(received.filled().len()))
    })
    .await
}

/// Appends a reply after its length; none is too long.
fn append(replies: &mut Vec<u8>, reply: &[u8]) {
    if let Some(prefix) = framing::prefix(reply.len()) {
        replies.extend_from_slice(&prefix);
        replies.extend_from_slice(reply);
    }
}
