//! Proof of residence as far as it needs no socket (design section 6, "Trust"): whom to challenge, what
//! a proof is worth, and when what was learnt lapses.
//!
//! The invariant: by proof a DNS-LB holds exactly the prefixes of addresses that it has proven within
//! their time, that no open resolver has, and that lie within the bounds of its identity.

use std::{
    cell::Cell,
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::LbIndex,
    identity::Identity,
    net::{Prefix, family_bits},
    proto::message::{Challenge, EntryKind, Map, Message, Proof, RefusedReason, Seen, SeenOutcome},
    residence::{ASK_WITHIN, Nonce, Refusal},
    table::{Claim, Source},
};

use super::{Keeper, LinkId, lb::LbTruth};
use crate::{
    config::{Peer, ProveBounds},
    networks::Networks,
    nonces::{self, Nonces},
};

/// Least time between two lines of the log about refused proofs.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Preference and weight of what is proven, if the DNS-LB says none.
pub(super) const TERMS: (u16, u16) = (10, 1);

/// What all proofs have in common.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    nonces: Nonces,
    /// Proofs refused since the last line of the log about one, and when that was.
    unlogged: u64,
    logged: Option<Instant>,
}

impl Proofs {
    /// Nonces that are out for too long are worth nothing.
    pub(super) fn expire(&self, now: Instant) {
        self.nonces.lock().expire(now);
    }
}

/// Why an address may not be mapped by this proof.
type Refused = (RefusedReason, String);

impl Keeper {
    /// The nonces that are out, to be shared with who answers for them.
    pub fn nonces(&self) -> Nonces {
        self.proofs.nonces.clone()
    }

    /// What the files about networks say has changed.
    pub fn set_networks(&mut self, networks: Networks, now: Instant) {
        self.prove.networks = networks;
        self.judge_proofs();
        self.give_voices(now);
    }

    /// Sends a challenge to every linked DNS-LB whose turn it is and for which one is due.
    pub(super) fn challenge(&mut self, turn: &[LbIndex], now: Instant) {
        if self.directory.prove_zones().iter().next().is_none() {
            return;
        }
        for index in turn {
            // Whoever has not said where it is has no place that it could prove.
            let due = |truth: &&mut LbTruth| truth.map_generation > 0 && truth.learnt.is_due(now);
            let Some(truth) = self.lbs.get_mut(index).filter(due) else { continue };
            let Some(link) = truth.link else { continue };
            let Some(identity) = self.links.get(&link).map(|link| link.identity.clone()) else { continue };
            truth.learnt.challenged(now, &self.prove.pace, rand::random());
            if self.bounds(&identity).allowed {
                self.challenge_one(link, now);
            }
        }
    }

    fn challenge_one(&mut self, link: LinkId, now: Instant) {
        let Some(nonce) = nonces::draw().map(Nonce) else {
            tracing::error!("the system has no random numbers: nothing can be proven");
            return;
        };
        let zones = self.directory.prove_zones();
        let families: Vec<_> = zones.iter().map(|zone| zone.family).collect();
        let names: Vec<_> = zones.iter().filter_map(|zone| zone.question(&nonce)).collect();
        if self.proofs.nonces.lock().issue(link, nonce, &families, now).is_err() {
            self.figures.challenges_withheld += 1;
            return;
        }
        let expires_ms = ASK_WITHIN.as_millis() as u32;
        self.send(link, Message::Challenge(Challenge { nonce, names, expires_ms }));
    }

    /// A DNS-LB brings a secret back.
    pub(super) fn proof(&mut self, link: LinkId, identity: &Identity, proof: &Proof, now: Instant) {
        if !self.may_prove_more(link, now) {
            let (reason, text) = (RefusedReason::Limit, "more proofs than challenges".to_owned());
            self.figures.count_refused_proof(reason);
            let outcome = SeenOutcome::Refused { reason, text };
            return self.send(link, Message::Seen(Seen { nonce: proof.nonce, outcome }));
        }
        let proven = self.proofs.nonces.lock().prove(link, &proof.nonce, &proof.secret.0, now);
        let outcome = match proven {
            Ok(address) => self.admit_proof(identity, address, now).map(|prefix| (address, prefix)),
            Err(refusal) => Err(describe(refusal)),
        };
        let outcome = match outcome {
            Ok((address, prefix)) => {
                self.figures.proofs_accepted += 1;
                SeenOutcome::Mapped { address, prefix }
            }
            Err((reason, text)) => {
                self.figures.count_refused_proof(reason);
                self.log_refused_proof(identity, &text, now);
                SeenOutcome::Refused { reason, text }
            }
        };
        // Like an ACK: what is said to be mapped is on the disk.
        self.send_kept(link, Message::Seen(Seen { nonce: proof.nonce, outcome }));
    }

