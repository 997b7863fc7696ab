//! The production prober, and what comes out of it.

use std::{
    collections::HashMap,
    io::{self, BufRead},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use clap::Args;
use dglb_core::catalogue::{Probe, ProbeKind};
use dglb_probe::{
    probe::{Failure, Outcome},
    prober::{Prober, Sample, Settings, Target},
    trust::Trust,
};
use tokio::sync::mpsc;

use super::sites;
use crate::{child, connections::make_room};

/// As a DNS-LB of this size is set.
const SETTINGS: Settings = Settings { concurrency: 4_096, per_site: 8, body_limit: 256 << 10 };
const TIMEOUT_MS: u32 = 1_000;
/// Samples that may wait, as in the daemon.
const SAMPLES: usize = 1_024;

/// The command `prober`.
#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// Where sites answer; on the next port they do not
    #[arg(long)]
    port: u16,
    #[arg(long)]
    sites: usize,
    #[arg(long)]
    stuck: usize,
    #[arg(long)]
    interval: u32,
}

/// What was seen since somebody asked.
#[derive(Debug, Default)]
struct Seen {
    good: u64,
    timed_out: u64,
    other: u64,
    /// Milliseconds from the end of one good probe of a site to the end of the next.
    gaps: Vec<u32>,
    last: HashMap<String, Instant>,
}

/// Probes until its parent ends, and tells what it saw when it is asked.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(wanted: &Measure) -> io::Result<()> {
    make_room(2 * SETTINGS.concurrency)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (sender, mut samples) = mpsc::channel(SAMPLES);
    let counting = Arc::clone(&seen);
    runtime.spawn(async move {
        while let Some(sample) = samples.recv().await {
            counting.lock().unwrap_or_else(PoisonError::into_inner).count(&sample);
        }
    });
    let entered = runtime.enter();
    let mut prober = Prober::new(SETTINGS, Trust::nobody(), sender);
    prober.set_targets((0..wanted.sites).map(|site| target(wanted, site)));
    child::announce(SocketAddr::new(sites::address(0).into(), wanted.port))?;
    for order in io::stdin().lock().lines() {
        order?;
        let told = seen.lock().unwrap_or_else(PoisonError::into_inner).tell();
        child::say(&told)?;
    }
    drop(entered);
    Ok(())
}

fn target(wanted: &Measure, site: usize) -> Target {
    let port = if site < wanted.stuck { wanted.port + 1 } else { wanted.port };
    let kind = ProbeKind::http(port, "/health");
    Target {
        // Names and addresses that parse.
        service: "www.glb.test".parse().expect("a name"),
        site: format!("s{site}"),
        address: sites::address(site).into(),
        number: 0,
        probe: Probe { kind, interval_ms: wanted.interval, timeout_ms: TIMEOUT_MS, fall: 2, rise: 2 },
        host: "www.test".parse().expect("a name"),
    }
}

impl Seen {
    fn count(&mut self, sample: &Sample) {
        match sample.outcome {
            Outcome::Good(_) => {
                self.good += 1;
                let before = self.last.insert(sample.target.site.clone(), sample.at);
                let gap = before.map(|before| sample.at.saturating_duration_since(before).as_millis());
                self.gaps.extend(gap.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)));
            }
            Outcome::Failed(Failure::TimedOut(_)) => self.timed_out += 1,
            _ => self.other += 1,
        }
    }

    /// Good ones, time-outs, others, and the 99th of 100 gaps; and starts anew.
    fn tell(&mut self) -> String {
        self.gaps.sort_unstable();
        let late = self.gaps.get(self.gaps.len() * 99 / 100).copied().unwrap_or(0);
        let told = format!("{} {} {} {late}", self.good, self.timed_out, self.other);
        (self.good, self.timed_out, self.other) = (0, 0, 0);
        self.gaps.clear();
        told
    }
}
