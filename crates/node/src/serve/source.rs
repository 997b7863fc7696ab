//! What serving threads answer from. They hold one version of it for a batch, never longer.

use std::time::{SystemTime, UNIX_EPOCH};

use dglb_core::{
    directory::Directory,
    dns::{Asked, Conduct, Exchange, Handled, Names, Responder, explain::Explanation, rate::Limiter},
    published::{Published, Snapshot},
    residence::{Family, Nonce, Secret},
};

/// Gives a serving thread what it answers the next batch from.
pub trait Source: Clone + Send + 'static {
    /// One version of everything, the same for a whole batch.
    type Held: Held;

    /// The version of now. Never blocks.
    fn hold(&self) -> Self::Held;
}

/// Answers questions, all from the same version.
pub trait Held {
    /// Answers one packet; see [`Responder::respond`].
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled;

    /// Answers each packet of a batch as [`Held::respond`] does, and leaves what became of it there.
    fn respond_batch(&self, exchanges: &mut [Exchange<'_>], _names: &mut Names) {
        for exchange in exchanges {
            exchange.handled = self.respond(&exchange.asked, exchange.reply);
        }
    }

    /// Takes back what is too much of an answered batch; see [`Responder::limit_batch`]. Unless
    /// there is something to say of it, everything is sent.
    fn limit_batch(&self, _exchanges: &mut [Exchange<'_>], _limiter: &mut Limiter, _now: u64) {}
}

/// The daemons' source: what the keeper publishes, and how the configuration wants it answered.
#[derive(Clone, Debug)]
pub struct Content {
    /// What to answer.
    pub directory: Published<Directory>,
    /// How to answer.
    pub conduct: Published<Conduct>,
}

/// [`Content`] of one moment.
pub struct ContentHeld {
    directory: Snapshot<Directory>,
    conduct: Snapshot<Conduct>,
    unix_seconds: u32,
}

impl Source for Content {
    type Held = ContentHeld;

    fn hold(&self) -> ContentHeld {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // RFC 9018 section 4.3: the time in cookies is a serial number of 32 bits.
        let unix_seconds = now.as_secs() as u32;
        ContentHeld { directory: self.directory.load(), conduct: self.conduct.load(), unix_seconds }
    }
}

impl ContentHeld {
    fn responder(&self) -> Responder<'_> {
        Responder { directory: &self.directory, conduct: &self.conduct, unix_seconds: self.unix_seconds }
    }
}

impl ContentHeld {
    /// Answers as [`Held::respond`] does, and says why.
    pub fn explain(&self, asked: &Asked<'_>, reply: &mut [u8]) -> (Handled, Explanation) {
        self.responder().explain(asked, reply)
    }

    /// The late reply to a question for a nonce; see [`Responder::respond_proof`].
    pub fn respond_proof(
        &self,
        asked: &Asked<'_>,
        secret_of: impl FnOnce(&Nonce, Family) -> Option<Secret>,
        reply: &mut [u8],
    ) -> Handled {
        self.responder().respond_proof(asked, secret_of, reply)
    }
}

impl Held for ContentHeld {
    fn respond(&self, asked: &Asked<'_>, reply: &mut [u8]) -> Handled {
        self.responder().respond(asked, reply)
    }

    fn respond_batch(&self, exchanges: &mut [Exchange<'_>], names: &mut Names) {
        self.responder().respond_batch(exchanges, names);
    }

    fn limit_batch(&self, exchanges: &mut [Exchange<'_>], limiter: &mut Limiter, now: u64) {
        self.responder().limit_batch(exchanges, limiter, now);
    }
}