    /// Maps what was proven, or says why not.
    fn admit_proof(&mut self, identity: &Identity, address: IpAddr, now: Instant) -> Result<Prefix, Refused> {
        let prefix = self.may_prove(identity, address)?;
        let most = self.bounds(identity).most;
        let index = self.directory.lb_of(identity);
        let Some((index, truth)) = index.and_then(|index| Some((index, self.lbs.get_mut(&index)?))) else {
            return Err((RefusedReason::NotAllowed, "no DNS-LB of this identity is known".to_owned()));
        };
        if truth.map_generation == 0 {
            return Err((RefusedReason::Stale, "nothing is mapped: say MAP again".to_owned()));
        }
        let full = truth.learnt.len() >= most && !truth.learnt.covers(&prefix);
        match (!full).then(|| truth.learnt.prove(prefix, now)).flatten() {
            None => Err((RefusedReason::Limit, format!("more than {most} proven prefixes"))),
            Some(false) => Ok(prefix),
            Some(true) => {
                let (terms, generation) = (truth.terms, truth.map_generation);
                tracing::info!(dns_lb = %identity, %prefix, "mapped by proof of residence");
                self.add_proven(index, generation, prefix, terms)?;
                self.ages.note(index, self.all.held(index).map(|held| held.claim.prefix), now);
                Ok(prefix)
            }
        }
    }

    fn add_proven(
        &mut self,
        index: LbIndex,
        generation: u64,
        prefix: Prefix,
        terms: (u16, u16),
    ) -> Result<(), Refused> {
        // What the operator's configuration says stands; the proof is beside it.
        let is_static = self.all.held(index).any(|held| held.claim.prefix == prefix);
        let added = if is_static {
            Ok(Default::default())
        } else {
            self.all.add(index, generation, None, [proven(prefix, terms)])
        };
        if let Err(error) = added {
            tracing::error!(%error, "the map table takes no more entries");
            if let Some(truth) = self.lbs.get_mut(&index) {
                truth.learnt.retain(|known| *known != prefix);
            }
            return Err((RefusedReason::Limit, error.to_string()));
        }
        self.recount(index);
        Ok(())
    }

    /// What would be mapped of an address, or why nothing.
    fn may_prove(&self, identity: &Identity, address: IpAddr) -> Result<Prefix, Refused> {
        let bounds = self.bounds(identity);
        if !bounds.allowed {
            return Err((RefusedReason::NotAllowed, format!("\"{identity}\" may prove nothing here")));
        }
        if self.prove.networks.is_open_resolver(address) {
            return Err((RefusedReason::OpenResolver, format!("{address} is of a resolver that answers everybody")));
        }
        let bits = if address.is_ipv6() { self.prove.v6_bits } else { family_bits(address) };
        let prefix = Prefix::containing(address, bits).unwrap_or_else(|_| Prefix::host(address));
        if !self.peers.contains_key(identity)
            && let Some(of) = self.operators_word_on(&prefix)
        {
            let text = format!("{prefix} lies where the configuration places \"{of}\"");
            return Err((RefusedReason::NotAllowed, text));
        }
        let within = || bounds.within.iter().any(|bound| bound.covers(&prefix));
        let number = || self.prove.networks.number_of(address);
        if bounds.is_anywhere() || within() || number().is_some_and(|number| bounds.numbers.contains(&number)) {
            return Ok(prefix);
        }
        Err((RefusedReason::OutsideBounds, format!("{address} is outside of where \"{identity}\" may prove to be")))
    }

    /// Who has no `[[peer]]` and is here all the same has those of all of its kind.
    pub(super) fn bounds(&self, identity: &Identity) -> &ProveBounds {
        self.peers.get(identity).map_or(&self.prove.unlisted, |peer| &peer.prove)
    }

    /// The DNS-LB that the operator has placed beside these resolvers, if there is one. Nobody whom the
    /// operator does not know by name may sit there: who can ask through a forwarder in somebody's home can
    /// prove that ISP's resolver.
    fn operators_word_on(&self, prefix: &Prefix) -> Option<&Identity> {
        let placed = |peer: &Peer| peer.may_map.iter().chain(&peer.prove.within).any(|bound| bound.covers(prefix));
        self.peers.iter().find(|(_, peer)| placed(peer)).map(|(identity, _)| identity)
    }

    /// Forgets what was not seen for too long of those whose turn it is.
    pub(super) fn lapse_proofs(&mut self, turn: &[LbIndex], now: Instant) {
        let pace = self.prove.pace;
        for index in turn {
            let Some(truth) = self.lbs.get_mut(index) else { continue };
            let gone = truth.learnt.lapse(now, &pace);
            self.figures.proofs_lapsed += gone.len() as u64;
            self.withdraw_proven(*index, &gone);
        }
    }

