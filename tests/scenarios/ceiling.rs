//! A customer's ceiling of probes holds while DNS-LBs join, leave and vanish: two dns-bs share it out,
//! each by itself, and every DNS-LB takes the lesser of its shares. The keepers are the real ones, the
//! links are queues with delays, time is invented.

mod storm;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::LazyLock,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::ZoneCatalogue,
    directory::FirstQuestion,
    proto::message::{BootId, Budget, BudgetShare, FleetStamp, Hello, Message, PeerRole},
    rank::Here,
};
use dglb_probe::shares::Share;
use dglb_scenarios::configs;
use dns_b::keeper::{Keeper as Server, LinkId, Outgoing, Verdict};
use dns_lb::{
    keeper::{Event, Keeper as Lb, Settings},
    metrics::Metrics,
    registration::Claim,
};

use crate::random::Random;

const SERVERS: usize = 2;
const LBS: usize = 16;
/// Probes a second: whatever the parts, one share is a whole number of them.
const CEILING: u32 = 48;
const STEP: Duration = Duration::from_millis(50);
/// So long a seed is played, in steps.
const STEPS: usize = 20 * 180;
const SEEDS: u64 = 25;

static SITE: LazyLock<IpAddr> = LazyLock::new(|| "203.0.113.1".parse().unwrap());

