//! A decision as it is put down: all that it followed from, and what followed. Whoever reads it later can
//! decide again.
//!
//! Invariant: what is put down is what the deciding functions were given and gave; and it holds no secret,
//! since how sites are probed, which may take one, is left out.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{
    answer::MAX_ANSWERS,
    catalogue::Service,
    rank::{Inputs, Outcome, rank},
    ranked::{RankedSites, Turn},
    report::Ranking,
};

/// A ranking of one service with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The service, but for its probes and its HTTPS record.
    pub service: Service,
    /// What was ranked.
    pub inputs: Inputs,
    /// In which order, and by which rule.
    pub outcome: Outcome,
    /// What is answered for that; where clients are shared out, to one network, the same each time.
    pub answer: Answered,
}

/// The addresses that a ranking leads to; none where the policy wants a failure while all sites are down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// For questions of type A.
    pub ipv4: Vec<IpAddr>,
    /// For questions of type AAAA.
    pub ipv6: Vec<IpAddr>,
}

impl Decided {
    /// Puts down what was decided.
    pub fn of(service: &Service, inputs: Inputs, outcome: Outcome) -> Self {
        let service = Service { probes: Vec::new(), https: None, ..service.clone() };
        let answer = Answered::of(&service, &outcome.ranking, Turn::default());
        Self { service, inputs, outcome, answer }
    }

    /// What the client network that this address is in is answered for it.
    pub fn answer_to(&self, client: IpAddr) -> Answered {
        Answered::of(&self.service, &self.outcome.ranking, Turn::of_network(client))
    }

    /// The same decided anew, from the inputs alone.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::of(&self.service, self.inputs.clone(), rank(&self.inputs))
    }
}

impl Answered {
    /// What the answering functions make of a ranking for the client network whose turn it is.
    pub fn of(service: &Service, ranking: &Ranking, turn: Turn) -> Self {
        let (ranked, order) = (RankedSites::resolve(service, ranking), RankedSites::customer_order(service));
        let ranked = ranked.as_ref().and_then(|ranked| ranked.answered(service, &order));
        let addresses = |ipv4: bool| {
            let mut found = ArrayVec::<IpAddr, MAX_ANSWERS>::new();
            ranked.into_iter().for_each(|ranked| ranked.addresses(service, ipv4, turn, &mut found));
            found.to_vec()
        };
        Self { ipv4: addresses(true), ipv6: addresses(false) }
    }
}
