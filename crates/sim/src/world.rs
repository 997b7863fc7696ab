//! One world: hosts, connections, and an agenda of what happens when. Nothing happens outside of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dglb_core::dns::Role;
use dns_b::keeper::{CheckOutcome, Checked, Target};

use crate::{
    Ms, Options, Summary, Violation,
    ask::{SOA, ask},
    links::Conn,
    net::Network,
    oracle::{Difference, Oracle},
    plan::{self, END, Fault, HEALED, Size},
    process::{Daemon, Host, Kind, Process},
    publisher::Disk,
    random::Random,
    trace::Trace,
};

/// Between two ticks of a dns-b, and of the others.
const TICKS: (Ms, Ms) = (200, 250);
/// Between two rounds of a DNS-LB's probes.
const PROBES: Ms = 700;
/// Between two looks at everything.
const LOOKS: Ms = 500;
/// How long a dns-b waits for the answer to a check.
const CHECK: Ms = 500;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Happening {
    Start(usize),
    Tick { host: usize, serial: u64 },
    Probe { host: usize, serial: u64 },
    Pump { host: usize, link: u64 },
    Dial { host: usize, serial: u64, server: usize },
    Connected { host: usize, serial: u64, server: usize },
    Undialled { host: usize, serial: u64, server: usize },
    Check { host: usize, serial: u64, target: Target, late: bool },
    Written { host: usize, serial: u64 },
    Fault(usize),
    Mend(usize),
    Publish { left: u64, every: Ms },
    Part,
    Look,
}

