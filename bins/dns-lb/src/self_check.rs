//! Whether this POP's users reach this DNS-LB: now and then the DNS-ISP is asked for a name that only
//! this DNS-LB answers, below its own label, and it shows where the question arrives. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::name::Name;
use serde::Serialize;
use serde_json::{Value, json};

/// Rounds that are remembered of each resolver.
pub const HISTORY: usize = 10;
/// Most resolvers that are asked.
pub const MAX_RESOLVERS: usize = 8;
/// Rounds after which a resolver from which nothing arrived is said not to reach this DNS-LB. Some send
/// half of their questions to the fall-backs: of six in a row that is one in 64.
const ENOUGH: usize = 6;
/// The same if the questions do not even arrive at a fall-back.
const ENOUGH_NOWHERE: usize = 3;

/// Where a question arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrived {
    /// Here.
    Itself,
    /// At a fall-back, which answers for this DNS-LB: no failure.
    FallBack,
    /// Nowhere: no answer, or none of who knows this DNS-LB.
    Nowhere,
}

impl Arrived {
    /// The value of the metric's `arrived` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::FallBack => "fall-back",
            Self::Nowhere => "nowhere",
        }
    }
}

/// A question of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whom to ask.
    pub resolver: IpAddr,
    /// The label zone.
    pub label_zone: Name,
    /// The name's first label.
    pub nonce: String,
}

impl Check {
    /// `<nonce>._dglb.<label>.<zone>`
    pub fn name(&self) -> Option<Name> {
        self.label_zone.child("_dglb").and_then(|name| name.child(&self.nonce)).ok()
    }
}

/// What the rounds have shown.
#[derive(Debug)]
pub struct SelfCheck {
    interval: Duration,
    next: Option<Instant>,
    /// The latest last.
    history: BTreeMap<IpAddr, VecDeque<Arrived>>,
}

