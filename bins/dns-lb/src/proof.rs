//! Proofs of residence from this side (design section 6): a dns-b names something to ask the DNS-ISP
//! for, and what comes back shows it which addresses this POP's resolver asks from. Pure.
//!
//! Invariant: on a dns-b's word nothing is asked but nonces in that dns-b's own zones, and not more
//! often than [`RATE`]; no dns-b can make this DNS-LB ask others, or ask much.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    identity::Identity,
    name::Name,
    net::Prefix,
    proto::message::{Challenge, Message, Nonce, Proof, ProofSecret, Seen, SeenOutcome},
    residence,
};
use serde_json::{Value, json};

use crate::registration::Outgoing;

/// How often a dns-b may challenge, on average: a little more than dns-bs do.
pub const RATE: Duration = Duration::from_millis(800);
/// How many challenges may come at once after a pause.
const BURST: u32 = 8;
/// Most addresses remembered of one dns-b.
const MAX_SEEN: usize = 256;
/// Octets of a PROOF's secret.
const MAX_SECRET: usize = 64;

/// A name to ask the DNS-ISP for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Of which dns-b.
    pub server: Identity,
    /// Of which of its challenges.
    pub nonce: Nonce,
    /// Whose TXT record to ask for.
    pub name: Name,
    /// Whom to ask.
    pub resolver: IpAddr,
}

/// Why a challenge is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It is not about nonces of that dns-b.
    Foreign,
    /// They come too fast.
    TooFast,
    /// No resolver, or no fleet document, is known.
    NotReady,
}

/// What every dns-b has found out.
#[derive(Debug, Default)]
pub struct Proofs {
    servers: BTreeMap<Identity, Server>,
    /// Which of the resolvers is next.
    turn: usize,
}

#[derive(Debug, Default)]
struct Server {
    /// When the bucket of challenges is full again.
    full_at: Option<Instant>,
    /// What is mapped, and when that was seen last.
    mapped: BTreeMap<(IpAddr, Prefix), Instant>,
    /// Why the last proof was refused, if it was.
    refused: Option<String>,
}

impl Proofs {
    /// A dns-b wants something asked: what, and whom. One resolver is asked for all names of a
    /// challenge, another for the next.
    ///
    /// # Errors
    /// [`Declined`].
    pub fn challenged(
        &mut self,
        server: &Identity,
        challenge: &Challenge,
        (operator_zone, resolvers): (Option<&Name>, &[IpAddr]),
        now: Instant,
    ) -> Result<Vec<LookUp>, Declined> {
        let (Some(operator_zone), false) = (operator_zone, resolvers.is_empty()) else {
            return Err(Declined::NotReady);
        };
        let own =
            |name| residence::question_of(name, operator_zone, server).is_some_and(|(of, _)| of == challenge.nonce);
        let mut distinct = challenge.names.clone();
        distinct.sort();
        distinct.dedup();
        if distinct.is_empty() || distinct.len() > residence::Family::ALL.len() || !distinct.iter().all(own) {
            return Err(Declined::Foreign);
        }
        let known = self.servers.entry(server.clone()).or_default();
        let full_at = known.full_at.map_or(now, |at| at.max(now)) + RATE;
        if full_at > now + RATE * BURST {
            return Err(Declined::TooFast);
        }
        known.full_at = Some(full_at);
        self.turn = self.turn.wrapping_add(1);
        let resolver = resolvers[self.turn % resolvers.len()];
        let look_up = |name| LookUp { server: server.clone(), nonce: challenge.nonce, name, resolver };
        Ok(distinct.into_iter().map(look_up).collect())
    }

    /// The DNS-ISP has answered with this text.
    pub fn answered(&self, look_up: LookUp, text: Vec<u8>) -> Option<Outgoing> {
        let good = (1..=MAX_SECRET).contains(&text.len());
        let proof = Proof { nonce: look_up.nonce, secret: ProofSecret(text) };
        good.then_some((look_up.server, Message::Proof(proof)))
    }

