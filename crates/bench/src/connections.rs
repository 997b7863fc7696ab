//! `connections`: thousands of TCP connections, slow readers and slow writers among them, from a
//! process of their own. Meanwhile UDP is not starved, and memory is bounded.

mod crowd;

use std::{io, time::Duration};

use clap::Args;

use crate::{
    child::Child,
    client::{Client, Tally},
    cpu::{self, Cores},
    questions::Scenario,
    stats::Median,
};

pub(crate) use crowd::{Crowd, make_room, run as run_crowd};

/// The least that is answered over UDP meanwhile, in units of what is answered without connections.
const LEAST: f64 = 0.6;
/// The share of connections that must be open at any time that is looked at: some are being made
/// again.
const OPEN: f64 = 0.9;
/// Octets that the server may need for all connections together as shipped, and for each beside.
const MEMORY: u64 = 64 << 20;
const EACH: u64 = 16 << 10;

/// How many, and how long to look.
#[derive(Args, Debug)]
pub(crate) struct Connections {
    /// Connections
    #[arg(long, default_value_t = 5_000)]
    connections: usize,
    /// Measurements without and with connections
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

impl Connections {
    /// Measures and prints.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) fn run(&self) -> io::Result<()> {
        let cores = Cores::choose()?;
        cpu::pin(cores.client)?;
        let room = (self.connections + 100).to_string();
        let serve = ["serve", "--connections", &room].map(str::to_owned);
        let (server, address) = Child::ourselves(cores.server, None, &serve)?;
        let mut client = Client::new(Scenario::RandomSources, address)?;
        let alone = self.measure(&mut client, &mut |_| Ok(()))?;
        let before = cpu::resident(server.pid())?;
        let wanted = ["crowd", "--to", &address.to_string(), "--connections", &self.connections.to_string()];
        let (mut crowd, _) = Child::ourselves(cores.client, None, &wanted.map(str::to_owned))?;
        let (mut most, mut fewest) = (0, usize::MAX);
        let crowded = self.measure(&mut client, &mut |round| {
            let said = crowd.order("count")?;
            println!("round {round} of {}: {said}", self.rounds);
            fewest = fewest.min(said.split(' ').next().and_then(|open| open.parse().ok()).unwrap_or(0));
            most = most.max(cpu::resident(server.pid())?);
            Ok(())
        })?;
        let grown = most.saturating_sub(before);
        let ratio = crowded.middle / alone.middle;
        println!("UDP alone: {:.0} queries/s ({:.0} to {:.0})", alone.middle, alone.low, alone.high);
        println!("with the crowd: {:.0} ({:.0} to {:.0}), {ratio:.2} times", crowded.middle, crowded.low, crowded.high);
        println!("at least {fewest} connections open; {} KiB more memory at most", grown >> 10);
        self.verdict(ratio, fewest, grown)
    }

    fn verdict(&self, ratio: f64, fewest: usize, grown: u64) -> io::Result<()> {
        let mut missed = Vec::new();
        let mut expect = |holds: bool, what: &'static str| missed.extend((!holds).then_some(what));
        expect(fewest as f64 >= OPEN * self.connections as f64, "too few connections were open");
        expect(ratio >= LEAST, "UDP is starved");
        expect(grown <= MEMORY + EACH * self.connections as u64, "too much memory");
        if missed.is_empty() { Ok(()) } else { Err(io::Error::other(missed.join("; "))) }
    }

    /// Queries in a second, looking around after every round.
    fn measure(&self, client: &mut Client, look: &mut dyn FnMut(usize) -> io::Result<()>) -> io::Result<Median> {
        let mut rates = Vec::new();
        for round in 1..=self.rounds {
            let tally: Tally = client.run(Duration::from_secs_f64(self.seconds.clamp(0.05, 600.0)))?;
            if tally.wrong > 0 || tally.answered == 0 {
                return Err(io::Error::other(format!("wrong or no answers: {tally:?}")));
            }
            rates.push(tally.rate());
            look(round)?;
        }
        Ok(Median::of(&rates))
    }
}
