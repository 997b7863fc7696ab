//! Owner of the truth: links, map, catalogues, reports, checks. One task feeds it events one at a
//! time; it changes the [`Directory`] and says what to send. It has no clock and no sockets, so
//! every rule of it is tested with invented time.
//!
//! A DNS-LB's name is handed out only when it is *ready*: it said READY for its present MAP, its
//! DNS side passed its checks, and it has ranked the service (design sections 3 and 4).

mod admission;
mod budget;
mod check;
mod coming;
mod distribution;
mod duplicates;
pub mod explain;
mod fleet;
mod keep;
mod lb;
mod lease;
mod liveness;
mod neighbours;
pub mod operator;
mod proof;
mod push;
mod quota;
mod reload;
mod report;
mod reported;
mod status;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod turn;
mod verdicts;
mod voices;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{Directory, LbIndex},
    fleet::Fleet,
    identity::Identity,
    index::Seed,
    proto::{
        Encoded,
        message::{
            BootId, Bye, ByeReason, FleetStamp, Hello, Message, PeerRole, Refuse, RefuseReason, Resync, Welcome,
        },
    },
    table::{Member, Registry},
};

pub use check::{CheckOutcome, Checked, Target};
pub use dglb_node::link::LinkId;
pub use keep::{Restored, RestoredReport};
pub use quota::{Holdings, QUOTAS};
pub use reload::refusal;
pub use status::{Figures, PROOF_REFUSALS, Status};
pub use verdicts::Quorum;

use crate::config::{CheckConfig, Config, DefaultMember, DnsLbs, Held, Peer, ProveConfig};
use budget::Budgets;
use check::Rounds;
use coming::Coming;
use distribution::{Distribution, Followed};
use duplicates::Duplicates;
use fleet::Agreement;
use keep::Kept;
use lb::LbTruth;
use liveness::Crowd;
use operator::Ages;
use proof::Proofs;
use quota::{PutOff, Used};
use reported::Outlines;
use turn::Turns;
use verdicts::Verdicts;

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
    agreement: Agreement,
    peers: HashMap<Identity, Peer>,
    dns_lbs: DnsLbs,
    default_group: Vec<DefaultMember>,
    check: CheckConfig,
    prove: ProveConfig,
    proofs: Proofs,
    max_lease: Duration,
    stale_after: Duration,
    directory: Directory,
    /// Everything that is mapped, by the source address of a question.
    all: Registry,
    /// Client networks alone, for ECS.
    clients: Registry,
    links: HashMap<LinkId, Link>,
    /// The one link of each peer that has one.
    linked: HashMap<Identity, LinkId>,
    lbs: HashMap<LbIndex, LbTruth>,
    /// What their rankings have in common.
    outlines: Outlines,
    /// Whose neighbours were looked for last.
    compared_last: Option<LbIndex>,
    /// Whose turn it is for what is looked at again and again.
    turns: Turns,
    /// The same for checks.
    rounds: Rounds,
    duplicates: Duplicates,
    crowd: Crowd,
    verdicts: Verdicts,
    coming: Coming,
    quorum: Quorum,
    budgets: Budgets,
    outbox: Vec<(LinkId, Outgoing)>,
    figures: Figures,
    started: Instant,
    /// How long a label stays known after its DNS-LB's lease: nobody has it in a cache any longer.
    tombstone: Duration,
    /// Since when claims have stood.
    ages: Ages,
    /// How zones go to DNS-LBs.
    distribution: Distribution,
    /// The directory differs from what was last published.
    changed: bool,
    /// What goes to the store.
    kept: Kept,
    /// How much of one peer is held.
    quotas: Held,
    put_off: PutOff,
    /// When the last event came.
    latest: Instant,
}

#[derive(Debug)]
struct Link {
    identity: Identity,
    role: PeerRole,
    boot: BootId,
    from: SocketAddr,
    since: Instant,
    /// The fleet document that it holds, as far as is known.
    fleet: FleetStamp,
    /// Of a DNS-LB: which zones it has.
    followed: Followed,
    used: Used,
}

/// Something to be sent.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// To this peer alone.
    One(Message),
    /// To this peer alone, once the change of this number is on the disk.
    After(u64, Message),
    /// To many: encoded once.
    Shared(Encoded),
    /// The last thing it hears.
    Leave(Bye),
}

