//! What to say: one total function from a directory and a question to an answer, whatever the
//! transport (design sections 2 to 5, RFC 1034 section 4.3.2).
//!
//! ```text
//! question → zone → node ┬ apex, static record, name of a dns-b   → authority
//!                        ├ service    → locate → choose           → CNAME or addresses
//!                        └ label zone → refer, or answer for it   → referral or addresses
//! ```
//!
//! It takes no lock, no clock, no I/O and no allocation: an [`Answer`] borrows from the directory.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::{
    directory::{Directory, Lb, LbIndex, Node, RankedSites, ZoneEntry},
    dns::{
        Decision, Role, rcode,
        rrset::{Data, Ede, Glue, RrSet, Soa},
        rtype,
        writer::Parts,
    },
    fleet::FleetServer,
    identity::Identity,
    locate::{Client, Route, locate},
};

/// Most addresses in one answer; a service's setting may ask for fewer.
pub const MAX_ANSWERS: usize = 16;

/// Most seconds that "this site has no such family now" may be cached (design section 5).
const FAMILY_DOWN: u32 = 30;

/// What is asked, by whom, and of which of our addresses.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// QNAME in lower-case wire form.
    pub name: &'q [u8],
    /// QTYPE.
    pub qtype: u16,
    /// Who asks.
    pub client: Client,
    /// What the address that was asked is for.
    pub role: Role,
}

/// An answer by its sections; the truncating is left to the renderer.
#[derive(Debug)]
pub struct Answer<'d> {
    /// Extended response code.
    pub rcode: u16,
    /// AA.
    pub authoritative: bool,
    /// By which way it was found.
    pub decision: Decision,
    /// Answer section.
    pub answer: ArrayVec<RrSet<'d>, 2>,
    /// Authority section.
    pub authority: Option<RrSet<'d>>,
    /// Additional section.
    pub glue: Glue<'d>,
    /// SCOPE PREFIX-LENGTH of the client subnet option, if one is echoed.
    pub scope: u8,
    /// Extended error, where something is not as it should be.
    pub ede: Option<Ede>,
}

impl<'d> Answer<'d> {
    fn new(rcode: u16, decision: Decision) -> Self {
        Self {
            rcode,
            authoritative: rcode == rcode::NOERROR || rcode == rcode::NXDOMAIN,
            decision,
            answer: ArrayVec::new(),
            authority: None,
            glue: Glue::None,
            // Only a service at its own name is tailored to who asks.
            scope: 0,
            ede: None,
        }
    }

    fn refused() -> Self {
        Self { ede: Some(Ede::NotAuthoritative), ..Self::new(rcode::REFUSED, Decision::Refused) }
    }

    fn not_ready() -> Self {
        Self { ede: Some(Ede::NotReady), ..Self::new(rcode::SERVFAIL, Decision::NotReady) }
    }

    fn of(set: RrSet<'d>) -> Self {
        let mut answer = Self::new(rcode::NOERROR, Decision::Authority);
        answer.answer.push(set);
        answer
    }

    /// NODATA or NXDOMAIN with the zone's SOA (RFC 2308 sections 2 and 3).
    fn negative(rcode: u16, soa: RrSet<'d>) -> Self {
        Self { authority: Some(soa), ..Self::new(rcode, Decision::Authority) }
    }

    fn with_decision(mut self, decision: Decision) -> Self {
        self.decision = decision;
        self
    }
}

/// Answers one question of class IN.
pub fn answer<'d>(directory: &'d Directory, question: &Question<'d>) -> Answer<'d> {
    let Some(fleet) = directory.fleet() else {
        return Answer::not_ready();
    };
    let Some((zone, relative)) = directory.zone_of(question.name) else {
        return if directory.has_zones() { Answer::refused() } else { Answer::not_ready() };
    };
    let at = Place { directory, fleet, zone, question };
    // The name below the zone, leftmost label first.
    let (inner, label) = match relative {
        [] => (relative, relative),
        _ => split_last_label(relative),
    };
    let nxdomain = || at.only_for_parents(Answer::negative(rcode::NXDOMAIN, at.zone_soa()));
    if let Some(server) = fleet.servers.iter().find(|s| s.label() == label) {
        return if inner.is_empty() { at.addresses_of(&server.referral, fleet.ttl.apex_ns) } else { nxdomain() };
    }
    match zone.node(relative) {
        Some(node) => at.own_node(relative, node),
        None if zone.occupies(label) || !Identity::is_valid_label(&label[1..]) => nxdomain(),
        None => at.label_zone(inner, label),
    }
}

/// Splits the label next to the zone off a relative name, which is not empty: what precedes it, and
/// the label with its length octet.
fn split_last_label(relative: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    loop {
        let next = at + 1 + usize::from(relative[at]);
        if next >= relative.len() {
            return relative.split_at(at);
        }
        at = next;
    }
}

