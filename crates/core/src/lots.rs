//! Which of a service's sites a client network draws, where they are shared out (design section 5).
//!
//! Invariant: what a network draws follows from its own bits, the sites' names and their shares alone. So
//! everybody in it gets the same, from whichever server, and as long as the shares stand; and when they
//! change, only as many networks move as must (rendezvous hashing).

use std::{hash::Hasher, net::IpAddr};

use crate::{
    catalogue::{Form, Service},
    fleet::{Fnv, mix},
    locate::{Client, network_hash, rarity},
};

/// The networks that draw together.
const BITS_V4: u8 = 24;
const BITS_V6: u8 = 48;

/// How many leading bits of an address draw together.
fn drawing_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { BITS_V4 } else { BITS_V6 }
}

/// A client network that draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn(u64);

/// A site's chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lot {
    /// Index into the service's sites.
    pub(crate) site: u16,
    /// In any unit, more than 0.
    share: u16,
    seed: u64,
}

/// The sites that clients are shared out to; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lots {
    /// In the customer's order.
    lots: Box<[Lot]>,
    /// Whether further sites follow the first in the customer's order, or are drawn, too.
    in_turn: bool,
}

impl Turn {
    /// That of the network that the client's subnet names if there is one, else of who asks; with the
    /// SCOPE PREFIX-LENGTH of the former.
    pub(crate) fn of(client: &Client) -> (Self, u8) {
        let by_subnet = client.by_subnet();
        let address = by_subnet.map_or(client.address, |(address, _)| address);
        (Self::of_network(address), if by_subnet.is_some() { drawing_bits(address) } else { 0 })
    }

    /// That of the network that the address is in.
    pub fn of_network(address: IpAddr) -> Self {
        Self(mix(network_hash(address, drawing_bits(address)).finish()))
    }
}

impl Lots {
    /// Of those sites by index that have a share; `None` where none has, so that all clients go to the first.
    pub(crate) fn new(service: &Service, shares: impl Iterator<Item = (u16, u16)>) -> Option<Self> {
        let lot = |(site, share): (u16, u16)| {
            let mut hash = Fnv::default();
            hash.write(service.sites.get(usize::from(site))?.name.as_bytes());
            Some(Lot { site, share, seed: mix(hash.finish()) })
        };
        let mut lots: Vec<Lot> = shares.filter(|(_, share)| *share > 0).filter_map(lot).collect();
        lots.sort_by_key(|lot| lot.site);
        let in_turn = service.policy.form == Form::RoundRobin;
        (!lots.is_empty()).then(|| Self { lots: lots.into(), in_turn })
    }

    /// What each site's weight gives it by the policy's form; nothing, where that goes by the score.
    pub(crate) fn by_form(service: &Service, usable: impl Iterator<Item = u16>) -> Option<Self> {
        let even = service.policy.form == Form::RoundRobin;
        let weight = |site: u16| {
            let weight = service.sites.get(usize::from(site)).map_or(0, |s| s.weight);
            (site, if even { 1 } else { weight })
        };
        service.policy.form.is_spread().then(|| Self::new(service, usable.map(weight))).flatten()
    }

    pub(crate) fn shares(&self) -> impl Iterator<Item = (u16, u16)> {
        self.lots.iter().map(|lot| (lot.site, lot.share))
    }

