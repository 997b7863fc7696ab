//! `churn`: what answering costs while the map changes a thousand times a second, and that every
//! answer is from one version of it.

mod consistency;
mod writer;

use std::{io, time::Duration};

use clap::Args;

use crate::{
    child::Child,
    client::{Client, OUTSTANDING},
    cpu::{self, Cores},
    questions::Scenario,
    stats::Median,
};

pub(crate) use writer::Writer;

/// The most that a query may cost with changes, in units of one without.
const MOST: f64 = 1.03;
/// The lane's thread.
const LANE: &str = "dns-udp-0";

/// How long to look.
#[derive(Args, Debug)]
pub(crate) struct Churn {
    /// Pairs of a measurement with and one without changes
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Do not fail on the ratio, which needs a quiet machine
    #[arg(long)]
    no_assert: bool,
}

/// One measurement.
struct Figure {
    /// Nanoseconds of the lane's thread for one query.
    cost: f64,
    /// Queries in a second.
    rate: f64,
    /// Changes in a second.
    changes: f64,
}

impl Churn {
    /// Measures and prints.
    ///
    /// # Errors
    /// When questions are lost, answers are mixed, changes are too slow, or the ratio is too high.
    pub(crate) fn run(&self) -> io::Result<()> {
        let cores = Cores::choose()?;
        cpu::pin(cores.client)?;
        let (mut server, address) = Child::ourselves(cores.server, None, &["serve".into()])?;
        let mut client = Client::new(Scenario::RandomSources, address)?;
        client.run(self.time() / 4)?;
        let mut ratios = Vec::new();
        for pair in 0..self.pairs {
            // Which one comes first alternates, so that a machine that grows slower favours none.
            let first = self.measure(&mut server, &mut client, pair % 2 == 0)?;
            let second = self.measure(&mut server, &mut client, pair % 2 != 0)?;
            let (with, without) = if pair % 2 == 0 { (first, second) } else { (second, first) };
            println!(
                "pair {} of {}: {:.0} ns/query with {:.0} changes a second, {:.0} without; {:.0} and {:.0} queries/s",
                pair + 1,
                self.pairs,
                with.cost,
                with.changes,
                without.cost,
                with.rate,
                without.rate
            );
            if with.changes < 0.9 * writer::RATE {
                return Err(io::Error::other("that is too few changes"));
            }
            ratios.push(with.cost / without.cost);
        }
        let ratio = Median::of(&ratios);
        println!("lane thread, with changes × without: {ratio}");
        server.order("change")?;
        let seen = consistency::check(address, self.time())?;
        server.order("rest")?;
        println!("{} answers, {} versions among them, none mixed", seen.answers, seen.versions);
        if ratio.middle > MOST && !self.no_assert {
            return Err(io::Error::other(format!("more than {MOST}")));
        }
        Ok(())
    }

    fn measure(&self, server: &mut Child, client: &mut Client, changing: bool) -> io::Result<Figure> {
        let before: u64 = number(&server.order(if changing { "change" } else { "rest" })?)?;
        let used = cpu::used_by_threads(server.pid(), LANE)?;
        let tally = client.run(self.time())?;
        let after: u64 = number(&server.order("rest")?)?;
        // The lane sleeps again, so what it has used is exact.
        std::thread::sleep(Duration::from_millis(20));
        let used = cpu::used_by_threads(server.pid(), LANE)? - used;
        if tally.wrong > 0 || tally.lost() > OUTSTANDING as u64 + tally.sent / 1_000 || tally.answered == 0 {
            return Err(io::Error::other(format!("wrong or missing answers: {tally:?}")));
        }
        let (cost, seconds) = (used as f64 / tally.sent as f64, tally.took.as_secs_f64());
        Ok(Figure { cost, rate: tally.rate(), changes: (after - before) as f64 / seconds })
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.05, 600.0))
    }
}

fn number(said: &str) -> io::Result<u64> {
    said.parse().map_err(|_| io::Error::other(format!("\"{said}\" is no number of changes")))
}
