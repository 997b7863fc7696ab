//! Who asks, and which DNS-LB or which ranking serves them (design section 4).
//!
//! *Locate* is a longest-prefix match that also yields the scope: the depth below which no other
//! answer can be reached. *Choose* picks among the DNS-LBs of the matched entry with a hash keyed
//! on that scope, so everybody inside it gets the same answer and the scope stays true. The
//! lookup is total: somebody or something is always found.

use std::{hash::Hasher, net::IpAddr};

use crate::{
    catalogue::Mode,
    directory::{Directory, LbIndex, LbState, RankedSites, ServiceId, ZoneEntry},
    dns::{Decision, query::Subnet},
    fleet::{Fnv, mix},
    lbs::LbFacts,
    net::{canonical, family_bits, mask},
    table::{Group, Located, Member},
    zone::ServiceFacts,
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where the packet came from, IPv4-mapped addresses as IPv4.
    pub address: IpAddr,
    /// The client subnet, where it is to be echoed: the resolver is trusted with it, or it says
    /// "do not use my address" (source prefix 0).
    pub subnet: Option<Subnet>,
}

impl Client {
    /// Who sends no client subnet.
    #[inline(always)]
    pub fn new(address: IpAddr) -> Self {
        Self { address: canonical(address), subnet: None }
    }

    /// Takes a subnet, unless it comes from a resolver outside the allow-list.
    pub fn take_subnet(&mut self, directory: &Directory, subnet: Subnet) {
        let trusted = || directory.settings().ecs_from.iter().any(|p| p.contains(self.address));
        self.subnet = (subnet.source == 0 || trusted()).then_some(subnet);
    }

    /// The same in a zone that takes no client subnets: as if the resolver were not trusted with one.
    pub(crate) fn without_subnet(self) -> Self {
        Self { subnet: self.subnet.filter(|s| s.source == 0), ..self }
    }

    /// What to look up among the client networks, if anything.
    #[inline]
    pub(crate) fn by_subnet(&self) -> Option<(IpAddr, u8)> {
        self.subnet.filter(|s| s.source > 0).map(|s| (s.address, s.source))
    }

    /// What to look up among all prefixes.
    #[inline]
    pub(crate) fn by_source(&self) -> (IpAddr, u8) {
        (self.address, family_bits(self.address))
    }
}

/// What the tables say of somebody; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Match<'d> {
    /// The entry; its scope is known where that is a client subnet's, or none.
    pub(crate) located: Located<'d>,
    /// Whether it is that of the client subnet, and not the resolver's own.
    pub(crate) by_subnet: bool,
    /// SCOPE PREFIX-LENGTH for the client subnet option; 0 where none was used.
    pub(crate) scope: u8,
}

impl Match<'_> {
    /// By which address it was found.
    pub(crate) fn address(&self, client: &Client) -> IpAddr {
        client.subnet.filter(|_| self.by_subnet).map_or(client.address, |subnet| subnet.address)
    }
}

/// What a service's question is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route<'d> {
    /// A CNAME into this DNS-LB's label zone.
    Refer {
        /// To whom.
        lb: (LbIndex, &'d LbFacts),
        /// Seconds.
        ttl: u32,
        /// How it was found.
        decision: Decision,
    },
    /// Site addresses.
    Sites {
        /// Best first.
        ranking: &'d RankedSites,
        /// Seconds.
        ttl: u32,
        /// How it was found.
        decision: Decision,
        /// Whether it is of a DNS-LB whose ranking is too old.
        stale: bool,
    },
}

/// What is answered where a DNS-LB's ranking is, and whether that is too old: then its neighbour's
/// stands in for it, where there is one.
#[inline]
pub(crate) fn reported(directory: &Directory, lb: LbIndex, service: ServiceId) -> Option<(&RankedSites, bool)> {
    let lender = directory.facts(lb).and_then(|facts| facts.borrows);
    let lent = lender.and_then(|lender| directory.ranking(lender, service));
    let ranking = lent.or_else(|| directory.ranking(lb, service))?;
    Some((ranking, lender.is_some()))
}

/// How much a DNS-LB is worth handing out, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    /// Alive, acknowledged everywhere, and has a ranking for the service.
    Ready,
    /// Alive, but not yet to be handed out for this service.
    Joining,
    /// Its link or its checks failed; its lease still runs.
    Suspect,
}

impl Worth {
    /// The same for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Joining => "joining",
            Self::Suspect => "suspect",
        }
    }
}

/// Finds the way for a service of a zone: the longest match decides, or what stands in for one.
#[inline(always)]
pub(crate) fn choose<'d>(
    directory: &'d Directory,
    zone: &'d ZoneEntry,
    service: usize,
    (client, matched): (&Client, &Match<'d>),
) -> Route<'d> {
    let at = Chooser { directory, zone, service, facts: zone.facts(service), client, matched };
    matched
        .located
        .group
        .and_then(|group| at.entry(group.members()))
        .or_else(|| at.neighbour())
        .or_else(|| at.default_group())
        .unwrap_or_else(|| at.aggregate())
}

