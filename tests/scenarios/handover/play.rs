//! One seed: two dns-bs, two DNS-LBs, their links as queues, and a resolver that remembers.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{Directory, FirstQuestion},
    dns::{Asked, Decision, Responder, Role, Transport, rcode},
    load::Told,
    proto::message::{BootId, FleetStamp, Hello, Message, PeerRole, Ready},
    rank::Here,
};
use dglb_probe::{
    probe::{Outcome, Times},
    prober::Sample,
};
use dglb_scenarios::configs::{self, WWW, in_label};
use dns_b::keeper::{CheckOutcome, Checked, Keeper as Server, LinkId, Outgoing, Verdict};
use dns_lb::{
    keeper::{Event, Keeper as Lb, Settings},
    metrics::Metrics,
    registration::Claim,
};
use hickory_proto::{
    op::{Message as Dns, ResponseCode},
    rr::{RData, RecordType},
};

use crate::random::Random;

const SERVERS: usize = 2;
const LBS: usize = 2;
const STEPS: usize = 250;
/// Seconds that the label zones' NS sets live, and as long the CNAMEs: as in `configs::catalogue`.
const LABEL_TTL: u64 = 3_600;

/// A mistake put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    Nothing,
    /// A DNS-LB says READY to the first dns-b that has acknowledged it.
    EarlyReady,
    /// A dns-b drops all that it knows when a lease ends.
    ForgetsTheZone,
    /// A DNS-LB refuses questions until it is ready.
    LameAtRestart,
}

/// What was seen, so that nothing passes because nothing happened.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Questions that were led to a label.
    pub(super) led: usize,
    /// Questions for labels that were referred.
    pub(super) referred: usize,
    /// Questions that a DNS-LB answered itself.
    pub(super) answered_by_lbs: usize,
}

/// Plays a seed.
///
/// # Errors
/// What was wrong, and when.
pub(super) fn play(seed: u64, planted: Planted, tell: bool) -> Result<Seen, String> {
    let mut play = Play::new(seed, planted, tell);
    for step in 0..STEPS {
        let what = play.step().and_then(|()| play.look_up());
        what.map_err(|wrong| format!("at step {step}, after {:?}: {wrong}", play.now - play.start))?;
    }
    Ok(play.seen)
}

struct Host {
    /// `None` while the process is down.
    process: Option<Process>,
    boots: u8,
    address: IpAddr,
}

struct Process {
    keeper: Lb,
    boot: u8,
    started: Instant,
}

/// The link of a DNS-LB to a dns-b.
#[derive(Default)]
struct Link {
    /// While the dns-b believes that it is up.
    id: Option<LinkId>,
    /// While the DNS-LB does.
    up: bool,
    /// With the eras of all links of this DNS-LB when it was said.
    rising: VecDeque<(Message, [u64; SERVERS])>,
    falling: VecDeque<Message>,
    /// Another with every connection; 0 while there is none.
    era: u64,
}

/// What a resolver has in its cache.
struct Cached {
    lb: usize,
    until: Instant,
    /// The label's name servers, once it was referred to them.
    servers: Option<(Vec<IpAddr>, Instant)>,
}

struct Play {
    random: Random,
    planted: Planted,
    tell: bool,
    start: Instant,
    now: Instant,
    servers: Vec<Server>,
    hosts: Vec<Host>,
    /// By DNS-LB, then dns-b.
    links: Vec<Vec<Link>>,
    next_link: u64,
    era: u64,
    cache: Vec<Cached>,
    seen: Seen,
}

/// Read once.
static CONFIGS: LazyLock<Vec<dns_b::config::Config>> = LazyLock::new(|| (1..=SERVERS).map(server_config).collect());

fn server_config(n: usize) -> dns_b::config::Config {
    configs::on_paper(n, SERVERS, LBS, "60s")
}

fn fallback(n: usize) -> IpAddr {
    format!("192.0.2.{}1", n + 1).parse().unwrap()
}

fn catalogue() -> dglb_core::catalogue::ZoneCatalogue {
    let mut zone = configs::catalogue_of(&["203.0.113.1", "203.0.113.2"].map(|a| a.parse().unwrap()), 1);
    zone.cname_ttl = LABEL_TTL as u32;
    zone
}

