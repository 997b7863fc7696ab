//! The peers on links that are up, and what they have not been told yet. What a call costs depends
//! on how many peers are spoken to, not on how many there are.

use std::collections::{HashMap, HashSet, VecDeque};

use dglb_core::proto::message::{Bye, ByeReason, Message};
use dglb_node::link::{LinkId, LinkSendError, LinkSender};

use crate::keeper::Outgoing;

/// Messages that may wait for a peer beside its link's own queue, by [`weight`]; more, and it starts over.
const BACKLOG: usize = 100_000;
/// Acknowledgements of one peer that may wait for the store, by [`weight`]; more, and it starts over. One
/// that goes by the protocol has one or two under way.
const WAITING: usize = 20_000;
/// A backlog that has had room for more is given back once it is empty.
const KEEP: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_link: HashMap<LinkId, Peer>,
    /// Those with a backlog.
    behind: HashSet<LinkId>,
    /// Messages that wait for the store, in the order of the numbers that they wait for.
    waiting: VecDeque<(u64, LinkId, Message)>,
}

#[derive(Debug)]
struct Peer {
    sender: LinkSender,
    /// What its link has had no room for, and what it weighs.
    backlog: VecDeque<Outgoing>,
    behind: usize,
    /// What those of its messages weigh that wait for the store.
    waiting: usize,
}

impl Peers {
    /// A link is up.
    pub(crate) fn insert(&mut self, link: LinkId, sender: LinkSender) {
        self.by_link.entry(link).or_insert_with(|| Peer { sender, backlog: VecDeque::new(), behind: 0, waiting: 0 });
    }

    /// A link is gone.
    pub(crate) fn remove(&mut self, link: LinkId) {
        self.by_link.remove(&link);
        self.behind.remove(&link);
    }

    /// Leaves a link, whatever waits for it.
    pub(crate) fn close(&self, link: LinkId, bye: Bye) {
        if let Some(peer) = self.by_link.get(&link) {
            peer.sender.close(bye);
        }
    }

    /// Says something, in order: now, when there is room for it, or when the store is where it waits
    /// for. `durable` is how far the store is.
    pub(crate) fn say(&mut self, link: LinkId, message: Outgoing, durable: u64) {
        let Some(peer) = self.by_link.get_mut(&link) else { return };
        match message {
            Outgoing::Leave(bye) => peer.sender.close(bye),
            Outgoing::After(number, message) if number > durable => {
                if peer.waiting >= WAITING {
                    let text = "too many of its messages wait for the store".to_owned();
                    peer.sender.close(Bye { reason: ByeReason::Slow, text });
                    return;
                }
                peer.waiting += weight(&message);
                self.waiting.push_back((number, link, message));
            }
            message => self.push(link, message),
        }
    }

    /// Lets out what waited for what is on the disk now.
    pub(crate) fn release(&mut self, durable: u64) {
        while let Some((_, link, message)) = self.waiting.pop_front_if(|(number, ..)| *number <= durable) {
            if let Some(peer) = self.by_link.get_mut(&link) {
                peer.waiting = peer.waiting.saturating_sub(weight(&message));
                self.push(link, Outgoing::One(message));
            }
        }
    }

    /// Goes on with the backlogs. To be called now and then.
    pub(crate) fn flush(&mut self) {
        let by_link = &mut self.by_link;
        self.behind.retain(|link| by_link.get_mut(link).is_some_and(|peer| !peer.flush()));
    }

    fn push(&mut self, link: LinkId, message: Outgoing) {
        let Some(peer) = self.by_link.get_mut(&link) else { return };
        if peer.behind >= BACKLOG {
            // A peer that does not read as fast as it is spoken to starts over: on its next link it
            // gets everything.
            peer.sender.close(Bye { reason: ByeReason::Slow, text: "the queue is full".into() });
            return;
        }
        peer.behind += weight_of(&message);
        peer.backlog.push_back(message);
        if !self.behind.contains(&link) && !peer.flush() {
            self.behind.insert(link);
        }
    }
}

impl Peer {
    /// Hands over as much as there is room for; whether that was all.
    fn flush(&mut self) -> bool {
        while let Some(next) = self.backlog.front() {
            let sent = match next {
                Outgoing::One(message) | Outgoing::After(_, message) => self.sender.try_send(message.clone()),
                Outgoing::Shared(encoded) => self.sender.try_send_encoded(encoded.clone()),
                Outgoing::Leave(bye) => {
                    self.sender.close(bye.clone());
                    Ok(())
                }
            };
            match sent {
                Ok(()) => {
                    let gone = self.backlog.pop_front();
                    self.behind = self.behind.saturating_sub(gone.as_ref().map_or(0, weight_of));
                }
                Err(LinkSendError::Full) => return false,
                // The link's end is on its way.
                Err(LinkSendError::Closed) => {
                    self.backlog.clear();
                    self.behind = 0;
                }
            }
        }
        if self.backlog.capacity() > KEEP {
            self.backlog = VecDeque::new();
        }
        true
    }
}

/// What a message counts where those that wait are bounded: one for itself, and one for each entry that it
/// refuses, since a peer could have many made.
fn weight(message: &Message) -> usize {
    match message {
        Message::MapAck(ack) => 1 + ack.refused.len(),
        _ => 1,
    }
}

fn weight_of(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::One(message) | Outgoing::After(_, message) => weight(message),
        // Encoded once for all, or the last.
        Outgoing::Shared(_) | Outgoing::Leave(_) => 1,
    }
}
