//! What to say: from a directory and a question to an answer, whatever the transport (design
//! sections 2 to 5, RFC 1034 section 4.3.2).
//!
//! ```text
//! question → zone → node ┬ apex, static record, name of a dns-b   → authority
//!                        ├ service    → locate → choose           → CNAME or addresses
//!                        └ label zone → refer, or answer for it   → referral or addresses
//! ```
//!
//! It takes no lock, no clock, no I/O and no allocation: an `Answer` borrows from the directory
//! and says what is to be written, not the octets. It comes in steps (`Step`), since a batch of
//! questions looks names, labels and addresses up between them.

mod label;
mod step;

use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::{
    catalogue::{Service, StaticRecord},
    directory::{Directory, LbIndex, Node, RankedSites, ZoneEntry},
    dns::{Decision, Role, qname::QName, rcode, rrset::Ede, rrset::family, rtype},
    fleet::{Fallbacks, Fleet},
    lbs::LbFacts,
    locate::{Client, Route},
    lots::Turn,
};

pub(crate) use step::Step;

/// Most addresses in one answer; a service's setting may ask for fewer.
pub const MAX_ANSWERS: usize = 16;

/// What is asked, and of which of our addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'q> {
    /// QNAME.
    pub(crate) name: &'q QName,
    /// QTYPE.
    pub(crate) qtype: u16,
    /// What the address that was asked is for.
    pub(crate) role: Role,
    /// Who asks.
    pub(crate) client: &'q Client,
}

/// An answer, from which the renderer makes sections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'d> {
    /// Extended response code.
    pub(crate) rcode: u16,
    /// By which way it was found.
    pub(crate) decision: Decision,
    /// SCOPE PREFIX-LENGTH of the client subnet option, if one is echoed.
    pub(crate) scope: u8,
    /// Extended error, where something is not as it should be.
    pub(crate) ede: Option<Ede>,
    /// What is said, and where; a response code alone says the rest.
    pub(crate) content: Option<(Place<'d>, Says<'d>)>,
}

/// Where a question landed. Every name of its answer ends there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'d> {
    pub(crate) fleet: &'d Fleet,
    pub(crate) zone: &'d ZoneEntry,
    /// Labels in front of the zone in QNAME.
    pub(crate) labels: usize,
}

/// Of which name something is said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Apex<'d> {
    /// The zone.
    Zone,
    /// The label zone that QNAME is in: the last label in front of the zone.
    Label(Cut<'d>),
}

/// Who answers for a label zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'d> {
    /// The DNS-LB, if anybody knows it.
    pub(crate) lb: Option<(LbIndex, &'d LbFacts)>,
    pub(crate) fallbacks: Fallbacks,
    /// Most seconds for anything that is said of the zone itself.
    pub(crate) limit: u32,
}

/// How the addresses of a ranking are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chance {
    /// One, the same for everybody, for which no more than the ranking is read.
    First,
    /// Perhaps several, or what this network draws.
    Drawn(Turn),
}

impl Chance {
    /// Those of one family.
    #[inline]
    pub(crate) fn addresses(
        self,
        service: &Service,
        ranking: &RankedSites,
        ipv4: bool,
    ) -> ArrayVec<IpAddr, MAX_ANSWERS> {
        let mut found = ArrayVec::new();
        match self {
            Self::First => found.extend(ranking.first(ipv4)),
            Self::Drawn(turn) => ranking.addresses(service, ipv4, turn, &mut found),
        }
        found
    }
}

