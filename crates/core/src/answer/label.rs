//! Answers at and below `<label>.<zone>`: by referring, or with authority (design section 3).

use std::net::IpAddr;

use super::{Answer, Apex, Asking, Cut, Says, Step};
use crate::{
    directory::{FirstQuestion, LbIndex},
    dns::{
        Decision, Role, rcode,
        rrset::{Ede, family},
        rtype,
    },
    locate::reported,
};

impl<'d> Asking<'d, '_> {
    /// Something at or below a label zone; `label` is the label in wire form.
    pub(super) fn label_zone(&self, label: &[u8], lb: Option<LbIndex>) -> Step<'d> {
        let cut = self.cut(label, lb);
        Step::Answered(match self.question.role {
            // RFC 4035 section 3.1.4.1: the parent's side of the cut answers for DS, and who has both sides
            // is the parent.
            Role::Referral | Role::Fallback if self.place.labels == 1 && self.question.qtype == rtype::DS => {
                self.with_authority(Says::Nothing(Apex::Zone))
            }
            Role::Referral if cut.lb.is_some() => self.say(Decision::Referral, Says::Referral(cut)),
            Role::Referral | Role::Fallback => return self.in_label_zone(cut),
            Role::DnsLb => match (self.directory.own(), lb) {
                (Some((own, _)), Some(index)) if own == index => return self.in_label_zone(cut),
                (None, _) => Answer::NOT_READY,
                _ => Answer::refused(),
            },
        })
    }

    fn cut(&self, label: &[u8], lb: Option<LbIndex>) -> Cut<'d> {
        let lb = lb.and_then(|index| Some((index, self.directory.facts(index)?)));
        let fallbacks = match lb {
            Some((_, facts)) => facts.fallbacks,
            None => self.place.fleet.fallback_numbers(&label[1..]),
        };
        // One whose lease is over keeps its label until nobody can have it in a cache any more.
        let lb = lb.filter(|(_, facts)| !facts.addresses.is_empty());
        // Of one that is unknown nobody may believe for long that it has no server but the fall-backs: it
        // may have been handed out by another dns-b, or before a restart (design section 3).
        let limit = if lb.is_some() { u32::MAX } else { self.directory.settings().direct_ttl };
        Cut { lb, fallbacks, limit }
    }

    /// With authority for the label zone: as the DNS-LB, as its fall-back, or because nobody knows
    /// the label and a valid label never gets NXDOMAIN (design section 3).
    fn in_label_zone(&self, cut: Cut<'d>) -> Step<'d> {
        let (qtype, zone, fleet) = (self.question.qtype, self.place.zone, self.place.fleet);
        let (name, apex) = (self.question.name, Apex::Label(cut));
        let inner = &name[..name.start(self.place.labels - 1)];
        let nodata = || self.with_authority(Says::Nothing(apex));
        let ttl = fleet.ttl.label_ns.min(cut.limit);
        let glue = |list| match family(list, qtype) {
            Some(rtype) => self.with_authority(Says::Addresses { list, rtype, ttl }),
            None => nodata(),
        };
        let fallback = |n| cut.fallbacks.nth(n, fleet).map(|server| glue(&server.fallback));
        let ours = match (inner, qtype) {
            (b"", rtype::SOA) => Some(self.with_authority(Says::Soa(apex))),
            (b"", rtype::ANY) if zone.apex().service().is_none() => Some(self.with_authority(Says::Soa(apex))),
            (b"", rtype::NS) if cut.lb.is_some() || cut.fallbacks.len() > 0 => {
                Some(self.with_authority(Says::Servers(apex)))
            }
            (b"", rtype::NS | rtype::DS | rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY | rtype::NSEC) => Some(nodata()),
            (b"\x02ns", _) => Some(glue(cut.addresses())),
            (b"\x02f1", _) => fallback(0),
            (b"\x02f2", _) => fallback(1),
            _ => self.identity_check(cut),
        };
        Step::Answered(match (ours, zone.node(inner)) {
            (Some(ours), _) => ours,
            // Another dns-b has a newer catalogue, and may have handed this out.
            (None, node)
                if node.is_none_or(|node| node.service().is_none()) && self.directory.is_coming(inner, zone.name()) =>
            {
                Answer::NOT_READY
            }
            (None, Some(node)) => match node.service() {
                Some(service) => return Step::Ranked(self.place, service, cut),
                None if node.leads_to_service() || inner.is_empty() => nodata(),
                None => self.nothing(cut),
            },
            (None, None) => self.nothing(cut),
        })
    }

    /// NXDOMAIN within the label zone.
    fn nothing(&self, cut: Cut<'d>) -> Answer<'d> {
        Answer { rcode: rcode::NXDOMAIN, ..self.with_authority(Says::Nothing(Apex::Label(cut))) }
    }

    /// A service in a label zone.
    pub(super) fn ranked(&self, service: usize, cut: Cut<'d>) -> Answer<'d> {
        let facts = self.place.zone.facts(service);
        let short = facts.ttl.min(self.directory.settings().direct_ttl);
        let own = self.question.role == Role::DnsLb;
        let reported = cut.lb.and_then(|(lb, _)| match own {
            true => self.directory.asked_ranking(lb, facts.id).map(|ranking| (ranking, false)),
            false => reported(self.directory, lb, facts.id),
        });
        let apex = Apex::Label(cut);
        let (ranking, ttl, decision) = match reported {
            Some((ranking, stale)) => {
                let ttl = if stale { short } else { facts.ttl };
                return self.sites(service, ranking, ttl, (Decision::Label, apex)).marked_stale(stale);
            }
            None if own => return self.unranked(service, short, apex),
            None => match self.directory.aggregate(facts.id) {
                Some(aggregate) => (aggregate, short, Decision::Aggregate),
                None => (self.place.zone.customer_order(service), short, Decision::CustomerOrder),
            },
        };
        self.sites(service, ranking, ttl, (decision, apex))
    }

    /// At a DNS-LB, a service that it has not ranked yet: what stands here is the answer if no dns-b gives one.
    #[cold]
    fn unranked(&self, service: usize, ttl: u32, apex: Apex<'d>) -> Answer<'d> {
        let decision = match self.directory.settings().first_question {
            FirstQuestion::Hint => Decision::Relay,
            FirstQuestion::CustomerOrder => Decision::CustomerOrder,
            FirstQuestion::Fail => return Answer::relay(),
        };
        let order = self.place.zone.customer_order(service);
        Answer { ede: Some(Ede::NotReady), ..self.sites(service, order, ttl, (decision, apex)) }
    }

    /// `<nonce>._dglb.<label>.<zone> TXT`: by echoing the nonce with its identity a DNS-LB shows a
    /// dns-b that an advertised address is its own (design section 4). Nobody else answers it.
    fn identity_check(&self, cut: Cut<'d>) -> Option<Answer<'d>> {
        let (name, inner) = (self.question.name, self.place.labels - 1);
        let check = name.start(inner.checked_sub(1)?)..name.start(inner);
        if &name[check] != b"\x05_dglb" {
            return None;
        }
        // One label for the nonce, and the check's own.
        Some(if inner != 2 || self.question.qtype != rtype::TXT {
            self.with_authority(Says::Nothing(Apex::Label(cut)))
        } else if self.question.role == Role::DnsLb {
            self.with_authority(Says::Identity)
        } else {
            self.nothing(cut)
        })
    }
}

impl<'d> Cut<'d> {
    /// The DNS-LB's addresses.
    pub(crate) fn addresses(&self) -> &'d [IpAddr] {
        self.lb.map_or(&[], |(_, lb)| &lb.addresses)
    }
}