    /// A dns-b says what it has seen; whether anything but the time is new.
    pub fn seen(&mut self, server: &Identity, seen: Seen, now: Instant) -> bool {
        let known = self.servers.entry(server.clone()).or_default();
        match seen.outcome {
            SeenOutcome::Mapped { address, prefix } => {
                if known.mapped.len() >= MAX_SEEN && !known.mapped.contains_key(&(address, prefix)) {
                    known.mapped.pop_first();
                }
                let new = known.mapped.insert((address, prefix), now).is_none();
                known.refused.take().is_some() || new
            }
            SeenOutcome::Refused { text, .. } => {
                let new = known.refused.as_ref() != Some(&text);
                known.refused = Some(text);
                new
            }
        }
    }

    /// The link to a dns-b is down: what it maps it has to say again.
    pub fn down(&mut self, server: &Identity) {
        if let Some(known) = self.servers.get_mut(server) {
            known.mapped.clear();
            known.refused = None;
        }
    }

    /// Forgets what was not seen for so long that no dns-b still maps it.
    pub fn forget(&mut self, now: Instant, after: Duration) {
        for server in self.servers.values_mut() {
            server.mapped.retain(|_, at| now.saturating_duration_since(*at) <= after);
        }
    }

    /// How many addresses a dns-b has mapped, at most.
    pub fn mapped(&self) -> usize {
        self.servers.values().map(|server| server.mapped.len()).max().unwrap_or(0)
    }

