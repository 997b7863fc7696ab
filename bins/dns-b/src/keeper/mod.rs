//! Owner of the truth: links, map, catalogues, reports, checks. One task feeds it events one at a
//! time; it changes the [`Directory`] and says what to send. It has no clock and no sockets, so
//! every rule of it is tested with invented time.
//!
//! A DNS-LB's name is handed out only when it is *ready*: it said READY for its present MAP, its
//! DNS side passed its checks, and it has ranked the service (design sections 3 and 4).

mod check;
mod lb;
mod status;
mod sync;
#[cfg(test)]
mod tests;

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
    table::{Member, Registry},
};

pub use check::{CheckOutcome, Checked, Target};
pub use dglb_node::link::LinkId;
pub use status::Figures;

use crate::config::{CheckConfig, Config, DefaultMember, Peer};
use lb::LbTruth;

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
    check: CheckConfig,
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
            check: config.check,
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
        let held = |zone: &Name| self.directory.zone(zone).map(|z| (zone.clone(), z.catalogue().generation));
        let catalogues = peer.may_publish.iter().filter_map(held).collect();
        let (map_generation, report_generation) = self
            .directory
            .lb_of(&hello.identity)
            .and_then(|index| self.lbs.get(&index))
            .map_or((0, 0), |lb| (lb.map_generation, lb.report_generation));
        self.replace_older_link(&hello.identity);
        let held = Link { identity: hello.identity.clone(), role: hello.role, from, since: now };
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
            map_generation,
            report_generation,
            catalogues,
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
            Message::Catalogue(catalogue) => self.catalogue(link, &identity, &catalogue),
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

    fn renew_default_group(&mut self) {
        let known = self.default_group.iter().filter_map(|m| {
            let lb = self.directory.lb_of(&m.identity)?;
            Some(Member { lb, preference: m.preference, weight: m.weight })
        });
        let known: Vec<Member> = known.collect();
        self.directory.set_default_group(known);
        self.changed = true;
    }
}
