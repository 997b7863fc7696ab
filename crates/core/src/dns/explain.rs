//! Why a question gets its answer: what was seen of it on the one way that every question takes
//! (`dns/batch.rs`), put down for people.
//!
//! Invariant: nothing here decides. What is said was seen on the way, or asked of the very functions that
//! decided, on the same directory.

use std::net::IpAddr;

use serde::Serialize;

use super::{Asked, Decision, Exchange, Handled, Responder, batch, qname::QName, responder::Admitted};
use crate::{
    answer::{Says, Step},
    catalogue::{Mode, Service},
    directory::{Directory, LbIndex, LbState, RankedSites, ZoneEntry},
    identity::Identity,
    locate::{Client, Match, Route, Worth, choices, reported},
    name::Name,
    net::{Prefix, family_bits},
    table::Member,
};

/// Why a question gets its answer. Who reads the reply beside it has everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// By which way the answer was found, as the metrics call it.
    pub decision: &'static str,
    /// The same for people.
    pub why: &'static str,
    /// The client subnet that was asked about, if it counts here.
    pub subnet: Option<Prefix>,
    /// The zone that the name is in.
    pub zone: Option<Name>,
    /// The generation of that zone's catalogue.
    pub catalogue: Option<u64>,
    /// The service that the name is for.
    pub service: Option<ServiceSeen>,
    /// What the map says of who asks; none where that does not matter.
    pub matched: Option<Matched>,
    /// The DNS-LBs among which was chosen, as the map has them.
    pub candidates: Vec<Candidate>,
    /// To whom the client is sent, or whose label it is, or whose ranking answers it.
    pub dns_lb: Option<Identity>,
    /// Whose ranking the sites below are, if it is one DNS-LB's: another one's where the own is too old.
    pub ranked_by: Option<Identity>,
    /// The sites in the order that holds for this question, best first.
    pub sites: Vec<SiteSeen>,
}

/// Of a service what decides how questions for it are answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceSeen {
    /// Its name in the zone.
    pub name: Name,
    /// Who answers: its DNS-LB (`referral`), or the dns-b itself (`direct`).
    pub mode: Mode,
    /// Seconds that an address may be cached.
    pub ttl: u32,
    /// Addresses in one answer at most.
    pub answers: u8,
}

/// What the map says of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// The longest prefix of the map that holds it; none where nothing does.
    pub prefix: Option<Prefix>,
    /// Whether that was looked for by the client's subnet, and not by the resolver's address.
    pub by_subnet: bool,
    /// Everybody who shares so many leading bits is answered alike; 0 where no subnet counts.
    pub scope: u8,
}

/// One of the DNS-LBs of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Which.
    pub dns_lb: Identity,
    /// Lower is taken first, among those that are worth the same.
    pub preference: u16,
    /// Share among equals.
    pub weight: u16,
    /// How much it is worth for this service: `ready`, `joining`, `suspect`, or `none`.
    pub worth: &'static str,
    /// What keeps it from being ready.
    pub lacks: Vec<&'static str>,
    /// Whether it was taken.
    pub chosen: bool,
}

/// A site at its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteSeen {
    /// Its name.
    pub site: String,
    /// Lower is better; none where nothing was measured.
    pub score: Option<f32>,
    /// Its addresses, and whether they are answered while any site has one that is.
    pub addresses: Vec<AddressSeen>,
}

/// An address of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AddressSeen {
    /// Which.
    pub address: IpAddr,
    /// Whether it is not known to be down.
    pub usable: bool,
}

impl Responder<'_> {
    /// Answers a packet as [`Responder::respond`] does, and says why.
    pub fn explain(&self, asked: &Asked<'_>, reply: &mut [u8]) -> (Handled, Explanation) {
        let mut explanation = Explanation::default();
        let mut alone = [Exchange { asked: *asked, reply, handled: Handled::DROPPED }];
        batch::respond(self, &mut alone, &mut [QName::default()], |admitted, matched, step| {
            explanation = Way { directory: self.directory, client: &admitted.client, matched }.explain(admitted, step);
        });
        let [Exchange { handled, .. }] = alone;
        explanation.decision = handled.decision.as_str();
        explanation.why = why(handled.decision);
        (handled, explanation)
    }
}

