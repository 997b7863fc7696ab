//! Owner of the truth: links, map, catalogues, reports, checks. One task feeds it events one at a
//! time; it changes the [`Directory`] and says what to send. It has no clock and no sockets, so
//! every rule of it is tested with invented time.
//!
//! A DNS-LB's name is handed out only when it is *ready*: it said READY for its present MAP, its
//! DNS side passed its checks, and it has ranked the service (design sections 3 and 4).

mod check;
mod down;
mod lb;
mod peers;
mod status;
mod sync;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{Directory, LbIndex},
    fleet::Fleet,
    identity::Identity,
    name::Name,
    proto::message::{BootId, Bye, ByeReason, Hello, Message, PeerRole, Refuse, RefuseReason, Welcome},
    table::{Group, Member, Registry},
};

pub use check::{CheckOutcome, Checked, Target};
pub use status::Figures;

use crate::config::{Config, DefaultMember, Peer};
use lb::LbTruth;

/// One accepted link, numbered in the order of their coming.
pub type LinkId = u64;

/// What a HELLO deserves.
#[derive(Debug)]
pub enum Verdict {
    /// Come in.
    Welcome(Box<Welcome>),
    /// Stay out.
    Refuse(Refuse),
}

/// The truth about everything.
#[derive(Debug)]
pub struct Keeper {
    identity: Identity,
    boot: BootId,
    fleet: Fleet,
    peers: HashMap<Identity, Peer>,
    default_group: Vec<DefaultMember>,
    check_fall: u8,
    max_lease: Duration,
    stale_after: Duration,
    directory: Directory,
    /// Everything that is mapped, by the source address of a question.
    all: Registry,
    /// Client networks alone, for ECS.
    clients: Registry,
    links: HashMap<LinkId, Link>,
    lbs: HashMap<LbIndex, LbTruth>,
    outbox: Vec<(LinkId, Message)>,
    figures: Figures,
    /// The directory differs from what was last published.
    changed: bool,
}

#[derive(Debug)]
struct Link {
    identity: Identity,
    role: PeerRole,
    boot: BootId,
    from: SocketAddr,
    since: Instant,
}

impl Keeper {
    /// With nobody connected and nothing published.
    pub fn new(config: &Config, boot: BootId) -> Self {
        let mut directory = Directory::new(config.settings.clone());
        directory.set_fleet(config.fleet.clone());
        let mut keeper = Self {
            identity: config.identity.clone(),
            boot,
            fleet: config.fleet.clone(),
            peers: config.peers.clone(),
            default_group: config.default_group.clone(),
            check_fall: config.check.fall,
            max_lease: config.map.lease,
            stale_after: config.stale_after,
            directory,
            all: Registry::default(),
            clients: Registry::default(),
            links: HashMap::new(),
            lbs: HashMap::new(),
            outbox: Vec::new(),
            figures: Figures::default(),
            changed: true,
        };
        for label in &config.fleet.labels {
            keeper.directory.upsert_lb(&label.identity, &label.addresses);
        }
        keeper.renew_default_group();
        keeper
    }

    /// What questions are answered from.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether the directory changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is to be sent, in order.
    pub fn take_outbox(&mut self) -> Vec<(LinkId, Message)> {
        std::mem::take(&mut self.outbox)
    }

    /// Somebody dialled and said who it is.
    pub fn hello(&mut self, link: LinkId, hello: &Hello, from: SocketAddr, now: Instant) -> Verdict {
        let refuse = |reason, text: String| Verdict::Refuse(Refuse { reason, text });
        let Some(peer) = self.peers.get(&hello.identity) else {
            self.figures.refused_links += 1;
            return refuse(RefuseReason::Identity, format!("no [[peer]] \"{}\" is configured here", hello.identity));
        };
        if peer.role != hello.role {
            self.figures.refused_links += 1;
            return refuse(RefuseReason::Identity, format!("\"{}\" has another role here", hello.identity));
        }
        let generations = self.generations(&hello.identity, &peer.may_publish.clone());
        self.replace_older_link(&hello.identity);
        let held = Link { identity: hello.identity.clone(), role: hello.role, boot: hello.boot, from, since: now };
        self.links.insert(link, held);
        if hello.role == PeerRole::DnsLb {
            self.lb_connected(link, &hello.identity, hello.boot, now);
        }
        Verdict::Welcome(Box::new(Welcome {
            version: hello.version_max,
            identity: self.identity.clone(),
            boot: self.boot,
            observed: from,
            features: 0,
            fleet: self.fleet.clone(),
            map_generation: generations.0,
            report_generation: generations.1,
            catalogues: generations.2,
        }))
    }

