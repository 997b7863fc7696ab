//! `compare`: what a query costs our server and others, in one interleaved run.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::{
    churn::map_decides,
    client::{Client, OUTSTANDING, Tally},
    cpu::{self, Cores},
    questions::Scenario,
    servers::{Kind, Running, Shape},
    stats::Median,
};

/// The most that our queries may cost, in units of the echo's.
const GOAL: f64 = 1.02;
/// Most octets of memory of our server, with its 100 000 rankings.
const MEMORY: u64 = 3 << 29;
/// Length of replies in octets where there are only floors.
const USUAL: usize = 76;
/// Clients of which we make sure that the map decides what they are answered.
const CLIENTS: u32 = 200;
/// Share of questions that may go unanswered: the client's own buffers may overflow.
const LOST: f64 = 0.001;

/// What to compare.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// Rounds; in each every server is measured once, every time another one first
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of load on one server in one round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Only these servers, and the echo
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Another build of this program, measured in the same run
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Fail unless every figure of ours is within 1.02 times the echo's, or gdnsd's weighted one
    #[arg(long)]
    assert: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Figure {
    /// Microseconds of the server's processor for one query.
    cost: f64,
    /// Queries in a second.
    rate: f64,
    /// Share of its processor that the server had use for.
    busy: f64,
}

impl Compare {
    /// Runs the comparison and prints it.
    ///
    /// # Errors
    /// When a server cannot be started, answers wrongly, or the goal is missed and asserted.
    pub(crate) fn run(&self) -> io::Result<()> {
        let cores = Cores::choose()?;
        cpu::pin(cores.client)?;
        println!(
            "server on processor {}, client on {}, {OUTSTANDING} questions outstanding, {} rounds of {} s",
            cores.server, cores.client, self.rounds, self.seconds
        );
        let mut servers = Vec::new();
        for kind in self.kinds() {
            let server = Running::start(kind, cores.server, self.beside.as_deref())?;
            eprintln!("{} answers ({} MiB)", kind.title(), server.resident()? >> 20);
            if kind == Kind::Dglb {
                map_decides(server.address, CLIENTS)?;
            }
            servers.push(server);
        }
        let mut missed = Vec::new();
        for scenario in self.scenarios() {
            missed.extend(self.scenario(scenario, &mut servers, cores)?.then_some(scenario.title()));
        }
        for server in servers.iter().filter(|server| server.kind == Kind::Dglb) {
            let resident = server.resident()?;
            println!("dglb holds {} MiB", resident >> 20);
            if resident > MEMORY {
                return Err(io::Error::other(format!("that is more than {} MiB", MEMORY >> 20)));
            }
        }
        match (missed.as_slice(), self.assert) {
            ([], _) | (_, false) => Ok(()),
            (missed, true) => Err(io::Error::other(format!("the goal is missed for: {}", missed.join(", ")))),
        }
    }

    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() { Scenario::value_variants().to_vec() } else { self.scenario.clone() }
    }

    fn wants(&self, kind: Kind) -> bool {
        let beside = matches!(kind, Kind::LanesBeside | Kind::DglbBeside);
        (!beside || self.beside.is_some()) && (self.servers.is_empty() || self.servers.contains(&kind))
    }

    /// Those wanted that are installed, without the floors.
    fn kinds(&self) -> Vec<Kind> {
        let here =
            |kind: &Kind| kind.installed().inspect_err(|missing| eprintln!("{missing} is not installed")).is_ok();
        let others = Kind::value_variants().iter().copied().filter(|kind| !kind.is_floor());
        others.filter(|kind| self.wants(*kind)).filter(here).collect()
    }

    /// The echo, and our lanes alone if they are wanted.
    fn floors(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| *kind == Kind::Echo || self.wants(*kind);
        Kind::value_variants().iter().copied().filter(|kind| kind.is_floor()).filter(wanted).collect()
    }

    /// Measures one scenario; whether the goal is missed.
    fn scenario(&self, scenario: Scenario, servers: &mut [Running], cores: Cores) -> io::Result<bool> {
        let mut clients = Vec::new();
        let mut length = 0;
        for server in &*servers {
            let mut client = Client::new(scenario, server.address)?;
            let tally = checked(client.run(self.time() / 4)?, server.kind, scenario)?;
            if server.kind == Kind::Dglb || length == 0 {
                length = tally.mean_length().round() as usize;
            }
            clients.push(client);
        }
        let (rcode, answers) = scenario.expected();
        let shape = Shape { length: if length == 0 { USUAL } else { length }, rcode, answers };
        let mut floors = Vec::new();
        for (at, kind) in self.floors().into_iter().enumerate() {
            let floor = Running::floor(kind, cores.server, self.beside.as_deref(), shape)?;
            clients.insert(at, Client::new(scenario, floor.address)?);
            floors.push(floor);
        }
        let all: Vec<&Running> = floors.iter().chain(&*servers).collect();
        let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); all.len()];
        for round in 0..self.rounds {
            eprint!("\r{}: round {} of {} ", scenario.title(), round + 1, self.rounds);
            for turn in 0..all.len() {
                let at = (round + turn) % all.len();
                figures[at].push(self.measure(all[at], &mut clients[at], scenario)?);
            }
        }
        eprintln!();
        println!("\n{}, replies of {} octets", scenario.title(), shape.length);
        Ok(table(&all, &figures))
    }

    fn measure(&self, server: &Running, client: &mut Client, scenario: Scenario) -> io::Result<Figure> {
        let before = server.used()?;
        let tally = checked(client.run(self.time())?, server.kind, scenario)?;
        // Nothing is outstanding any more: the server sleeps, and what it has used is exact.
        std::thread::sleep(Duration::from_millis(20));
        let used = server.used()? - before;
        Ok(Figure {
            cost: used as f64 / 1_000.0 / tally.sent as f64,
            rate: tally.rate(),
            busy: used as f64 / tally.took.as_nanos() as f64,
        })
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.01, 600.0))
    }
}

