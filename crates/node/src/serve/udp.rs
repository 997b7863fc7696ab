//! A UDP lane: batch in, answers, batch out, in one thread that shares nothing it writes.

use std::{net::UdpSocket, os::fd::AsFd, sync::Arc, thread, time::Duration};

use arrayvec::ArrayVec;
use dglb_core::dns::{Asked, Exchange, Handled, Role, Transport};

use super::{
    mmsg::{BATCH, Batch, REPLY, happened, readable, wait},
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

/// One lane before it runs.
pub(super) struct Lane<S> {
    pub(super) sockets: Vec<(Role, UdpSocket)>,
    pub(super) source: S,
    pub(super) counters: metrics::Lane,
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
        // Sockets that may have something, from the first on.
        let mut ready = vec![true; sockets.len()];
        while !stop.is_set() {
            // A full batch says that there is more: then the others' turn comes without a wait, and
            // the system is not asked what it would only confirm.
            for _ in 0..BATCHES {
                for ((role, socket), ready) in sockets.iter().zip(&mut ready).filter(|(_, ready)| **ready) {
                    *ready = self.serve(*role, socket, &mut batch) == BATCH;
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
    fn serve(&mut self, role: Role, socket: &UdpSocket, batch: &mut Batch) -> usize {
        let received = match batch.receive(socket.as_fd()) {
            Ok(0) => return 0,
            Ok(received) => received,
            Err(_) => {
                self.counters.incident(Incident::ReceiveError);
                thread::sleep(ERROR_PAUSE);
                return 0;
            }
        };
        self.answer(role, batch, received);
        let sent = batch.send(socket.as_fd(), received, SEND_PATIENCE);
        for _ in 0..sent.refused {
            self.counters.incident(Incident::Unsendable);
        }
        received
    }
    /// Answers everything in a batch from one version of the source.
    fn answer(&mut self, role: Role, batch: &mut Batch, received: usize) {
        let mut exchanges: ArrayVec<Exchange<'_>, BATCH> = ArrayVec::new();
        let mut lengths: ArrayVec<&mut usize, BATCH> = ArrayVec::new();
        for datagram in batch.datagrams(received) {
            let (Some(packet), Some(peer)) = (datagram.packet, datagram.peer) else {
                self.counters.incident(Incident::Oversized);
                continue;
            };
            let asked = Asked { packet, peer, transport: Transport::Udp, role };
            exchanges.push(Exchange { asked, reply: datagram.reply, handled: Handled::DROPPED });
            lengths.push(datagram.reply_length);
        }
        self.source.hold().respond_batch(&mut exchanges);
        for (exchange, length) in exchanges.iter().zip(lengths) {
            *length = exchange.handled.length.min(REPLY);
            self.counters.count(Transport::Udp, &exchange.handled);
        }
    }
}