#[test]
fn the_ceiling_holds_in_every_second_whoever_joins() {
    let mut probes = 0;
    for seed in 1..=SEEDS {
        let played = Play::new(seed, false).play();
        probes += played.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
    // Most of it is used, or it would be easy to keep.
    let most = u64::from(CEILING) * SEEDS * STEPS as u64 / 20;
    assert!(probes > most / 3, "{probes} of {most}");
}

#[test]
fn a_newcomer_that_does_not_wait_is_found() {
    assert!((1..=SEEDS).any(|seed| Play::new(seed, true).play().is_err()));
}

/// A message on its way, and when it is there.
type OnItsWay<T> = VecDeque<(Instant, T)>;

#[derive(Default)]
struct Link {
    id: Option<LinkId>,
    rising: OnItsWay<Message>,
    falling: OnItsWay<Message>,
}

struct Host {
    keeper: Lb,
    boot: u8,
    links: [Link; SERVERS],
    share: Share,
    next: Option<Instant>,
}

struct Play {
    random: Random,
    eager: bool,
    now: Instant,
    servers: Vec<Server>,
    hosts: Vec<Option<Host>>,
    /// Links of hosts that vanished, and when a dns-b notices.
    orphans: Vec<(Instant, usize, LinkId)>,
    next_link: u64,
    next_boot: u8,
    /// Probes, and changes of shares, in this second.
    second: (u32, u32),
}

impl Play {
    fn new(seed: u64, eager: bool) -> Self {
        let now = Instant::now();
        let mut play = Self {
            random: Random(seed),
            eager,
            now,
            servers: Vec::new(),
            hosts: (0..LBS).map(|_| None).collect(),
            orphans: Vec::new(),
            next_link: 1,
            next_boot: 1,
            second: (0, 0),
        };
        for n in 0..SERVERS {
            let mut server = Server::new(&CONFIGS[n], BootId([n as u8; 16]), now);
            let id = LinkId(u64::MAX);
            server.hello(id, &hello("sync", PeerRole::DnsASync, 1), from(), now);
            server.message(id, Message::snapshot(catalogue()), now);
            server.take_outbox();
            play.servers.push(server);
        }
        play
    }

    /// How often the site was probed.
    fn play(mut self) -> Result<u64, String> {
        let mut probes = 0;
        for step in 0..STEPS {
            self.now += STEP;
            self.come_and_go();
            self.deliver();
            self.tick(step);
            self.probe();
            let used: u32 =
                self.hosts.iter().flatten().map(|h| if let Share::AtMost(m) = h.share { m } else { 0 }).sum();
            if used > CEILING * 1_000 {
                return Err(format!("at step {step} the shares in use come to {used}"));
            }
            if step % 20 == 19 {
                let (started, changed) = std::mem::take(&mut self.second);
                // Whose share changes within a second may be one ahead of either.
                if started > CEILING + changed {
                    return Err(format!("{started} probes in the second that ends with step {step}"));
                }
                probes += u64::from(started);
            }
        }
        Ok(probes)
    }

    fn come_and_go(&mut self) {
        let n = self.random.below(LBS);
        match self.random.below(100) {
            0..2 if self.hosts[n].is_none() => self.boot(n),
            2 if self.random.below(4) == 0 => {
                // The host vanishes; it is missed after a while.
                if let Some(host) = self.hosts[n].take() {
                    for (b, link) in host.links.into_iter().enumerate() {
                        let noticed = self.now + Duration::from_secs(self.random.below(15) as u64);
                        self.orphans.extend(link.id.map(|id| (noticed, b, id)));
                    }
                }
            }
            3 if self.random.below(3) == 0 => self.cut(n, self.next_link as usize % SERVERS),
            4..20 => self.connect(n),
            _ => {}
        }
        let now = self.now;
        let (noticed, rest): (Vec<_>, Vec<_>) = self.orphans.drain(..).partition(|(at, ..)| *at <= now);
        self.orphans = rest;
        noticed.into_iter().for_each(|(_, b, id)| self.servers[b].closed(id, now));
    }

    fn boot(&mut self, n: usize) {
        let claim = Claim {
            addresses: vec![[198, 18, 0, n as u8].into()],
            resolvers: vec![],
            networks: vec![],
            preference: 1,
            weight: 1,
            lease: Duration::from_secs(20),
        };
        let servers = (1..=SERVERS).map(|b| format!("b{b}").parse().unwrap()).collect();
        let (identity, settle) = (format!("lb{}", n + 1).parse().unwrap(), Duration::from_secs(5));
        let (digest, self_check) = (Duration::from_secs(60), Duration::ZERO);
        let (first_question, on_demand_after) = (FirstQuestion::default(), Duration::from_secs(60));
        let here = Here::default();
        let settings =
            Settings { identity, claim, servers, settle, digest, self_check, first_question, on_demand_after, here };
        let keeper = Lb::new(settings, Metrics::default(), self.now);
        self.next_boot = self.next_boot.wrapping_add(1);
        let (boot, links) = (self.next_boot, Default::default());
        self.hosts[n] = Some(Host { keeper, boot, links, share: Share::None, next: None });
    }

    fn connect(&mut self, n: usize) {
        for b in 0..SERVERS {
            let Some(host) = self.hosts[n].as_mut().filter(|h| h.links[b].id.is_none()) else { continue };
            let id = LinkId(self.next_link);
            self.next_link += 1;
            let hello = hello(&format!("lb{}", n + 1), PeerRole::DnsLb, host.boot);
            if let Verdict::Welcome(welcome) = self.servers[b].hello(id, &hello, from(), self.now) {
                host.links[b] = Link { id: Some(id), ..Link::default() };
                self.servers[b].established(id);
                self.tell(n, Event::Up(server(b), welcome, FleetStamp::default()));
                if self.eager {
                    let share = BudgetShare { address: *SITE, milliprobes_per_second: CEILING * 1_000 / 2 };
                    let budget = Budget { generation: 0, of: 2, shares: vec![share] };
                    self.tell(n, Event::Said(server(b), Message::Budget(Box::new(budget))));
                }
            }
            self.collect(b);
        }
    }

    fn cut(&mut self, n: usize, b: usize) {
        let Some(host) = &mut self.hosts[n] else { return };
        if let Some(id) = std::mem::take(&mut host.links[b]).id {
            self.servers[b].closed(id, self.now);
            self.tell(n, Event::Down(server(b)));
        }
    }

    /// What has been on its way for long enough.
    fn deliver(&mut self) {
        for n in 0..LBS {
            for b in 0..SERVERS {
                while let Some(host) = &mut self.hosts[n] {
                    let now = self.now;
                    let there =
                        |queue: &mut OnItsWay<Message>| queue.pop_front_if(|(at, _)| *at <= now).map(|(_, m)| m);
                    let (up, down) = (there(&mut host.links[b].rising), there(&mut host.links[b].falling));
                    if up.is_none() && down.is_none() {
                        break;
                    }
                    if let (Some(message), Some(id)) = (up, host.links[b].id) {
                        self.servers[b].message(id, message, now);
                        self.collect(b);
                    }
                    if let Some(message) = down {
                        self.tell(n, Event::Said(server(b), message));
                    }
                }
            }
        }
    }

    fn tick(&mut self, step: usize) {
        for b in 0..SERVERS {
            self.servers[b].tick(self.now);
            if step % 20 == b {
                self.servers[b].slow_tick(self.now);
            }
            self.collect(b);
        }
        if step.is_multiple_of(5) {
            (0..LBS).for_each(|n| self.tell(n, Event::Tick));
        }
    }

    /// As the prober does: the first place in the interval is drawn.
    fn probe(&mut self) {
        for host in self.hosts.iter_mut().flatten() {
            let Some(interval) = host.share.interval() else { continue };
            let drawn = interval.mul_f64(self.random.below(1_000) as f64 / 1_000.0);
            let mut next = *host.next.get_or_insert(self.now + drawn);
            while next <= self.now {
                self.second.0 += 1;
                next += interval;
            }
            host.next = Some(next);
        }
    }

    fn tell(&mut self, n: usize, event: Event) {
        let (now, delay) = (self.now, Duration::from_millis(50 + self.random.below(450) as u64));
        let Some(host) = &mut self.hosts[n] else { return };
        let effects = host.keeper.handle(event, now);
        if let Some(in_force) = effects.shares {
            let share = in_force.get(&*SITE).copied().unwrap_or(Share::None);
            if share != host.share {
                self.second.1 += 1;
                // The wait of now is for the new interval, not for the old.
                if let (Some(next), Some(old), Some(new)) = (host.next, host.share.interval(), share.interval()) {
                    host.next = Some(next - old.min(next - now + old) + new);
                }
                host.share = share;
            }
        }
        for (to, message) in effects.send {
            let b = (0..SERVERS).find(|b| server(*b) == to).unwrap();
            let queue = &mut host.links[b].rising;
            let at = queue.back().map_or(now + delay, |(last, _)| (now + delay).max(*last));
            queue.push_back((at, message));
        }
    }

    fn collect(&mut self, b: usize) {
        for (id, outgoing) in self.servers[b].take_outbox() {
            let at = self.now + Duration::from_millis(50 + self.random.below(450) as u64);
            let Some(n) = (0..LBS).find(|n| self.hosts[*n].as_ref().is_some_and(|h| h.links[b].id == Some(id))) else {
                continue;
            };
            let message = match outgoing {
                Outgoing::One(message) | Outgoing::After(_, message) => message,
                Outgoing::Shared(_) => Message::snapshot(catalogue()),
                Outgoing::Leave(_) => {
                    self.hosts[n].iter_mut().for_each(|h| h.links[b] = Link::default());
                    self.tell(n, Event::Down(server(b)));
                    continue;
                }
            };
            let Some(host) = &mut self.hosts[n] else { continue };
            let queue = &mut host.links[b].falling;
            let at = queue.back().map_or(at, |(last, _)| at.max(*last));
            queue.push_back((at, message));
        }
    }
}

static CONFIGS: LazyLock<Vec<dns_b::config::Config>> = LazyLock::new(|| (1..=SERVERS).map(config).collect());

fn config(n: usize) -> dns_b::config::Config {
    configs::on_paper(n, SERVERS, LBS, "20s")
}

fn catalogue() -> ZoneCatalogue {
    let mut zone = configs::catalogue_of(&[*SITE], 1);
    zone.services[0].probe_ceiling = NonZeroU32::new(CEILING * 1_000);
    zone
}

fn server(b: usize) -> dglb_core::identity::Identity {
    format!("b{}", b + 1).parse().unwrap()
}

fn from() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 200], 1))
}

fn hello(identity: &str, role: PeerRole, boot: u8) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        role,
        identity: identity.parse().unwrap(),
        boot: BootId([boot; 16]),
        uptime_ms: 0,
        features: 0,
        fleet: FleetStamp::default(),
    }
}
