//! Ten thousand DNS-LBs that come and go in storms, and a ceiling that holds in every second.
//!
//! The dns-bs' keepers are the real ones, as are the shares and the rhythm of every DNS-LB; messages
//! take up to half a second, time is invented, and every DNS-LB probes whenever it may.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::ZoneCatalogue,
    proto::message::{BootId, Budget, BudgetAck, Message, PeerRole},
};
use dglb_probe::{
    rhythm::Rhythm,
    shares::{Share, Shares},
};
use dglb_scenarios::configs;
use dns_b::keeper::{Keeper as Server, LinkId, Outgoing, Verdict};

use super::{hello, server};
use crate::random::Random;

const SERVERS: usize = 2;
const POPS: usize = 10_000;
/// Probes in a second, on one site: what ten thousand POPs come to that probe every ten seconds.
const CEILING: u32 = 1_000;
const STEP: Duration = Duration::from_millis(100);
/// Steps in a second.
const SECOND: usize = 10;

#[test]
fn ten_thousand_pops_keep_to_a_ceiling_in_every_second() {
    let mut storm = Storm::new(3);
    let mut most = 0;
    for second in 0..560_usize {
        match second {
            0 => storm.join(0..100, 1),
            // Half of all within a second, then the other half.
            30 => storm.join(100..5_000, 1),
            120 => storm.join(5_000..POPS, 1),
            // A third of the net is gone without a word, and comes back all at once, restarted.
            220 => storm.vanish(2_000..5_500),
            320 => storm.join(2_000..5_500, 2),
            // All restart at once: what they had is counted until they are missed.
            420 => storm.vanish(0..POPS),
            422 => storm.join(0..POPS, 3),
            _ => {}
        }
        let started = storm.second().unwrap_or_else(|wrong| panic!("second {second}: {wrong}"));
        assert!(started <= CEILING, "{started} probes in second {second}");
        most = most.max(started);
        let with_a_share = storm.pops.iter().filter(|pop| pop.interval().is_some()).count();
        if matches!(second, 119 | 219 | 319 | 419 | 559) {
            println!("second {second}: {started} probes by {with_a_share} POPs");
            let expected = match second {
                119 => 5_000,
                319 => POPS - 3_500,
                _ => POPS,
            };
            assert_eq!(with_a_share, expected, "everybody who is there has a share by second {second}");
            assert!(started > CEILING / 2, "{started} probes in second {second}: most of it is used");
        }
    }
    println!("at most {most} probes in a second, of {CEILING}");
}

/// What is on its way.
enum Post {
    Down(usize, usize, Box<Budget>),
    Up(usize, usize, LinkId, BudgetAck),
    /// A dns-b notices that a link is dead.
    Missed(usize, LinkId),
    /// A DNS-LB dials.
    Dial(usize),
}

struct Pop {
    boot: u8,
    links: [Option<LinkId>; SERVERS],
    shares: Shares,
    share: Share,
    rhythm: Rhythm,
}

impl Pop {
    fn interval(&self) -> Option<Duration> {
        self.share.interval().filter(|_| self.boot > 0)
    }
}

