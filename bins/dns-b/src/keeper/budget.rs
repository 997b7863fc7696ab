//! A customer's ceiling of probes on each site over all POPs, shared out: BUDGET (design section 5).
//! Pure: who may probe how much.
//!
//! Invariant: for every address with a ceiling, the shares that DNS-LBs may be using (the greater of
//! what each has acknowledged and what it was sent since) come to no more than the ceiling. So
//! when somebody joins, the others' shares shrink first, and it gets its own when they have said so;
//! and one that is cut off keeps its share for as long as its lease runs.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use dglb_core::{
    catalogue::Service,
    directory::LbIndex,
    identity::Identity,
    proto::message::{Budget, BudgetShare, Message, PeerRole},
};

use super::{Keeper, Outgoing};

/// Standard deviations between what is given out and a ceiling: beyond six is one second in a thousand
/// million.
const DEVIATIONS: f64 = 6.0;

/// Shares are equal, one of so many parts.
type Parts = u32;

/// Who holds which share.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    generation: u64,
    /// Thousandths of a probe in a second, over all POPs.
    ceilings: BTreeMap<IpAddr, u32>,
    parts: Parts,
    holders: HashMap<LbIndex, Holder>,
}

/// What one DNS-LB may be using.
#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    /// The share of its last BUDGET; `None` before the first.
    sent: Option<Parts>,
    /// That BUDGET's generation; 0 where it has to be sent again.
    generation: u64,
    /// The greatest share that it may still be using, of those before.
    before: Option<Parts>,
}

impl Holder {
    /// The part of a ceiling that it may be using.
    fn uses(&self) -> f64 {
        self.sent.into_iter().chain(self.before).min().map_or(0.0, |parts| 1.0 / f64::from(parts))
    }
}

/// Into how many parts a ceiling is cut for so many DNS-LBs: 1, 2, 3, 4, 6, 8, 12, 16 … A few more than
/// there are, so that most newcomers change nobody else's share.
fn parts_for(count: usize) -> Parts {
    let count = Parts::try_from(count).unwrap_or(Parts::MAX / 4).clamp(1, Parts::MAX / 4);
    let power = count.next_power_of_two();
    if power >= 4 && power / 4 * 3 >= count { power / 4 * 3 } else { power }
}

/// The share of a ceiling that was cut into so many parts, both in thousandths of a probe in a second.
///
/// Whoever may start two and a half probes in a second starts two of them or three, as its place in the
/// interval falls, and what many of them start varies like the throws of as many coins. So that no second
/// has more than the ceiling, all together get less than it by [`DEVIATIONS`] of that; but never less than
/// half, where a ceiling is so small that a few probes more would be most of it.
fn share_of(ceiling: u32, parts: Parts) -> u32 {
    let even = ceiling / parts.max(1);
    let (whole, most) = (even - even % 1_000, f64::from(ceiling));
    let fits = |share: u32| {
        let chance = f64::from(share - whole) / 1_000.0;
        let deviation = (f64::from(parts) * chance * (1.0 - chance)).sqrt() * 1_000.0;
        f64::from(parts) * f64::from(share) + DEVIATIONS * deviation <= most
    };
    // Whole probes do not vary at all, so the least always fits.
    let (mut least, mut above) = (whole, even + 1);
    while above - least > 1 {
        let middle = least + (above - least) / 2;
        if fits(middle) { least = middle } else { above = middle }
    }
    least.max(even.div_ceil(2))
}

impl Budgets {
    /// New ceilings. Whoever holds a share is told again.
    pub(super) fn set_ceilings(&mut self, ceilings: BTreeMap<IpAddr, u32>) {
        if self.ceilings != ceilings {
            self.ceilings = ceilings;
            self.holders.values_mut().for_each(|holder| holder.generation = 0);
        }
    }

    /// A DNS-LB's link is new. A new process of it probes nothing yet.
    pub(super) fn connected(&mut self, lb: LbIndex, restarted: bool) {
        let holder = self.holders.entry(lb).or_default();
        if restarted {
            *holder = Holder::default();
        }
        holder.generation = 0;
    }

    /// Its lease is over.
    pub(super) fn gone(&mut self, lb: LbIndex) {
        self.holders.remove(&lb);
    }

    /// It uses what it was sent with this generation.
    pub(super) fn acknowledged(&mut self, lb: LbIndex, generation: u64) {
        if let Some(holder) = self.holders.get_mut(&lb).filter(|h| h.generation == generation && generation > 0) {
            holder.before = None;
        }
    }

