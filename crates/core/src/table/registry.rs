//! The writer's side of the map table: who claimed which prefix, and until when.
//!
//! The invariant: the table's group for a prefix is exactly the DNS-LBs that hold a claim on it,
//! and a group lives exactly as long as some prefix uses it. A lease belongs to a DNS-LB and not
//! to its claims, so renewing one costs the same for one prefix and for a hundred thousand.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use thiserror::Error;

use super::{
    LbIndex, MapTable,
    group::{GroupId, Interner, MOST_GROUPS, Member},
};
use crate::net::Prefix;

/// By what right a DNS-LB holds a prefix (design section 6, "Trust").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// It proved residence: it receives what is sent to the resolver there.
    Proven,
    /// The operator's configuration says so.
    Static,
}

/// One prefix that a DNS-LB serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Where the clients or resolvers are.
    pub prefix: Prefix,
    /// Lower is asked first.
    pub preference: u16,
    /// Share among DNS-LBs of equal preference; only ratios matter.
    pub weight: u16,
    /// By what right.
    pub source: Source,
}

/// A claim with its holder, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The DNS-LB that holds it.
    pub lb: LbIndex,
    /// What it holds.
    pub claim: Claim,
    /// When it ends unless renewed; `None` for never.
    pub lease: Option<Instant>,
}

/// How many claims an operation touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Claims that are new.
    pub added: usize,
    /// Claims whose preference, weight or source is another now.
    pub replaced: usize,
    /// Claims that are gone.
    pub removed: usize,
}

/// Why a set of claims was not taken; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// Something newer is known already.
    #[error("generation {offered} is older than {held}, which is held")]
    Stale {
        /// The generation known.
        held: u64,
        /// The generation offered.
        offered: u64,
    },
    /// The table would outgrow its bound.
    #[error("{claims} claims are more than the table can hold beside what it has; its limit is {limit}")]
    Full {
        /// Claims offered.
        claims: usize,
        /// The most claims that a registry holds.
        limit: usize,
    },
}

/// A prefix with its next group, or `None` if it ceases to be an entry.
type Regrouped = (Prefix, Option<GroupId>);

/// One less than there are group ids: the writer holds a prefix's old group until it has the new.
const MOST_CLAIMS: usize = MOST_GROUPS - 1;

/// Every claim of every DNS-LB, and the table made of them.
#[derive(Debug, Default)]
pub struct Registry {
    table: MapTable,
    interner: Interner,
    holders: HashMap<LbIndex, Holder>,
    claims: usize,
    /// For each lease that ends, a time not after its end. A renewal leaves it behind;
    /// [`Registry::settle`] catches up when the time is reached.
    deadlines: BTreeSet<(Instant, LbIndex)>,
}

#[derive(Debug, Default)]
struct Holder {
    generation: u64,
    lease: Option<Instant>,
    /// This holder's key in `deadlines`.
    deadline: Option<Instant>,
    claims: BTreeMap<Prefix, Terms>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    preference: u16,
    weight: u16,
    source: Source,
}