/// A tally, unless it says that the server does not do what it should.
fn checked(tally: Tally, kind: Kind, scenario: Scenario) -> io::Result<Tally> {
    let most = tally.sent as f64 * LOST + OUTSTANDING as f64;
    if tally.wrong > 0 || tally.lost() as f64 > most || tally.answered == 0 {
        let title = (kind.title(), scenario.title());
        return Err(io::Error::other(format!("{} answers wrongly or not at all, {}: {tally:?}", title.0, title.1)));
    }
    Ok(tally)
}

/// Prints the figures of one scenario, the echo's first; whether our cost misses the goal.
fn table(servers: &[&Running], figures: &[Vec<Figure>]) -> bool {
    println!("{:16} {:>8} {:>9} {:>6} {:>7}  interval", "", "µs/query", "queries/s", "busy", "× echo");
    let mut ratios = Vec::new();
    for (server, own) in servers.iter().zip(figures) {
        let of = |figure: fn(&Figure) -> f64| Median::of(&own.iter().map(figure).collect::<Vec<_>>()).middle;
        let ratio: Vec<f64> = own.iter().zip(&figures[0]).map(|(own, echo)| own.cost / echo.cost).collect();
        let ratio = Median::of(&ratio);
        println!(
            "{:16} {:8.3} {:9.0} {:5.0}% {:7.3}  {:.3} to {:.3}",
            server.kind.title(),
            of(|figure| figure.cost),
            of(|figure| figure.rate),
            100.0 * of(|figure| figure.busy),
            ratio.middle,
            ratio.low,
            ratio.high
        );
        ratios.push((server.kind, ratio.middle));
    }
    let _ = io::stdout().flush();
    let of = |wanted: Kind| ratios.iter().find(|(kind, _)| *kind == wanted).map(|(_, ratio)| *ratio);
    let bound = of(Kind::GdnsdWeighted).unwrap_or(GOAL).max(GOAL);
    of(Kind::Dglb).is_some_and(|ours| ours > bound)
}
