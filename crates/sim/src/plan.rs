//! What goes wrong, and when: drawn from the seed before anything runs, so that a fault can be left
//! out and all others stay as they are.

use crate::{Ms, random::Random};

/// Faults begin after this.
pub const CALM: Ms = 5_000;
/// From here on nothing goes wrong any more and everything that was broken is whole again.
pub const HEALED: Ms = 40_000;
/// When all must agree.
pub const END: Ms = 68_000;

/// No fault lasts longer.
pub const LONGEST: Ms = 25_000;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// It says BYE on all links.
    Clean,
    /// Its connections are reset.
    Crash,
    /// Its host falls silent.
    Silent,
}

/// One thing that goes wrong. Hosts are numbers of [`crate::world::World`]; times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing gets from one host to the other, and back only if `one_way`.
    Partition {
        /// From here.
        from: usize,
        /// To there.
        to: usize,
        /// Whether the way back is open.
        one_way: bool,
        /// How long.
        lasts: Ms,
    },
    /// One host is cut off from all.
    Alone {
        /// Which.
        host: usize,
        /// How long.
        lasts: Ms,
    },
    /// So few octets a millisecond between two hosts, and so much more delay.
    Slow {
        /// One.
        from: usize,
        /// The other.
        to: usize,
        /// Octets a millisecond.
        rate: u64,
        /// More delay each way.
        delay: Ms,
        /// How long.
        lasts: Ms,
    },
    /// All connections between two hosts break, in the middle of whatever is under way.
    Cut {
        /// One.
        from: usize,
        /// The other.
        to: usize,
    },
    /// A process ends and another one is started.
    Restart {
        /// Where.
        host: usize,
        /// How it ends.
        how: Stop,
        /// How long nothing runs.
        down: Ms,
        /// Whether what it had on disk is lost, where it has anything there.
        blank: bool,
    },
    /// A second process of this DNS-LB is started on another host.
    Duplicate {
        /// The DNS-LB's host.
        host: usize,
        /// How long it runs.
        lasts: Ms,
    },
    /// A process does nothing, while its host's network goes on.
    Pause {
        /// Where.
        host: usize,
        /// How long.
        lasts: Ms,
    },
    /// The enterprise publishes, several times in a row.
    Publish {
        /// How often.
        count: u64,
        /// Between two of them.
        every: Ms,
    },
    /// The DNS-ISP's addresses change at a DNS-LB.
    Remap {
        /// The DNS-LB's host.
        host: usize,
    },
    /// All distances between a DNS-LB and the sites are others.
    Shift {
        /// The DNS-LB's host.
        host: usize,
    },
    /// A site is down for all.
    SiteDown {
        /// Its number, from 1.
        site: u8,
        /// How long.
        lasts: Ms,
    },
}

/// How many of each there are; hosts are numbered in this order: dns-bs, DNS-LBs, the publisher, and
/// then one spare for each DNS-LB, where its double may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// dns-bs.
    pub bs: usize,
    /// DNS-LBs.
    pub lbs: usize,
}

impl Size {
    /// Drawn.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        Self { bs: random.between(2, 3) as usize, lbs: random.between(2, 6) as usize }
    }

    /// The publisher's host.
    pub fn publisher(&self) -> usize {
        self.bs + self.lbs
    }

    /// All hosts.
    pub fn hosts(&self) -> usize {
        self.bs + 2 * self.lbs + 1
    }

    /// Where the double of this DNS-LB's host runs.
    pub fn spare(&self, lb: usize) -> usize {
        lb + self.lbs + 1
    }
}

/// The faults of a seed, by time.
pub fn draw(seed: u64, size: Size) -> Vec<(Ms, Fault)> {
    let mut random = Random::new(seed, 2);
    let count = random.between(3, 22);
    let mut plan: Vec<(Ms, Fault)> = Vec::new();
    for _ in 0..count {
        let (at, fault) = (random.between(CALM, HEALED - 1_000), fault(&mut random, size));
        if matches!(fault, Fault::Slow { .. }) && random.chance(50) {
            // More than the slow way can carry.
            plan.push((at + 200, Fault::Publish { count: random.between(30, 60), every: 30 }));
        }
        plan.push((at, fault));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn fault(random: &mut Random, size: Size) -> Fault {
    let b = random.below(size.bs as u64) as usize;
    let lb = size.bs + random.below(size.lbs as u64) as usize;
    let dialler = if random.chance(15) { size.publisher() } else { lb };
    let any = if random.chance(50) { b } else { dialler };
    let (from, to) = if random.chance(50) { (b, dialler) } else { (dialler, b) };
    // Half of them are over before anybody is taken for dead, many others outlive every lease.
    let lasts = if random.chance(50) { random.between(200, 3_000) } else { random.between(3_000, LONGEST) };
    let how = *random.pick(&[Stop::Clean, Stop::Crash, Stop::Silent]);
    match random.below(100) {
        0..=15 => Fault::Partition { from, to, one_way: random.chance(50), lasts },
        16..=21 => Fault::Alone { host: any, lasts },
        22..=30 => Fault::Slow { from, to, rate: random.between(1, 15), delay: random.between(0, 800), lasts },
        31..=41 => Fault::Cut { from, to },
        42..=54 => Fault::Restart { host: any, how, down: lasts / 2, blank: random.chance(50) },
        55..=61 => Fault::Duplicate { host: lb, lasts },
        62..=68 => Fault::Pause { host: any, lasts },
        69..=76 => Fault::Publish { count: random.between(1, 3), every: 100 },
        77..=90 => Fault::Remap { host: lb },
        91..=95 => Fault::Shift { host: lb },
        _ => Fault::SiteDown { site: random.between(1, 4) as u8, lasts },
    }
}