impl SelfCheck {
    /// With a round every `interval`, more or less by a quarter; never if that is zero.
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: None, history: BTreeMap::new() }
    }

    /// The questions of the round that is due, if one is. `draw` is from 0 to 1.
    pub fn due(&mut self, label_zone: &Name, resolvers: &[IpAddr], now: Instant, draw: f64) -> Vec<Check> {
        if self.interval.is_zero() || self.next.is_some_and(|next| next > now) {
            return Vec::new();
        }
        self.next = now.checked_add(self.interval.mul_f64(0.75 + 0.5 * draw.clamp(0.0, 1.0)));
        self.history.retain(|resolver, _| resolvers.contains(resolver));
        let check = |resolver: &IpAddr| Check {
            resolver: *resolver,
            label_zone: label_zone.clone(),
            nonce: format!("{:016x}", rand::random::<u64>()),
        };
        resolvers.iter().take(MAX_RESOLVERS).map(check).collect()
    }

    /// The DNS-ISP has other addresses: a round is due at once.
    pub fn hurry(&mut self) {
        self.next = None;
    }

    /// Where a question arrived; whether that changes the verdict.
    pub fn arrived(&mut self, resolver: IpAddr, arrived: Arrived) -> bool {
        let before = self.reaches(&resolver);
        if self.history.len() >= MAX_RESOLVERS && !self.history.contains_key(&resolver) {
            return false;
        }
        let history = self.history.entry(resolver).or_default();
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(arrived);
        before != self.reaches(&resolver)
    }

    /// Whether the users of a resolver reach this DNS-LB; `None` while that is open.
    pub fn reaches(&self, resolver: &IpAddr) -> Option<bool> {
        let history = self.history.get(resolver)?;
        if history.contains(&Arrived::Itself) {
            // What has not arrived for long is not what used to arrive.
            let lately = history.iter().rev().take(ENOUGH_NOWHERE);
            let lost = history.len() > ENOUGH_NOWHERE && lately.clone().all(|arrived| *arrived == Arrived::Nowhere);
            return Some(!lost);
        }
        let nowhere = history.len() >= ENOUGH_NOWHERE && history.iter().all(|arrived| *arrived == Arrived::Nowhere);
        (nowhere || history.len() >= ENOUGH).then_some(false)
    }

    /// How many resolvers' users reach this DNS-LB, and how many do not.
    pub fn counts(&self) -> (usize, usize) {
        let verdicts = || self.history.keys().filter_map(|resolver| self.reaches(resolver));
        (verdicts().filter(|reaches| *reaches).count(), verdicts().filter(|reaches| !reaches).count())
    }

    /// For an operator.
    pub fn status(&self) -> Value {
        let verdict = match self.counts() {
            (0, 0) => "it is not known yet whether my ISP's users reach me",
            (_, 0) => "my ISP's users reach me",
            (0, _) => "my ISP's users do not reach me",
            _ => "the users of some of my ISP's resolvers reach me",
        };
        let of = |(resolver, history): (&IpAddr, &VecDeque<Arrived>)| {
            (resolver.to_string(), json!({ "reaches": self.reaches(resolver), "arrived": history }))
        };
        let resolvers: serde_json::Map<String, Value> = self.history.iter().map(of).collect();
        json!({ "verdict": verdict, "resolvers": resolvers })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrived::*, *};

    const RESOLVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn verdict(arrived: &[Arrived]) -> Option<bool> {
        let mut check = SelfCheck::new(Duration::from_secs(60));
        arrived.iter().for_each(|arrived| _ = check.arrived(RESOLVER, *arrived));
        check.reaches(&RESOLVER)
    }

    #[test]
    fn half_at_the_fall_back_is_no_failure() {
        assert_eq!(verdict(&[]), None);
        assert_eq!(verdict(&[Itself]), Some(true));
        assert_eq!(verdict(&[FallBack; 5]), None, "that may be chance");
        assert_eq!(verdict(&[FallBack; 6]), Some(false), "that is not");
        assert_eq!(verdict(&[FallBack, Itself, FallBack, FallBack, FallBack]), Some(true));
        assert_eq!(verdict(&[Nowhere; 2]), None);
        assert_eq!(verdict(&[Nowhere; 3]), Some(false));
        assert_eq!(verdict(&[Itself, Nowhere, Nowhere]), Some(true), "answers get lost");
        assert_eq!(verdict(&[Itself, Nowhere, Nowhere, Nowhere]), Some(false));
        let mut long = vec![Itself];
        long.extend([FallBack; 10]);
        assert_eq!(verdict(&long), Some(false), "only the last ten count");
    }

    #[test]
    fn rounds_come_at_their_interval_and_ask_every_resolver() {
        let (mut check, mut now) = (SelfCheck::new(Duration::from_secs(60)), Instant::now());
        let zone: Name = "sea1.glb.test".parse().unwrap();
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        let round = check.due(&zone, &[RESOLVER, other], now, 0.0);
        assert_eq!(round.iter().map(|c| c.resolver).collect::<Vec<_>>(), [RESOLVER, other]);
        assert!(round[0].nonce != round[1].nonce && round[0].nonce.len() == 16);
        assert_eq!(round[0].name().unwrap().to_string(), format!("{}._dglb.sea1.glb.test.", round[0].nonce));
        now += Duration::from_secs(44);
        assert_eq!(check.due(&zone, &[RESOLVER], now, 0.0), []);
        now += Duration::from_secs(1);
        check.arrived(other, Itself);
        assert_eq!(check.due(&zone, &[RESOLVER], now, 1.0).len(), 1);
        assert_eq!(check.reaches(&other), None, "a resolver that is gone is forgotten");
        check.hurry();
        assert_eq!(check.due(&zone, &[RESOLVER; 20], now, 0.5).len(), MAX_RESOLVERS);
        assert_eq!(SelfCheck::new(Duration::ZERO).due(&zone, &[RESOLVER], now, 0.5), []);
    }

    #[test]
    fn the_status_says_it_in_words() {
        let mut check = SelfCheck::new(Duration::from_secs(60));
        assert!(check.status()["verdict"].as_str().unwrap().starts_with("it is not known"));
        assert!(check.arrived(RESOLVER, Itself), "that is news");
        assert!(!check.arrived(RESOLVER, FallBack));
        let status = check.status();
        assert_eq!(status["verdict"], "my ISP's users reach me");
        let expected = json!({ "reaches": true, "arrived": ["itself", "fall-back"] });
        assert_eq!(status["resolvers"]["192.0.2.1"], expected);
        assert_eq!(check.counts(), (1, 0));
    }
}