/// Where a question landed: everything that the ways below share.
struct Place<'d, 'q> {
    directory: &'d Directory,
    fleet: &'d crate::fleet::Fleet,
    zone: &'d ZoneEntry,
    question: &'q Question<'d>,
}

/// A label zone: its own name and who answers for it.
struct LabelZone<'d> {
    /// The label in wire form, as it stands in the question.
    label: &'d [u8],
    /// The DNS-LB, if anybody knows it.
    lb: Option<(LbIndex, &'d Lb)>,
    fallbacks: ArrayVec<&'d FleetServer, { crate::fleet::MAX_FALLBACKS }>,
}

impl<'d> Place<'d, '_> {
    /// A DNS-LB has no authority over the zone itself, only over services that an ISP forwards to
    /// it and over its label zones.
    fn only_for_parents(&self, answer: Answer<'d>) -> Answer<'d> {
        if self.question.role == Role::DnsLb { Answer::refused() } else { answer }
    }

    fn owner(&self) -> Parts<'d> {
        [self.question.name].into_iter().collect()
    }

    fn rrset(&self, rtype: u16, ttl: u32, data: Data<'d>) -> RrSet<'d> {
        RrSet { owner: self.owner(), rtype, ttl, data }
    }

    fn zone_soa(&self) -> RrSet<'d> {
        let apex = self.zone.name().wire();
        let first = &self.fleet.servers[0];
        let soa = Soa {
            mname: [first.label(), apex].into_iter().collect(),
            rname: self.fleet.hostmaster.wire(),
            serial: self.zone.catalogue().soa_serial,
            ttl: self.fleet.ttl,
        };
        RrSet {
            owner: [apex].into_iter().collect(),
            rtype: rtype::SOA,
            ttl: self.fleet.ttl.negative,
            data: Data::Soa(soa),
        }
    }

    fn nodata(&self) -> Answer<'d> {
        Answer::negative(rcode::NOERROR, self.zone_soa())
    }

    /// A name that the catalogue knows: the apex, a service, a static record or something above one.
    fn own_node(&self, relative: &'d [u8], node: &'d Node) -> Answer<'d> {
        let qtype = self.question.qtype;
        if relative.is_empty() {
            match qtype {
                rtype::SOA => return self.only_for_parents(Answer::of(self.zone_soa())),
                // RFC 8482 section 4.1: one RRset of those there are.
                rtype::ANY if node.service().is_none() => return self.only_for_parents(Answer::of(self.zone_soa())),
                rtype::NS => return self.only_for_parents(self.apex_ns()),
                // In host style the apex is also the service, but these stay the apex's (section 2).
                rtype::DS | rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY | rtype::NSEC | rtype::ZONEMD => {
                    return self.only_for_parents(self.nodata());
                }
                _ => {}
            }
        }
        if let Some(service) = node.service() {
            return match self.question.role {
                Role::DnsLb => self.service_at_lb(service),
                Role::Referral | Role::Fallback => self.service_at_parent(service),
            };
        }
        let records = self.zone.records(node, qtype);
        self.only_for_parents(match records.first() {
            Some(first) => Answer::of(self.rrset(first.rtype, first.ttl, Data::Records(records))),
            None => self.nodata(),
        })
    }

    fn apex_ns(&self) -> Answer<'d> {
        let servers = Data::FleetNs { fleet: self.fleet, zone: self.zone.name() };
        let mut answer = Answer::of(self.rrset(rtype::NS, self.fleet.ttl.apex_ns, servers));
        answer.glue = Glue::Fleet { fleet: self.fleet, zone: self.zone.name() };
        answer
    }

    /// Fixed addresses of a name server's name; NODATA for a family or type that is missing.
    fn addresses_of(&self, addresses: &'d [IpAddr], ttl: u32) -> Answer<'d> {
        self.only_for_parents(match Data::family(addresses, self.question.qtype) {
            Some((rtype, data)) => Answer::of(self.rrset(rtype, ttl, data)),
            None => self.nodata(),
        })
    }

    /// A service at its own name, asked of a dns-b: locate, choose, then refer by CNAME or answer.
    fn service_at_parent(&self, service: usize) -> Answer<'d> {
        let located = locate(self.directory, &self.question.client, self.zone, service);
        let catalogue = &self.zone.catalogue().services[service];
        let mut answer = match located.route {
            Route::Refer { lb, ttl, decision } => {
                let target =
                    [catalogue.name.strip(self.zone.name()).unwrap_or_default(), lb.label(), self.zone.name().wire()];
                let cname = Data::Name(target.into_iter().collect());
                Answer::of(self.rrset(rtype::CNAME, ttl, cname)).with_decision(decision)
            }
            Route::Sites { ranking, ttl, decision } => {
                self.sites(service, ranking, ttl, self.zone_soa()).with_decision(decision)
            }
        };
        answer.scope = located.scope;
        answer
    }

    /// A service at its own name, forwarded to a DNS-LB by its ISP (design section 5).
    fn service_at_lb(&self, service: usize) -> Answer<'d> {
        let Some((own, _)) = self.directory.own() else {
            return Answer::not_ready();
        };
        match self.directory.ranking(own, self.zone.service_id(service)) {
            Some(ranking) => {
                let ttl = self.zone.catalogue().services[service].ttl;
                self.sites(service, ranking, ttl, self.zone_soa()).with_decision(Decision::Label)
            }
            None => Answer::not_ready(),
        }
    }

    /// The addresses of the best site that `qtype` allows.
    fn sites(&self, service: usize, ranking: &'d RankedSites, ttl: u32, soa: RrSet<'d>) -> Answer<'d> {
        let qtype = self.question.qtype;
        if qtype != rtype::A && qtype != rtype::AAAA && qtype != rtype::ANY {
            return Answer::negative(rcode::NOERROR, soa);
        }
        let catalogue = &self.zone.catalogue().services[service];
        // RFC 8482 section 4.1: one RRset is enough for ANY.
        let families: &[u16] = match qtype {
            rtype::ANY => &[rtype::A, rtype::AAAA],
            rtype::A => &[rtype::A],
            _ => &[rtype::AAAA],
        };
        let found = families.iter().find_map(|&family| {
            let mut addresses: ArrayVec<IpAddr, MAX_ANSWERS> = ArrayVec::new();
            ranking.addresses(catalogue, family == rtype::A, &mut addresses);
            (!addresses.is_empty()).then_some((family, addresses))
        });
        let mut answer = match found {
            Some((family, addresses)) => Answer::of(self.rrset(family, ttl, Data::Addresses(addresses))),
            // Not for longer than an address would have been: a family that is down comes back.
            None => Answer::negative(rcode::NOERROR, RrSet { ttl: soa.ttl.min(ttl).min(FAMILY_DOWN), ..soa }),
        };
        if ranking.all_down() {
            answer.ede = Some(Ede::AllSitesDown);
        }
        answer
    }

    /// Something at or below `<label>.<zone>`; `inner` is what stands in front of the label.
    fn label_zone(&self, inner: &'d [u8], label: &'d [u8]) -> Answer<'d> {
        let lb = self.directory.lb_by_label(&label[1..]);
        // One whose lease is over keeps its label until nobody can have it in a cache any more.
        let known = lb.filter(|(_, lb)| !lb.addresses.is_empty());
        let at = LabelZone { label, lb: known, fallbacks: self.fleet.fallbacks(&label[1..]) };
        match self.question.role {
            Role::Referral => {
                // RFC 4035 section 3.1.4.1: the parent's side of the cut answers for DS.
                if inner.is_empty() && self.question.qtype == rtype::DS {
                    return self.nodata();
                }
                if known.is_some() { self.referral(&at) } else { self.in_label_zone(inner, &at) }
            }
            Role::Fallback => self.in_label_zone(inner, &at),
            Role::DnsLb => match (self.directory.own(), lb) {
                (Some((own, _)), Some((index, _))) if own == index => self.in_label_zone(inner, &at),
                (None, _) => Answer::not_ready(),
                _ => Answer::refused(),
            },
        }
    }

    fn label_apex(&self, at: &LabelZone<'d>) -> Parts<'d> {
        [at.label, self.zone.name().wire()].into_iter().collect()
    }

    /// RFC 1034 section 4.3.2, step 3b: NS set and required glue, no authority.
    fn referral(&self, at: &LabelZone<'d>) -> Answer<'d> {
        let mut answer = Answer::new(rcode::NOERROR, Decision::Referral);
        answer.authoritative = false;
        answer.authority = Some(self.label_ns(at));
        answer.glue = self.label_glue(at);
        answer
    }

    fn label_ns(&self, at: &LabelZone<'d>) -> RrSet<'d> {
        RrSet {
            owner: self.label_apex(at),
            rtype: rtype::NS,
            ttl: self.fleet.ttl.label_ns,
            data: Data::LabelNs { lb: at.lb.is_some(), fallbacks: at.fallbacks.len() },
        }
    }

    fn label_glue(&self, at: &LabelZone<'d>) -> Glue<'d> {
        Glue::Label {
            apex: self.label_apex(at),
            ttl: self.fleet.ttl.label_ns,
            lb: at.lb.map_or(&[], |(_, lb)| &lb.addresses),
            fallbacks: at.fallbacks.clone(),
        }
    }

    fn label_soa(&self, at: &LabelZone<'d>) -> RrSet<'d> {
        let apex = self.label_apex(at);
        let first: &[u8] = if at.lb.is_some() || at.fallbacks.is_empty() { b"\x02ns" } else { b"\x02f1" };
        let soa = Soa {
            mname: [first].into_iter().chain(apex.iter().copied()).collect(),
            rname: self.fleet.hostmaster.wire(),
            serial: self.fleet.serial,
            ttl: self.fleet.ttl,
        };
        RrSet { owner: apex, rtype: rtype::SOA, ttl: self.fleet.ttl.negative, data: Data::Soa(soa) }
    }

    /// With authority for the label zone: as the DNS-LB, as its fall-back, or because nobody knows
    /// the label and a valid label never gets NXDOMAIN (design section 3).
    fn in_label_zone(&self, inner: &'d [u8], at: &LabelZone<'d>) -> Answer<'d> {
        let qtype = self.question.qtype;
        let nodata = || Answer::negative(rcode::NOERROR, self.label_soa(at));
        let glue = |addresses: &'d [IpAddr]| match Data::family(addresses, qtype) {
            Some((rtype, data)) => Answer::of(self.rrset(rtype, self.fleet.ttl.label_ns, data)),
            None => nodata(),
        };
        match (inner, qtype) {
            (b"", rtype::SOA) => return Answer::of(self.label_soa(at)),
            (b"", rtype::ANY) if self.zone.node(b"").and_then(Node::service).is_none() => {
                return Answer::of(self.label_soa(at));
            }
            (b"", rtype::NS) if at.lb.is_some() || !at.fallbacks.is_empty() => {
                let mut answer = Answer::of(self.label_ns(at));
                answer.glue = self.label_glue(at);
                return answer;
            }
            (b"", rtype::NS | rtype::DS | rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY | rtype::NSEC) => {
                return nodata();
            }
            (b"\x02ns", _) => return glue(at.lb.map_or(&[], |(_, lb)| &lb.addresses)),
            (b"\x02f1", _) if !at.fallbacks.is_empty() => return glue(&at.fallbacks[0].fallback),
            (b"\x02f2", _) if at.fallbacks.len() > 1 => return glue(&at.fallbacks[1].fallback),
            _ => {}
        }
        if let Some(answer) = self.identity_check(inner, at) {
            return answer;
        }
        match self.zone.node(inner) {
            Some(node) => match node.service() {
                Some(service) => self.service_in_label_zone(service, at),
                None if node.leads_to_service() => nodata(),
                None if inner.is_empty() => nodata(),
                None => Answer::negative(rcode::NXDOMAIN, self.label_soa(at)),
            },
            None => Answer::negative(rcode::NXDOMAIN, self.label_soa(at)),
        }
    }

    fn service_in_label_zone(&self, service: usize, at: &LabelZone<'d>) -> Answer<'d> {
        let id = self.zone.service_id(service);
        let configured = self.zone.catalogue().services[service].ttl;
        let short = configured.min(self.directory.settings().direct_ttl);
        let own = self.question.role == Role::DnsLb;
        let lender = at.lb.and_then(|(_, lb)| lb.borrows).filter(|_| !own);
        let lent = lender.and_then(|lender| self.directory.ranking(lender, id));
        let reported = lent.or_else(|| self.directory.ranking(at.lb?.0, id));
        let (ranking, ttl, decision) = match reported {
            Some(ranking) => (ranking, configured, Decision::Label),
            None if own => return Answer::not_ready(),
            None => match self.directory.aggregate(id) {
                Some(aggregate) => (aggregate, short, Decision::Aggregate),
                None => (self.zone.customer_order(service), short, Decision::CustomerOrder),
            },
        };
        let mut answer = self.sites(service, ranking, ttl, self.label_soa(at)).with_decision(decision);
        if lent.is_some() {
            answer.ede = answer.ede.or(Some(Ede::StaleRanking));
        }
        answer
    }

    /// `<nonce>._dglb.<label>.<zone> TXT`: by echoing the nonce with its identity a DNS-LB shows a
    /// dns-b that an advertised address is its own (design section 4). Nobody else answers it.
    fn identity_check(&self, inner: &'d [u8], at: &LabelZone<'d>) -> Option<Answer<'d>> {
        let (nonce, check) = if inner.is_empty() { return None } else { split_last_label(inner) };
        if check != b"\x05_dglb" {
            return None;
        }
        let nodata = Answer::negative(rcode::NOERROR, self.label_soa(at));
        let single = nonce.first().is_some_and(|&length| usize::from(length) + 1 == nonce.len());
        let own = self.question.role == Role::DnsLb;
        Some(if nonce.is_empty() || !single || self.question.qtype != rtype::TXT {
            nodata
        } else if own {
            Answer::of(self.rrset(rtype::TXT, 0, Data::Text([&at.label[1..], &nonce[1..]])))
        } else {
            Answer::negative(rcode::NXDOMAIN, self.label_soa(at))
        })
    }
}
