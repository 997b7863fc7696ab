//! One dns-b's keeper among peers of which some are hostile: they have certificates, say only what the
//! session lets through, and nothing that makes sense. Octets decide what happens; a fuzzer or a test makes
//! them up.
//!
//! What must hold: nothing panics; of nobody more is held than the quotas allow; what is said in reply to
//! one message is bounded; and who asks at the honest DNS-LB's resolver is sent to it, and answered in its
//! name by its own ranking, whenever its link is up.

mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::ZoneCatalogue,
    dns::{Decision, Role},
    identity::Identity,
    name::Name,
    proto::{
        direction::{Direction, allows},
        message::{BootId, EntryKind, FleetStamp, Hello, Map, MapEntry, Message, PeerRole, Ready, Report},
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use dns_b::{
    config::{Config, Held},
    keeper::{CheckOutcome, Checked, Keeper, LinkId, Verdict},
};

use crate::{
    ask::{A, Reply, ask},
    content,
};
use script::Script;

/// What one peer may have held: little, so that it is soon too much.
const HELD: Held = Held { entries: 8, services: 6, sites: 16, octets: 4_096 };
/// Most that is sent in reply to one message: to every DNS-LB the steps of a zone and every verdict.
const MOST_SENT: usize = 400;
/// The honest DNS-LB's resolver.
const RESOLVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1));
/// Steps of one play.
const STEPS: usize = 300;

/// A bug on purpose, to show that what must hold can fail to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No quota holds.
    HoldsEverything,
    /// What a hostile DNS-LB says is taken for the honest one's word.
    MixesLinksUp,
    /// Once a peer is over a quota, nobody's reports are taken in.
    DeafWhenFlooded,
}

/// What came of a play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that got through to the keeper.
    pub messages: u64,
    /// What was refused for being too much, or put off.
    pub over_quota: u64,
    /// Times that the honest DNS-LB was looked for and found.
    pub found: u64,
}

/// Who is there. The first two are honest.
const PEERS: [(&str, PeerRole); 5] = [
    ("lb1", PeerRole::DnsLb),
    ("sync", PeerRole::DnsASync),
    ("lb2", PeerRole::DnsLb),
    ("lb3", PeerRole::DnsLb),
    ("evil", PeerRole::DnsASync),
];
const LB: usize = 0;
const SYNC: usize = 1;

struct World {
    keeper: Keeper,
    now: Instant,
    fault: Option<Fault>,
    /// The link of each peer that has one.
    links: BTreeMap<usize, LinkId>,
    next_link: u64,
    /// What the honest ones said last.
    map_generation: u64,
    report_generation: u64,
    edition: u16,
    /// Which site the honest DNS-LB ranks first, by its place in the catalogue.
    best: usize,
    tally: Tally,
}

/// Plays what these octets say.
///
/// # Errors
/// What did not hold.
pub fn play(octets: &[u8], fault: Option<Fault>) -> Result<Tally, String> {
    let mut world = World::new(fault);
    world.honest_begin()?;
    let mut script = Script::new(octets);
    for _ in 0..STEPS {
        let Some(step) = script.octet() else { break };
        script::step(&mut world, &mut script, step)?;
        world.bounded()?;
    }
    world.honest_end()?;
    Ok(world.tally)
}

/// The same configuration for all plays: it is read from a file.
fn config(fault: Option<Fault>) -> Config {
    static READ: OnceLock<Config> = OnceLock::new();
    let mut config = READ.get_or_init(|| content::config(0, 2)).clone();
    let evil: Identity = PEERS[4].0.parse().expect("a sound identity");
    let mut peer = config.peers[&content::publisher()].clone();
    peer.may_publish = vec!["evil.test".parse().expect("a sound name")];
    config.peers.insert(evil, peer);
    config.peers.retain(|identity, _| PEERS.iter().any(|(known, _)| *known == identity.as_str()));
    if let Some(lb3) = config.peers.get_mut(&content::lb(2)) {
        lb3.prove.allowed = true;
    }
    config.map.quotas.held = if fault == Some(Fault::HoldsEverything) { Held::default() } else { HELD };
    config
}

#[allow(clippy::disallowed_methods, reason = "an arbitrary instant")]
fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