    /// Judges everything proven by the bounds of now.
    pub(super) fn judge_proofs(&mut self) {
        let indexes: Vec<LbIndex> = self.lbs.keys().copied().collect();
        for index in indexes {
            let Some(identity) = self.directory.find_lb(index).map(|lb| lb.identity.clone()) else { continue };
            let Some(mut learnt) = self.lbs.get_mut(&index).map(|truth| std::mem::take(&mut truth.learnt)) else {
                continue;
            };
            let (most, kept) = (self.bounds(&identity).most, Cell::new(0));
            let room = || kept.replace(kept.get() + 1) < most;
            let gone = learnt.retain(|prefix| self.may_still_hold(&identity, prefix) && room());
            if let Some(truth) = self.lbs.get_mut(&index) {
                truth.learnt = learnt;
            }
            self.withdraw_proven(index, &gone);
        }
    }

    /// Whether what was proven before is within the bounds of now.
    pub(super) fn may_still_hold(&self, identity: &Identity, prefix: &Prefix) -> bool {
        self.may_prove(identity, prefix.address()).is_ok_and(|allowed| allowed == *prefix)
    }

    /// What was proven before a restart holds as if it had been seen now.
    pub(super) fn restore_proofs(&mut self, index: LbIndex, held: &[(Claim, bool)], now: Instant) {
        let Some(truth) = self.lbs.get_mut(&index) else { return };
        for (claim, _) in held.iter().filter(|(claim, _)| claim.source == Source::Proven) {
            truth.learnt.prove(claim.prefix, now);
            truth.terms = (claim.preference, claim.weight);
        }
    }

    fn withdraw_proven(&mut self, index: LbIndex, gone: &[Prefix]) {
        if gone.is_empty() {
            return;
        }
        if let Some(lb) = self.directory.find_lb(index) {
            tracing::info!(dns_lb = %lb.identity, prefixes = ?gone, "not mapped by proof any more");
        }
        // What is mapped by the operator's word stays.
        let held = self.all.held(index).filter(|held| held.claim.source == Source::Proven);
        let gone: Vec<Prefix> = held.map(|held| held.claim.prefix).filter(|prefix| gone.contains(prefix)).collect();
        self.all.remove(index, gone);
        self.recount(index);
    }

    fn recount(&mut self, index: LbIndex) {
        let entries = self.all.held(index).count();
        if let Some(truth) = self.lbs.get_mut(&index) {
            truth.entries = entries;
        }
        self.publish_tables();
        self.keep_lb(index);
    }

    /// What a DNS-LB holds by proof, as claims.
    pub(super) fn proven_claims(&self, index: LbIndex) -> Vec<Claim> {
        let truth = self.lbs.get(&index);
        let claims = truth.map(|truth| truth.learnt.iter().map(|(prefix, _)| proven(*prefix, truth.terms)).collect());
        claims.unwrap_or_default()
    }

    fn log_refused_proof(&mut self, identity: &Identity, reason: &str, now: Instant) {
        let proofs = &mut self.proofs;
        if proofs.logged.is_some_and(|at| now.saturating_duration_since(at) < LOG_PAUSE) {
            proofs.unlogged += 1;
            return;
        }
        let others = std::mem::take(&mut proofs.unlogged);
        proofs.logged = Some(now);
        tracing::warn!(dns_lb = %identity, reason, others, "proof of residence refused");
    }

    /// A link is gone: what it was sent is of no use to anybody.
    pub(super) fn withdraw_nonces(&mut self, link: LinkId) {
        self.proofs.nonces.lock().withdraw(link);
    }
}

fn proven(prefix: Prefix, (preference, weight): (u16, u16)) -> Claim {
    Claim { prefix, preference, weight, source: Source::Proven }
}

/// Preference and weight of what a DNS-LB proves: as it says of its resolvers.
pub(super) fn terms(map: &Map) -> (u16, u16) {
    let resolver = map.entries.iter().find(|entry| entry.kind == EntryKind::Resolver);
    resolver.or(map.entries.first()).map_or(TERMS, |entry| (entry.preference, entry.weight.max(1)))
}

fn describe(refusal: Refusal) -> Refused {
    let (reason, text) = match refusal {
        Refusal::Unknown => (RefusedReason::UnknownNonce, "no challenge that is open on this link"),
        Refusal::Expired => (RefusedReason::Expired, "it came too late, or nobody asked in time"),
        Refusal::WrongSecret => (RefusedReason::WrongSecret, "not what was answered"),
    };
    (reason, text.to_owned())
}