impl Registry {
    /// No claims.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces everything that `lb` holds by `claims`, and its lease; of several claims on one
    /// prefix the last counts. Only prefixes that differ are touched in the table.
    ///
    /// # Errors
    /// [`RegistryError`]; then nothing has changed.
    pub fn set(
        &mut self,
        lb: LbIndex,
        generation: u64,
        lease: Option<Instant>,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Changes, RegistryError> {
        let wanted: BTreeMap<Prefix, Terms> = claims.into_iter().map(|c| (c.prefix, c.terms())).collect();
        self.admit(lb, generation, wanted.len())?;
        let held = self.holders.get(&lb).map(|h| &h.claims);
        let gone = held.into_iter().flat_map(BTreeMap::keys).filter(|p| !wanted.contains_key(p));
        let gone: Vec<Prefix> = gone.copied().collect();
        let mut regrouped = Vec::new();
        let removed = self.drop_claims(lb, gone, &mut regrouped);
        let changes = Changes { removed, ..self.put_claims(lb, wanted, &mut regrouped) };
        self.accept(lb, generation, lease, regrouped);
        Ok(changes)
    }

    /// Adds `claims` to what `lb` holds, or replaces those on the same prefixes, and its lease.
    ///
    /// # Errors
    /// [`RegistryError`]; then nothing has changed.
    pub fn add(
        &mut self,
        lb: LbIndex,
        generation: u64,
        lease: Option<Instant>,
        claims: impl IntoIterator<Item = Claim>,
    ) -> Result<Changes, RegistryError> {
        let wanted: BTreeMap<Prefix, Terms> = claims.into_iter().map(|c| (c.prefix, c.terms())).collect();
        self.admit(lb, generation, wanted.len())?;
        let mut regrouped = Vec::new();
        let changes = self.put_claims(lb, wanted, &mut regrouped);
        self.accept(lb, generation, lease, regrouped);
        Ok(changes)
    }

    /// Takes in what was held before a restart, without leases: the table is built once instead of
    /// being changed for each. A DNS-LB that holds something already is passed over; of several
    /// claims on one prefix the last counts.
    ///
    /// # Errors
    /// [`RegistryError::Full`]; then nothing has changed.
    pub fn restore(&mut self, held: Vec<(LbIndex, u64, Vec<Claim>)>) -> Result<(), RegistryError> {
        let offered = held.iter().map(|(_, _, claims)| claims.len()).sum::<usize>();
        if offered > MOST_CLAIMS - self.claims {
            return Err(RegistryError::Full { claims: offered, limit: MOST_CLAIMS });
        }
        let mut joining: Vec<(Prefix, Member)> = Vec::with_capacity(offered);
        for (lb, generation, claims) in held {
            if self.holders.contains_key(&lb) {
                continue;
            }
            let claims: BTreeMap<Prefix, Terms> = claims.into_iter().map(|c| (c.prefix, c.terms())).collect();
            let member = |t: &Terms| Member { lb, preference: t.preference, weight: t.weight };
            joining.extend(claims.iter().map(|(prefix, terms)| (*prefix, member(terms))));
            self.claims += claims.len();
            self.holders.insert(lb, Holder { generation, claims, ..Holder::default() });
        }
        joining.sort_unstable_by_key(|(prefix, member)| (*prefix, member.preference, member.lb));
        let mut regrouped: Vec<Regrouped> = Vec::new();
        let mut members = Vec::new();
        for same in joining.chunk_by(|a, b| a.0 == b.0) {
            let prefix = same[0].0;
            let old = if self.table.is_empty() { None } else { self.table.exact(prefix) };
            members.clear();
            members.extend(old.into_iter().flat_map(|group| group.members()).copied());
            members.extend(same.iter().map(|(_, member)| *member));
            if old.is_some() {
                members.sort_unstable_by_key(|m| (m.preference, m.lb));
            }
            let old = old.map(|group| group.id());
            let groups = &mut self.table.groups;
            let new = self.interner.acquire(groups, &members);
            if let Some(old) = old {
                self.interner.release(groups, old);
            }
            regrouped.push((prefix, new));
        }
        self.table.apply(regrouped);
        Ok(())
    }

    /// Withdraws `lb` from these prefixes; those that it does not hold are passed over. Returns how
    /// many it held. The lease stays as it is.
    pub fn remove(&mut self, lb: LbIndex, prefixes: impl IntoIterator<Item = Prefix>) -> usize {
        let mut regrouped = Vec::new();
        let removed = self.drop_claims(lb, prefixes, &mut regrouped);
        self.table.apply(regrouped);
        removed
    }

    /// Forgets `lb`: its claims, its lease and its generation. Returns how many claims it held.
    pub fn remove_all(&mut self, lb: LbIndex) -> usize {
        let held = self.holders.get(&lb).map(|h| h.claims.keys().copied().collect::<Vec<_>>());
        let removed = self.remove(lb, held.unwrap_or_default());
        if let Some(deadline) = self.holders.remove(&lb).and_then(|h| h.deadline) {
            self.deadlines.remove(&(deadline, lb));
        }
        removed
    }

    /// Lets everything that `lb` holds live until `lease`, `None` for ever; in constant time where
    /// the lease grows longer. False if `lb` holds nothing that could be renewed.
    pub fn renew(&mut self, lb: LbIndex, lease: Option<Instant>) -> bool {
        let Some(holder) = self.holders.get_mut(&lb) else { return false };
        holder.lease = lease;
        let Some(lease) = lease else { return true };
        if holder.deadline.is_none_or(|queued| lease < queued) {
            let queued = holder.deadline.replace(lease);
            self.deadlines.extend([(lease, lb)]);
            queued.map(|d| self.deadlines.remove(&(d, lb)));
        }
        true
    }

    /// Forgets every DNS-LB whose lease has ended at `now`, and returns them in the order of their
    /// leases.
    pub fn expire(&mut self, now: Instant) -> Vec<LbIndex> {
        let mut gone = Vec::new();
        while let Some((lease, lb)) = self.settle()
            && lease <= now
        {
            self.remove_all(lb);
            gone.push(lb);
        }
        gone
    }

    /// When the next lease ends; `None` if none ever does.
    pub fn next_expiry(&mut self) -> Option<Instant> {
        self.settle().map(|(lease, _)| lease)
    }

    /// The table as it is now. Clone it to publish it.
    pub fn table(&self) -> &MapTable {
        &self.table
    }

    /// The generation that `lb` set last, if it is known.
    pub fn generation(&self, lb: LbIndex) -> Option<u64> {
        self.holders.get(&lb).map(|h| h.generation)
    }

    /// How many claims there are, over all DNS-LBs.
    pub fn len(&self) -> usize {
        self.claims
    }

    /// Whether nobody claims anything.
    pub fn is_empty(&self) -> bool {
        self.claims == 0
    }

    /// How many different groups the table's prefixes use.
    pub fn groups(&self) -> usize {
        self.interner.len()
    }

    /// The claims of one DNS-LB in the order of their prefixes.
    pub fn held(&self, lb: LbIndex) -> impl Iterator<Item = Held> {
        let holder = self.holders.get_key_value(&lb);
        holder.into_iter().flat_map(|(lb, h)| h.claims.iter().map(|(prefix, terms)| h.held(*lb, *prefix, *terms)))
    }

    /// Every claim: in the order of the prefixes, and of preference within a prefix.
    pub fn iter(&self) -> impl Iterator<Item = Held> {
        self.table.iter().flat_map(move |(prefix, group)| {
            group.members().iter().filter_map(move |member| {
                let holder = self.holders.get(&member.lb)?;
                Some(holder.held(member.lb, prefix, *holder.claims.get(&prefix)?))
            })
        })
    }

    fn admit(&self, lb: LbIndex, generation: u64, claims: usize) -> Result<(), RegistryError> {
        let held = self.generation(lb).unwrap_or(0);
        if generation < held {
            return Err(RegistryError::Stale { held, offered: generation });
        }
        // A group has at least one claim, so this bounds the groups as well.
        if claims > MOST_CLAIMS - self.claims {
            return Err(RegistryError::Full { claims, limit: MOST_CLAIMS });
        }
        Ok(())
    }

    fn accept(&mut self, lb: LbIndex, generation: u64, lease: Option<Instant>, regrouped: Vec<Regrouped>) {
        self.table.apply(regrouped);
        self.holders.entry(lb).or_default().generation = generation;
        self.renew(lb, lease);
    }

    fn put_claims(&mut self, lb: LbIndex, wanted: BTreeMap<Prefix, Terms>, regrouped: &mut Vec<Regrouped>) -> Changes {
        let mut changes = Changes::default();
        for (prefix, terms) in wanted {
            let claims = &mut self.holders.entry(lb).or_default().claims;
            match claims.insert(prefix, terms) {
                Some(old) if old == terms => continue,
                Some(_) => changes.replaced += 1,
                None => {
                    changes.added += 1;
                    self.claims += 1;
                }
            }
            regrouped.extend(self.regroup(prefix, lb, Some(terms)));
        }
        changes
    }

    fn drop_claims(
        &mut self,
        lb: LbIndex,
        prefixes: impl IntoIterator<Item = Prefix>,
        regrouped: &mut Vec<Regrouped>,
    ) -> usize {
        let before = self.claims;
        for prefix in prefixes {
            let claims = self.holders.get_mut(&lb).map(|h| &mut h.claims);
            if claims.and_then(|c| c.remove(&prefix)).is_some() {
                self.claims -= 1;
                regrouped.extend(self.regroup(prefix, lb, None));
            }
        }
        before - self.claims
    }

    /// Finds the group that `prefix` has once `lb` is in it on these terms, or out of it; nothing
    /// if it is the one that it has. The table is yet to be told, before anything else happens.
    fn regroup(&mut self, prefix: Prefix, lb: LbIndex, terms: Option<Terms>) -> Option<Regrouped> {
        let old = self.table.exact(prefix);
        let others = old.into_iter().flat_map(|g| g.members()).filter(|m| m.lb != lb).copied();
        let joining = terms.map(|t| Member { lb, preference: t.preference, weight: t.weight });
        let mut members: Vec<Member> = others.chain(joining).collect();
        members.sort_unstable_by_key(|m| (m.preference, m.lb));
        let old = old.map(|g| g.id());
        let groups = &mut self.table.groups;
        // `admit` keeps a number free, so an entry never loses its group for want of one.
        let new = if members.is_empty() { None } else { self.interner.acquire(groups, &members) };
        if let Some(old) = old {
            self.interner.release(groups, old);
        }
        (new != old).then_some((prefix, new))
    }

    /// Brings the first deadline up to date with its lease, and returns it.
    fn settle(&mut self) -> Option<(Instant, LbIndex)> {
        loop {
            let (queued, lb) = self.deadlines.first().copied()?;
            let holder = self.holders.get_mut(&lb);
            let lease = holder.as_ref().and_then(|h| h.lease);
            if lease == Some(queued) {
                return Some((queued, lb));
            }
            self.deadlines.pop_first();
            if let Some(holder) = holder {
                holder.deadline = lease;
                self.deadlines.extend(lease.map(|l| (l, lb)));
            }
        }
    }
}

impl Holder {
    fn held(&self, lb: LbIndex, prefix: Prefix, terms: Terms) -> Held {
        let Terms { preference, weight, source } = terms;
        Held { lb, claim: Claim { prefix, preference, weight, source }, lease: self.lease }
    }
}

impl Claim {
    fn terms(&self) -> Terms {
        Terms { preference: self.preference, weight: self.weight, source: self.source }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    const A: LbIndex = LbIndex(1);
    const B: LbIndex = LbIndex(2);

    fn claim(prefix: &str, preference: u16) -> Claim {
        Claim { prefix: prefix.parse().unwrap(), preference, weight: 10, source: Source::Proven }
    }

    /// Some instant to count from; the tests never read the clock a second time.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }

    fn members(registry: &Registry, prefix: &str) -> Vec<(LbIndex, u16)> {
        let group = registry.table().exact(prefix.parse().unwrap());
        group.map_or(Vec::new(), |g| g.members().iter().map(|m| (m.lb, m.preference)).collect())
    }

    #[test]
    fn a_set_replaces_what_came_before_and_touches_only_the_difference() {
        let mut registry = Registry::new();
        let first = [claim("10.0.0.0/8", 1), claim("10.1.0.0/16", 1), claim("2001:db8::/32", 1)];
        let changes = registry.set(A, 1, None, first).unwrap();
        assert_eq!(changes, Changes { added: 3, replaced: 0, removed: 0 });
        registry.set(B, 1, None, [claim("10.0.0.0/8", 0)]).unwrap();
        assert_eq!(members(&registry, "10.0.0.0/8"), [(B, 0), (A, 1)]);
        assert_eq!(registry.groups(), 2);

        let second = [claim("10.0.0.0/8", 1), claim("10.1.0.0/16", 7), claim("10.2.0.0/16", 7)];
        let changes = registry.set(A, 2, None, second).unwrap();
        assert_eq!(changes, Changes { added: 1, replaced: 1, removed: 1 });
        assert_eq!(members(&registry, "2001:db8::/32"), []);
        assert_eq!(members(&registry, "10.1.0.0/16"), [(A, 7)]);
        assert_eq!((registry.len(), registry.table().len(), registry.groups()), (4, 3, 2));
        assert_eq!(registry.held(A).count(), 3);
        assert_eq!(registry.iter().map(|h| h.lb).collect::<Vec<_>>(), [B, A, A, A]);
    }

    #[test]
    fn what_is_restored_at_once_is_what_setting_one_after_the_other_makes() {
        let prefix = |n: u32| format!("10.{}.{}.0/24", n % 7, n % 11);
        let claims = |lb: u32| -> Vec<Claim> {
            let of = |n: u32| claim(&prefix(n * (lb + 3)), (n % 3) as u16);
            (0..40).map(of).chain([claim("2001:db8::/32", lb as u16)]).collect()
        };
        let (mut one_by_one, mut at_once) = (Registry::new(), Registry::new());
        for registry in [&mut one_by_one, &mut at_once] {
            registry.set(A, 9, None, claims(1)).unwrap();
        }
        let held: Vec<_> = (0..20).map(|lb| (LbIndex(lb), u64::from(lb), claims(lb))).collect();
        for (lb, generation, claims) in held.iter().filter(|(lb, ..)| *lb != A) {
            one_by_one.set(*lb, *generation, None, claims.clone()).unwrap();
        }
        at_once.restore(held).unwrap();
        assert!(at_once.iter().eq(one_by_one.iter()) && at_once.len() > 100);
        assert_eq!((at_once.len(), at_once.groups()), (one_by_one.len(), one_by_one.groups()));
        assert_eq!(at_once.generation(A), Some(9), "who is there already is passed over");
        assert_eq!(at_once.generation(LbIndex(7)), Some(7));
        for registry in [&mut one_by_one, &mut at_once] {
            (0..20).for_each(|lb| assert!(registry.remove_all(LbIndex(lb)) > 0));
            assert_eq!((registry.len(), registry.groups()), (0, 0), "groups are counted alike");
        }
    }

    #[test]
    fn an_older_generation_changes_nothing_and_the_same_one_may_come_again() {
        let mut registry = Registry::new();
        registry.set(A, 5, None, [claim("10.0.0.0/8", 1)]).unwrap();
        let refused = registry.set(A, 4, None, []);
        assert_eq!(refused, Err(RegistryError::Stale { held: 5, offered: 4 }));
        assert_eq!(registry.add(A, 4, None, [claim("11.0.0.0/8", 1)]), refused);
        assert_eq!((registry.len(), registry.generation(A)), (1, Some(5)));
        assert_eq!(registry.set(A, 5, None, [claim("10.0.0.0/8", 1)]).unwrap(), Changes::default());
        registry.add(A, 6, None, [claim("11.0.0.0/8", 1)]).unwrap();
        assert_eq!((registry.len(), registry.generation(A)), (2, Some(6)));
    }

    #[test]
    fn removals_pass_over_what_is_not_held() {
        let mut registry = Registry::new();
        registry.set(A, 1, None, [claim("10.0.0.0/8", 1), claim("11.0.0.0/8", 1)]).unwrap();
        registry.set(B, 1, None, [claim("10.0.0.0/8", 1)]).unwrap();
        assert_eq!(registry.remove(A, ["10.0.0.0/8", "12.0.0.0/8"].map(|p| p.parse().unwrap())), 1);
        assert_eq!(members(&registry, "10.0.0.0/8"), [(B, 1)]);
        assert_eq!((registry.remove_all(A), registry.remove_all(A)), (1, 0));
        assert_eq!(registry.generation(A), None);
        assert_eq!((registry.remove_all(B), registry.len(), registry.groups()), (1, 0, 0));
        assert!(registry.table().is_empty());
    }

    #[test]
    fn a_group_may_have_any_number_of_members_and_the_order_does_not_make_another() {
        let mut registry = Registry::new();
        for round in [0, 1] {
            for i in 0..40 {
                let lb = LbIndex(if round == 0 { i } else { 39 - i });
                let prefix = if round == 0 { "10.0.0.0/8" } else { "11.0.0.0/8" };
                registry.add(lb, 1, None, [claim(prefix, 3 - lb.0 as u16 % 4)]).unwrap();
                assert_eq!(members(&registry, prefix).len(), i as usize + 1);
            }
        }
        let listed = members(&registry, "10.0.0.0/8");
        assert!(listed.is_sorted_by_key(|(lb, preference)| (*preference, *lb)));
        assert_eq!(listed, members(&registry, "11.0.0.0/8"));
        assert_eq!(registry.groups(), 1);
        assert_eq!(registry.table().lookup([10, 0, 0, 1].into(), 32).scope, 7);
    }

    #[test]
    fn a_lease_is_renewed_for_all_claims_at_once_and_ends_for_all_at_once() {
        let start = now();
        let at = |s| start + Duration::from_secs(s);
        let mut registry = Registry::new();
        registry.set(A, 1, Some(at(60)), [claim("10.0.0.0/8", 1), claim("11.0.0.0/8", 1)]).unwrap();
        registry.set(B, 1, Some(at(70)), [claim("10.0.0.0/8", 2)]).unwrap();
        registry.set(LbIndex(3), 1, None, [claim("10.0.0.0/8", 3)]).unwrap();
        assert_eq!(registry.next_expiry(), Some(at(60)));
        for s in 1..=20 {
            assert!(registry.renew(A, Some(at(60 + s))));
        }
        assert_eq!(registry.next_expiry(), Some(at(70)));
        assert_eq!(registry.expire(at(69)), []);
        assert_eq!(registry.expire(at(70)), [B]);
        assert!(registry.held(A).all(|h| h.lease == Some(at(80))));
        registry.set(B, 1, Some(at(78)), [claim("10.0.0.0/8", 2)]).unwrap();
        assert!(registry.renew(A, Some(at(75))), "a lease may be cut short");
        assert_eq!(registry.next_expiry(), Some(at(75)));
        assert_eq!(registry.expire(at(77)), [A]);
        assert!(!registry.renew(A, Some(at(99))), "nothing is left to renew");
        assert_eq!(registry.expire(at(78)), [B]);
        assert_eq!((registry.next_expiry(), registry.expire(at(1_000_000))), (None, vec![]));
        assert_eq!(members(&registry, "10.0.0.0/8"), [(LbIndex(3), 3)]);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_lease_that_never_ends_can_begin_to_and_the_other_way_round() {
        let start = now();
        let at = |s| start + Duration::from_secs(s);
        let mut registry = Registry::new();
        registry.set(A, 1, Some(at(10)), [claim("10.0.0.0/8", 1)]).unwrap();
        assert!(registry.renew(A, None));
        assert_eq!((registry.next_expiry(), registry.expire(at(100))), (None, vec![]));
        assert!(registry.renew(A, Some(at(5))));
        assert_eq!((registry.next_expiry(), registry.expire(at(4))), (Some(at(5)), vec![]));
        assert_eq!(registry.expire(at(100)), [A]);
        assert!(registry.is_empty() && registry.deadlines.is_empty() && registry.holders.is_empty());
    }
}