impl Keeper {
    /// With nobody connected and nothing published.
    pub fn new(config: &Config, boot: BootId, now: Instant) -> Self {
        let mut directory = Directory::seeded(config.settings.clone(), Seed(rand::random()));
        directory.set_server(config.identity.clone());
        directory.set_fleet(config.fleet.clone());
        directory.set_filling(true);
        let mut keeper = Self {
            identity: config.identity.clone(),
            boot,
            fleet: config.fleet.clone(),
            agreement: Agreement::on(&config.fleet),
            peers: config.peers.clone(),
            dns_lbs: config.map.dns_lbs,
            default_group: config.default_group.clone(),
            check: config.check,
            prove: config.prove.clone(),
            proofs: Proofs::default(),
            max_lease: config.map.lease,
            stale_after: config.stale_after,
            directory,
            all: Registry::default(),
            clients: Registry::default(),
            links: HashMap::new(),
            linked: HashMap::new(),
            lbs: HashMap::new(),
            outlines: Outlines::default(),
            compared_last: None,
            turns: Turns::default(),
            rounds: Rounds::default(),
            duplicates: Duplicates::default(),
            crowd: Crowd::default(),
            verdicts: Verdicts::default(),
            coming: Coming::default(),
            quorum: config.quorum,
            budgets: Budgets::default(),
            outbox: Vec::new(),
            figures: Figures::default(),
            started: now,
            tombstone: Duration::from_secs(u64::from(config.fleet.ttl.label_ns)),
            ages: Ages::default(),
            distribution: Distribution::default(),
            changed: true,
            kept: Kept::default(),
            quotas: config.map.quotas.held,
            put_off: PutOff::default(),
            latest: now,
        };
        for label in &config.fleet.labels {
            keeper.directory.upsert_lb(&label.identity, &label.addresses);
        }
        keeper.renew_default_group();
        keeper.await_zones();
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
    pub fn take_outbox(&mut self) -> Vec<(LinkId, Outgoing)> {
        std::mem::take(&mut self.outbox)
    }

    /// Somebody dialled and said who it is.
    pub fn hello(&mut self, link: LinkId, hello: &Hello, from: SocketAddr, now: Instant) -> Verdict {
        let refuse = |reason, text: String| Verdict::Refuse(Refuse { reason, text });
        if let Err(text) = self.admission(&hello.identity, hello.role) {
            self.figures.refused_links += 1;
            return refuse(RefuseReason::Identity, text);
        }
        if let Err(text) = self.take_place(hello, from, now) {
            self.figures.refused_links += 1;
            return refuse(RefuseReason::Duplicate, text);
        }
        let catalogues = self.offers(&hello.identity, hello.role);
        let (map_generation, report_generation) = self
            .directory
            .lb_of(&hello.identity)
            .and_then(|index| self.lbs.get(&index))
            .map_or((0, 0), |lb| (lb.map_generation, lb.report_generation));
        self.replace_older_link(&hello.identity);
        self.compare_fleet(&hello.identity, hello.fleet, now);
        let held = Link {
            identity: hello.identity.clone(),
            role: hello.role,
            boot: hello.boot,
            from,
            since: now,
            fleet: self.agreement.held_after(hello.fleet),
            followed: self.distribution.welcome(),
            used: Used::default(),
        };
        self.links.insert(link, held);
        self.linked.insert(hello.identity.clone(), link);
        if hello.role == PeerRole::DnsLb {
            self.lb_connected(link, &hello.identity, hello.boot, now);
        }
        Verdict::Welcome(Box::new(Welcome {
            version: hello.version_max,
            identity: self.identity.clone(),
            boot: self.boot,
            observed: from,
            features: 0,
            fleet: self.agreement.is_other(hello.fleet).then(|| self.fleet.clone()),
            map_generation,
            report_generation,
            catalogues,
        }))
    }

    /// Whether a link is still wanted; a newer one of the same identity may have taken its place.
    pub fn knows(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.outbox.push((link, Outgoing::One(message)));
    }

    /// A peer that dials again before its old link was seen to die: the new link is the living one.
    fn replace_older_link(&mut self, identity: &Identity) {
        if let Some(old) = self.linked.remove(identity) {
            let bye = Bye { reason: ByeReason::Duplicate, text: "a newer link of the same identity has come".into() };
            self.outbox.push((old, Outgoing::Leave(bye)));
            self.links.remove(&old);
            self.put_off.gone(old);
            self.withdraw_nonces(old);
        }
    }

    /// The WELCOME is on its way: what the peer needs to know follows.
    pub fn established(&mut self, link: LinkId) {
        match self.links.get(&link).map(|l| l.role) {
            Some(PeerRole::DnsLb) => {
                if self.links.get(&link).is_some_and(|l| self.is_drained(&l.identity)) {
                    self.send(link, Message::Drain(true));
                }
                self.send_news(link);
            }
            Some(PeerRole::DnsASync) => self.send_delegations(link, |_| true),
            _ => {}
        }
    }

    /// A peer said something. What its role may not say never gets here.
    pub fn message(&mut self, link: LinkId, message: Message, now: Instant) {
        self.latest = now;
        let Some(from) = self.links.get(&link) else {
            return;
        };
        let identity = from.identity.clone();
        match message {
            Message::Map(map) => self.map(link, &identity, &map, now),
            Message::Unmap(unmap) => self.unmap(link, &identity, &unmap),
            Message::Report(report) => self.report(link, &identity, report, now),
            Message::Ready(ready) => self.ready(&identity, &ready),
            Message::BudgetAck(ack) => self.budget_acknowledged(&identity, ack.generation),
            Message::Proof(proof) => self.proof(link, &identity, &proof, now),
            Message::Catalogue(catalogue) => self.catalogue(link, &identity, *catalogue),
            Message::CatalogueAck(ack) => self.catalogue_ack(link, &identity, &ack),
            Message::Resync(Resync::Catalogue { zone, held }) => self.resync(link, &zone, held),
            Message::Want(want) => self.want(link, &want.service),
            _ => self.figures.unexpected += 1,
        }
    }

    /// A link is gone.
    pub fn closed(&mut self, link: LinkId, now: Instant) {
        self.withdraw_nonces(link);
        self.put_off.gone(link);
        // A link that a newer one replaced is not in the table any more.
        let Some(link) = self.links.remove(&link) else {
            return;
        };
        self.linked.remove(&link.identity);
        if link.role == PeerRole::DnsLb
            && let Some(index) = self.directory.lb_of(&link.identity)
        {
            self.lb_disconnected(index, now);
        }
    }

    /// Zones that somebody may publish are ours, though their catalogues may not have come; those that
    /// are gone are not.
    fn await_zones(&mut self) {
        let zones = self.peers.values().flat_map(|peer| &peer.may_publish);
        let zones: Vec<_> = zones.filter(|zone| self.distribution.withdrawn(zone).is_none()).cloned().collect();
        self.directory.set_awaited(zones);
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
