//! One probe of one site's address.
//!
//! Invariant: a probe ends within its timeout, whatever the site does, and says how. It goes to
//! the site's own address, never through DNS, and over a connection of its own.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Probe, ProbeKind},
    load::Told,
    name::Name,
};
use tokio::time::timeout;

pub use crate::outcome::{Failure, OUTCOMES, Outcome, Phase, Times, TlsFailure};
use crate::{connection, dns, http, icmp, trust::Trust};

/// What probes are made with.
#[derive(Clone, Debug)]
pub struct Means {
    /// Most octets that are read of a body.
    pub body_limit: u64,
    /// Whose certificates are believed.
    pub trust: Trust,
}

/// What a probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How it went.
    pub outcome: Outcome,
    /// What the site said of itself.
    pub told: Told,
}

/// Probes `address` once in the way of `probe`, for a service of the name `host`. Of a longer body only
/// the limit is read, which is no failure.
pub async fn probe(probe: &Probe, address: IpAddr, host: &Name, means: &Means) -> Seen {
    let mut run = Run::start();
    let done = run.through(&probe.kind, address, host, means);
    let ended = timeout(Duration::from_millis(probe.timeout_ms.into()), done).await;
    let outcome = match ended {
        Ok(Ok(())) => Outcome::Good(Times { whole: run.started.elapsed(), ..run.times }),
        Ok(Err(Stop::Failed(failure))) => Outcome::Failed(failure),
        Ok(Err(Stop::Local)) => Outcome::Local,
        Err(_) => Outcome::Failed(Failure::TimedOut(run.phase)),
    };
    Seen { outcome, told: run.told }
}

/// A probe under way: how far it came.
pub(crate) struct Run {
    pub(crate) started: Instant,
    pub(crate) phase: Phase,
    pub(crate) times: Times,
    pub(crate) told: Told,
}

/// Why a run ended before its time.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(Failure),
    Local,
}

impl Run {
    fn start() -> Self {
        Self { started: Instant::now(), phase: Phase::Connect, times: Times::default(), told: Told::default() }
    }

    async fn through(&mut self, kind: &ProbeKind, to: IpAddr, host: &Name, means: &Means) -> Result<(), Stop> {
        match kind {
            ProbeKind::Tcp { port } => connection::connect(self, (to, *port).into()).await.map(drop),
            ProbeKind::Http(wanted) => http::ask(self, to, (wanted, host), means).await,
            ProbeKind::Icmp => icmp::echo(self, to).await,
            ProbeKind::Dns { port, name, rtype } => {
                dns::ask(self, (to, *port).into(), name.as_ref().unwrap_or(host), *rtype).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