impl Play {
    fn new(seed: u64, planted: Planted, tell: bool) -> Self {
        let now = Instant::now();
        let hosts = (0..LBS).map(|n| Host { process: None, boots: 0, address: address(n, 0) }).collect();
        let links = (0..LBS).map(|_| (0..SERVERS).map(|_| Link::default()).collect()).collect();
        let mut play = Self {
            random: Random(seed),
            planted,
            tell,
            start: now,
            now,
            servers: Vec::new(),
            hosts,
            links,
            next_link: 1,
            era: 0,
            cache: Vec::new(),
            seen: Seen::default(),
        };
        for n in 0..SERVERS {
            play.servers.push(play.fresh_server(n));
            play.publish(n);
        }
        play
    }

    fn fresh_server(&self, n: usize) -> Server {
        Server::new(&CONFIGS[n], BootId([n as u8; 16]), self.now)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tell {
            println!("{:>9.1?}  {}", self.now - self.start, what());
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let (lb, b) = (self.random.below(LBS), self.random.below(SERVERS));
        match self.random.below(100) {
            0..40 => self.deliver(lb, b)?,
            40..55 => self.connect(lb, b),
            55..70 => self.measure(lb),
            70..80 => self.check(b),
            80..84 => self.cut(lb, b),
            84..86 => self.stop(lb),
            86..92 => self.boot(lb),
            92 => self.restart_server(b),
            93..98 => {
                let seconds = self.random.below(8);
                self.pass(seconds as u64);
            }
            _ => {
                let seconds = [30, 61, 200, 3_700, 7_300][self.random.below(5)];
                self.pass(seconds);
            }
        }
        Ok(())
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.say(|| format!("{seconds} s pass"));
        for b in 0..SERVERS {
            let ended = self.servers[b].figures().leases_ended;
            self.servers[b].tick(self.now);
            self.servers[b].slow_tick(self.now);
            if self.planted == Planted::ForgetsTheZone && self.servers[b].figures().leases_ended > ended {
                self.servers[b] = self.fresh_server(b);
                self.links.iter_mut().for_each(|links| links[b] = Link::default());
            }
            self.collect(b);
        }
        for lb in 0..LBS {
            self.tell_lb(lb, Event::Tick);
        }
    }

    /// A process starts, at times at another address.
    fn boot(&mut self, lb: usize) {
        if self.hosts[lb].process.is_some() {
            return;
        }
        let moves = self.random.below(4) == 0;
        let host = &mut self.hosts[lb];
        host.boots += 1;
        if moves {
            host.address = address(lb, host.boots);
        }
        let claim = Claim {
            addresses: vec![host.address],
            resolvers: vec![resolver(lb)],
            networks: vec![],
            preference: 1,
            weight: 1,
            lease: Duration::from_secs(60),
        };
        let servers = (1..=SERVERS).map(|n| format!("b{n}").parse().unwrap()).collect();
        let (identity, settle) = (format!("lb{}", lb + 1).parse().unwrap(), Duration::from_secs(5));
        let (digest, self_check) = (Duration::from_secs(60), Duration::ZERO);
        let (first_question, on_demand_after) = (FirstQuestion::default(), Duration::from_secs(60));
        let here = Here::default();
        let settings =
            Settings { identity, claim, servers, settle, digest, self_check, first_question, on_demand_after, here };
        let keeper = Lb::new(settings, Metrics::default(), self.now);
        host.process = Some(Process { keeper, boot: host.boots, started: self.now });
        self.say(|| format!("lb{} starts at {}", lb + 1, self.hosts[lb].address));
    }

    /// Its host vanishes: nobody is told.
    fn stop(&mut self, lb: usize) {
        self.hosts[lb].process = None;
        for link in &mut self.links[lb] {
            link.up = false;
            link.rising.clear();
            link.falling.clear();
        }
        self.say(|| format!("lb{} is gone", lb + 1));
    }

    /// A link ends, for both sides, or a dns-b finds out that a host is gone.
    fn cut(&mut self, lb: usize, b: usize) {
        let link = std::mem::take(&mut self.links[lb][b]);
        if let Some(id) = link.id {
            self.servers[b].closed(id, self.now);
            self.say(|| format!("b{} loses lb{}", b + 1, lb + 1));
        }
        if link.up {
            self.tell_lb(lb, Event::Down(format!("b{}", b + 1).parse().unwrap()));
        }
        self.collect(b);
    }

    fn restart_server(&mut self, b: usize) {
        for lb in 0..LBS {
            self.cut(lb, b);
        }
        self.servers[b] = self.fresh_server(b);
        self.say(|| format!("b{} restarts with nothing", b + 1));
        // The publisher is quick: until then it would say "not ready", and resolvers would go on.
        self.publish(b);
    }

    fn publish(&mut self, b: usize) {
        let id = LinkId(u64::MAX);
        let from = SocketAddr::from(([192, 0, 2, 200], 1));
        let hello = Hello { identity: "sync".parse().unwrap(), role: PeerRole::DnsASync, ..hello(1, Duration::ZERO) };
        if matches!(self.servers[b].hello(id, &hello, from, self.now), Verdict::Welcome(_)) {
            self.servers[b].message(id, Message::snapshot(catalogue()), self.now);
        }
        self.collect(b);
    }

    fn connect(&mut self, lb: usize, b: usize) {
        let Some(process) = &self.hosts[lb].process else { return };
        if self.links[lb][b].up {
            return;
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let identity = format!("lb{}", lb + 1).parse().unwrap();
        let hello = Hello { identity, ..hello(process.boot, self.now - process.started) };
        let from = SocketAddr::new(self.hosts[lb].address, 1_000);
        let server = format!("b{}", b + 1).parse().unwrap();
        match self.servers[b].hello(id, &hello, from, self.now) {
            Verdict::Welcome(welcome) => {
                self.era += 1;
                self.links[lb][b] = Link { id: Some(id), up: true, era: self.era, ..Link::default() };
                self.servers[b].established(id);
                self.say(|| format!("lb{} connects to b{}", lb + 1, b + 1));
                self.tell_lb(lb, Event::Up(server, welcome, FleetStamp::default()));
            }
            Verdict::Refuse(_) => self.tell_lb(lb, Event::Down(server)),
        }
        self.collect(b);
    }

    /// The first message of one direction arrives.
    fn deliver(&mut self, lb: usize, b: usize) -> Result<(), String> {
        if self.random.below(2) == 0 {
            if let Some(message) = self.links[lb][b].falling.pop_front() {
                self.tell_lb(lb, Event::Said(format!("b{}", b + 1).parse().unwrap(), message));
            }
            return Ok(());
        }
        let (Some((message, mut eras)), Some(id)) = (self.links[lb][b].rising.pop_front(), self.links[lb][b].id) else {
            return Ok(());
        };
        let ready = match &message {
            Message::Ready(ready) => Some(ready.clone()),
            Message::Map(map) if self.planted == Planted::EarlyReady => {
                eras = self.eras(lb);
                let servers = (1..=SERVERS).map(|n| format!("b{n}").parse().unwrap()).collect();
                Some(Ready { map_generation: map.generation, servers })
            }
            _ => None,
        };
        self.servers[b].message(id, message, self.now);
        if let Some(ready) = ready {
            self.servers[b].message(id, Message::Ready(ready.clone()), self.now);
            self.known_where_it_is_ready(lb, &ready, eras)?;
        }
        self.collect(b);
        Ok(())
    }

    fn eras(&self, lb: usize) -> [u64; SERVERS] {
        std::array::from_fn(|b| self.links[lb][b].era)
    }

    /// READY is true when it comes: each dns-b that it names, and that has the same link still, refers to
    /// this DNS-LB where it is now.
    fn known_where_it_is_ready(&self, lb: usize, ready: &Ready, eras: [u64; SERVERS]) -> Result<(), String> {
        let address = self.hosts[lb].address;
        for b in (0..SERVERS).filter(|b| ready.servers.iter().any(|s| s.as_str() == format!("b{}", b + 1))) {
            if eras[b] == 0 || self.links[lb][b].era != eras[b] {
                continue;
            }
            let (decision, reply) = self.ask_server(b, &in_label(&format!("lb{}", lb + 1)), Role::Referral);
            let knows = reply.additionals.iter().any(|r| matches!(r.data, RData::A(a) if IpAddr::V4(a.0) == address));
            if decision != Decision::Referral || !knows {
                return Err(format!("lb{} is READY, and b{} does not know it: {reply}", lb + 1, b + 1));
            }
        }
        Ok(())
    }

    fn measure(&mut self, lb: usize) {
        let Some(process) = &self.hosts[lb].process else { return };
        for target in process.keeper.targets() {
            let milliseconds = 10 + self.random.below(90) as u64;
            let times = Times { connect: Duration::from_millis(milliseconds), ..Times::default() };
            for _ in 0..3 {
                let (target, outcome) = (Arc::new(target.clone()), Outcome::Good(times));
                let sample = Sample { target, outcome, told: Told::default(), at: self.now };
                self.tell_lb(lb, Event::Sample(sample));
            }
        }
    }

    /// A round of checks of a dns-b: every DNS-LB is asked for real.
    fn check(&mut self, b: usize) {
        for target in self.servers[b].take_due_checks(self.now) {
            let lb = (0..LBS).find(|lb| target.identity.as_str() == format!("lb{}", lb + 1)).unwrap();
            let nonce = target.label_zone.child("_dglb").unwrap().child("00ff").unwrap().to_string();
            let alive = self.hosts[lb].process.is_some() && target.addresses == [self.hosts[lb].address];
            let passed = alive && self.ask_lb(lb, &nonce, RecordType::TXT).is_some_and(|r| !r.answers.is_empty());
            let outcome = if passed { CheckOutcome::Passed } else { CheckOutcome::Failed("nobody answers".to_owned()) };
            let (addresses, boot) = (target.addresses, target.boot);
            self.servers[b].checked(Checked { lb: target.lb, boot, addresses, outcome }, self.now);
        }
        self.collect(b);
    }

    fn tell_lb(&mut self, lb: usize, event: Event) {
        let eras = self.eras(lb);
        let Some(process) = &mut self.hosts[lb].process else { return };
        for (to, message) in process.keeper.handle(event, self.now).send {
            let b = (0..SERVERS).find(|b| to.as_str() == format!("b{}", b + 1)).unwrap();
            if self.links[lb][b].up {
                self.links[lb][b].rising.push_back((message, eras));
            }
        }
    }

    /// What a dns-b has to say gets on its way.
    fn collect(&mut self, b: usize) {
        for (id, outgoing) in self.servers[b].take_outbox() {
            let Some(lb) = (0..LBS).find(|lb| self.links[*lb][b].id == Some(id)) else { continue };
            match outgoing {
                Outgoing::One(message) | Outgoing::After(_, message) => self.links[lb][b].falling.push_back(message),
                Outgoing::Shared(_) => {
                    self.links[lb][b].falling.push_back(Message::snapshot(catalogue()));
                }
                Outgoing::Leave(_) => {
                    self.links[lb][b] = Link::default();
                    self.tell_lb(lb, Event::Down(format!("b{}", b + 1).parse().unwrap()));
                }
            }
        }
    }

    /// A resolver asks: for the service, then for everything that it has in its cache.
    fn look_up(&mut self) -> Result<(), String> {
        let (isp, b) = (self.random.below(LBS + 1), self.random.below(SERVERS));
        let (decision, reply) = respond(self.servers[b].directory(), resolver(isp), WWW, RecordType::A, Role::Referral);
        let sound = reply.metadata.response_code == ResponseCode::NoError && !reply.answers.is_empty();
        if !sound {
            return Err(format!("b{} answers {decision:?} for the service: {reply}", b + 1));
        }
        if let RData::CNAME(target) = &reply.answers[0].data {
            self.seen.led += 1;
            let target = target.to_string();
            let lb = (0..LBS).find(|lb| target == format!("{}.", in_label(&format!("lb{}", lb + 1))));
            let lb = lb.ok_or_else(|| format!("led to {target}"))?;
            let until = self.now + Duration::from_secs(u64::from(reply.answers[0].ttl));
            self.cache.retain(|c| c.lb != lb || c.servers.is_some());
            self.cache.push(Cached { lb, until, servers: None });
        }
        self.cache.retain(|c| c.until > self.now);
        for at in 0..self.cache.len() {
            self.follow(at)?;
        }
        Ok(())
    }

    fn follow(&mut self, at: usize) -> Result<(), String> {
        let lb = self.cache[at].lb;
        let name = in_label(&format!("lb{}", lb + 1));
        let b = self.random.below(SERVERS);
        let (decision, reply) = self.ask_server(b, &name, Role::Referral);
        let delegates = reply.authorities.iter().any(|r| r.record_type() == RecordType::NS);
        let addresses = reply.answers.iter().any(|r| r.record_type() == RecordType::A);
        if reply.metadata.response_code != ResponseCode::NoError || !(delegates || addresses) {
            return Err(format!("b{} denies {name} ({decision:?}): {reply}", b + 1));
        }
        if delegates && decision == Decision::Referral {
            self.seen.referred += 1;
            let servers = reply.additionals.iter().filter_map(|r| match r.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                _ => None,
            });
            let until = self.now + Duration::from_secs(u64::from(reply.authorities[0].ttl));
            self.cache[at].servers = Some((servers.collect(), until));
        }
        let Some((servers, until)) = self.cache[at].servers.clone() else { return Ok(()) };
        if until <= self.now {
            return Ok(());
        }
        let mut answered = false;
        for server in servers {
            answered |= self.ask_name_server(server, lb, &name)?;
        }
        if answered { Ok(()) } else { Err(format!("nobody of its name servers answers {name}")) }
    }

    /// Whether a name server of a label answers it; one that is dead, or says that it is not ready yet,
    /// does not, and the resolver asks another.
    fn ask_name_server(&mut self, server: IpAddr, lb: usize, name: &str) -> Result<bool, String> {
        if let Some(b) = (0..SERVERS).find(|b| fallback(*b) == server) {
            let (decision, reply) = self.ask_server(b, name, Role::Fallback);
            let good = reply.answers.iter().any(|r| r.record_type() == RecordType::A);
            return if good { Ok(true) } else { Err(format!("the fall-back b{} says {decision:?}: {reply}", b + 1)) };
        }
        if self.hosts[lb].address != server {
            return Ok(false);
        }
        let Some(reply) = self.ask_lb(lb, name, RecordType::A) else { return Ok(false) };
        let code = u16::from(reply.metadata.response_code);
        let good = reply.answers.iter().any(|r| r.record_type() == RecordType::A);
        self.seen.answered_by_lbs += usize::from(good);
        if good || code == rcode::SERVFAIL { Ok(good) } else { Err(format!("lb{} says {reply}", lb + 1)) }
    }

    fn ask_server(&self, b: usize, name: &str, role: Role) -> (Decision, Dns) {
        respond(self.servers[b].directory(), resolver(LBS), name, RecordType::A, role)
    }

    fn ask_lb(&self, lb: usize, name: &str, rtype: RecordType) -> Option<Dns> {
        let directory = self.hosts[lb].process.as_ref()?.keeper.directory();
        let (decision, mut reply) = respond(directory, resolver(lb), name, rtype, Role::DnsLb);
        if self.planted == Planted::LameAtRestart && decision == Decision::NotReady {
            reply.metadata.response_code = ResponseCode::Refused;
        }
        Some(reply)
    }
}

fn address(lb: usize, boots: u8) -> IpAddr {
    IpAddr::from([198, 18, lb as u8, boots])
}

/// Where the resolver of an ISP asks from; that of the last is in nobody's map.
fn resolver(isp: usize) -> IpAddr {
    IpAddr::from([10, isp as u8 + 1, 0, 1])
}

fn hello(boot: u8, uptime: Duration) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        role: PeerRole::DnsLb,
        identity: "lb1".parse().unwrap(),
        boot: BootId([boot; 16]),
        uptime_ms: uptime.as_millis() as u64,
        features: 0,
        fleet: FleetStamp::default(),
    }
}

fn respond(directory: &Directory, from: IpAddr, name: &str, rtype: RecordType, role: Role) -> (Decision, Dns) {
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.parse::<dglb_core::name::Name>().unwrap().wire());
    packet.extend_from_slice(&u16::from(rtype).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    let peer = SocketAddr::new(from, 5_353);
    let asked = Asked { packet: &packet, peer, transport: Transport::Udp, role };
    let mut reply = [0; 4_096];
    let handled = Responder::with_defaults(directory).respond(&asked, &mut reply);
    (handled.decision, Dns::from_vec(&reply[..handled.length]).unwrap())
}
