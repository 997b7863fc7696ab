//! A UDP lane: batch in, answers, batch out, in one thread that shares nothing it writes.

use std::{
    net::UdpSocket,
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use dglb_core::dns::{Asked, Decision, Exchange, Handled, Names, Role, Transport, rate::Limiter};

use super::{
    mmsg::{BATCH, Batch, Datagram, REPLY, happened, readable, wait},
    slow::{SlowLane, To, Unusual},
    source::{Held, Source},
    stop::Stop,
};
use crate::metrics::{self, Incident};

/// Longest wait for a question before the stop flag is looked at anyway.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for room in a full send buffer; then replies are given up.
const SEND_PATIENCE: Duration = Duration::from_millis(10);
/// Pause after an error on receiving, lest a lasting one keeps a processor busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Batches from sockets that have ever more, until the others are looked at again.
const BATCHES: usize = 8;
/// Datagrams at once after which a socket is asked again without a wait: that costs half of what
/// waiting for something that is there already costs.
const SEVERAL: usize = 2;

/// One lane before it runs.
pub(super) struct Lane<S> {
    /// Shared with the slow lane, which replies by the same way.
    pub(super) sockets: Vec<(Role, Arc<UdpSocket>)>,
    pub(super) source: S,
    pub(super) counters: metrics::Lane,
    pub(super) limiter: Limiter,
    pub(super) names: Names,
    pub(super) slow: SlowLane,
    pub(super) stop: Arc<Stop>,
}

impl<S: Source> Lane<S> {
    /// Answers until told to stop; a batch that was received is answered to its end.
    pub(super) fn run(mut self) {
        let sockets = std::mem::take(&mut self.sockets);
        let stop = Arc::clone(&self.stop);
        let descriptors = sockets.iter().map(|(_, socket)| socket.as_fd()).chain([stop.descriptor()]);
        let mut interests: Vec<_> = descriptors.map(readable).collect();
        let mut batch = Batch::new();
        let started = Instant::now();
        // Sockets that may have something, from the first on.
        let mut ready = vec![true; sockets.len()];
        while !stop.is_set() {
            // Where several came at once, more have come while they were answered. Where one came,
            // or nothing, the system is not asked what it would only deny.
            for _ in 0..BATCHES {
                for ((role, socket), ready) in sockets.iter().zip(&mut ready).filter(|(_, ready)| **ready) {
                    *ready = self.serve((*role, socket), &mut batch, started) >= SEVERAL;
                }
                if !ready.contains(&true) {
                    break;
                }
            }
            wait(&mut interests, if ready.contains(&true) { Duration::ZERO } else { PATIENCE });
            for (ready, interest) in ready.iter_mut().zip(&interests) {
                *ready |= happened(interest);
            }
        }
    }

    /// Answers one batch from one socket; how many datagrams there were.
    fn serve(&mut self, (role, socket): (Role, &Arc<UdpSocket>), batch: &mut Batch, started: Instant) -> usize {
        let received = match batch.receive(socket.as_fd()) {
            Ok(0) => return 0,
            Ok(received) => received,
            Err(_) => {
                self.counters.incident(Incident::ReceiveError);
                thread::sleep(ERROR_PAUSE);
                return 0;
            }
        };
        let late = self.answer(role, batch, received, started);
        if late.all != 0 {
            self.hand_over((role, socket), batch, received, late);
        }
        let sent = batch.send(socket.as_fd(), received, SEND_PATIENCE);
        for _ in 0..sent.refused {
            self.counters.incident(Incident::Unsendable);
        }
        received
    }

    /// Answers everything in a batch from one version of the source; what is left for the slow lane.
    fn answer(&mut self, role: Role, batch: &mut Batch, received: usize, started: Instant) -> Late {
        let mut exchanges: ArrayVec<Exchange<'_>, BATCH> = ArrayVec::new();
        let mut lengths: ArrayVec<(usize, &mut usize), BATCH> = ArrayVec::new();
        for (at, datagram) in batch.datagrams(received).enumerate() {
            let (Some(packet), Some(peer)) = (datagram.packet, datagram.peer) else {
                self.counters.incident(Incident::Oversized);
                continue;
            };
            let asked = Asked { packet, peer, transport: Transport::Udp, role };
            exchanges.push(Exchange { asked, reply: datagram.reply, handled: Handled::DROPPED });
            lengths.push((at, datagram.reply_length));
        }
        let held = self.source.hold();
        held.respond_batch(&mut exchanges, &mut self.names);
        held.limit_batch(&mut exchanges, &mut self.limiter, started.elapsed().as_millis() as u64);
        let mut late = Late::default();
        for (exchange, (at, length)) in exchanges.iter().zip(lengths) {
            *length = exchange.handled.length.min(REPLY);
            self.counters.count(Transport::Udp, &exchange.handled);
            if exchange.handled.decision == Decision::RateLimited {
                self.counters.incident(if *length > 0 { Incident::Slipped } else { Incident::RateLimited });
            }
            let decision = exchange.handled.decision;
            late.all |= u32::from(decision.is_for_the_slow_lane()) << at;
            late.proofs |= u32::from(decision == Decision::Proof) << at;
            late.relays |= u32::from(decision == Decision::Relay) << at;
        }
        late
    }

    /// Leaves that, as far as it was not held back, to the slow lane instead of replying.
    fn hand_over(&mut self, (role, socket): (Role, &Arc<UdpSocket>), batch: &mut Batch, received: usize, late: Late) {
        let mut left = late.all;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let path = batch.return_path(at);
            let Some(Datagram { peer: Some(peer), packet: Some(packet), reply, reply_length }) =
                batch.datagrams(received).nth(at)
            else {
                continue;
            };
            let length = std::mem::take(reply_length);
            if length == 0 {
                continue;
            }
            let is = |bits: u32| bits >> at & 1 == 1;
            let decision = match (is(late.proofs), is(late.relays)) {
                (true, _) => Decision::Proof,
                (_, true) => Decision::Relay,
                _ => Decision::Signed,
            };
            match self.slow.room(decision) {
                Some(room) => {
                    let to = To::Datagram(Arc::clone(socket), path);
                    let asked = Asked { packet, peer, transport: Transport::Udp, role };
                    room.take(Unusual::new(&asked, decision, &reply[..length], to));
                }
                None => {
                    self.counters.incident(Incident::SlowLaneFull);
                    // Who cannot be helped is told so, and asks another server.
                    *reply_length = if decision == Decision::Relay { length } else { 0 };
                }
            }
        }
    }
}

/// What of a batch is for the slow lane: a bit for each of the datagrams.
#[derive(Clone, Copy, Default)]
struct Late {
    all: u32,
    /// Of these, the questions for nonces.
    proofs: u32,
    /// Of these, those that a dns-b is to be asked; the others are signed.
    relays: u32,
}

/// Each datagram of a batch has a bit.
const _: () = assert!(BATCH <= u32::BITS as usize);