impl World {
    fn new(fault: Option<Fault>) -> Self {
        let now = beginning();
        let keeper = Keeper::new(&config(fault), BootId([0xb1; 16]), now);
        Self {
            keeper,
            now,
            fault,
            links: BTreeMap::new(),
            next_link: 1,
            map_generation: 0,
            report_generation: 0,
            edition: 0,
            best: 0,
            tally: Tally::default(),
        }
    }

    fn identity(peer: usize) -> Identity {
        PEERS[peer].0.parse().expect("a sound identity")
    }

    /// A peer dials; whether it is in.
    fn dial(&mut self, peer: usize, (boot, uptime_ms): (u8, u64)) -> bool {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role: PEERS[peer].1,
            identity: Self::identity(peer),
            boot: BootId([boot; 16]),
            uptime_ms,
            features: 0,
            fleet: FleetStamp::default(),
        };
        let from = (content::address(peer), 1_024).into();
        let welcomed = matches!(self.keeper.hello(link, &hello, from, self.now), Verdict::Welcome(_));
        if welcomed {
            self.links.insert(peer, link);
            self.keeper.established(link);
        }
        welcomed
    }

    fn hang_up(&mut self, peer: usize) {
        if let Some(link) = self.links.remove(&peer) {
            self.keeper.closed(link, self.now);
        }
    }

    /// A peer says something, if the session would let it.
    fn say(&mut self, peer: usize, message: Message) {
        let Some(mut link) = self.links.get(&peer).copied() else { return };
        if !allows(&message, PEERS[peer].1, Direction::Up) {
            return;
        }
        let honest = peer == LB || peer == SYNC;
        if self.fault == Some(Fault::MixesLinksUp) && !honest && PEERS[peer].1 == PeerRole::DnsLb {
            link = self.links.get(&LB).copied().unwrap_or(link);
        }
        let over = self.keeper.figures().over_quota.iter().sum::<u64>() > 0;
        if self.fault == Some(Fault::DeafWhenFlooded) && over && matches!(message, Message::Report(_)) {
            return;
        }
        self.tally.messages += 1;
        self.keeper.message(link, message, self.now);
    }

    /// Time goes by, with all that the daemon does at its ticks.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.keeper.tick(self.now);
        self.keeper.slow_tick(self.now);
        self.honest_check(true);
        self.drop_replaced();
    }

    /// Links that the keeper has ended are over for their peers.
    fn drop_replaced(&mut self) {
        self.links.retain(|_, link| self.keeper.knows(*link));
    }

    /// What is held, and what is said, is bounded.
    fn bounded(&mut self) -> Result<(), String> {
        let sent = self.keeper.take_outbox().len();
        if sent > MOST_SENT {
            return Err(format!("{sent} messages at once"));
        }
        self.drop_replaced();
        for (peer, (name, role)) in PEERS.iter().enumerate().skip(2) {
            let held = self.keeper.holdings(&Self::identity(peer));
            let within = held.entries <= HELD.entries
                && held.services <= HELD.services
                && held.sites <= HELD.sites
                && held.octets <= HELD.octets;
            if !within {
                return Err(format!("of the {role:?} {name} is held {held:?}, and allowed {HELD:?}"));
            }
        }
        let figures = self.keeper.figures();
        let known = self.keeper.directory().lbs().count();
        if figures.links as usize > PEERS.len() || known > PEERS.len() || figures.zones > 2 {
            return Err(format!("{} links, {known} DNS-LBs and {} zones", figures.links, figures.zones));
        }
        self.tally.over_quota = figures.over_quota.iter().sum();
        Ok(())
    }
}

/// The honest ones.
impl World {
    /// Both are there, and the DNS-LB is handed out.
    fn honest_begin(&mut self) -> Result<(), String> {
        if !self.dial(SYNC, (1, 0)) {
            return Err("the honest publisher is not let in".to_owned());
        }
        self.honest_publish();
        self.honest_return()?;
        self.keeper.take_outbox();
        self.honest_found()
    }

    /// The DNS-LB dials and says where it is.
    fn honest_return(&mut self) -> Result<(), String> {
        if !self.dial(LB, (1, self.now.duration_since(beginning()).as_millis() as u64)) {
            return Err("the honest DNS-LB is not let in".to_owned());
        }
        self.honest_map();
        self.honest_report();
        self.honest_check(true);
        Ok(())
    }

