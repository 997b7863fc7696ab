//! `overload`: a dns-b whose processor is shared with somebody who never sleeps, offered twice what it
//! can answer. It goes on answering at its full rate, holds no more memory, and its admin endpoint
//! and its map links stay responsive.

mod daemon;
mod watch;

use std::{io, time::Duration};

use clap::Args;

use crate::{
    child::Child,
    client::Client,
    cpu::{self, Cores},
    questions::Scenario,
    stats::Median,
};

use daemon::Daemon;
use watch::{Latencies, Watch};

pub(crate) use daemon::run as run_daemon;

/// The least that a second of processor yields in overload, in units of the answers that it yields when
/// no more is asked than can be answered.
const YIELD: f64 = 0.9;
/// The least that the server takes of the half of the processor that is its due.
const SHARE: f64 = 0.9;
/// Questions for one answer at least: less would show nothing.
const OFFERED: f64 = 1.7;
/// Most octets that memory may grow by.
const GROWTH: u64 = 8 << 20;
/// Longest time until the admin endpoint answers, and until a change of the map is acknowledged.
const LATENCY: Duration = Duration::from_secs(2);

/// How long to look.
#[derive(Args, Debug)]
pub(crate) struct Overload {
    /// Rounds of one measurement at the full rate and one in overload
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

impl Overload {
    /// Measures and prints.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) fn run(&self) -> io::Result<()> {
        let cores = Cores::choose()?;
        let mut daemon = Daemon::start(cores.server)?;
        let _spinner = Child::ourselves(cores.server, None, &["spin".to_owned()])?;
        let mut client = Client::new(Scenario::OneName, daemon.dns)?;
        let mut seen = Seen::default();
        for round in 1..=self.rounds {
            let before = cpu::resident(daemon.pid())?;
            let watch = Watch::start(&daemon)?;
            // The watchers run where there is room; this thread is the client.
            let anywhere = cpu::pin(cores.client)?;
            print!("round {round} of {}: ", self.rounds);
            self.round(&mut client, daemon.pid(), &mut seen)?;
            cpu::unpin(&anywhere)?;
            let (admin, map) = watch.stop()?;
            let after = cpu::resident(daemon.pid())?;
            println!("{} MiB; admin {admin}; map {map}", after >> 20);
            // Buffers and code that are touched for the first time are no growth.
            seen.grown += if round == 1 { 0 } else { after.saturating_sub(before) };
            seen.admin.extend(admin);
            seen.map.extend(map);
        }
        daemon.still_runs()?;
        seen.verdict()
    }

    /// First no more is asked than is answered, then twice as much as half a processor can do.
    fn round(&self, client: &mut Client, server: u32, seen: &mut Seen) -> io::Result<()> {
        let time = Duration::from_secs_f64(self.seconds.clamp(0.1, 600.0));
        let begin = cpu::used(server)?;
        let full = client.run(time)?;
        let middle = cpu::used(server)?;
        let cost = (middle - begin) as f64 / full.answered as f64;
        let over = client.flood(1e9 / cost, time)?;
        let used = (cpu::used(server)? - middle) as f64;
        if full.wrong + over.wrong > 0 || full.answered == 0 || over.answered == 0 {
            return Err(io::Error::other(format!("wrong or no answers: {full:?} {over:?}")));
        }
        let asked = over.sent as f64 / over.took.as_secs_f64();
        print!(
            "{:.0} answers/s to {asked:.0} questions/s, {:.2} µs each; ",
            over.rate(),
            used / 1e3 / over.answered as f64
        );
        print!("else {:.2} µs; ", cost / 1e3);
        seen.yields.push(over.answered as f64 * cost / used);
        // Only while questions come: afterwards there is nothing to do.
        seen.shares.push(used / (over.took.as_nanos() as f64 / 2.0));
        seen.offered.push(over.sent as f64 / over.answered as f64);
        Ok(())
    }
}

/// What was seen, round by round.
#[derive(Default)]
struct Seen {
    yields: Vec<f64>,
    shares: Vec<f64>,
    offered: Vec<f64>,
    grown: u64,
    admin: Latencies,
    map: Latencies,
}

impl Seen {
    /// Prints it; an error if something does not hold.
    fn verdict(&self) -> io::Result<()> {
        let [yields, shares, offered] = [&self.yields, &self.shares, &self.offered].map(|figures| Median::of(figures));
        println!("questions for one answer: {:.2}", offered.middle);
        println!("answers for a second of processor, × without overload: {yields}");
        println!("processor that the server took, × half of one: {shares}");
        println!("memory has grown by {} KiB after the first round", self.grown >> 10);
        println!("admin endpoint: {}\nmap change to its acknowledgement: {}", self.admin, self.map);
        let mut missed = Vec::new();
        let mut expect = |holds: bool, what: &'static str| missed.extend((!holds).then_some(what));
        expect(offered.middle >= OFFERED, "too little could be offered");
        expect(yields.middle >= YIELD, "answers are dearer");
        expect(shares.middle >= SHARE, "the server does not use its processor");
        expect(self.grown <= GROWTH, "memory grows");
        expect(self.admin.worst().is_some_and(|worst| worst <= LATENCY), "the admin endpoint is slow");
        expect(self.map.worst().is_some_and(|worst| worst <= LATENCY), "map links are slow");
        if missed.is_empty() { Ok(()) } else { Err(io::Error::other(missed.join("; "))) }
    }
}

/// Keeps a processor busy for ever: a child of `overload`.
///
/// # Errors
/// When nobody reads what it says.
pub(crate) fn spin() -> io::Result<()> {
    crate::child::announce(([127, 0, 0, 1], 1).into())?;
    loop {
        std::hint::spin_loop();
    }
}
