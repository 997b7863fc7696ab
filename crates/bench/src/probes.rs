//! `probes`: a DNS-LB's prober with ten thousand sites, some of which hang: what a probe costs, what
//! memory all of them take, and that a site that hangs delays no other's probe.
//!
//! The prober is the production one in a process of its own on one processor; on the other are the
//! sites, on 64 loopback addresses. Every probe is a new connection that ends by a FIN.

mod prober;
mod sites;

use std::{io, time::Duration};

use clap::Args;

pub(crate) use prober::{Measure, run as run_prober};
pub(crate) use sites::{Sites, run as run_sites};

use crate::{
    child::Child,
    cpu::{self, Cores},
};

/// Addresses that the sites are on.
const ADDRESSES: u8 = 64;
/// The least number of probes that a second of one processor is enough for.
const LEAST: f64 = 5_000.0;
/// Octets that the prober may need.
const MEMORY: u64 = 300 << 20;
/// So much later than its interval may a probe end, of a hundred all but one.
const LATE: Duration = Duration::from_millis(250);
/// Until every site has its place in the interval.
const WARM_UP: Duration = Duration::from_secs(8);

/// How many, and how long to look.
#[derive(Args, Debug)]
pub(crate) struct Probes {
    /// Sites
    #[arg(long, default_value_t = 10_000)]
    sites: usize,
    /// … of which so many take connections and do not answer
    #[arg(long, default_value_t = 200)]
    stuck: usize,
    /// Milliseconds from one probe of a site to the next
    #[arg(long, default_value_t = 2_500)]
    interval: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measurements
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Probes {
    /// Measures and prints.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) fn run(&self) -> io::Result<()> {
        let cores = Cores::choose()?;
        let (_sites, address) = Child::ourselves(cores.client, None, &["sites".to_owned()])?;
        let (sites, stuck) = (self.sites.to_string(), self.stuck.to_string());
        let (port, interval) = (address.port().to_string(), self.interval.to_string());
        let wanted = ["prober", "--port", &port, "--sites", &sites, "--stuck", &stuck, "--interval", &interval];
        let (mut prober, _) = Child::ourselves(cores.server, None, &wanted.map(str::to_owned))?;
        std::thread::sleep(WARM_UP.max(Duration::from_millis(u64::from(self.interval) * 3)));
        let (mut each, mut late) = (Vec::new(), Duration::ZERO);
        prober.order("count")?;
        for round in 1..=self.rounds {
            let before = cpu::used(prober.pid())?;
            std::thread::sleep(Duration::from_secs_f64(self.seconds.clamp(0.5, 600.0)));
            let said = prober.order("count")?;
            let seconds = (cpu::used(prober.pid())? - before) as f64 / 1e9;
            let counted: Vec<u64> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
            let [good, hung, other, ms] = counted[..] else {
                return Err(io::Error::other(format!("it said {said:?}")));
            };
            if other > 0 || good == 0 || (self.stuck > 0 && hung == 0) {
                return Err(io::Error::other(format!("{good} good probes, {hung} timed out, {other} neither")));
            }
            println!(
                "round {round} of {}: {good} probes in {seconds:.2} s of a processor, {:.0} a second; {hung} timed out; \
                 99 of 100 end at most {ms} ms after the last",
                self.rounds,
                good as f64 / seconds,
            );
            each.push(good as f64 / seconds);
            late = late.max(Duration::from_millis(ms));
        }
        each.sort_by(f64::total_cmp);
        self.verdict(each[each.len() / 2], cpu::peak(prober.pid())?, late)
    }

    fn verdict(&self, each: f64, memory: u64, late: Duration) -> io::Result<()> {
        println!("{each:.0} probes in a second of a processor (median), {} MiB at most", memory >> 20);
        let mut missed = Vec::new();
        let mut expect = |holds: bool, what: &'static str| missed.extend((!holds).then_some(what));
        expect(each >= LEAST, "a probe costs too much");
        expect(memory <= MEMORY, "too much memory");
        expect(late <= Duration::from_millis(self.interval.into()) + LATE, "probes wait for others");
        if missed.is_empty() { Ok(()) } else { Err(io::Error::other(missed.join("; "))) }
    }
}
