//! How much this DNS-LB may probe the addresses that have a ceiling (design section 5): its share, as
//! every dns-b gave it. Pure: time is an argument.
//!
//! Invariant: an address with a ceiling is probed no faster than the least share that any connected
//! dns-b gave, and not at all before the first. Without any dns-b the last share holds: measuring
//! goes on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{identity::Identity, proto::message::Budget};
use serde::Serialize;

/// A newcomer waits for every connected dns-b, but not longer than this for one that says nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What holds for an address with a ceiling; thousandths of a probe in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// No dns-b has said anything yet.
    None,
    /// At most so much; 0 is nothing.
    AtMost(u32),
}

impl Share {
    /// The time between the starts of two probes of the address; `None` while there may be none.
    pub fn interval(self) -> Option<Duration> {
        match self {
            Self::None | Self::AtMost(0) => None,
            Self::AtMost(milliprobes) => Some(Duration::from_secs(1_000) / milliprobes),
        }
    }
}

/// All addresses that have a ceiling.
pub type InForce = Arc<HashMap<IpAddr, Share>>;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Shares {
    /// Since when an address is known to have a ceiling.
    limited: HashMap<IpAddr, Instant>,
    connected: BTreeSet<Identity>,
    given: BTreeMap<Identity, HashMap<IpAddr, u32>>,
    in_force: InForce,
}

impl Shares {
    /// These addresses have a ceiling.
    pub fn limit(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Instant) {
        let before = std::mem::take(&mut self.limited);
        let since = |address: IpAddr| (address, before.get(&address).copied().unwrap_or(now));
        self.limited = addresses.into_iter().map(since).collect();
    }

    /// The link to a dns-b is up.
    pub fn up(&mut self, server: &Identity) {
        self.connected.insert(server.clone());
    }

    /// The link to a dns-b is down, and its word counts no more.
    pub fn down(&mut self, server: &Identity) {
        self.connected.remove(server);
        self.given.remove(server);
    }

    /// A dns-b's shares, instead of those that it gave before.
    pub fn give(&mut self, server: &Identity, budget: &Budget) {
        if self.connected.contains(server) {
            let shares = budget.shares.iter().map(|s| (s.address, s.milliprobes_per_second)).collect();
            self.given.insert(server.clone(), shares);
        }
    }

    /// What holds from now on, if that is another than before.
    pub fn settle(&mut self, now: Instant) -> Option<InForce> {
        let next = self.limited.iter().map(|(address, since)| (*address, self.share_of(*address, *since, now)));
        let next: HashMap<IpAddr, Share> = next.collect();
        if next == *self.in_force {
            return None;
        }
        self.in_force = Arc::new(next);
        Some(Arc::clone(&self.in_force))
    }

    fn share_of(&self, address: IpAddr, since: Instant, now: Instant) -> Share {
        let held = self.in_force.get(&address).copied().unwrap_or(Share::None);
        let given = || self.given.values().filter_map(|shares| shares.get(&address));
        let Some(least) = given().min() else { return held };
        // Whose books do not have this DNS-LB yet may have given everything to others.
        let all = given().count() >= self.connected.len();
        let waited = now.saturating_duration_since(since) >= PATIENCE;
        if held != Share::None || all || waited { Share::AtMost(*least) } else { Share::None }
    }

    /// What holds.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::proto::message::BudgetShare;

    use super::*;

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    fn address(n: u8) -> IpAddr {
        [203, 0, 113, n].into()
    }

    fn budget(shares: &[(u8, u32)]) -> Budget {
        let share =
            |(n, milliprobes): &(u8, u32)| BudgetShare { address: address(*n), milliprobes_per_second: *milliprobes };
        Budget { generation: 1, of: 2, shares: shares.iter().map(share).collect() }
    }

    fn share(shares: &mut Shares, now: Instant) -> Share {
        shares.settle(now);
        shares.in_force()[&address(1)]
    }

    #[test]
    fn the_least_of_all_counts_and_the_first_is_waited_for() {
        let now = Instant::now();
        let (b1, b2) = (id("b1"), id("b2"));
        let mut s = Shares::default();
        assert_eq!(s.settle(now), None, "nothing has a ceiling");
        s.up(&b1);
        s.up(&b2);
        s.limit([address(1)], now);
        assert_eq!(share(&mut s, now), Share::None);
        s.give(&b1, &budget(&[(1, 500), (9, 1)]));
        assert_eq!(share(&mut s, now), Share::None, "b2 has not given anything");
        s.give(&b2, &budget(&[(1, 300)]));
        assert_eq!(share(&mut s, now), Share::AtMost(300));
        assert_eq!(s.in_force().len(), 1, "an address that has no ceiling here");
        assert_eq!(s.settle(now), None, "no news");
        s.give(&b2, &budget(&[(1, 700)]));
        assert_eq!(share(&mut s, now), Share::AtMost(500));
        // One that comes back knows nothing yet; it is not waited for again.
        s.down(&b1);
        s.up(&b1);
        assert_eq!(share(&mut s, now), Share::AtMost(700));
        s.down(&b1);
        s.down(&b2);
        assert_eq!(share(&mut s, now), Share::AtMost(700), "measuring goes on");
        s.give(&b2, &budget(&[(1, 1)]));
        assert_eq!(share(&mut s, now), Share::AtMost(700), "it is not connected");
        s.limit([], now);
        assert!(s.settle(now).unwrap().is_empty());
    }

    #[test]
    fn one_that_says_nothing_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let mut s = Shares::default();
        s.up(&id("b1"));
        s.up(&id("b2"));
        s.limit([address(1)], now);
        s.give(&id("b1"), &budget(&[(1, 500)]));
        assert_eq!(share(&mut s, now + PATIENCE - Duration::from_millis(1)), Share::None);
        s.limit([address(1), address(2)], now + PATIENCE / 2);
        assert_eq!(share(&mut s, now + PATIENCE), Share::AtMost(500));
        assert_eq!(s.in_force()[&address(2)], Share::None);
    }

    #[test]
    fn a_share_is_an_interval() {
        assert_eq!(Share::AtMost(2_000).interval(), Some(Duration::from_millis(500)));
        assert_eq!(Share::AtMost(1).interval(), Some(Duration::from_secs(1_000)));
        assert_eq!([Share::AtMost(0), Share::None].map(Share::interval), [None, None]);
    }
}
