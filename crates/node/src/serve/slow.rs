//! The slow lane: what is too unusual for the lanes that answer at once. One thread takes it from a
//! bounded queue, and who is asked by whom and over what is none of its business.
//!
//! Messages that are signed with a key come here (RFC 8945): nobody shares one with us, so each gets
//! NOTAUTH with a TSIG record that says BADKEY, read and written by hickory. What a dns-b is to be asked
//! for goes on to the [relay](super::relay), and comes back with its answer. All else is for whom the
//! daemon has set there ([`Unhurried`]).

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dglb_core::dns::{Asked, Decision, Role, Transport, framing::MAX_MESSAGE};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::rdata::tsig::{TSIG, TsigError, make_tsig_record},
};
use tokio::sync::mpsc::{Permit, Sender, channel};

use super::mmsg::{Batch, ReturnPath};
use crate::metrics::{Incident, Lane};

/// Messages that may wait; more are refused.
const QUEUE: usize = 256;
/// Longest wait for room in a full send buffer; then a reply is given up.
const SEND_PATIENCE: Duration = Duration::from_millis(10);
/// What a reply over UDP may always be long (RFC 1035 section 4.2.1).
const LEAST_UDP: usize = 512;

/// Answers what the directory alone cannot, in the slow lane's thread. It may take a lock; it must not
/// wait for the network, since all others in the lane wait for it.
pub trait Unhurried: Send {
    /// Writes a better reply than the one at hand to the start of `reply`, which holds
    /// [`MAX_MESSAGE`] octets, and returns its length; 0 if there is none.
    fn respond(&mut self, asked: &Asked<'_>, decision: Decision, reply: &mut [u8]) -> usize;
}

/// A message, and what it would get if nobody looked closer.
pub(super) struct Unusual {
    /// The message.
    pub(super) packet: Vec<u8>,
    /// Who sent it, over what, and to an address of which role.
    pub(super) from: (SocketAddr, Transport, Role),
    /// Why it is here.
    pub(super) decision: Decision,
    /// A whole reply with its response code, but without what makes it better.
    pub(super) reply: Vec<u8>,
    /// Where the better one goes.
    pub(super) to: To,
}

/// Where a late reply goes.
pub(super) enum To {
    /// Out of this socket.
    Datagram(Arc<UdpSocket>, ReturnPath),
    /// To who waits for it; one that does not wait any more does no harm.
    Waiting(Box<dyn FnOnce(Vec<u8>) + Send>),
}

/// The queue's end for those who answer at once.
#[derive(Clone)]
pub(super) struct SlowLane {
    lane: Sender<Unusual>,
    /// Where there is a relay.
    relay: Option<Sender<Unusual>>,
}

/// Room for one message in the queue, so that nothing is prepared that nobody takes.
pub(super) struct Room<'q>(Permit<'q, Unusual>);

impl Room<'_> {
    /// Hands a message over.
    pub(super) fn take(self, unusual: Unusual) {
        self.0.send(unusual);
    }
}

impl Unusual {
    /// What came in, what it would get, and why it is here.
    pub(super) fn new(asked: &Asked<'_>, decision: Decision, reply: &[u8], to: To) -> Self {
        let from = (asked.peer, asked.transport, asked.role);
        Self { packet: asked.packet.to_vec(), from, decision, reply: reply.to_vec(), to }
    }