    /// The sites in the order of this network: the first one that is drawn of all, then those others that are
    /// `wanted`. Each further one costs a look at all.
    pub(crate) fn order(&self, turn: Turn, wanted: impl Fn(u16) -> bool) -> impl Iterator<Item = u16> {
        let times = move |lot: &Lot| (rarity(mix(turn.0 ^ lot.seed)), u64::from(lot.share));
        // By the time that each takes to come: its rarity by its share.
        let compare = move |a: &&Lot, b: &&Lot| {
            let ((time, of), (least, share)) = (times(a), times(b));
            (u128::from(time) * u128::from(share)).cmp(&(u128::from(least) * u128::from(of))).then(a.site.cmp(&b.site))
        };
        let first = self.lots.iter().min_by(compare);
        let mut last = first;
        let next = move || {
            let before = last?;
            let rest = self.lots.iter().filter(|lot| wanted(lot.site));
            let next = match self.in_turn {
                false => rest.filter(|lot| compare(lot, &before).is_gt()).min_by(compare),
                true => {
                    let start = first.map_or(0, |first| first.site);
                    let place = |lot: &Lot| (lot.site < start, lot.site);
                    rest.filter(|lot| place(lot) > place(before)).min_by_key(|lot| place(lot))
                }
            };
            last = next;
            next.map(|lot| lot.site)
        };
        first.map(|lot| lot.site).into_iter().chain(std::iter::from_fn(next))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::{Mode, Policy, Site};

    /// With a site for each weight.
    pub(crate) fn service(form: Form, weights: &[u16]) -> Service {
        Service {
            name: "www.glb.test".parse().unwrap(),
            host: "www.test".parse().unwrap(),
            mode: Mode::Direct,
            ttl: 300,
            answers: 1,
            policy: Policy { form, ..Policy::default() },
            probes: vec![],
            sites: weights
                .iter()
                .enumerate()
                .map(|(n, weight)| Site { name: format!("s{n}"), weight: *weight, ..Site::default() })
                .collect(),
            https: None,
            probe_ceiling: None,
            least_ttl: None,
        }
    }

    fn network(n: u32) -> Turn {
        Turn::of_network(IpAddr::from(((10 << 24) | (n << 8) | 53).to_be_bytes()))
    }

    fn firsts(lots: &Lots, networks: u32) -> Vec<u16> {
        (0..networks).map(|n| lots.order(network(n), |_| false).next().unwrap()).collect()
    }

    #[test]
    fn networks_are_shared_out_as_the_weights_say() {
        let service = service(Form::Weighted, &[1, 3, 4]);
        let lots = Lots::by_form(&service, 0..3).unwrap();
        let drawn = firsts(&lots, 16_384);
        for (site, expected) in [(0, 2_048), (1, 6_144), (2, 8_192_usize)] {
            let found = drawn.iter().filter(|s| **s == site).count();
            // Four standard deviations of the largest.
            assert!(found.abs_diff(expected) < 260, "{site}: {found}, not {expected}");
        }
    }

    #[test]
    fn only_forms_that_spread_draw_by_weight() {
        for form in [Form::Best, Form::Failover] {
            assert_eq!(Lots::by_form(&service(form, &[1, 1]), 0..2), None);
        }
    }

    #[test]
    fn everybody_in_a_network_has_the_same_turn() {
        let turn = |address: &str| Turn::of_network(address.parse().unwrap());
        assert_eq!(turn("192.0.2.1"), turn("192.0.2.255"));
        assert_ne!(turn("192.0.2.1"), turn("192.0.3.1"));
        assert_eq!(turn("2001:db8:1::1"), turn("2001:db8:1:ffff::9"));
        assert_ne!(turn("2001:db8:1::1"), turn("2001:db8:2::1"));
    }

    proptest! {
        /// A site that gets less or goes moves its own networks alone, and to those that there are.
        #[test]
        fn only_as_many_move_as_must(
            shares in prop::collection::vec(1_u16..1_000, 2..6),
            which in any::<prop::sample::Index>(),
            left in 0_u16..1_000,
        ) {
            let service = service(Form::Best, &vec![1; shares.len()]);
            let which = which.index(shares.len());
            let of = |shares: &[u16]| Lots::new(&service, (0..).zip(shares.iter().copied()));
            let before = of(&shares).unwrap();
            let mut less = shares.clone();
            less[which] = left.min(shares[which] - 1);
            let Some(after) = of(&less) else { return Ok(()) };
            for (was, is) in firsts(&before, 200).into_iter().zip(firsts(&after, 200)) {
                prop_assert!(was == is || usize::from(was) == which, "{was} to {is}");
            }
        }

        /// Every wanted site once, the first drawn before all; in turn they follow the customer's order.
        #[test]
        fn the_order_is_one(n in 1_u16..9, network in any::<u32>(), in_turn: bool) {
            let form = if in_turn { Form::RoundRobin } else { Form::Sticky };
            let service = service(form, &vec![7; usize::from(n)]);
            let lots = Lots::by_form(&service, 0..n).unwrap();
            let turn = Turn::of_network(IpAddr::from(network.to_be_bytes()));
            let order: Vec<u16> = lots.order(turn, |_| true).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            prop_assert_eq!(&order, &lots.order(turn, |_| true).collect::<Vec<_>>());
            if in_turn {
                prop_assert!(order.windows(2).all(|pair| pair[1] == (pair[0] + 1) % n), "{order:?}");
            }
        }
    }
}