/// What an answer holds beside its response code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says<'d> {
    /// A CNAME into a DNS-LB's label zone, perhaps with the referral that will follow.
    Cname { lb: &'d LbFacts, ttl: u32, referral: Option<Cut<'d>> },
    /// The addresses of the best site that QTYPE allows, or the HTTPS record with them; NODATA if there
    /// is none.
    Sites { service: &'d Service, ranking: &'d RankedSites, chance: Chance, ttl: u32, apex: Apex<'d> },
    /// A or AAAA as configured: those of the family.
    Addresses { list: &'d [IpAddr], rtype: u16, ttl: u32 },
    /// Static records of one owner and type.
    Records(&'d [StaticRecord]),
    /// TXT of a DNS-LB's label and the nonce that was asked for.
    Identity,
    /// The SOA, as the answer.
    Soa(Apex<'d>),
    /// The name servers with their addresses, as the answer.
    Servers(Apex<'d>),
    /// RFC 1034 section 4.3.2, step 3b: NS set and required glue, no authority.
    Referral(Cut<'d>),
    /// NODATA or NXDOMAIN with the SOA (RFC 2308 sections 2 and 3).
    Nothing(Apex<'d>),
}

impl<'d> Answer<'d> {
    fn refused() -> Self {
        Self::only(rcode::REFUSED, Decision::Refused, Ede::NotAuthoritative)
    }

    const NOT_READY: Self = Self::only(rcode::SERVFAIL, Decision::NotReady, Ede::NotReady);

    /// What a DNS-LB says of its own label if no dns-b can be asked.
    fn relay() -> Self {
        Self::only(rcode::SERVFAIL, Decision::Relay, Ede::NotReady)
    }

    /// In a zone for proofs of residence, which has a way of its own ([`crate::dns`]).
    fn proof() -> Self {
        Self { rcode: rcode::NOERROR, decision: Decision::Proof, scope: 0, ede: None, content: None }
    }

    const fn only(rcode: u16, decision: Decision, ede: Ede) -> Self {
        Self { rcode, decision, scope: 0, ede: Some(ede), content: None }
    }

    /// Says that the ranking is too old, where nothing worse is said.
    fn marked_stale(self, stale: bool) -> Self {
        Self { ede: self.ede.or(stale.then_some(Ede::StaleRanking)), ..self }
    }

    /// AA (RFC 1035 section 4.1.1).
    pub(crate) fn is_authoritative(&self) -> bool {
        matches!(&self.content, Some((_, says)) if !matches!(says, Says::Referral(_)))
    }
}

impl Place<'_> {
    /// The label next to the zone in wire form; empty at the zone itself.
    fn label<'q>(&self, name: &'q QName) -> &'q [u8] {
        &name[name.start(self.labels.saturating_sub(1))..name.start(self.labels)]
    }
}

/// A question at its place: everything that the ways below share.
struct Asking<'d, 'q> {
    directory: &'d Directory,
    question: &'q Question<'q>,
    place: Place<'d>,
}

impl<'d> Asking<'d, '_> {
    #[inline(always)]
    fn named(&self) -> Step<'d> {
        let Place { fleet, zone, labels } = self.place;
        if labels == 0 {
            return self.own_node(zone.apex());
        }
        let name = self.question.name;
        let (relative, label) = (&name[..name.start(labels)], self.place.label(name));
        let hash = self.directory.hash(label);
        if let Some(server) = self.directory.server_of_label(hash, label) {
            return Step::Answered(match labels {
                1 => self.addresses_of(&fleet.servers[server].referral, fleet.ttl.apex_ns),
                _ => self.nxdomain(),
            });
        }
        let below = zone.node_of(hash, label);
        // What is further down has a node next to the zone, too (RFC 4592 section 2.2.2).
        let node = match below {
            Some(_) if labels > 1 => zone.node_of(self.directory.hash(relative), relative),
            _ => below,
        };
        if let Some(node) = node {
            return self.own_node(node);
        }
        if self.directory.is_coming(relative, zone.name()) {
            return Step::Answered(Answer::NOT_READY);
        }
        if below.is_some() { Step::Answered(self.nxdomain()) } else { Step::Labelled(self.place, hash) }
    }

    /// Nothing of the zone is called so; `hash` is that of the label next to it.
    fn labelled(&self, hash: u32) -> Step<'d> {
        let label = self.place.label(self.question.name);
        let lb = self.directory.lb_of_label(hash, label);
        if lb.is_some() || is_label(label) { self.label_zone(label, lb) } else { Step::Answered(self.nxdomain()) }
    }

    /// A service at its own name, asked of a dns-b.
    fn located(&self, service: usize, route: Route<'d>, scope: u8) -> Answer<'d> {
        let mut answer = match route {
            Route::Refer { lb: (index, lb), ttl, decision } => {
                let referral = self.directory.settings().referral_with_cname && !lb.addresses.is_empty();
                let cut = Cut { lb: Some((index, lb)), fallbacks: lb.fallbacks, limit: u32::MAX };
                let referral = referral.then_some(cut);
                self.say(decision, Says::Cname { lb, ttl, referral })
            }
            Route::Sites { ranking, ttl, decision, stale } => {
                self.sites(service, ranking, ttl, (decision, Apex::Zone)).marked_stale(stale)
            }
        };
        // Where clients are shared out it may be narrower than what the map says.
        answer.scope = answer.scope.max(scope);
        answer
    }

    #[inline]
    fn say(&self, decision: Decision, says: Says<'d>) -> Answer<'d> {
        Answer { rcode: rcode::NOERROR, decision, scope: 0, ede: None, content: Some((self.place, says)) }
    }

    #[inline]
    fn with_authority(&self, says: Says<'d>) -> Answer<'d> {
        self.say(Decision::Authority, says)
    }

    /// A DNS-LB has no authority over the zone itself, only over services that an ISP forwards to
    /// it and over its label zones.
    #[inline]
    fn only_for_parents(&self, says: Says<'d>) -> Answer<'d> {
        if self.question.role == Role::DnsLb { Answer::refused() } else { self.with_authority(says) }
    }

    fn nxdomain(&self) -> Answer<'d> {
        let answer = self.only_for_parents(Says::Nothing(Apex::Zone));
        if answer.content.is_some() { Answer { rcode: rcode::NXDOMAIN, ..answer } } else { answer }
    }

    /// A name that the catalogue knows: the apex, a service, a static record or something above one.
    #[inline(always)]
    fn own_node(&self, node: &'d Node) -> Step<'d> {
        let qtype = self.question.qtype;
        if self.place.labels == 0
            && let Some(says) = at_apex(qtype, node)
        {
            return Step::Answered(self.only_for_parents(says));
        }
        if let Some(service) = node.service() {
            return match self.question.role {
                Role::DnsLb => Step::Answered(self.service_at_lb(service)),
                Role::Referral | Role::Fallback => Step::Locate(self.place, service),
            };
        }
        let records = self.place.zone.records(node, qtype);
        let says = if records.is_empty() { Says::Nothing(Apex::Zone) } else { Says::Records(records) };
        Step::Answered(self.only_for_parents(says))
    }

    /// Fixed addresses of a name server's name; NODATA for a family or type that is missing.
    fn addresses_of(&self, list: &'d [IpAddr], ttl: u32) -> Answer<'d> {
        self.only_for_parents(match family(list, self.question.qtype) {
            Some(rtype) => Says::Addresses { list, rtype, ttl },
            None => Says::Nothing(Apex::Zone),
        })
    }

    /// A service at its own name, forwarded to a DNS-LB by its ISP (design section 5).
    fn service_at_lb(&self, service: usize) -> Answer<'d> {
        let facts = self.place.zone.facts(service);
        let ranking = self.directory.own().and_then(|(own, _)| self.directory.asked_ranking(own, facts.id));
        match ranking {
            Some(ranking) => self.sites(service, ranking, facts.ttl, (Decision::Label, Apex::Zone)),
            None => Answer::NOT_READY,
        }
    }

    /// The addresses of the best site that QTYPE allows.
    #[inline]
    fn sites(
        &self,
        number: usize,
        ranking: &'d RankedSites,
        ttl: u32,
        (decision, apex): (Decision, Apex<'d>),
    ) -> Answer<'d> {
        let zone = self.place.zone;
        let (facts, service) = (zone.facts(number), &zone.catalogue().services[number]);
        match self.question.qtype {
            rtype::A | rtype::AAAA | rtype::ANY => {}
            rtype::HTTPS if service.https.is_some() => {}
            _ => return self.say(decision, Says::Nothing(apex)),
        }
        let all_down = ranking.all_down();
        let Some(ranking) = ranking.answered(service, zone.customer_order(number)) else {
            return Answer::only(rcode::SERVFAIL, decision, Ede::AllSitesDown);
        };
        let ttl = if ranking.is_unsettled() { ttl.min(facts.least_ttl) } else { ttl };
        let (turn, scope) = if ranking.is_shared() { Turn::of(self.question.client) } else { (Turn::default(), 0) };
        let is_first = facts.one_answer && !ranking.is_shared();
        let chance = if is_first { Chance::First } else { Chance::Drawn(turn) };
        let mut answer = self.say(decision, Says::Sites { service, ranking, chance, ttl, apex });
        answer.scope = scope;
        if all_down {
            answer.ede = Some(Ede::AllSitesDown);
        }
        answer
    }
}

/// What the apex of a zone answers for itself. In host style it is also the service, but these
/// stay the apex's (design section 2).
fn at_apex<'d>(qtype: u16, node: &Node) -> Option<Says<'d>> {
    match qtype {
        rtype::SOA => Some(Says::Soa(Apex::Zone)),
        // RFC 8482 section 4.1: one RRset of those there are.
        rtype::ANY if node.service().is_none() => Some(Says::Soa(Apex::Zone)),
        rtype::NS => Some(Says::Servers(Apex::Zone)),
        rtype::DS | rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY | rtype::NSEC | rtype::ZONEMD => {
            Some(Says::Nothing(Apex::Zone))
        }
        _ => None,
    }
}

/// Whether a label in wire form could be a DNS-LB's.
fn is_label(label: &[u8]) -> bool {
    crate::identity::Identity::is_valid_label(&label[1..])
}
