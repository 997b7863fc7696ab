//! What runs on a host, and how it begins and ends.

use std::{collections::BTreeMap, time::Instant};

use dglb_core::{
    identity::Identity,
    proto::message::{BootId, Bye, ByeReason, Message, PeerRole, Welcome},
};
use dns_lb::registration::Claim;

use crate::{
    Ms, content,
    disk::Disk,
    dns_b::DnsB,
    dns_lb::DnsLb,
    endpoint::Endpoint,
    plan::{Size, Stop},
    publisher::Publisher,
    random::Random,
    world::{Happening, World},
};

/// A host of the world.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) kind: Kind,
    pub(crate) process: Option<Process>,
    /// Processes that were started here.
    starts: u64,
    /// Faults that keep its process from running.
    pub(crate) paused: u32,
    /// As a DNS-LB: what its files say.
    pub(crate) claim: Claim,
    /// As a dns-b: its store.
    pub(crate) disk: Disk,
}

/// What a host is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The nth dns-b.
    B(usize),
    /// The nth DNS-LB.
    Lb(usize),
    /// The enterprise's.
    Publisher,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) serial: u64,
    pub(crate) boot: BootId,
    pub(crate) started: Ms,
    pub(crate) daemon: Daemon,
    pub(crate) ends: BTreeMap<u64, End>,
    pub(crate) random: Random,
    /// The next wait's ceiling, by dns-b.
    pub(crate) backoff: BTreeMap<usize, Ms>,
    /// The newest edition of the catalogue that it answered from.
    pub(crate) edition: u16,
    /// Its directory has changed since the last look at everything.
    pub(crate) changed: bool,
}

/// One side of a connection, and whose the other is.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) endpoint: Endpoint,
    pub(crate) peer: usize,
    pub(crate) dialled: bool,
    pub(crate) since: Ms,
}

#[derive(Debug)]
pub(crate) enum Daemon {
    B(Box<DnsB>),
    Lb(Box<DnsLb>),
    Publisher(Box<Publisher>),
}

impl Kind {
    pub(crate) fn of(host: usize, size: Size) -> Self {
        if host < size.bs {
            Self::B(host)
        } else if host < size.publisher() {
            Self::Lb(host - size.bs)
        } else if host == size.publisher() {
            Self::Publisher
        } else {
            Self::Lb(host - size.publisher() - 1)
        }
    }

    pub(crate) fn identity(self) -> Identity {
        match self {
            Self::B(n) => content::b(n),
            Self::Lb(n) => content::lb(n),
            Self::Publisher => content::publisher(),
        }
    }

    pub(crate) fn role(self) -> PeerRole {
        match self {
            Self::B(_) => PeerRole::DnsB,
            Self::Lb(_) => PeerRole::DnsLb,
            Self::Publisher => PeerRole::DnsASync,
        }
    }
}

impl Host {
    pub(crate) fn new(host: usize, size: Size, random: &mut Random) -> Self {
        let kind = Kind::of(host, size);
        let n = if let Kind::Lb(n) = kind { n } else { 0 };
        Self {
            kind,
            process: None,
            starts: 0,
            paused: 0,
            claim: content::claim(n, host, random),
            disk: Disk::default(),
        }
    }

    /// Its process, if it is a dns-b's.
    pub(crate) fn b(&self) -> Option<&DnsB> {
        match self.process.as_ref().map(|p| &p.daemon) {
            Some(Daemon::B(b)) => Some(b),
            _ => None,
        }
    }

    /// Its process, if it is a DNS-LB's.
    pub(crate) fn lb(&self) -> Option<&DnsLb> {
        match self.process.as_ref().map(|p| &p.daemon) {
            Some(Daemon::Lb(lb)) => Some(lb),
            _ => None,
        }
    }
}

impl Daemon {
    /// Whether what it answers from has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        match self {
            Self::B(b) => b.keeper.take_changed(),
            Self::Lb(lb) => std::mem::take(&mut lb.changed),
            Self::Publisher(_) => false,
        }
    }

    /// As a dialling side: the link to a dns-b is up.
    pub(crate) fn up(&mut self, link: u64, welcome: Box<Welcome>, now: Instant) {
        match self {
            Self::B(_) => {}
            Self::Lb(lb) => lb.up(link, welcome, now),
            Self::Publisher(publisher) => publisher.up(link, &welcome),
        }
    }

    /// The peer said something.
    pub(crate) fn said(&mut self, link: u64, from: &Identity, message: Message, now: Instant) {
        match self {
            Self::B(b) => b.said(link, message, now),
            Self::Lb(lb) => lb.said(from, message, now),
            // How a zone is delegated, and whether it was taken, changes nothing here.
            Self::Publisher(_) => {}
        }
    }

    /// As a dialling side: the link to a dns-b is down, or could not be had.
    pub(crate) fn down(&mut self, server: &Identity, now: Instant) {
        match self {
            Self::B(_) => {}
            Self::Lb(lb) => lb.down(server, now),
            Self::Publisher(publisher) => publisher.down(server),
        }
    }

    /// As a dialling side: what is to be sent, by link.
    pub(crate) fn take_outbox(&mut self) -> Vec<(u64, Message)> {
        let (links, outbox) = match self {
            Self::B(_) => return Vec::new(),
            Self::Lb(lb) => (&lb.links, &mut lb.outbox),
            Self::Publisher(publisher) => (&publisher.links, &mut publisher.outbox),
        };
        outbox.drain(..).filter_map(|(to, message)| Some((*links.get(&to)?, message))).collect()
    }
}