/// A question's way, but for its last step.
struct Way<'d, 'm> {
    directory: &'d Directory,
    client: &'m Client,
    matched: &'m Match<'d>,
}

impl<'d> Way<'d, '_> {
    fn explain(&self, admitted: &Admitted<'_>, step: &Step<'d>) -> Explanation {
        let mut last = *step;
        let answer = last.answered(self.directory, &admitted.question());
        let zone = step.zone();
        let service = match (step, &answer.content) {
            (Step::Routed(_, service, ..) | Step::Ranked(_, service, _), _) => {
                zone.and_then(|z| z.catalogue().services.get(*service))
            }
            (_, Some((_, Says::Sites { service, .. }))) => Some(*service),
            _ => None,
        };
        let mut told = Explanation {
            subnet: self.client.subnet.and_then(|s| Prefix::containing(s.address, s.source).ok()),
            zone: zone.map(|z| z.name().clone()),
            catalogue: zone.map(|z| z.catalogue().generation),
            service: service.map(ServiceSeen::of),
            ..Explanation::default()
        };
        let lb = match (step, &answer.content) {
            (Step::Routed(place, service, route, _), _) => self.routed(&mut told, (place.zone, *service), route),
            (Step::Ranked(_, _, cut), _) => cut.lb.map(|(lb, _)| lb),
            (_, Some((_, Says::Referral(cut)))) => cut.lb.map(|(lb, _)| lb),
            (_, Some((_, Says::Sites { .. }))) => self.directory.own().map(|(lb, _)| lb),
            _ => None,
        };
        told.dns_lb = lb.and_then(|lb| self.identity(lb));
        let ranking = match (step, &answer.content) {
            (_, Some((_, Says::Sites { ranking, .. }))) => Some(*ranking),
            (Step::Routed(_, _, Route::Sites { ranking, .. }, _), _) => Some(*ranking),
            // What its DNS-LB is going to say, as far as it is known here.
            (Step::Routed(place, service, Route::Refer { lb: (lb, _), .. }, _), _) => {
                reported(self.directory, *lb, place.zone.service_id(*service)).map(|(ranking, _)| ranking)
            }
            _ => None,
        };
        if let (Some(service), Some(ranking)) = (service, ranking) {
            told.sites = sites(service, ranking);
            let from_all = matches!(answer.decision, Decision::Aggregate | Decision::CustomerOrder);
            told.ranked_by = lb.filter(|_| !from_all).and_then(|lb| self.lender(lb));
        }
        told
    }

    /// What the map and the choice among an entry's DNS-LBs have to do with it; returns whom that is.
    fn routed(
        &self,
        told: &mut Explanation,
        (zone, service): (&'d ZoneEntry, usize),
        route: &Route<'d>,
    ) -> Option<LbIndex> {
        let Match { located, by_subnet, scope } = *self.matched;
        let address = self.matched.address(self.client);
        let prefix = located.matched.and_then(|bits| Prefix::containing(address, bits.min(family_bits(address))).ok());
        told.matched = Some(Matched { prefix, by_subnet, scope });
        let (Route::Refer { decision, .. } | Route::Sites { decision, .. }) = route;
        let (members, chosen) = choices(self.directory, zone, service, (self.client, self.matched, *decision));
        let id = zone.service_id(service);
        told.candidates = members
            .into_iter()
            .filter_map(|(member, worth)| {
                let lacks = self.lacks(member.lb, (zone, self.directory.has_ranking(member.lb, id)));
                self.candidate(member, worth, (lacks, chosen == Some(member.lb)))
            })
            .collect();
        match route {
            Route::Refer { lb: (lb, _), .. } => Some(*lb),
            Route::Sites { .. } => chosen,
        }
    }

    fn candidate(
        &self,
        member: Member,
        worth: Option<Worth>,
        (lacks, chosen): (Vec<&'static str>, bool),
    ) -> Option<Candidate> {
        let Member { lb, preference, weight } = member;
        let worth = worth.map_or("none", Worth::as_str);
        Some(Candidate { dns_lb: self.identity(lb)?, preference, weight, worth, lacks, chosen })
    }

    /// What a DNS-LB lacks that one has that is handed out.
    fn lacks(&self, lb: LbIndex, (zone, is_ranked): (&ZoneEntry, bool)) -> Vec<&'static str> {
        let Some(known) = self.directory.find_lb(lb) else { return vec!["it is not known"] };
        let lacks = [
            (known.drained, "it is drained by the operator"),
            (zone.hides(lb), "its label is the name of something else in the zone"),
            (known.state == LbState::Gone, "it is gone: its lease is over"),
            (known.state == LbState::Suspect, "its link or its checks fail"),
            (!known.handed_out, "it was not READY with checks passed"),
            (!is_ranked && !zone.is_on_referral(), "it has not ranked the service"),
        ];
        lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, what)| what).collect()
    }

    /// Whose ranking stands for a DNS-LB's.
    fn lender(&self, lb: LbIndex) -> Option<Identity> {
        let borrows = self.directory.find_lb(lb).and_then(|known| known.borrows);
        self.identity(borrows.unwrap_or(lb))
    }

    fn identity(&self, lb: LbIndex) -> Option<Identity> {
        self.directory.find_lb(lb).map(|known| known.identity.clone())
    }
}

