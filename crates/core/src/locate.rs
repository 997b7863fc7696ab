//! Who asks, and which DNS-LB or which ranking serves them (design section 4).
//!
//! *Locate* is a longest-prefix match that also yields the scope: the depth below which no other
//! answer can be reached. *Choose* picks among the DNS-LBs of the matched entry with a hash keyed
//! on that scope, so everybody inside it gets the same answer and the scope stays true. The
//! lookup is total: somebody or something is always found.

use std::{hash::Hasher, net::IpAddr};

use crate::{
    catalogue::Mode,
    directory::{Directory, Lb, LbIndex, LbState, RankedSites, ServiceId, ZoneEntry},
    dns::{Decision, query::Subnet},
    fleet::{Fnv, mix},
    net::{canonical, family_bits, mask},
    table::{Located, Member},
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
    /// Drops a subnet that comes from a resolver outside the allow-list.
    pub fn new(directory: &Directory, address: IpAddr, subnet: Option<Subnet>) -> Self {
        let address = canonical(address);
        let trusted = || directory.settings().ecs_from.iter().any(|p| p.contains(address));
        Self { address, subnet: subnet.filter(|s| s.source == 0 || trusted()) }
    }
}

/// What a service's question is answered with.
#[derive(Clone, Copy, Debug)]
pub enum Route<'d> {
    /// A CNAME into this DNS-LB's label zone.
    Refer {
        /// To whom.
        lb: &'d Lb,
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
    },
}

/// A [`Route`] and for whom else it holds.
#[derive(Clone, Copy, Debug)]
pub struct Found<'d> {
    /// The way.
    pub route: Route<'d>,
    /// SCOPE PREFIX-LENGTH for the client subnet option; 0 where none was used.
    pub scope: u8,
}

/// How much a DNS-LB is worth handing out, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Alive, acknowledged everywhere, and has a ranking for the service.
    Ready,
    /// Alive, but not yet to be handed out for this service.
    Joining,
    /// Its link or its checks failed; its lease still runs.
    Suspect,
}

/// Finds the way for a service of a zone.
pub fn locate<'d>(directory: &'d Directory, client: &Client, zone: &'d ZoneEntry, service: usize) -> Found<'d> {
    let (located, address, scope) = matched(directory, client);
    let at = Chooser { directory, zone, service, key: scope_key(address, located.scope) };
    let route = located
        .group
        .and_then(|group| at.entry(group.members()))
        // By the resolver, whose own address this is, even where its client was matched: the table
        // of resolvers knows nothing of the scope, and inside that nobody may be answered otherwise.
        .or_else(|| at.neighbour(client.address))
        .or_else(|| at.default_group())
        .unwrap_or_else(|| at.aggregate());
    Found { route, scope }
}

/// The longest match: the client's networks by ECS if there is one, else the resolver itself.
fn matched<'d>(directory: &'d Directory, client: &Client) -> (Located<'d>, IpAddr, u8) {
    let by_source = || directory.resolvers().lookup(client.address, family_bits(client.address));
    match client.subnet.filter(|s| s.source > 0) {
        None => (by_source(), client.address, 0),
        Some(subnet) => {
            let by_client = directory.clients().lookup(subnet.address, subnet.source);
            match by_client.group {
                Some(_) => (by_client, subnet.address, by_client.scope),
                // No network of this client is known: its resolver may be, for all such clients.
                None => (by_source(), client.address, by_client.scope),
            }
        }
    }
}

fn scope_key(address: IpAddr, scope: u8) -> u64 {
    let mut hash = Fnv::default();
    match mask(address, scope) {
        IpAddr::V4(v4) => hash.write(&v4.octets()),
        IpAddr::V6(v6) => hash.write(&v6.octets()),
    }
    hash.write(&[scope]);
    mix(hash.finish())
}

struct Chooser<'d> {
    directory: &'d Directory,
    zone: &'d ZoneEntry,
    service: usize,
    key: u64,
}

impl<'d> Chooser<'d> {
    fn id(&self) -> ServiceId {
        self.zone.service_id(self.service)
    }