    /// A peer that dials again before its old link was seen to die: the new link is the living one.
    fn replace_older_link(&mut self, identity: &Identity) {
        let old: Vec<LinkId> = self.links.iter().filter(|(_, l)| l.identity == *identity).map(|(id, _)| *id).collect();
        for id in old {
            let bye = Bye { reason: ByeReason::Duplicate, text: "a newer link of the same identity has come".into() };
            self.outbox.push((id, Message::Bye(bye)));
            self.links.remove(&id);
        }
    }

    fn generations(&self, identity: &Identity, zones: &[Name]) -> (u64, u64, Vec<(Name, u64)>) {
        let lb = self.directory.lb_of(identity).and_then(|index| self.lbs.get(&index));
        let held = |zone: &Name| self.directory.zone(zone).map(|z| (zone.clone(), z.catalogue().generation));
        let catalogues = zones.iter().filter_map(held).collect();
        lb.map_or((0, 0, Vec::new()), |lb| (lb.map_generation, lb.report_generation, Vec::new())).with(catalogues)
    }

    /// The WELCOME is on its way: what the peer needs to know follows.
    pub fn established(&mut self, link: LinkId) {
        match self.links.get(&link).map(|l| l.role) {
            Some(PeerRole::DnsLb) => self.send_catalogues(link),
            Some(PeerRole::DnsASync) => self.send_delegations(link),
            _ => {}
        }
    }

    /// A peer said something. What its role may not say never gets here.
    pub fn message(&mut self, link: LinkId, message: Message, now: Instant) {
        let Some(from) = self.links.get(&link) else {
            return;
        };
        let identity = from.identity.clone();
        match message {
            Message::Map(map) => self.map(link, &identity, &map, now),
            Message::Unmap(unmap) => self.unmap(link, &identity, &unmap),
            Message::Report(report) => self.report(link, &identity, report, now),
            Message::Ready(ready) => self.ready(&identity, &ready),
            Message::Catalogue(catalogue) => self.catalogue(link, &identity, *catalogue),
            Message::CatalogueAck(ack) => {
                if let Some(reason) = ack.refused {
                    tracing::warn!(dns_lb = %identity, zone = %ack.zone, %reason, "catalogue refused");
                    self.figures.catalogues_refused_by_lb += 1;
                }
            }
            Message::Resync(resync) => self.resync(link, &resync),
            _ => self.figures.unexpected += 1,
        }
    }

    /// A link is gone.
    pub fn closed(&mut self, link: LinkId, now: Instant) {
        // A link that a newer one replaced is not in the table any more.
        let Some(link) = self.links.remove(&link) else {
            return;
        };
        if link.role == PeerRole::DnsLb
            && let Some(index) = self.directory.lb_of(&link.identity)
        {
            self.lb_disconnected(index, now);
        }
    }

    /// Called every second or so: leases, liveness, neighbours.
    pub fn tick(&mut self, now: Instant) {
        self.expire(now);
        self.judge_all(now);
        self.borrow_rankings(now);
    }

    fn link_of(&self, identity: &Identity) -> Option<LinkId> {
        self.links.iter().find(|(_, l)| l.identity == *identity).map(|(id, _)| *id)
    }

    fn renew_default_group(&mut self) {
        let members: Vec<Member> = self
            .default_group
            .iter()
            .filter_map(|m| {
                let lb = self.directory.lb_of(&m.identity)?;
                Some(Member { lb, preference: m.preference, weight: m.weight })
            })
            .collect();
        self.directory.set_default_group((!members.is_empty()).then(|| Group::new(members)));
        self.changed = true;
    }
}

/// Adds the zones to a DNS-LB's generations; a dns-a-sync has only zones.
trait With {
    fn with(self, catalogues: Vec<(Name, u64)>) -> Self;
}

impl With for (u64, u64, Vec<(Name, u64)>) {
    fn with(self, catalogues: Vec<(Name, u64)>) -> Self {
        (self.0, self.1, catalogues)
    }
}