impl ServiceSeen {
    fn of(service: &Service) -> Self {
        let Service { name, mode, ttl, answers, .. } = service;
        Self { name: name.clone(), mode: *mode, ttl: *ttl, answers: *answers }
    }
}

fn sites(service: &Service, ranking: &RankedSites) -> Vec<SiteSeen> {
    let seen = ranking.sites().iter().filter_map(|rank| {
        let site = service.sites.get(usize::from(rank.site))?;
        let addresses = site.addresses.iter().enumerate().map(|(bit, address)| {
            let usable = rank.usable & (1 << (bit & 15)) != 0;
            AddressSeen { address: *address, usable }
        });
        let score = Some(rank.score).filter(|score| score.is_finite());
        Some(SiteSeen { site: site.name.clone(), score, addresses: addresses.collect() })
    });
    seen.collect()
}

/// A decision in a sentence.
fn why(decision: Decision) -> &'static str {
    match decision {
        Decision::Dropped => "it is nothing that is replied to",
        Decision::Malformed => "it cannot be understood, or wants what is not done here",
        Decision::Refused => "the name is in no zone that is served here",
        Decision::BadCookie => "it has no good cookie, and this server wants one",
        Decision::RateLimited => "its network gets more than it may",
        Decision::Signed => "it is signed with a key, of which there are none here",
        Decision::Relay => "this DNS-LB cannot answer it yet, so a dns-b is asked for it; explain it there",
        Decision::Chaos => "it asks who the server is",
        Decision::NotReady => "no catalogue has come, or nothing was measured yet",
        Decision::Mapped => "the longest match in the map decides: of its DNS-LBs the best that is ready",
        Decision::Suspect => "the longest match in the map has only DNS-LBs left whose link or checks fail",
        Decision::Neighbour => "nothing in the map matches; it is taken for a neighbour of the nearest resolver there",
        Decision::DefaultGroup => "nothing in the map matches, so it gets the default group's",
        Decision::Direct => "the ranking of the DNS-LB of the longest match, which is not referred to",
        Decision::Aggregate => "no DNS-LB is there for it, so all DNS-LBs' rankings together decide",
        Decision::CustomerOrder => "no DNS-LB has ranked the service, so the customer's order decides",
        Decision::Referral => "the name is in a DNS-LB's label zone, which answers for itself",
        Decision::Label => "the ranking of the DNS-LB whose label is in the name, or that is asked, decides",
        Decision::Proof => "it asks for a nonce, by which a DNS-LB proves whom it serves",
        Decision::Authority => "the zone itself says so; no ranking has to do with it",
    }
}
