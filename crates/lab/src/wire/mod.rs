//! The wire between all hosts: one thread that takes IP packets out of each host's interface and
//! puts them into the addressee's after the pair's delay, or not at all.
//!
//! Every packet meets exactly one [`Fate`], which is counted for its pair. Packets of one pair and
//! direction are never reordered unless the link's `reorder` allows its jitter to do so. When a
//! call that changes the wire has returned, no packet meets the old state any more: a cut holds
//! for packets that were already on their way.

mod lead;
mod link;
mod packet;
mod queue;
mod router;
mod tap;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use link::{Counters, Link};
pub(crate) use link::{Fate, Pair};
pub(crate) use router::{Port, Router};
pub(crate) use tap::{Handshake, Seen, Tap};

/// Packets that belong to no pair of hosts, counted for the whole wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Multicast and broadcast: neighbours' chatter that ends at the host's own cable.
    pub multicast: u64,
    /// To an address that no host has.
    pub unroutable: u64,
    /// Not an IP packet.
    pub malformed: u64,
}

/// The state of all links; a cheap handle that may be cloned and kept.
#[derive(Clone, Debug)]
pub struct Wire {
    fabric: Arc<Mutex<Fabric>>,
}

/// All pairs of `size` hosts, by number.
#[derive(Debug)]
pub(crate) struct Fabric {
    size: usize,
    pairs: Vec<Pair>,
    isolated: Vec<bool>,
    pub(crate) strays: Strays,
    pub(crate) tap: Tap,
}

/// A host's number on the wire: its place in the topology.
pub(crate) type HostNumber = usize;

impl Wire {
    /// A wire between `size` hosts; `link` tells each ordered pair's link.
    pub(crate) fn new(size: usize, link: impl Fn(HostNumber, HostNumber) -> Link) -> Self {
        let pairs = (0..size * size).map(|at| Pair::new(link(at / size, at % size))).collect();
        let fabric =
            Fabric { size, pairs, isolated: vec![false; size], strays: Strays::default(), tap: Tap::default() };
        Self { fabric: Arc::new(Mutex::new(fabric)) }
    }

    /// Changes the link from `from` to `to`, this direction only.
    pub(crate) fn change(&self, from: HostNumber, to: HostNumber, change: impl FnOnce(&mut Link)) {
        change(&mut self.fabric().pair(from, to).link);
    }

    /// Cuts a host off from everybody, or connects it again; cut pairs stay cut.
    pub(crate) fn isolate(&self, host: HostNumber, isolated: bool) {
        self.fabric().isolated[host] = isolated;
    }

    pub(crate) fn is_isolated(&self, host: HostNumber) -> bool {
        self.fabric().isolated[host]
    }

    /// The link as it is now, without regard to isolated hosts.
    pub(crate) fn link(&self, from: HostNumber, to: HostNumber) -> Link {
        self.fabric().pair(from, to).link
    }

    pub(crate) fn counters(&self, from: HostNumber, to: HostNumber) -> Counters {
        self.fabric().pair(from, to).counters
    }

    /// Packets that belonged to no pair.
    pub fn strays(&self) -> Strays {
        self.fabric().strays
    }

    /// Watches the DNS on the wire from now on.
    pub(crate) fn watch(&self) -> std::sync::mpsc::Receiver<Seen> {
        self.fabric().tap.open()
    }

    /// Watches the handshakes of TCP from now on.
    pub(crate) fn watch_handshakes(&self) -> std::sync::mpsc::Receiver<Handshake> {
        self.fabric().tap.open_handshakes()
    }

    pub(crate) fn fabric(&self) -> MutexGuard<'_, Fabric> {
        // Every change is a plain store: a panic elsewhere cannot leave half of one behind.
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fabric {
    pub(crate) fn pair(&mut self, from: HostNumber, to: HostNumber) -> &mut Pair {
        &mut self.pairs[from * self.size + to]
    }

    /// Whether nothing passes between the two now.
    pub(crate) fn is_cut(&mut self, from: HostNumber, to: HostNumber) -> bool {
        self.isolated[from] || self.isolated[to] || self.pair(from, to).link.cut
    }
}

/// Half of a round trip.
pub(crate) fn one_way(round_trip: Duration) -> Duration {
    round_trip / 2
}

/// Which host has which address.
pub(crate) type Routes = std::collections::HashMap<IpAddr, HostNumber>;
