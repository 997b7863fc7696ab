//! Who may stay connected. New connections are never refused while an idle one can make room: the
//! one that is idle for longest goes, of the same client where it is the client that has too many
//! (RFC 7766 section 6.2.2, RFC 9210 section 4.1). Who has work in progress is left alone.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use dglb_core::net::{canonical, mask};

/// Leading bits of an IPv6 address that are one client.
const CLIENT_V6: u8 = 64;

/// The open connections of one thread; `V` ends one of them.
#[derive(Debug)]
pub(super) struct Places<V> {
    most: usize,
    most_per_client: usize,
    connections: HashMap<Id, Entry<V>>,
    clients: HashMap<IpAddr, usize>,
    /// The idle ones by what they did last, longest ago first.
    idle: BTreeSet<(Turn, Id)>,
    /// The same by client.
    idle_of_client: BTreeSet<(IpAddr, Turn, Id)>,
    next: u64,
}

/// A connection, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u64);

/// Counts what happens here; a clock would say no more.
type Turn = u64;

#[derive(Debug)]
struct Entry<V> {
    client: IpAddr,
    /// `None` while it has work in progress.
    idle: Option<Turn>,
    end: Option<V>,
}

/// All places are taken by connections with work in progress.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A place that was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<V> {
    pub(super) id: Id,
    /// Had to go for it; its place is free already.
    pub(super) evicted: Option<V>,
}

impl<V> Places<V> {
    pub(super) fn new(most: usize, most_per_client: usize) -> Self {
        Self {
            most,
            most_per_client,
            connections: HashMap::new(),
            clients: HashMap::new(),
            idle: BTreeSet::new(),
            idle_of_client: BTreeSet::new(),
            next: 0,
        }
    }

    /// A place for a connection from `peer`, idle at first.
    pub(super) fn admit(&mut self, peer: IpAddr) -> Result<Admitted<V>, Full> {
        let client = client(peer);
        let evicted = if self.clients.get(&client).is_some_and(|open| *open >= self.most_per_client) {
            Some(self.longest_idle_of(client).ok_or(Full)?)
        } else if self.connections.len() >= self.most {
            Some(self.longest_idle().ok_or(Full)?)
        } else {
            None
        };
        let evicted = evicted.and_then(|id| self.leave(id));
        let id = Id(self.turn());
        self.connections.insert(id, Entry { client, idle: None, end: None });
        *self.clients.entry(client).or_default() += 1;
        self.idle(id);
        Ok(Admitted { id, evicted })
    }

    /// How to end this connection, should its place be needed.
    pub(super) fn ends_by(&mut self, id: Id, end: V) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.end = Some(end);
        }
    }

    /// It has work in progress.
    pub(super) fn busy(&mut self, id: Id) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        if let Some(turn) = entry.idle.take() {
            self.idle.remove(&(turn, id));
            self.idle_of_client.remove(&(entry.client, turn, id));
        }
    }

    /// It has done something, and is idle from now on.
    pub(super) fn idle(&mut self, id: Id) {
        self.busy(id);
        let turn = self.turn();
        let Some(entry) = self.connections.get_mut(&id) else { return };
        entry.idle = Some(turn);
        self.idle.insert((turn, id));
        self.idle_of_client.insert((entry.client, turn, id));
    }

    /// Gives a place back; how the connection would have been ended. Nothing for one that is gone.
    pub(super) fn leave(&mut self, id: Id) -> Option<V> {
        self.busy(id);
        let entry = self.connections.remove(&id)?;
        if let Some(open) = self.clients.get_mut(&entry.client) {
            *open -= 1;
            if *open == 0 {
                self.clients.remove(&entry.client);
            }
        }
        entry.end
    }

    /// Takes the place of the one that is idle for longest, if there is one.
    pub(super) fn evict(&mut self) -> Option<V> {
        self.longest_idle().and_then(|id| self.leave(id))
    }

    fn longest_idle(&self) -> Option<Id> {
        self.idle.first().map(|(_, id)| *id)
    }

    fn longest_idle_of(&self, client: IpAddr) -> Option<Id> {
        let first = self.idle_of_client.range((client, 0, Id(0))..).next();
        first.filter(|(of, ..)| *of == client).map(|(.., id)| *id)
    }

    fn turn(&mut self) -> Turn {
        self.next += 1;
        self.next
    }
}

