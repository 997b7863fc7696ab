//! Services that somebody asked for below our label and that we do not know: the dns-bs are asked for
//! their zone, each zone once in a while, so that nobody can make us ask on and on.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    dns::qname::QName,
    fleet::FleetServer,
    name::Name,
    proto::message::{Message, Want},
};

use super::{Effects, Keeper};

/// How long a zone is not asked for again.
const PAUSE: Duration = Duration::from_secs(30);
/// Most zones that are remembered; as long as there are so many, no other is asked for.
const MOST: usize = 1_024;
/// Where dns-bs are asked, as the world asks them.
const DNS: u16 = 53;

/// The zones that were asked for, and until when they are not asked for again.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<Name, Instant>);

impl Wanted {
    /// Whether a zone is to be asked for now.
    fn ask(&mut self, zone: Name, now: Instant) -> bool {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| *until > now);
        }
        let room = self.0.len() < MOST;
        match self.0.get_mut(&zone) {
            Some(until) if *until > now => return false,
            Some(until) => *until = now + PAUSE,
            None if room => drop(self.0.insert(zone, now + PAUSE)),
            None => return false,
        }
        true
    }
}

impl Keeper {
    /// Somebody asked for a name below our label that we could not answer.
    pub(super) fn asked(&mut self, name: &Name, now: Instant, effects: &mut Effects) {
        let name = QName::from(name);
        let Some(before) = self.directory.own_label(&name) else { return };
        let (label, zone) = (name.start(before), name.start(before + 1));
        let wire = |octets: &[u8]| Name::from_wire(octets).ok();
        let (Some(zone), Some(service)) = (wire(&name[zone..]), wire(&[&name[..label], &name[zone..]].concat())) else {
            return;
        };
        // A service of a zone that is held is being measured.
        let held = self.directory.zone_of(&QName::from(&zone)).is_some();
        if held || self.linked.is_empty() || !self.wanted.ask(zone, now) {
            return;
        }
        tracing::info!(%service, "a service that is not known here was asked for");
        self.metrics.wants.inc();
        let wants = self.linked.iter().map(|server| (server.clone(), Message::Want(Want { service: service.clone() })));
        effects.send.extend(wants);
    }
}

impl Keeper {
    /// Where dns-bs answer in this DNS-LB's name: first those that are its fall-backs.
    pub fn fallbacks(&self) -> Vec<SocketAddr> {
        let Some(fleet) = &self.fleet else { return Vec::new() };
        let own = fleet.fallbacks(self.settings.identity.as_str().as_bytes());
        let others = fleet.servers.iter().filter(|server| !own.contains(server));
        let addresses = |server: &FleetServer| server.fallback.first().copied();
        own.iter().copied().chain(others).filter_map(addresses).map(|address| SocketAddr::new(address, DNS)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an arbitrary instant")]
    fn beginning() -> Instant {
        Instant::now()
    }

    #[test]
    fn every_zone_once_in_a_while_and_not_too_many() {
        let (mut wanted, now) = (Wanted::default(), beginning());
        let zone = |n: usize| format!("z{n}.test").parse::<Name>().unwrap();
        assert!(wanted.ask(zone(0), now));
        assert!(!wanted.ask(zone(0), now + PAUSE - Duration::from_millis(1)));
        assert!(wanted.ask(zone(0), now + PAUSE));
        for n in 1..MOST {
            assert!(wanted.ask(zone(n), now + PAUSE), "{n}");
        }
        assert!(!wanted.ask(zone(MOST), now + PAUSE), "there is no room");
        assert!(wanted.ask(zone(MOST), now + 2 * PAUSE), "there is again");
    }
}
