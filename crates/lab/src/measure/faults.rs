//! Sites that fail in every way, and how long a client is sent there all the same.

use std::{
    fmt,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use super::secured::PROBE;
use crate::{
    process::Signal,
    programs::embedded::{Fault, set_fault},
    world::{Plan, World, WorldError, site},
};

/// How long everybody may take to find each other, and a site to be used again.
pub(super) const SETTLE: Duration = Duration::from_secs(30);
/// A client's stub resolver gives up after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// The ISP whose client asks, counted from 0.
const ISP: usize = 0;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Failing {
    /// The program is killed, and the host refuses connections.
    Kill,
    /// The host is cut off without a word.
    Blackhole,
    /// Connections are taken and reset.
    Reset,
    /// Every answer has status 500.
    Error,
    /// Every answer has another page.
    WrongBody,
    /// Answers come one octet at a time and never end.
    SlowLoris,
    /// The certificate has expired.
    Expired,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Failover {
    /// From the failure until a client was sent to another site.
    pub took: Duration,
    /// How the DNS-LB's probes ended, most of them.
    pub outcome: String,
}

/// What a fail-over may take.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Longest time from one probe to the next. Jitter only shortens it.
    pub interval: Duration,
    /// Until a probe has failed.
    pub timeout: Duration,
    /// Failures in a row until down.
    pub fall: u32,
    /// From the start of a failed probe to the next, where that is more than the time-out.
    pub again: Duration,
    /// How long a resolver may keep the answer of before.
    pub ttl: Duration,
}

impl Failing {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Blackhole, Self::Reset, Self::Error, Self::WrongBody, Self::SlowLoris, Self::Expired];

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Blackhole => "cut off",
            Self::Reset => "resets",
            Self::Error => "status 500",
            Self::WrongBody => "wrong body",
            Self::SlowLoris => "slow-loris",
            Self::Expired => "expired",
        }
    }

    /// How probes of such a site end.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Kill => "refused",
            Self::Blackhole => "timeout-connect",
            Self::Reset => "reset",
            Self::Error => "wrong-status",
            Self::WrongBody => "wrong-body",
            Self::SlowLoris => "timeout-first-byte",
            Self::Expired => "tls-expired",
        }
    }

    fn begin(self, world: &World, name: &str) -> Result<(), WorldError> {
        let lab = world.lab();
        let fault = match self {
            Self::Kill => return Ok(lab.kill(name, Signal::Kill)?),
            Self::Blackhole => return Ok(lab.cut_host(name)?),
            Self::Reset => Fault::Reset,
            Self::Error => Fault::Error,
            Self::WrongBody => Fault::WrongBody,
            Self::SlowLoris => Fault::SlowLoris,
            Self::Expired => Fault::Expired,
        };
        give(world, name, Some(fault))
    }

    fn end(self, world: &World, name: &str) -> Result<(), WorldError> {
        match self {
            Self::Kill => world.lab().start(name).map_err(|error| admin(name, &error)),
            Self::Blackhole => Ok(world.lab().heal_host(name)?),
            _ => give(world, name, None),
        }
    }
}

impl Bound {
    /// Of the probes and the TTL of a world in this lab.
    pub fn of_lab(plan: &Plan) -> Self {
        debug_assert!(PROBE.contains("interval = \"1s\"\ntimeout = \"500ms\"\nfall = 2"));
        Self {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            fall: 2,
            again: Duration::from_secs(1),
            ttl: Duration::from_secs(plan.address_ttl.into()),
        }
    }

    /// The interval until a probe meets the failure; its time-out and those of the ones that follow, and
    /// the gaps between them; then what resolvers have kept.
    pub fn whole(&self) -> Duration {
        self.interval + self.timeout * self.fall + self.again * (self.fall - 1) + self.ttl
    }

    /// Its parts.
    pub fn describe(&self) -> impl fmt::Display {
        let Self { interval, timeout, fall, again, ttl } = self;
        let gaps = fall - 1;
        format!(
            "interval with jitter {interval:?} + time-out {timeout:?} × {fall} + gap {again:?} × {gaps} + TTL {ttl:?}"
        )
    }
}

fn give(world: &World, name: &str, fault: Option<Fault>) -> Result<(), WorldError> {
    set_fault(world.lab().host_dir(name)?, fault).map_err(|error| admin(name, &error))
}

fn admin(name: &str, error: &dyn std::error::Error) -> WorldError {
    WorldError::Admin { host: name.to_owned(), path: "its program".to_owned(), reason: error.to_string() }
}

/// Lets the best site of a client fail and come back.
///
/// # Errors
/// [`WorldError::TooLate`] when the client is never sent elsewhere, or never back.
pub fn failover(world: &World, failing: Failing) -> Result<Failover, WorldError> {
    let distances = world.plan().distances();
    let best = distances.best(ISP, |_| true);
    let next = distances.best(ISP, |s| s != best);
    let (name, lb) = (site(best), format!("lb{}", ISP + 1));
    wait_for(world, best)?;
    let before = outcomes(world, &lb)?;
    let started = Instant::now();
    failing.begin(world, &name)?;
    let moved = wait_for(world, next);
    let took = started.elapsed();
    let after = outcomes(world, &lb);
    // Whatever came of it, the world goes on.
    failing.end(world, &name)?;
    moved?;
    let since = |labels: &String| before.iter().find(|(known, _)| known == labels).map_or(0, |(_, count)| *count);
    let ended = after?.into_iter().filter_map(|(labels, count)| {
        let outcome = labels.split("outcome=\"").nth(1)?.split('"').next()?;
        Some((count - since(&labels), outcome.to_owned()))
    });
    let bad: Vec<(u64, String)> = ended.filter(|(_, outcome)| outcome != "ok").collect();
    // Sites that are well may be late on a busy machine, too: what was to be seen counts if it was seen as often
    // as a site is left for.
    let enough = u64::from(Bound::of_lab(world.plan()).fall);
    let expected = bad.iter().find(|(count, outcome)| *count >= enough && outcome == failing.outcome());
    let outcome = expected.or_else(|| bad.iter().max()).map_or("none", |(_, outcome)| outcome).to_owned();
    wait_for(world, best)?;
    Ok(Failover { took, outcome })
}

/// Until the client is sent to this site.
fn wait_for(world: &World, wanted: usize) -> Result<Duration, WorldError> {
    world.wait(&format!("client{} is sent to {}", ISP + 1, site(wanted)), SETTLE, || {
        let got = world.look_up(ISP, world.qtype(), PATIENCE)?;
        Ok((got.address().and_then(|a| world.site_of(a)) == Some(wanted), got.describe()))
    })
}

/// How the probes of a DNS-LB ended so far: labels, and how many. From its metrics, since its status may be
/// of a second before.
fn outcomes(world: &World, lb: &str) -> Result<Vec<(String, u64)>, WorldError> {
    world.counters(lb, "dglb_lb_probes_total")
}