/// The DNS-LBs among which a choice was made that came to `decision`, what each is worth, and the one on
/// which it fell: for who wants to know why.
pub(crate) fn choices<'d>(
    directory: &'d Directory,
    zone: &'d ZoneEntry,
    service: usize,
    (client, matched, decision): (&Client, &Match<'d>, Decision),
) -> (Vec<(Member, Option<Worth>)>, Option<LbIndex>) {
    let at = Chooser { directory, zone, service, facts: zone.facts(service), client, matched };
    let group = match decision {
        Decision::Neighbour => at.nearest(),
        Decision::DefaultGroup => Some(directory.default_group()),
        _ => matched.located.group.map(Group::members),
    };
    let members = group.unwrap_or_default();
    let fell_on_nobody = matches!(decision, Decision::Aggregate | Decision::CustomerOrder);
    let chosen = at.pick(members).filter(|_| !fell_on_nobody).map(|(_, lb)| lb);
    (members.iter().map(|member| (*member, at.worth(member.lb))).collect(), chosen)
}

/// Asks for what [`choose`] is going to read of the DNS-LBs of an entry for a service. The first ones are
/// preferred, and a long list is nobody's hurry.
#[inline]
pub(crate) fn fetch(directory: &Directory, service: ServiceId, matched: &Match<'_>) {
    let members = matched.located.group.map_or(&[][..], |group| group.members());
    members.iter().take(4).for_each(|member| directory.fetch_lb(member.lb, service));
}

/// How rare a hash so high is: its negative binary logarithm as a share of all there are, in units of
/// 2^-32, below 2^38. In whole numbers, since it goes into answers and must not differ between hosts.
pub(crate) fn rarity(hash: u64) -> u64 {
    let zeros = hash.leading_zeros();
    if zeros == u64::BITS {
        return 64 << 32;
    }
    // From 1 to below 2, with 31 bits behind the point; each squaring yields one bit of its logarithm.
    let mut share = (hash << zeros) >> 32;
    let mut log = 0_u64;
    for bit in (8..32).rev() {
        share = (share * share) >> 31;
        if share >> 32 != 0 {
            share >>= 1;
            log |= 1 << bit;
        }
    }
    (u64::from(zeros + 1) << 32) - log
}

fn scope_key(address: IpAddr, scope: u8) -> u64 {
    let mut hash = network_hash(address, scope);
    hash.write(&[scope]);
    mix(hash.finish())
}

/// Of the network of `bits` bits that the address is in, to be gone on with and mixed.
pub(crate) fn network_hash(address: IpAddr, bits: u8) -> Fnv {
    let mut hash = Fnv::default();
    match mask(address, bits) {
        IpAddr::V4(v4) => hash.write(&v4.octets()),
        IpAddr::V6(v6) => hash.write(&v6.octets()),
    }
    hash
}

struct Chooser<'d, 'm> {
    directory: &'d Directory,
    zone: &'d ZoneEntry,
    service: usize,
    facts: &'d ServiceFacts,
    client: &'m Client,
    matched: &'m Match<'d>,
}