/// What counts as one client: an IPv4 address or an IPv6 /64.
fn client(peer: IpAddr) -> IpAddr {
    match canonical(peer) {
        v6 @ IpAddr::V6(_) => mask(v6, CLIENT_V6),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admit(places: &mut Places<&'static str>, peer: &str, name: &'static str) -> (Id, Option<&'static str>) {
        let admitted = places.admit(peer.parse().unwrap()).unwrap();
        places.ends_by(admitted.id, name);
        (admitted.id, admitted.evicted)
    }

    #[test]
    fn the_longest_idle_one_makes_room() {
        let mut places = Places::new(3, 3);
        let (first, _) = admit(&mut places, "192.0.2.1", "first");
        let (second, _) = admit(&mut places, "192.0.2.2", "second");
        let (third, _) = admit(&mut places, "192.0.2.3", "third");
        places.idle(first);
        assert_eq!(admit(&mut places, "192.0.2.4", "fourth").1, Some("second"));
        // Its own late steps change nothing.
        places.busy(second);
        places.idle(second);
        assert_eq!(places.leave(second), None);
        places.busy(third);
        assert_eq!(admit(&mut places, "192.0.2.5", "fifth").1, Some("first"));
        assert_eq!(admit(&mut places, "192.0.2.6", "sixth").1, Some("fourth"));
        places.idle(third);
        assert_eq!((places.evict(), places.evict(), places.evict()), (Some("fifth"), Some("sixth"), Some("third")));
        assert_eq!(places.evict(), None);
        assert!(places.clients.is_empty() && places.idle_of_client.is_empty());
    }

    #[test]
    fn who_has_too_many_loses_its_own() {
        let mut places = Places::new(10, 2);
        admit(&mut places, "2001:db8:0:1::1", "other");
        let (first, _) = admit(&mut places, "2001:db8::1", "first");
        admit(&mut places, "2001:db8::2", "second");
        assert_eq!(admit(&mut places, "2001:db8::3", "third").1, Some("first"));
        assert_eq!(admit(&mut places, "192.0.2.1", "v4").1, None);
        assert_eq!(admit(&mut places, "::ffff:192.0.2.1", "mapped v4").1, None);
        assert_eq!(admit(&mut places, "192.0.2.1", "v4 again").1, Some("v4"));
        places.busy(first);
        assert_eq!(places.connections.len(), 5);
    }

    #[test]
    fn work_in_progress_is_left_alone() {
        let mut places = Places::new(2, 2);
        let (first, _) = admit(&mut places, "192.0.2.1", "first");
        let (second, _) = admit(&mut places, "192.0.2.1", "second");
        places.busy(first);
        places.busy(second);
        for peer in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(places.admit(peer.parse().unwrap()), Err(Full));
        }
        assert_eq!(places.evict(), None);
        places.leave(first);
        assert_eq!(admit(&mut places, "192.0.2.2", "third").1, None);
    }

    proptest! {
        /// Against a list that is searched from its beginning.
        #[test]
        fn caps_hold_and_the_books_are_straight(steps in prop::collection::vec((0..4_u8, 0..5_u8, any::<prop::sample::Index>()), 1..200)) {
            let mut places = Places::new(6, 3);
            // Oldest first: id, client, busy.
            let mut model: Vec<(Id, u8, bool)> = Vec::new();
            for (step, peer, which) in steps {
                let chosen = (!model.is_empty()).then(|| which.index(model.len()));
                match (step, chosen) {
                    (0, _) | (_, None) => {
                        let own = model.iter().filter(|(_, client, _)| *client == peer).count();
                        let victim = match own >= 3 {
                            true => Some(model.iter().position(|(_, client, busy)| *client == peer && !busy)),
                            false => (model.len() >= 6).then(|| model.iter().position(|(.., busy)| !busy)),
                        };
                        let admitted = places.admit(IpAddr::from([192, 0, 2, peer]));
                        match victim {
                            Some(None) => prop_assert_eq!(admitted, Err(Full)),
                            _ => {
                                let admitted = admitted.unwrap();
                                let evicted = victim.flatten().map(|at| model.remove(at).0);
                                prop_assert_eq!(admitted.evicted, evicted);
                                places.ends_by(admitted.id, admitted.id);
                                model.push((admitted.id, peer, false));
                            }
                        }
                    }
                    (1, Some(at)) => {
                        places.busy(model[at].0);
                        model[at].2 = true;
                    }
                    (2, Some(at)) => {
                        let (id, client, _) = model.remove(at);
                        places.idle(id);
                        model.push((id, client, false));
                    }
                    (_, Some(at)) => {
                        let (id, ..) = model.remove(at);
                        prop_assert_eq!(places.leave(id), Some(id));
                    }
                }
                prop_assert_eq!(places.connections.len(), model.len());
                prop_assert_eq!(places.idle.len(), model.iter().filter(|(.., busy)| !busy).count());
                prop_assert_eq!(places.idle.len(), places.idle_of_client.len());
                prop_assert_eq!(places.clients.values().sum::<usize>(), model.len());
            }
        }
    }
}