    /// For an operator: by dns-b, what it maps and why it last refused.
    pub fn status(&self, now: Instant) -> Value {
        let one = |server: &Server| {
            let mapped = server.mapped.iter().map(|((address, prefix), at)| {
                let ago = now.saturating_duration_since(*at).as_secs();
                json!({ "address": address, "prefix": prefix, "seen_seconds_ago": ago })
            });
            json!({ "mapped": mapped.collect::<Vec<_>>(), "refused": server.refused })
        };
        self.servers.iter().map(|(identity, server)| (identity.as_str().to_owned(), one(server))).collect()
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::proto::message::RefusedReason;

    use super::*;

    const NONCE: Nonce = Nonce([0x5a; 16]);

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    fn names(names: &[&str]) -> Challenge {
        let name = |zone: &&str| format!("{}.{zone}", "5a".repeat(16)).parse().unwrap();
        Challenge { nonce: NONCE, names: names.iter().map(name).collect(), expires_ms: 5_000 }
    }

    /// A POP with two resolvers, and its clock.
    struct Pop(Proofs, Instant);

    impl Pop {
        fn new() -> Self {
            Self(Proofs::default(), Instant::now())
        }

        fn challenged(&mut self, server: &str, challenge: &Challenge) -> Result<Vec<String>, Declined> {
            let operator_zone: Name = "ops.test".parse().unwrap();
            let resolvers = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
            let asked = self.0.challenged(&id(server), challenge, (Some(&operator_zone), &resolvers), self.1);
            asked.map(|asked| asked.iter().map(|l| format!("{} {}", l.resolver, l.name)).collect())
        }
    }

    #[test]
    fn the_resolvers_are_asked_in_turns() {
        let mut pop = Pop::new();
        let both = names(&["4.b1.prove.ops.test", "6.b1.prove.ops.test"]);
        let digits = "5a".repeat(16);
        let asked = |resolver| [4, 6].map(|family| format!("{resolver} {digits}.{family}.b1.prove.ops.test.")).to_vec();
        assert_eq!(pop.challenged("b1", &both), Ok(asked("192.0.2.2")));
        assert_eq!(pop.challenged("b1", &both), Ok(asked("192.0.2.1")));
        assert_eq!(pop.challenged("b1", &both), Ok(asked("192.0.2.2")));
    }

    #[test]
    fn nothing_is_asked_for_but_that_dns_bs_own_nonces() {
        let mut pop = Pop::new();
        let mut long = names(&["4.b1.prove.ops.test", "6.b1.prove.ops.test"]);
        long.names.push("www.victim.test".parse().unwrap());
        let mut other_nonce = names(&["4.b1.prove.ops.test"]);
        other_nonce.nonce = Nonce([0xa5; 16]);
        for foreign in [
            names(&[]),
            names(&["victim.test"]),
            names(&["4.b2.prove.ops.test"]),
            names(&["4.b1.prove.ops.test", "victim.test"]),
            long,
            other_nonce,
        ] {
            assert_eq!(pop.challenged("b1", &foreign), Err(Declined::Foreign), "{foreign:?}");
        }
        let nobody = pop.0.challenged(&id("b1"), &names(&["4.b1.prove.ops.test"]), (None, &[]), pop.1);
        assert_eq!(nobody, Err(Declined::NotReady));
    }

    #[test]
    fn no_dns_b_makes_it_ask_much() {
        let mut pop = Pop::new();
        let challenge = names(&["4.b1.prove.ops.test"]);
        let met = (0..100).filter(|_| pop.challenged("b1", &challenge).is_ok()).count();
        assert_eq!(met, 8);
        assert_eq!(pop.challenged("b1", &challenge), Err(Declined::TooFast));
        assert!(pop.challenged("b2", &names(&["4.b2.prove.ops.test"])).is_ok(), "others are not to blame");
        let mut met = 0;
        for _ in 0..600 {
            pop.1 += Duration::from_millis(100);
            met += usize::from(pop.challenged("b1", &challenge).is_ok());
        }
        assert!((74..=76).contains(&met), "{met} in a minute");
    }

    #[test]
    fn what_was_seen_is_remembered_and_refusals_are_news_once() {
        let mut pop = Pop::new();
        let mapped = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            Seen { nonce: NONCE, outcome: SeenOutcome::Mapped { address, prefix: Prefix::host(address) } }
        };
        let refused = |text: &str| {
            let (reason, text) = (RefusedReason::OpenResolver, text.to_owned());
            Seen { nonce: NONCE, outcome: SeenOutcome::Refused { reason, text } }
        };
        assert!(pop.0.seen(&id("b1"), mapped("192.0.2.1"), pop.1));
        assert!(!pop.0.seen(&id("b1"), mapped("192.0.2.1"), pop.1));
        assert!(pop.0.seen(&id("b1"), refused("no"), pop.1));
        assert!(!pop.0.seen(&id("b1"), refused("no"), pop.1));
        let status = pop.0.status(pop.1 + Duration::from_secs(7));
        let expected = json!({ "b1": {
            "mapped": [{ "address": "192.0.2.1", "prefix": "192.0.2.1/32", "seen_seconds_ago": 7 }],
            "refused": "no",
        } });
        assert_eq!(status, expected);
        for n in 0..=255_u8 {
            pop.0.seen(&id("b1"), mapped(&format!("10.0.0.{n}")), pop.1);
        }
        assert_eq!(pop.0.mapped(), MAX_SEEN);
        pop.0.forget(pop.1 + Duration::from_secs(11), Duration::from_secs(10));
        assert_eq!(pop.0.mapped(), 0);
    }

    #[test]
    fn a_secret_goes_back_to_who_asked_for_it() {
        let pop = Pop::new();
        let look_up = LookUp {
            server: id("b1"),
            nonce: NONCE,
            name: "ops.test".parse().unwrap(),
            resolver: "192.0.2.1".parse().unwrap(),
        };
        let Some((to, Message::Proof(proof))) = pop.0.answered(look_up.clone(), b"secret".to_vec()) else { panic!() };
        assert_eq!((to, proof.nonce, proof.secret.0), (id("b1"), NONCE, b"secret".to_vec()));
        assert!(pop.0.answered(look_up.clone(), vec![]).is_none());
        assert!(pop.0.answered(look_up, vec![b'x'; 65]).is_none());
    }
}
