//! The nonces that are out, from CHALLENGE to PROOF.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{Family, Nonce, Secret};

/// How long after its CHALLENGE a nonce may be asked for.
pub const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long after the question the PROOF may come.
pub const PROVE_WITHIN: Duration = Duration::from_secs(10);
/// Most nonces that are out.
pub const MAX_OPEN: usize = 65_536;
/// Most nonces of one holder that are out: three a second would be as many.
pub const MAX_OPEN_OF_ONE: usize = 16;

/// Nothing of a challenge is kept for longer.
const LIFE: Duration = ASK_WITHIN.saturating_add(PROVE_WITHIN);

/// So many nonces are out that there is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many challenges are under way")]
pub struct TooMany;

/// What a question for a nonce deserves.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The secret: this is who asked first.
    First(Secret),
    /// Nothing: somebody else asked first.
    Later,
    /// Nothing: it is too late, or this was never a nonce.
    Unknown,
}

/// Why a PROOF proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a nonce that this holder was sent and has not used yet.
    Unknown,
    /// It came too late, or nobody asked in time.
    Expired,
    /// Another secret. The nonce is spent, so there is no second guess.
    WrongSecret,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nonces sent out.
    pub issued: u64,
    /// Secrets given to who asked first.
    pub given: u64,
    /// Questions of others for the same name.
    pub later: u64,
    /// Questions for what is no nonce, or no longer.
    pub unknown: u64,
    /// Proofs that were right.
    pub proven: u64,
    /// Challenges that ended without any proof.
    pub unproven: u64,
}

/// All nonces that are out, each sent to a holder `K`: a link, not an identity.
#[derive(Debug)]
pub struct Challenges<K> {
    open: HashMap<Nonce, Challenge<K>>,
    /// Those of each holder, at most [`MAX_OPEN_OF_ONE`].
    of_one: HashMap<K, Vec<Nonce>>,
    /// In the order in which they were issued; what was used stays here until its time is over.
    by_age: VecDeque<(Instant, Nonce)>,
    counts: Counts,
}

#[derive(Debug)]
struct Challenge<K> {
    holder: K,
    issued: Instant,
    /// By [`Family`]: each name has an asker of its own.
    names: [Name; 2],
}

#[derive(Clone, Copy, Debug)]
enum Name {
    /// No such name was in the challenge.
    Absent,
    Open,
    Given {
        to: IpAddr,
        secret: Secret,
        at: Instant,
    },
    Proven,
    /// Its proof came too late.
    Spent,
}

impl<K> Default for Challenges<K> {
    fn default() -> Self {
        let (open, of_one, by_age) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { open, of_one, by_age, counts: Counts::default() }
    }
}

impl<K: Copy + Eq + Hash> Challenges<K> {
    /// A nonce, drawn by the caller, is on its way to `holder`, with a name for each of `families`.
    ///
    /// # Errors
    /// [`TooMany`], in all or of this holder; or the nonce is out already, which does not happen.
    pub fn issue(&mut self, holder: K, nonce: Nonce, families: &[Family], now: Instant) -> Result<(), TooMany> {
        self.expire(now);
        let of_one = self.of_one.get(&holder).map_or(0, Vec::len);
        if of_one >= MAX_OPEN_OF_ONE || self.by_age.len() >= MAX_OPEN || self.open.contains_key(&nonce) {
            return Err(TooMany);
        }
        let mut names = [Name::Absent; 2];
        families.iter().for_each(|family| names[*family as usize] = Name::Open);
        self.open.insert(nonce, Challenge { holder, issued: now, names });
        self.of_one.entry(holder).or_default().push(nonce);
        self.by_age.push_back((now, nonce));
        self.counts.issued += 1;
        Ok(())
    }

    /// Somebody at `from` asks for a nonce's name. Who asked first may ask again: answers get lost.
    pub fn asked(
        &mut self,
        (nonce, family): (&Nonce, Family),
        from: IpAddr,
        draw: impl FnOnce() -> Secret,
        now: Instant,
    ) -> Asked {
        let challenge = self.open.get_mut(nonce).filter(|c| now.saturating_duration_since(c.issued) <= ASK_WITHIN);
        let answer = match challenge.map(|challenge| &mut challenge.names[family as usize]) {
            None | Some(Name::Absent) => Asked::Unknown,
            Some(name @ Name::Open) => {
                let secret = draw();
                *name = Name::Given { to: from, secret, at: now };
                Asked::First(secret)
            }
            Some(Name::Given { to, secret, .. }) if *to == from => return Asked::First(*secret),
            Some(Name::Given { .. } | Name::Proven | Name::Spent) => Asked::Later,
        };
        *match answer {
            Asked::First(_) => &mut self.counts.given,
            Asked::Later => &mut self.counts.later,
            Asked::Unknown => &mut self.counts.unknown,
        } += 1;
        answer
    }

    /// A holder brings a secret back: which address it has proven to receive at.
    ///
    /// # Errors
    /// [`Refusal`]. What another holder was sent is as unknown as what was never sent.
    pub fn prove(&mut self, holder: K, nonce: &Nonce, secret: &[u8], now: Instant) -> Result<IpAddr, Refusal> {
        let Some(challenge) = self.open.get_mut(nonce).filter(|c| c.holder == holder) else {
            return Err(Refusal::Unknown);
        };
        let right = |name: &&mut Name| matches!(name, Name::Given { secret: given, .. } if given.is(secret));
        let Some(name) = challenge.names.iter_mut().find(right) else {
            let asked = !challenge.names.iter().all(|name| matches!(name, Name::Open | Name::Absent));
            let late = now.saturating_duration_since(challenge.issued) > ASK_WITHIN;
            self.end(nonce);
            return Err(if late && !asked { Refusal::Expired } else { Refusal::WrongSecret });
        };
        let Name::Given { to, at, .. } = *name else { return Err(Refusal::Unknown) };
        let in_time = now.saturating_duration_since(at) <= PROVE_WITHIN;
        *name = if in_time { Name::Proven } else { Name::Spent };
        self.counts.proven += u64::from(in_time);
        if !challenge.names.iter().any(|name| matches!(name, Name::Open | Name::Given { .. })) {
            self.end(nonce);
        }
        if in_time { Ok(to) } else { Err(Refusal::Expired) }
    }

    /// A holder is gone: what it was sent proves nothing any more.
    pub fn withdraw(&mut self, holder: K) {
        let its = self.of_one.remove(&holder).unwrap_or_default();
        its.iter().for_each(|nonce| self.end(nonce));
    }

    /// Forgets whatever is too old for any use.
    pub fn expire(&mut self, now: Instant) {
        while let Some((at, nonce)) = self.by_age.pop_front_if(|(at, _)| now.saturating_duration_since(*at) > LIFE) {
            if self.open.get(&nonce).is_some_and(|challenge| challenge.issued == at) {
                self.end(&nonce);
            }
        }
    }

    /// How many nonces are out.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets a nonce, and counts it if nothing was proven by it.
    fn end(&mut self, nonce: &Nonce) {
        let Some(challenge) = self.open.remove(nonce) else { return };
        if let Some(left) = self.of_one.get_mut(&challenge.holder) {
            left.retain(|other| other != nonce);
            if left.is_empty() {
                self.of_one.remove(&challenge.holder);
            }
        }
        let proven = challenge.names.iter().any(|name| matches!(name, Name::Proven));
        self.counts.unproven += u64::from(!proven);
    }
}

#[cfg(test)]
#[path = "challenges_tests.rs"]
mod tests;
