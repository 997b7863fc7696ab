//! Replies of one connection that the slow lane has been asked for: they overtake nothing, and are
//! overtaken.

use dglb_core::dns::{Asked, Decision};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::serve::slow::{SlowLane, To, Unusual};

/// What one connection waits for. Nothing is held while that is nothing.
#[derive(Default)]
pub(super) struct Late {
    /// Never longer than `waiting`.
    channel: Option<Box<Channel>>,
    waiting: usize,
}

type Channel = (UnboundedSender<Vec<u8>>, UnboundedReceiver<Vec<u8>>);

impl Late {
    /// How many replies are still to come.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Asks for a better reply to a message; false if the slow lane has no room.
    pub(super) fn hand_over(&mut self, slow: &SlowLane, asked: &Asked<'_>, decision: Decision, reply: &[u8]) -> bool {
        let Some(room) = slow.room(decision) else { return false };
        let sender = self.channel.get_or_insert_with(|| Box::new(unbounded_channel())).0.clone();
        // A connection that is over does not wait any more.
        let to = To::Waiting(Box::new(move |reply| _ = sender.send(reply)));
        room.take(Unusual::new(asked, decision, reply, to));
        self.waiting += 1;
        true
    }

    /// The next reply; never, if none is to come. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        let Some((_, receiver)) = self.channel.as_deref_mut().filter(|_| self.waiting > 0) else {
            return std::future::pending().await;
        };
        // We hold a sender ourselves.
        let Some(reply) = receiver.recv().await else { return std::future::pending().await };
        self.waiting -= 1;
        if self.waiting == 0 {
            self.channel = None;
        }
        reply
    }
}
