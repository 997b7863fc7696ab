//! The load: so many questions outstanding, a new one for every reply, and every reply looked at.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    questions::{Questions, Scenario},
    sys::{Batch, SLOTS},
};

/// Questions without a reply at any time.
pub(crate) const OUTSTANDING: usize = 200;
/// When nothing has come for so long, what is outstanding is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Octets of our socket's buffers, as far as the system grants them.
const BUFFER: usize = 4 << 20;

/// A client of one server for one scenario.
pub(crate) struct Client {
    socket: UdpSocket,
    questions: Questions,
    expected: (u8, u16),
    out: Batch,
    inbox: Batch,
    /// By id: whether a reply is due.
    due: Box<[bool; 1 << 16]>,
    in_flight: usize,
    next: usize,
}

/// What became of the questions of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Sent.
    pub(crate) sent: u64,
    /// Answered as expected.
    pub(crate) answered: u64,
    /// Answered otherwise.
    pub(crate) wrong: u64,
    /// Octets of all replies.
    pub(crate) octets: u64,
    /// From the first question to the last reply.
    pub(crate) took: Duration,
}

impl Tally {
    /// Questions without any reply.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answered + self.wrong)
    }

    /// Right replies in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    /// Mean length of a reply in octets.
    pub(crate) fn mean_length(&self) -> f64 {
        self.octets as f64 / (self.answered + self.wrong).max(1) as f64
    }
}

impl Client {
    /// A client of the server at `to`, on loopback.
    ///
    /// # Errors
    /// When the system has no socket.
    pub(crate) fn new(scenario: Scenario, to: SocketAddrV4) -> io::Result<Self> {
        let many = scenario.sends_from_many();
        let own = if many { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_send_buffer_size(BUFFER)?;
        socket.bind(&SocketAddrV4::new(own, 0).into())?;
        if !many {
            socket.connect(&to.into())?;
        }
        Ok(Self {
            socket: socket.into(),
            questions: Questions::of(scenario),
            expected: scenario.expected(),
            out: if many { Batch::new().with_sources(to) } else { Batch::new() },
            inbox: Batch::new(),
            due: Box::new([false; 1 << 16]),
            in_flight: 0,
            next: 0,
        })
    }

    /// Keeps [`OUTSTANDING`] questions outstanding for `time`, then waits for the last replies.
    ///
    /// # Errors
    /// When the server's socket is gone.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Tally> {
        let begin = Instant::now();
        let (mut tally, mut heard) = (Tally::default(), begin);
        loop {
            let now = Instant::now();
            let over = now - begin >= time;
            if over && self.in_flight == 0 {
                tally.took = heard - begin;
                return Ok(tally);
            }
            if !over {
                self.fill(&mut tally)?;
            }
            if self.take_in(&mut tally)? > 0 {
                heard = now;
            } else if now - heard > PATIENCE {
                self.give_up();
                heard = now;
            }
        }
    }

    /// Sends at this rate in questions a second for `time`, whatever comes back. Fewer are sent if
    /// this processor cannot do more.
    ///
    /// # Errors
    /// When the server's socket is gone.
    pub(crate) fn flood(&mut self, rate: f64, time: Duration) -> io::Result<Tally> {
        let begin = Instant::now();
        let mut tally = Tally::default();
        loop {
            let elapsed = begin.elapsed();
            if elapsed >= time {
                break;
            }
            let due = (rate * elapsed.as_secs_f64()) as u64;
            let missing = due.saturating_sub(tally.sent).min(SLOTS as u64 / 2) as usize;
            if missing > 0 {
                self.send(missing, &mut tally)?;
            }
            self.take_in(&mut tally)?;
        }
        tally.took = begin.elapsed();
        // What is still under way belongs to nobody.
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.take_in(&mut Tally::default())?;
        }
        self.give_up();
        Ok(tally)
    }

    fn fill(&mut self, tally: &mut Tally) -> io::Result<()> {
        while self.in_flight < OUTSTANDING {
            let wanted = (OUTSTANDING - self.in_flight).min(SLOTS);
            if self.send(wanted, tally)? < wanted {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, wanted: usize, tally: &mut Tally) -> io::Result<usize> {
        for slot in 0..wanted {
            let nth = self.next + slot;
            let written = self.questions.write(nth, nth as u16, self.out.place(slot));
            self.out.set_length(slot, written.length);
            if let Some(source) = written.source {
                self.out.set_source(slot, source);
            }
        }
        let sent = self.out.send(&self.socket, wanted)?;
        for nth in self.next..self.next + sent {
            self.due[usize::from(nth as u16)] = true;
        }
        self.next += sent;
        self.in_flight += sent;
        tally.sent += sent as u64;
        Ok(sent)
    }

    fn take_in(&mut self, tally: &mut Tally) -> io::Result<usize> {
        let received = self.inbox.receive(&self.socket, SLOTS, false)?;
        for slot in 0..received {
            let packet = self.inbox.packet(slot);
            let Some(&[i0, i1, flags, code, _, _, a0, a1, ..]) = packet.first_chunk::<12>() else { continue };
            let id = usize::from(u16::from_be_bytes([i0, i1]));
            // Late replies, after their question was given up, and stray ones.
            if !std::mem::take(&mut self.due[id]) {
                continue;
            }
            self.in_flight -= 1;
            tally.octets += packet.len() as u64;
            // QR set, TC clear.
            let whole = flags & 0x82 == 0x80;
            let said = (code & 0xf, u16::from_be_bytes([a0, a1]));
            *(if whole && said == self.expected { &mut tally.answered } else { &mut tally.wrong }) += 1;
        }
        Ok(received)
    }

    fn give_up(&mut self) {
        self.due.fill(false);
        self.in_flight = 0;
    }
}