    /// The budgets that are due to those of whom `linked` is true. Shares that shrink come first; one
    /// that grows, or is the first, waits until there is room for it.
    /// `expected`: how many DNS-LBs there are at least, whether or not they have come.
    pub(super) fn due(&mut self, expected: usize, linked: impl Fn(LbIndex) -> bool) -> Vec<(LbIndex, Budget)> {
        if self.ceilings.is_empty() && self.holders.values().all(|h| h.sent.is_none()) {
            return Vec::new();
        }
        let count = self.holders.len().max(expected);
        let wanted = parts_for(count);
        // Not smaller again for a few that leave, or everybody would hear of everyone who comes and goes.
        if wanted > self.parts || parts_for(count + count / 4) < self.parts {
            self.parts = wanted;
        }
        let parts = self.parts;
        let mut used: f64 = self.holders.values().map(Holder::uses).sum();
        let mut due = Vec::new();
        let mut order: Vec<LbIndex> = self.holders.keys().copied().filter(|lb| linked(*lb)).collect();
        order.sort_unstable();
        for lb in order {
            let Some(holder) = self.holders.get_mut(&lb) else { continue };
            if holder.sent == Some(parts) && holder.generation > 0 {
                continue;
            }
            let share = 1.0 / f64::from(parts);
            let uses = holder.uses();
            let grows = share > uses + f64::EPSILON;
            // A rounding error is no probe: the shares themselves are rounded down.
            let room = used - uses + share <= 1.0 + 1e-9;
            let next = match holder.sent {
                _ if !grows || room => parts,
                // The same once more, for a link that is new or ceilings that are.
                Some(sent) if holder.generation == 0 => sent,
                _ => continue,
            };
            self.generation += 1;
            holder.before = holder.sent.into_iter().chain(holder.before).min();
            (holder.sent, holder.generation) = (Some(next), self.generation);
            used += holder.uses() - uses;
            due.push((lb, self.budget(next)));
        }
        due
    }

    fn budget(&self, parts: Parts) -> Budget {
        let share = |(address, ceiling): (&IpAddr, &u32)| BudgetShare {
            address: *address,
            milliprobes_per_second: share_of(*ceiling, parts),
        };
        Budget { generation: self.generation, of: parts, shares: self.ceilings.iter().map(share).collect() }
    }

    /// How many addresses have a ceiling, into how many parts it is cut, and how many hold one.
    pub(super) fn summary(&self) -> (usize, u32, usize) {
        (self.ceilings.len(), self.parts, self.holders.values().filter(|h| h.sent.is_some()).count())
    }

    /// Ceilings that leave less than a thousandth of a probe a second to each: nobody may probe there.
    pub(super) fn starved(&self) -> usize {
        self.ceilings.values().filter(|ceiling| share_of(**ceiling, self.parts) == 0).count()
    }
}

impl Keeper {
    /// Once a second: shares that are due.
    pub(super) fn share_budgets(&mut self) {
        self.renew_ceilings();
        // Until all have come that may come, those that have not may be using a share from before.
        let may_come = || self.peers.values().filter(|peer| peer.role == PeerRole::DnsLb).count();
        let expected = if self.directory.is_filling() { may_come() } else { 0 };
        let lbs = &self.lbs;
        let linked = |lb: LbIndex| lbs.get(&lb).is_some_and(|truth| truth.link.is_some());
        for (lb, budget) in self.budgets.due(expected, linked) {
            if let Some(link) = self.lbs.get(&lb).and_then(|truth| truth.link) {
                self.outbox.push((link, Outgoing::One(Message::Budget(Box::new(budget)))));
            }
        }
        self.figures.budgets_starved = self.budgets.starved() as u64;
    }

    /// It keeps to the budget of this generation.
    pub(super) fn budget_acknowledged(&mut self, identity: &Identity, generation: u64) {
        if let Some(index) = self.directory.lb_of(identity) {
            self.budgets.acknowledged(index, generation);
        }
    }

    /// The least ceiling of every address, whosever it is.
    fn renew_ceilings(&mut self) {
        let mut ceilings: BTreeMap<IpAddr, u32> = BTreeMap::new();
        let services = self.directory.zones().flat_map(|zone| &zone.catalogue().services);
        for (address, ceiling) in services.flat_map(Service::probe_ceilings) {
            ceilings.entry(address).and_modify(|least| *least = ceiling.min(*least)).or_insert(ceiling);
        }
        self.budgets.set_ceilings(ceilings);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CEILING: u32 = 6_000;

    fn address() -> IpAddr {
        "203.0.113.1".parse().unwrap()
    }

    fn budgets(count: u32) -> Budgets {
        let mut budgets = Budgets::default();
        budgets.set_ceilings([(address(), CEILING)].into());
        (0..count).for_each(|n| budgets.connected(LbIndex(n), false));
        budgets
    }

    fn shares(due: &[(LbIndex, Budget)]) -> Vec<(u32, u32)> {
        due.iter().map(|(lb, b)| (lb.0, b.shares[0].milliprobes_per_second)).collect()
    }

    fn acknowledge(budgets: &mut Budgets, due: &[(LbIndex, Budget)]) {
        due.iter().for_each(|(lb, b)| budgets.acknowledged(*lb, b.generation));
    }

    #[test]
    fn a_ceiling_is_cut_into_as_few_parts_as_will_do() {
        let counts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 24, 25, 10_000];
        let parts = [1, 1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 16, 24, 32, 12_288];
        assert_eq!(counts.map(parts_for), parts);
    }