struct Storm {
    random: Random,
    now: Instant,
    servers: Vec<Server>,
    pops: Vec<Pop>,
    /// By links' numbers.
    owners: Vec<usize>,
    /// What arrives in this step, in the next, …
    post: VecDeque<Vec<Post>>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let (now, mut random) = (Instant::now(), Random(seed));
        let pop = |_| {
            let chance = random.below(10_000) as f64 / 10_000.0;
            let (links, shares, rhythm) = ([None; SERVERS], Shares::default(), Rhythm::new(chance, now));
            Pop { boot: 0, links, shares, share: Share::None, rhythm }
        };
        let pops = (0..POPS).map(pop).collect();
        let servers = (0..SERVERS).map(|b| equipped(b, now)).collect();
        Self { random, now, servers, pops, owners: Vec::new(), post: VecDeque::new() }
    }

    fn join(&mut self, who: std::ops::Range<usize>, boot: u8) {
        for n in who {
            let chance = self.random.below(10_000) as f64 / 10_000.0;
            let pop = &mut self.pops[n];
            (pop.boot, pop.shares, pop.share) = (boot, Shares::default(), Share::None);
            pop.rhythm = Rhythm::new(chance, self.now);
            pop.shares.limit([site()], self.now);
            self.send(SECOND, Post::Dial(n));
        }
    }

    fn vanish(&mut self, who: std::ops::Range<usize>) {
        for n in who {
            self.pops[n].boot = 0;
            for (b, link) in std::mem::take(&mut self.pops[n].links).into_iter().enumerate() {
                // A link that says nothing is given up after a while.
                link.into_iter().for_each(|id| self.send(15 * SECOND, Post::Missed(b, id)));
            }
        }
    }

    /// Something arrives within so many steps.
    fn send(&mut self, within: usize, post: Post) {
        let at = 1 + self.random.below(within);
        while self.post.len() <= at {
            self.post.push_back(Vec::new());
        }
        self.post[at].push(post);
    }

    /// How many probes start in a second.
    fn second(&mut self) -> Result<u32, String> {
        let mut started = 0;
        for step in 0..SECOND {
            self.now += STEP;
            for post in self.post.pop_front().unwrap_or_default() {
                self.arrive(post);
            }
            for b in 0..SERVERS {
                self.servers[b].tick(self.now);
                if step == b {
                    self.servers[b].slow_tick(self.now);
                }
                self.collect(b);
            }
            started += self.probe();
        }
        let used = |pop: &Pop| if let (Share::AtMost(m), 1..) = (pop.share, pop.boot) { u64::from(m) } else { 0 };
        let used: u64 = self.pops.iter().map(used).sum();
        if used > u64::from(CEILING) * 1_000 {
            return Err(format!("the shares in use come to {used}"));
        }
        Ok(started)
    }

    fn probe(&mut self) -> u32 {
        let mut started = 0;
        for pop in &mut self.pops {
            let Some(interval) = pop.interval() else { continue };
            while pop.rhythm.next(Some(interval), self.now).is_some_and(|at| at <= self.now) {
                pop.rhythm.started(self.now);
                started += 1;
            }
        }
        started
    }

    fn arrive(&mut self, post: Post) {
        match post {
            Post::Dial(n) => (0..SERVERS).for_each(|b| self.connect(n, b)),
            Post::Missed(b, id) => {
                self.servers[b].closed(id, self.now);
                self.collect(b);
            }
            Post::Up(n, b, id, ack) => {
                if self.pops[n].links[b] == Some(id) {
                    self.servers[b].message(id, Message::BudgetAck(ack), self.now);
                    self.collect(b);
                }
            }
            Post::Down(n, b, budget) => {
                let pop = &mut self.pops[n];
                let Some(id) = pop.links[b] else { return };
                pop.shares.give(&server(b), &budget);
                if let Some(in_force) = pop.shares.settle(self.now) {
                    // Up to now by the old share.
                    pop.rhythm.next(pop.share.interval(), self.now);
                    pop.share = in_force.get(&site()).copied().unwrap_or(Share::None);
                    pop.rhythm.next(pop.share.interval(), self.now);
                }
                let ack = BudgetAck { generation: budget.generation };
                self.send(SECOND / 2, Post::Up(n, b, id, ack));
            }
        }
    }

    fn connect(&mut self, n: usize, b: usize) {
        let id = LinkId(self.owners.len() as u64);
        self.owners.push(n);
        let hello = hello(&format!("lb{n}"), PeerRole::DnsLb, self.pops[n].boot);
        let from = SocketAddr::from(([192, 0, 2, 200], 1));
        let Verdict::Welcome(_) = self.servers[b].hello(id, &hello, from, self.now) else { panic!("lb{n} is refused") };
        self.servers[b].established(id);
        self.pops[n].links[b] = Some(id);
        self.pops[n].shares.up(&server(b));
        self.collect(b);
    }

    fn collect(&mut self, b: usize) {
        for (id, outgoing) in self.servers[b].take_outbox() {
            let Some(n) = self.owners.get(id.0 as usize).copied() else { continue };
            let current = self.pops[n].links[b] == Some(id);
            if let Outgoing::One(Message::Budget(budget)) | Outgoing::After(_, Message::Budget(budget)) = outgoing
                && current
            {
                self.send(SECOND / 2, Post::Down(n, b, budget));
            }
        }
    }
}

/// A dns-b that has the catalogue and knows everybody who may come.
fn equipped(b: usize, now: Instant) -> Server {
    let mut config = configs::on_paper(b + 1, SERVERS, 1, "20s");
    let template = config.peers.values().find(|peer| peer.role == PeerRole::DnsLb).unwrap().clone();
    config.peers.extend((0..POPS).map(|n| (format!("lb{n}").parse().unwrap(), template.clone())));
    let mut server = Server::new(&config, BootId([b as u8; 16]), now);
    let id = LinkId(u64::MAX);
    server.hello(id, &hello("sync", PeerRole::DnsASync, 1), SocketAddr::from(([192, 0, 2, 1], 1)), now);
    server.message(id, Message::snapshot(catalogue()), now);
    server.take_outbox();
    server
}

fn catalogue() -> ZoneCatalogue {
    let mut zone = configs::catalogue_of(&[site()], 1);
    zone.services[0].probe_ceiling = NonZeroU32::new(CEILING * 1_000);
    zone
}

fn site() -> IpAddr {
    [203, 0, 113, 1].into()
}