impl<'d> Chooser<'d, '_> {
    /// The way of a matched entry; `None` when nobody of it is left.
    #[inline]
    fn entry(&self, group: &[Member]) -> Option<Route<'d>> {
        let (worth, lb) = self.pick(group)?;
        let settings = self.directory.settings();
        Some(match worth {
            // While the store is still filling, a better match may be on its way (design section 3).
            Worth::Ready if self.directory.is_filling() => {
                self.hand_out(lb, settings.guess_ttl, Decision::Mapped, Decision::Direct)
            }
            Worth::Ready => self.hand_out(lb, u32::MAX, Decision::Mapped, Decision::Direct),
            Worth::Joining => self.sites(lb, settings.direct_ttl, Decision::Direct),
            Worth::Suspect => self.hand_out(lb, settings.guess_ttl, Decision::Suspect, Decision::Suspect),
        })
    }

    /// Of the resolver, even where its client was matched: the table of resolvers knows nothing of
    /// the scope, and inside that nobody may be answered otherwise.
    fn neighbour(&self) -> Option<Route<'d>> {
        self.guess(self.nearest()?, Decision::Neighbour)
    }

    /// The DNS-LBs of the mapped resolver that is nearest, if it is near enough.
    fn nearest(&self) -> Option<&'d [Member]> {
        let address = self.client.address;
        let settings = self.directory.settings();
        let least = if address.is_ipv4() { settings.neighbour_bits_v4 } else { settings.neighbour_bits_v6 }?;
        self.directory.resolvers().nearest(address, least)?.group.map(Group::members)
    }

    fn default_group(&self) -> Option<Route<'d>> {
        self.guess(self.directory.default_group(), Decision::DefaultGroup)
    }

    /// Somebody who was not located but is better than nobody: only when fit, and not for long.
    fn guess(&self, group: &[Member], decision: Decision) -> Option<Route<'d>> {
        let (worth, lb) = self.pick(group)?;
        let ttl = self.directory.settings().guess_ttl;
        (worth == Worth::Ready).then(|| self.hand_out(lb, ttl, decision, decision))
    }

    /// The name of a DNS-LB, or in direct mode the sites that it ranked.
    #[inline]
    fn hand_out(&self, lb: LbIndex, limit: u32, referred: Decision, answered: Decision) -> Route<'d> {
        let cname_ttl = self.zone.catalogue().cname_ttl;
        match self.facts.mode {
            Mode::Referral => self.directory.facts(lb).map_or_else(
                || self.aggregate(),
                |facts| Route::Refer { lb: (lb, facts), ttl: cname_ttl.min(limit), decision: referred },
            ),
            Mode::Direct => self.sites(lb, limit, answered),
        }
    }

    /// The sites that a DNS-LB ranked; of a ranking that is too old not for long.
    fn sites(&self, lb: LbIndex, limit: u32, decision: Decision) -> Route<'d> {
        let Some((ranking, stale)) = reported(self.directory, lb, self.facts.id) else { return self.aggregate() };
        let limit = if stale { limit.min(self.directory.settings().direct_ttl) } else { limit };
        Route::Sites { ranking, ttl: self.ttl(limit), decision, stale }
    }

    /// All DNS-LBs' rankings together, or the customer's order where there is none.
    fn aggregate(&self) -> Route<'d> {
        let ttl = self.ttl(self.directory.settings().direct_ttl);
        match self.directory.aggregate(self.facts.id) {
            Some(ranking) => Route::Sites { ranking, ttl, decision: Decision::Aggregate, stale: false },
            None => {
                let ranking = self.zone.customer_order(self.service);
                Route::Sites { ranking, ttl, decision: Decision::CustomerOrder, stale: false }
            }
        }
    }

    fn ttl(&self, limit: u32) -> u32 {
        self.facts.ttl.min(limit)
    }

    /// Worthiest first, then lowest preference, then by weight with the scope's hash.
    #[inline]
    fn pick(&self, group: &[Member]) -> Option<(Worth, LbIndex)> {
        if let [only] = group {
            return self.worth(only.lb).map(|worth| (worth, only.lb));
        }
        let worth = |member: &Member| self.worth(member.lb).map(|w| (w, member.preference));
        let mut best: Option<((Worth, u16), LbIndex)> = None;
        let mut equals = 0;
        for member in group {
            let Some(worth) = worth(member) else { continue };
            match &best {
                Some((least, _)) if worth > *least => continue,
                Some((least, _)) if worth == *least => {}
                _ => (best, equals) = (Some((worth, member.lb)), 0),
            }
            equals += 1;
        }
        let (best, first) = best?;
        if equals == 1 {
            return Some((best.0, first));
        }
        self.spread(group.iter().filter(|m| worth(m) == Some(best))).map(|lb| (best.0, lb))
    }

    /// One of equals, each as often as its weight says. It depends on who they are and on nothing else:
    /// not on the order in which this server met them, so all dns-bs choose alike, and when one leaves,
    /// only what was its own goes elsewhere (rendezvous hashing).
    fn spread<'g>(&self, equals: impl Iterator<Item = &'g Member>) -> Option<LbIndex> {
        let key = self.key();
        let mut chosen: Option<(u64, u64, &LbFacts, LbIndex)> = None;
        for member in equals {
            let Some(facts) = self.directory.facts(member.lb) else { continue };
            let mut hash = Fnv::default();
            hash.write(&key.to_be_bytes());
            hash.write(facts.label());
            // The first to come, where each comes as often as its weight says.
            let (time, weight) = (rarity(mix(hash.finish())), u64::from(member.weight.max(1)));
            let sooner = |(least, of, other, _): (u64, u64, &LbFacts, LbIndex)| {
                (time * of).cmp(&(least * weight)).then_with(|| facts.label().cmp(other.label())).is_lt()
            };
            if chosen.is_none_or(sooner) {
                chosen = Some((time, weight, facts, member.lb));
            }
        }
        chosen.map(|(.., lb)| lb)
    }

    /// What spreads questions: everybody within the scope has the same.
    fn key(&self) -> u64 {
        let address = self.matched.address(self.client);
        // That of a resolver's entry is looked for only here, where it matters.
        let found = || self.directory.resolvers().lookup(address, family_bits(address)).scope;
        let Located { group, scope, .. } = self.matched.located;
        scope_key(address, if self.matched.by_subnet || group.is_none() { scope } else { found() })
    }

    #[inline]
    fn worth(&self, index: LbIndex) -> Option<Worth> {
        let lb = self.directory.facts(index)?;
        if lb.drained || self.zone.hides(index) {
            return None;
        }
        // One that gets the zone only when it is asked for it has ranked nothing before.
        let ranked = || self.directory.has_ranking(index, self.facts.id) || self.zone.is_on_referral();
        let ready = lb.handed_out && ranked();
        match lb.state {
            LbState::Gone => None,
            LbState::Alive if ready => Some(Worth::Ready),
            LbState::Alive => Some(Worth::Joining),
            LbState::Suspect => ready.then_some(Worth::Suspect),
        }
    }
}