impl World {
    /// A process begins, with nothing but what is on disk.
    pub(crate) fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        self.hosts[host].starts += 1;
        let (serial, kind) = (self.hosts[host].starts, self.hosts[host].kind);
        let (instant, size) = (self.instant(), self.size);
        self.last_start = self.now.max(self.last_start + 1);
        let mut random = Random::new(self.seed, 1_000 * (host as u64 + 1) + serial);
        let boot = BootId((u128::from(random.draw()) << 64 | u128::from(random.draw())).to_be_bytes());
        let daemon = match kind {
            Kind::B(n) => {
                let plant = self.options.plant.filter(|_| n == 0);
                let disk = (std::mem::take(&mut self.hosts[host].disk), Random::new(self.seed, random.draw()));
                Daemon::B(Box::new(DnsB::new((n, size.bs), boot, instant, disk).with(plant)))
            }
            Kind::Lb(n) => {
                let (claim, servers) = (self.hosts[host].claim.clone(), (0..size.bs).map(content::b).collect());
                Daemon::Lb(Box::new(DnsLb::new(content::lb(n), claim, servers, (boot, instant))))
            }
            Kind::Publisher => Daemon::Publisher(Box::new(Publisher::new(self.disk.clone(), self.edition))),
        };
        self.trace.note((self.now, host), "starts", [serial, 0]);
        let phase = random.below(250);
        self.hosts[host].process = Some(Process {
            serial,
            boot,
            started: self.last_start,
            daemon,
            ends: BTreeMap::new(),
            random,
            backoff: BTreeMap::new(),
            edition: 0,
            changed: true,
        });
        if let Some(b) = self.hosts[host].b() {
            let held = self.oracle.restored(host, b.keeper.directory(), self.now);
            self.note(held);
        }
        self.reset_connections(host);
        self.later(phase, Happening::Tick { host, serial });
        if !matches!(kind, Kind::B(_)) {
            for server in 0..size.bs {
                self.later(phase / 2, Happening::Dial { host, serial, server });
            }
        }
    }

    /// A process ends.
    pub(crate) fn stop(&mut self, host: usize, how: Stop) {
        self.trace.note((self.now, host), "ends", [how as u64, 0]);
        if how == Stop::Clean {
            let bye = Bye { reason: ByeReason::Shutdown, text: "shutting down".to_owned() };
            let ends = self.hosts[host].process.iter_mut().flat_map(|p| p.ends.values_mut());
            ends.for_each(|end| end.endpoint.close(bye.clone()));
            self.flush(host);
        }
        match self.hosts[host].process.take().map(|process| process.daemon) {
            Some(Daemon::Publisher(publisher)) => self.disk = publisher.disk(),
            Some(Daemon::B(b)) => self.hosts[host].disk = b.end(how == Stop::Clean),
            _ => {}
        }
        if matches!(self.hosts[host].kind, Kind::B(_)) {
            self.oracle.forgets(host);
        }
        let way = |world: &Self, peer| world.net.nominal(host, peer).delay;
        let links: Vec<u64> = self.conns.iter().filter(|(_, c)| c.has(host)).map(|(link, _)| *link).collect();
        for link in links {
            let Some(conn) = self.conns.get_mut(&link) else { continue };
            let peer = conn.other(host);
            match how {
                Stop::Clean => conn.outward(host).finish(),
                Stop::Crash => conn.outward(host).tear(),
                Stop::Silent => continue,
            }
            self.later(way(self, peer), Happening::Pump { host: peer, link });
        }
    }

    /// Connections of a process that is no more: whoever still writes to them is told.
    fn reset_connections(&mut self, host: usize) {
        let links: Vec<u64> = self.conns.iter().filter(|(_, c)| c.has(host)).map(|(link, _)| *link).collect();
        for link in links {
            let Some(conn) = self.conns.get_mut(&link) else { continue };
            let peer = conn.other(host);
            conn.outward(host).tear();
            let delay = self.net.nominal(host, peer).delay;
            self.later(delay, Happening::Pump { host: peer, link });
        }
    }
}
