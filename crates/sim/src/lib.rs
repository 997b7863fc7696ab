//! A deterministic simulation of map links: real sessions (`dglb_core::proto`), real keepers of dns-b
//! and dns-lb, and a network, a clock and an enterprise that are only pretended. No socket, no thread,
//! no time but a number. A seed replays exactly.
//!
//! ```text
//! seed ─▶ plan (what goes wrong, when)
//!              │
//! publisher ─ endpoint ─ pipe ─ endpoint ─ dns_b::Keeper ─▶ Directory ─▶ Responder ─▶ invariants
//! dns_lb::Keeper ─ endpoint ─ pipe ─┘                            oracle (from the messages) ─┘
//! ```
//!
//! `docs/simulation.md` says what is simulated, what must hold, and how to replay a seed.

pub mod ask;
pub mod content;
pub mod disk;
pub mod dns_b;
pub mod dns_lb;
pub mod endpoint;
mod faults;
pub mod hostile;
mod invariants;
mod links;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod plant;
mod process;
pub mod publisher;
pub mod random;
mod trace;
pub mod world;

use std::fmt;

use oracle::Counts;
use plant::Plant;
use world::World;

/// Milliseconds since a world began.
pub type Ms = u64;

/// What must hold. Its number is that of `docs/simulation.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// 1: what was acknowledged and lives is served.
    Served,
    /// 2: what has expired or was withdrawn is not.
    Expired,
    /// 3: when the network is whole again, all dns-bs answer the same.
    Converged,
    /// 4: every answer is of one generation of the catalogue.
    Whole,
    /// 5: an older state never undoes a newer one.
    Newest,
    /// 6: there is at most one live link of an identity.
    OneLink,
    /// 7: queues are bounded.
    Bounded,
    /// 8: a label that one dns-b has handed out is denied by nobody.
    Known,
}

/// How a world is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A bug in the first dns-b.
    pub plant: Option<Plant>,
    /// Which faults of the plan are left out, by their place in it.
    pub without: Vec<usize>,
    /// Most faults; those that come later in the plan are left out.
    pub most_faults: Option<usize>,
    /// Print everything that happens.
    pub verbose: bool,
}

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which world.
    pub seed: u64,
    /// When.
    pub at: Ms,
    /// What.
    pub invariant: Invariant,
    /// How it shows.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at, invariant, text } = self;
        write!(f, "seed {seed} at {at} ms: {invariant:?} does not hold: {text}")
    }
}

impl std::error::Error for Violation {}

/// A world in which everything held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of everything that happened, in order: the same for the same seed.
    pub hash: u64,
    /// How much happened.
    pub happenings: u64,
    /// What is worth counting.
    pub counts: Counts,
}

/// Runs the world of a seed to its end.
///
/// # Errors
/// The first [`Violation`].
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Violation>> {
    World::new(seed, options.clone()).run()
}

/// Leaves out one fault after the other as long as the same invariant fails. Returns the places of
/// the faults that are left out in the end, and what still fails then.
pub fn shrink(first: &Violation, options: &Options) -> (Options, Box<Violation>) {
    let (mut options, mut shown) = (options.clone(), Box::new(first.clone()));
    let size = plan::Size::draw(first.seed);
    for fault in (0..plan::draw(first.seed, size).len()).rev() {
        let mut fewer = options.clone();
        fewer.without.push(fault);
        if let Err(violation) = run(first.seed, &fewer)
            && violation.invariant == first.invariant
        {
            (options, shown) = (fewer, violation);
        }
    }
    (options, shown)
}