    #[test]
    fn all_shares_together_leave_room_for_chance() {
        assert_eq!(share_of(6_000, 3), 2_000, "whole probes do not vary");
        assert_eq!(share_of(48_000, 16), 3_000);
        assert_eq!((share_of(0, 7), share_of(1, 2)), (0, 0));
        assert_eq!(share_of(2_500, 40), 31, "half of a small one");
        // A thousand a second over ten thousand POPs, and over as many as there are parts.
        let share = share_of(1_000_000, 12_288);
        assert_eq!(share, 67);
        let mean = 12_288.0 * 0.067;
        assert!(mean + 5.5 * (mean * (1.0 - 0.067_f64)).sqrt() < 1_000.0);
        for (ceiling, parts) in (1..2_000_u32).map(|n| (n * 977, n % 700 + 1)) {
            let share = share_of(ceiling, parts);
            assert!(share * parts <= ceiling && share >= ceiling / parts / 2, "{ceiling} {parts}: {share}");
        }
    }

    #[test]
    fn a_newcomer_waits_until_the_others_have_shrunk() {
        let mut b = budgets(2);
        let first = b.due(0, |_| true);
        assert_eq!(shares(&first), [(0, 3_000), (1, 3_000)]);
        acknowledge(&mut b, &first);
        assert!(b.due(0, |_| true).is_empty());
        b.connected(LbIndex(2), false);
        let shrunk = b.due(0, |_| true);
        assert_eq!(shares(&shrunk), [(0, 2_000), (1, 2_000)], "it has none yet");
        b.acknowledged(LbIndex(0), shrunk[0].1.generation);
        assert!(b.due(0, |_| true).is_empty(), "there is not enough yet");
        b.acknowledged(LbIndex(1), shrunk[1].1.generation - 1);
        assert!(b.due(0, |_| true).is_empty(), "that was another");
        b.acknowledged(LbIndex(1), shrunk[1].1.generation);
        assert_eq!(shares(&b.due(0, |_| true)), [(2, 2_000)]);
        assert_eq!(b.summary(), (1, 3, 3));
    }

    #[test]
    fn who_is_cut_off_keeps_its_share_to_the_end_of_its_lease() {
        let mut b = budgets(2);
        let first = b.due(0, |_| true);
        acknowledge(&mut b, &first);
        b.connected(LbIndex(2), false);
        let linked = |lb: LbIndex| lb.0 != 1;
        let shrunk = b.due(0, linked);
        assert_eq!(shares(&shrunk), [(0, 2_000)]);
        acknowledge(&mut b, &shrunk);
        assert!(b.due(0, linked).is_empty(), "3000 are still used by the one that is cut off");
        b.gone(LbIndex(1));
        assert_eq!(shares(&b.due(0, linked)), [(0, 3_000), (2, 3_000)]);
    }

    #[test]
    fn a_new_link_is_told_again_and_a_new_process_begins_anew() {
        let mut b = budgets(2);
        let first = b.due(0, |_| true);
        acknowledge(&mut b, &first);
        b.connected(LbIndex(0), false);
        assert_eq!(shares(&b.due(0, |_| true)), [(0, 3_000)]);
        b.connected(LbIndex(0), true);
        assert_eq!(shares(&b.due(0, |_| true)), [(0, 3_000)]);
        // Another ceiling goes to all.
        b.set_ceilings([(address(), 1)].into());
        assert_eq!((shares(&b.due(0, |_| true)), b.starved()), (vec![(0, 0), (1, 0)], 1));
        // None at all, too.
        b.set_ceilings(BTreeMap::new());
        assert!(b.due(0, |_| true).iter().all(|(_, budget)| budget.shares.is_empty()));
    }

    /// Members come, go, fall silent and answer late, in an order that a seed draws.
    #[test]
    fn what_may_be_in_use_never_exceeds_the_ceiling() {
        for seed in 1..=300_u64 {
            let mut state = seed;
            let mut below = |n: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % n
            };
            let mut b = budgets(0);
            // What each really uses, and what is on its way to it.
            let mut used: HashMap<LbIndex, u32> = HashMap::new();
            let mut on_its_way: Vec<(LbIndex, Budget)> = Vec::new();
            let mut silent: HashSet<LbIndex> = HashSet::new();
            for step in 0..200 {
                let lb = LbIndex(below(12) as u32);
                match below(10) {
                    0..=2 => {
                        b.connected(lb, false);
                        silent.remove(&lb);
                    }
                    3 => drop(silent.insert(lb)),
                    4 => {
                        b.gone(lb);
                        used.remove(&lb);
                        on_its_way.retain(|(to, _)| *to != lb);
                    }
                    5 | 6 => on_its_way.extend(b.due(0, |lb| !silent.contains(&lb))),
                    _ if !on_its_way.is_empty() => {
                        let (lb, budget) = on_its_way.remove(0);
                        used.insert(lb, budget.shares[0].milliprobes_per_second);
                        if below(4) > 0 {
                            b.acknowledged(lb, budget.generation);
                        }
                    }
                    _ => {}
                }
                let sum: u32 = used.values().sum();
                assert!(sum <= CEILING, "seed {seed}, step {step}: {used:?}");
            }
        }
    }
}