    /// The way of a matched entry; `None` when nobody of it is left.
    fn entry(&self, group: &[Member]) -> Option<Route<'d>> {
        let (worth, lb) = self.pick(group)?;
        let settings = self.directory.settings();
        Some(match worth {
            // While the store is still filling, a better match may be on its way (design section 3).
            Worth::Ready if self.directory.is_filling() => {
                self.hand_out(lb, settings.guess_ttl, Decision::Mapped, Decision::Direct)
            }
            Worth::Ready => self.hand_out(lb, u32::MAX, Decision::Mapped, Decision::Direct),
            Worth::Joining => match self.directory.ranking(lb, self.id()) {
                Some(ranking) => {
                    Route::Sites { ranking, ttl: self.ttl(settings.direct_ttl), decision: Decision::Direct }
                }
                None => self.aggregate(),
            },
            Worth::Suspect => self.hand_out(lb, settings.guess_ttl, Decision::Suspect, Decision::Suspect),
        })
    }

    fn neighbour(&self, address: IpAddr) -> Option<Route<'d>> {
        let settings = self.directory.settings();
        let least = if address.is_ipv4() { settings.neighbour_bits_v4 } else { settings.neighbour_bits_v6 }?;
        let near = self.directory.resolvers().nearest(address, least)?;
        self.guess(near.group?.members(), Decision::Neighbour)
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
    fn hand_out(&self, lb: LbIndex, limit: u32, referred: Decision, answered: Decision) -> Route<'d> {
        let catalogue = self.zone.catalogue();
        match catalogue.services[self.service].mode {
            Mode::Referral => self.directory.find_lb(lb).map_or_else(
                || self.aggregate(),
                |lb| Route::Refer { lb, ttl: catalogue.cname_ttl.min(limit), decision: referred },
            ),
            Mode::Direct => self.directory.ranking(lb, self.id()).map_or_else(
                || self.aggregate(),
                |ranking| Route::Sites { ranking, ttl: self.ttl(limit), decision: answered },
            ),
        }
    }

    /// All DNS-LBs' rankings together, or the customer's order where there is none.
    fn aggregate(&self) -> Route<'d> {
        let ttl = self.ttl(self.directory.settings().direct_ttl);
        match self.directory.aggregate(self.id()) {
            Some(ranking) => Route::Sites { ranking, ttl, decision: Decision::Aggregate },
            None => {
                let ranking = self.zone.customer_order(self.service);
                Route::Sites { ranking, ttl, decision: Decision::CustomerOrder }
            }
        }
    }

    fn ttl(&self, limit: u32) -> u32 {
        self.zone.catalogue().services[self.service].ttl.min(limit)
    }

    /// Worthiest first, then lowest preference, then by weight with the scope's hash.
    fn pick(&self, group: &[Member]) -> Option<(Worth, LbIndex)> {
        let worth = |member: &Member| self.worth(member.lb).map(|w| (w, member.preference));
        let best = group.iter().filter_map(worth).min()?;
        let candidates = || group.iter().filter(|m| worth(m) == Some(best));
        let total: u64 = candidates().map(|m| u64::from(m.weight.max(1))).sum();
        let mut point = self.key % total.max(1);
        for member in candidates() {
            match point.checked_sub(u64::from(member.weight.max(1))) {
                Some(rest) => point = rest,
                None => return Some((best.0, member.lb)),
            }
        }
        None
    }

    fn worth(&self, index: LbIndex) -> Option<Worth> {
        let lb = self.directory.find_lb(index)?;
        let ranked = self.directory.ranking(index, self.id()).is_some();
        match lb.state {
            _ if lb.drained || self.zone.occupies(lb.label()) => None,
            LbState::Gone => None,
            LbState::Alive if lb.handed_out && ranked => Some(Worth::Ready),
            LbState::Alive => Some(Worth::Joining),
            LbState::Suspect => (lb.handed_out && ranked).then_some(Worth::Suspect),
        }
    }
}