    fn honest_map(&mut self) {
        self.map_generation += 1;
        let prefix = dglb_core::net::Prefix::host(RESOLVER);
        let entries = vec![MapEntry { prefix, kind: EntryKind::Resolver, preference: 10, weight: 1 }];
        let addresses = vec![content::address(LB)];
        let map = Map { generation: self.map_generation, lease_ms: 60_000, addresses, entries };
        self.say(LB, Message::Map(map));
        let servers = vec![content::b(0), content::b(1)];
        self.say(LB, Message::Ready(Ready { map_generation: self.map_generation, servers }));
    }

    /// Another site is best for it now.
    fn honest_report(&mut self) {
        self.report_generation += 1;
        let catalogue = content::catalogue(self.edition);
        self.best = (self.best + 1) % 2;
        let rankings = catalogue.services.iter().map(|service| {
            let mut sites: Vec<RankedSite> = service.sites.iter().map(ranked).collect();
            sites.rotate_left(self.best);
            sites.iter_mut().zip(1_u32..).for_each(|(site, n)| site.score = Some(f64::from(n)));
            Ranking { service: service.name.clone(), catalogue: u64::from(self.edition), sites, unsettled: false }
        });
        let rankings = rankings.collect();
        let report = Report { generation: self.report_generation, base: 0, rankings, removed: vec![] };
        self.say(LB, Message::Report(report));
    }

    /// The next edition of the honest zone, and what the honest DNS-LB ranks in it.
    fn honest_publish(&mut self) {
        self.edition += 1;
        let generation = u64::from(self.edition);
        self.say(SYNC, Message::snapshot(ZoneCatalogue { generation, ..content::catalogue(self.edition) }));
        self.honest_report();
    }

    fn honest_check(&mut self, passes: bool) {
        let outcome = || if passes { CheckOutcome::Passed } else { CheckOutcome::Failed("no answer".to_owned()) };
        let honest = content::lb(0);
        for target in self.keeper.take_due_checks(self.now) {
            let outcome = if target.identity == honest { CheckOutcome::Passed } else { outcome() };
            let checked = Checked { lb: target.lb, boot: target.boot, addresses: target.addresses, outcome };
            self.keeper.checked(checked, self.now);
        }
    }

    /// Whoever asks is sent to the honest DNS-LB and, in its name, to the site that it ranks first.
    fn honest_found(&mut self) -> Result<(), String> {
        let directory = self.keeper.directory();
        let (service, own): (Name, Name) = (content::name("www"), content::name("www.lb1"));
        let reply: Reply = ask(directory, RESOLVER, (&service, A), Role::Referral);
        if reply.decision != Decision::Mapped || reply.alias.as_ref().map(|(to, _)| to) != Some(&own) {
            return Err(format!("the honest DNS-LB's resolver is sent elsewhere: {reply:?}"));
        }
        let reply = ask(directory, RESOLVER, (&own, A), Role::Fallback);
        let catalogue = content::catalogue(self.edition);
        let site = catalogue.service(&service).and_then(|service| service.sites.get(self.best));
        let wanted: BTreeSet<IpAddr> = site.into_iter().flat_map(|site| site.addresses.clone()).collect();
        if reply.addresses.iter().copied().collect::<BTreeSet<_>>() != wanted {
            return Err(format!("in its name {wanted:?} should be answered, and is {reply:?}"));
        }
        self.tally.found += 1;
        Ok(())
    }

    /// After everything, and a while of peace.
    fn honest_end(&mut self) -> Result<(), String> {
        if !self.links.contains_key(&LB) {
            self.honest_return()?;
        }
        self.bounded()?;
        for _ in 0..3 {
            self.honest_report();
            self.pass(Duration::from_secs(2));
        }
        self.bounded()?;
        self.honest_found()
    }
}

fn ranked(site: &dglb_core::catalogue::Site) -> RankedSite {
    let figures = |address: &IpAddr| Figures { address: *address, health: Health::Up, latency_us: Some(1_000) };
    RankedSite {
        site: site.name.clone(),
        score: None,
        addresses: site.addresses.iter().map(figures).collect(),
        share: 0,
    }
}