    /// The reply that it gets.
    fn improve(&mut self, unhurried: Option<&mut (dyn Unhurried + 'static)>, room: &mut [u8]) -> Vec<u8> {
        let reply = std::mem::take(&mut self.reply);
        match self.decision {
            Decision::Signed => return refuse(&self.packet, reply, &self.to, unix_seconds()),
            // It has been asked for.
            Decision::Relay => return reply,
            _ => {}
        }
        let (peer, transport, role) = self.from;
        let asked = Asked { packet: &self.packet, peer, transport, role };
        match unhurried.map_or(0, |unhurried| unhurried.respond(&asked, self.decision, room)) {
            0 => reply,
            length => room.get(..length).map_or(reply, <[u8]>::to_vec),
        }
    }
}

impl SlowLane {
    /// The queue, and the thread that serves it until everybody has dropped the other end.
    pub(super) fn new(mut counters: Lane, mut unhurried: Option<Box<dyn Unhurried>>) -> (Self, impl FnOnce() + Send) {
        let (sender, mut queue) = channel::<Unusual>(QUEUE);
        let serve = move || {
            let mut batch = Batch::new();
            let mut room = vec![0; MAX_MESSAGE];
            while let Some(mut unusual) = queue.blocking_recv() {
                let reply = unusual.improve(unhurried.as_deref_mut(), &mut room);
                match unusual.to {
                    To::Waiting(deliver) => deliver(reply),
                    To::Datagram(socket, path) => {
                        batch.reply_late(path, &reply);
                        if batch.send(socket.as_fd(), 1, SEND_PATIENCE).sent == 0 {
                            counters.incident(Incident::Unsendable);
                        }
                    }
                }
            }
        };
        (Self { lane: sender, relay: None }, serve)
    }

    /// The same with a relay behind this queue.
    pub(super) fn with_relay(self, relay: Sender<Unusual>) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// Room for one message of this kind, if there is any.
    pub(super) fn room(&self, decision: Decision) -> Option<Room<'_>> {
        let queue = if decision == Decision::Relay { self.relay.as_ref()? } else { &self.lane };
        queue.try_reserve().ok().map(Room)
    }

    /// Sends the reply of a message that was relayed; false if there is no room.
    pub(super) fn finish(&self, relayed: Unusual) -> bool {
        match relayed.to {
            To::Waiting(deliver) => {
                deliver(relayed.reply);
                true
            }
            To::Datagram(..) => self.lane.try_send(relayed).is_ok(),
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// NOTAUTH and BADKEY, unsigned (RFC 8945 section 5.2.1), or FORMERR if the record is none.
fn refuse(packet: &[u8], reply: Vec<u8>, to: &To, now: u64) -> Vec<u8> {
    match signed_refusal(packet, &reply, now) {
        // What does not fit is asked again over TCP; a signature is never cut (section 5.3).
        Some(better) if matches!(to, To::Datagram(..)) && better.len() > limit(packet) => truncated(reply),
        Some(better) => better,
        None => with_rcode(reply, ResponseCode::FormErr),
    }
}

/// The reply with a TSIG record of the name and algorithm that the client used.
fn signed_refusal(packet: &[u8], reply: &[u8], now: u64) -> Option<Vec<u8>> {
    let question = Message::from_vec(packet).ok()?;
    let record = question.signature()?;
    let TSIG { algorithm, fudge, oid, .. } = &record.data;
    let refusal = TSIG::new(algorithm.clone(), now, *fudge, Vec::new(), *oid, Some(TsigError::BadKey), Vec::new());
    let mut better = Message::from_vec(reply).ok()?;
    better.set_signature(Box::new(make_tsig_record(record.name.clone(), refusal)));
    better.to_vec().ok().filter(|octets| octets.len() <= MAX_MESSAGE)
}

/// Octets of a reply over UDP: what the client says it takes, and never more than it sent us and
/// the least that everybody takes.
fn limit(packet: &[u8]) -> usize {
    LEAST_UDP.max(packet.len())
}

fn truncated(mut reply: Vec<u8>) -> Vec<u8> {
    if let Some(flags) = reply.get_mut(2) {
        *flags |= 0x02;
    }
    reply
}

fn with_rcode(mut reply: Vec<u8>, rcode: ResponseCode) -> Vec<u8> {
    if let Some(flags) = reply.get_mut(3) {
        *flags = *flags & 0xf0 | rcode.low();
    }
    reply
}