/// See the module's description.
#[derive(Debug)]
pub struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) size: Size,
    pub(crate) now: Ms,
    base: Instant,
    agenda: BTreeMap<(Ms, u64), Happening>,
    order: u64,
    happenings: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) last_link: u64,
    pub(crate) last_start: Ms,
    pub(crate) net: Network,
    /// Milliseconds from a host to a site.
    pub(crate) distances: BTreeMap<(usize, u8), u64>,
    /// Sites that are down, and how often.
    pub(crate) down: BTreeMap<u8, u32>,
    pub(crate) plan: Vec<(Ms, Fault)>,
    /// The newest edition of what the enterprise has.
    pub(crate) edition: u16,
    pub(crate) disk: Option<Disk>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    /// What did not hold.
    pub(crate) broken: Option<Difference>,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64, options: Options) -> Self {
        let size = Size::draw(seed);
        let mut random = Random::new(seed, 3);
        let hosts = (0..size.hosts()).map(|host| Host::new(host, size, &mut random)).collect();
        let mut world = Self {
            seed,
            size,
            now: 0,
            // The one look at a clock: all times are counted from here, and an hour back is one, too.
            base: Instant::now() + Duration::from_secs(3_600),
            agenda: BTreeMap::new(),
            order: 0,
            happenings: 0,
            hosts,
            conns: BTreeMap::new(),
            last_link: 0,
            last_start: 0,
            net: Network::new(size.hosts(), &mut random),
            distances: BTreeMap::new(),
            down: BTreeMap::new(),
            plan: plan::draw(seed, size),
            edition: 1,
            disk: None,
            oracle: Oracle::default(),
            trace: Trace::new(options.verbose),
            broken: None,
            options,
        };
        for host in 0..=size.publisher() {
            world.later(random.below(400), Happening::Start(host));
        }
        for host in 0..size.hosts() {
            world.shift(host, &mut random);
        }
        let most = world.options.most_faults.unwrap_or(usize::MAX);
        for (fault, at) in world.plan.iter().map(|(at, _)| *at).enumerate().take(most).collect::<Vec<_>>() {
            if !world.options.without.contains(&fault) {
                world.later(at, Happening::Fault(fault));
            }
        }
        world.later(LOOKS, Happening::Look);
        world.later(HEALED + 1, Happening::Part);
        world
    }

    /// To the end, or to what does not hold.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn run(mut self) -> Result<Summary, Box<Violation>> {
        while let Some(((at, _), happening)) = self.agenda.pop_first().filter(|((at, _), _)| *at <= END) {
            self.now = at;
            self.happenings += 1;
            self.happens(happening);
            self.verdict()?;
        }
        self.now = END;
        self.look();
        self.verdict()?;
        self.last_look();
        self.verdict()?;
        Ok(Summary { hash: self.trace.hash(), happenings: self.happenings, counts: self.oracle.counts })
    }

    fn verdict(&mut self) -> Result<(), Box<Violation>> {
        match self.broken.take() {
            None => Ok(()),
            Some((invariant, text)) => Err(Box::new(Violation { seed: self.seed, at: self.now, invariant, text })),
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Start(host) => self.start(host),
            Happening::Tick { host, serial } => self.tick(host, serial),
            Happening::Probe { host, serial } => self.probe(host, serial),
            Happening::Pump { host, link } => self.pump(host, link),
            Happening::Dial { host, serial, server } => self.dial((host, serial, server)),
            Happening::Connected { host, serial, server } => self.connected((host, serial, server)),
            Happening::Undialled { host, serial, server } => self.undialled((host, serial, server)),
            Happening::Check { host, serial, target, late } => self.check((host, serial), target, late),
            Happening::Written { host, serial } => self.written(host, serial),
            Happening::Fault(fault) => self.break_something(fault),
            Happening::Mend(fault) => self.mend(fault),
            Happening::Publish { left, every } => self.publish(left, every),
            Happening::Part => self.part_doubles(),
            Happening::Look => {
                self.look();
                self.later(LOOKS, Happening::Look);
            }
        }
    }

    /// Something is to happen in so many milliseconds.
    pub(crate) fn later(&mut self, after: Ms, happening: Happening) {
        self.order += 1;
        self.agenda.insert((self.now + after, self.order), happening);
    }

    /// The time as keepers know it.
    pub(crate) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// A process, if this run of it is still there and does something.
    pub(crate) fn running(&mut self, host: usize, serial: u64) -> Option<&mut Process> {
        self.hosts[host].process.as_mut().filter(|p| p.serial == serial)
    }

    fn tick(&mut self, host: usize, serial: u64) {
        if self.running(host, serial).is_none() {
            return;
        }
        self.look_after(host);
        let every = if matches!(self.hosts[host].kind, Kind::B(_)) { TICKS.0 } else { TICKS.1 };
        self.later(every, Happening::Tick { host, serial });
    }

    /// What a process does when it gets to run: it reads, looks at the clock, and goes on.
    pub(crate) fn look_after(&mut self, host: usize) {
        let time = (self.now, self.instant());
        if self.hosts[host].paused > 0 {
            return;
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        let links: Vec<u64> = process.ends.keys().copied().collect();
        // What comes first, what was heard or the time, is not said.
        if process.random.chance(30) {
            process.ends.values_mut().for_each(|end| end.endpoint.time(time));
        }
        links.into_iter().for_each(|link| self.receive(host, link));
        let Some(process) = &mut self.hosts[host].process else { return };
        process.ends.values_mut().for_each(|end| end.endpoint.time(time));
        let links: Vec<u64> = process.ends.keys().copied().collect();
        links.into_iter().for_each(|link| self.receive(host, link));
        self.think(host);
        self.settle(host);
    }

    /// The daemon's own tick.
    fn think(&mut self, host: usize) {
        let (instant, edition, claim) = (self.instant(), self.edition, self.hosts[host].claim.clone());
        let Some(process) = &mut self.hosts[host].process else { return };
        let serial = process.serial;
        match &mut process.daemon {
            Daemon::B(b) => {
                let due = b.tick(instant);
                self.oracle.ticked(host, self.now);
                for target in due {
                    self.begin_check((host, serial), target);
                }
            }
            Daemon::Lb(lb) => {
                lb.tick(instant);
                lb.remap(claim, instant);
                if process.random.chance(25) {
                    self.later(1, Happening::Probe { host, serial });
                }
            }
            Daemon::Publisher(publisher) => publisher.offer(edition),
        }
    }

    fn probe(&mut self, host: usize, serial: u64) {
        let (instant, now) = (self.instant(), self.now);
        if self.hosts[host].paused > 0 {
            return;
        }
        let Self { distances, down, hosts, .. } = self;
        let Some(process) = hosts[host].process.as_mut().filter(|p| p.serial == serial) else { return };
        let Daemon::Lb(lb) = &mut process.daemon else { return };
        let latency = |address: std::net::IpAddr| {
            let std::net::IpAddr::V4(v4) = address else { return None };
            let site = v4.octets()[3] % 16;
            let up = down.get(&site).is_none_or(|n| *n == 0);
            let ms = distances.get(&(host, site)).copied().unwrap_or(50) + now / PROBES % 2;
            up.then_some(Duration::from_millis(ms))
        };
        lb.probe(latency, instant);
        self.settle(host);
    }

    fn begin_check(&mut self, (host, serial): (usize, u64), target: Target) {
        let lb = target.addresses.first().and_then(|a| self.at_address(*a));
        let ways = lb.and_then(|lb| self.net.way(host, lb).zip(self.net.way(lb, host)));
        let trip = ways.map_or(CHECK, |(there, back)| there.delay + back.delay);
        let late = trip >= CHECK;
        self.later(trip.min(CHECK), Happening::Check { host, serial, target, late });
    }

    fn check(&mut self, (host, serial): (usize, u64), target: Target, late: bool) {
        if self.hosts[host].paused > 0 {
            return self.later(CHECK, Happening::Check { host, serial, target, late: true });
        }
        let answered = !late && target.addresses.first().is_some_and(|a| self.answers(host, *a, &target));
        let outcome = if answered { CheckOutcome::Passed } else { CheckOutcome::Failed("no answer".to_owned()) };
        self.trace.note((self.now, host), "check", [answered.into(), target.lb.0.into()]);
        let instant = self.instant();
        let Some(Process { daemon: Daemon::B(b), .. }) = self.running(host, serial) else { return };
        let Target { lb, boot, addresses, .. } = target;
        b.checked(Checked { lb, boot, addresses, outcome }, instant);
        self.settle(host);
    }

    /// Whether the DNS-LB at an address answers for the label that a dns-b knows it by.
    fn answers(&self, host: usize, address: std::net::IpAddr, target: &Target) -> bool {
        let Some(at) = self.at_address(address) else { return false };
        let open = !self.net.is_shut(host, at) && !self.net.is_shut(at, host) && self.hosts[at].paused == 0;
        let Some(lb) = self.hosts[at].lb().filter(|_| open) else { return false };
        let from = crate::content::address(host);
        let reply = ask(lb.keeper.directory(), from, (&target.label_zone, SOA), Role::DnsLb);
        reply.rcode == 0 && reply.authoritative && reply.answers == 1
    }

    fn at_address(&self, address: std::net::IpAddr) -> Option<usize> {
        (0..self.hosts.len()).find(|host| crate::content::address(*host) == address)
    }

    /// Draws all distances between a host and the sites.
    pub(crate) fn shift(&mut self, host: usize, random: &mut Random) {
        for site in 1..=crate::content::SITES {
            self.distances.insert((host, site), random.between(2, 150));
        }
    }

    fn publish(&mut self, left: u64, every: Ms) {
        self.edition += 1;
        let publisher = self.size.publisher();
        self.think(publisher);
        self.settle(publisher);
        if left > 1 && self.now < HEALED {
            self.later(every, Happening::Publish { left: left - 1, every });
        }
    }
}
