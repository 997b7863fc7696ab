//! The nonces that are out, shared by the two who have to do with them: the keeper sends them over
//! links and takes proofs in, the slow lane of the DNS side answers who asks for them.
//!
//! Whoever locks them does so for one look, so neither waits for the other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use dglb_core::{
    dns::{Asked, Decision},
    net::canonical,
    residence::{self, Challenges, Family, Nonce, Secret},
};
use dglb_node::{
    link::LinkId,
    serve::{Content, Source, Unhurried},
};
use rand::{TryRng, rngs::SysRng};

/// See the module's description. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Nonces(Arc<Mutex<Challenges<LinkId>>>);

impl Nonces {
    /// For one look.
    pub fn lock(&self) -> MutexGuard<'_, Challenges<LinkId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 128 bits from the system's generator; `None` where it has none, and then nothing can be proven.
pub fn draw() -> Option<[u8; 16]> {
    let mut octets = [0; 16];
    SysRng.try_fill_bytes(&mut octets).ok()?;
    Some(octets)
}

/// Answers, in the slow lane, who asks for a nonce: the first gets its secret.
#[derive(Debug)]
pub struct Witness {
    /// Shared with the keeper.
    pub nonces: Nonces,
    /// What all else of the reply depends on.
    pub content: Content,
}

impl Unhurried for Witness {
    fn respond(&mut self, asked: &Asked<'_>, decision: Decision, reply: &mut [u8]) -> usize {
        if decision != Decision::Proof {
            return 0;
        }
        let secret_of = |nonce: &Nonce, family: Family| {
            let (drawn, from) = (draw()?, canonical(asked.peer.ip()));
            match self.nonces.lock().asked((nonce, family), from, || Secret(drawn), Instant::now()) {
                residence::Asked::First(secret) => Some(secret),
                residence::Asked::Later | residence::Asked::Unknown => None,
            }
        };
        self.content.hold().respond_proof(asked, secret_of, reply).length
    }
}
