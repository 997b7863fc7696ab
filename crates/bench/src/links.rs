//! `links`: one dns-b on one processor with as many DNS-LBs as a large operator has, on the other. Each
//! has a link that speaks the real protocol, 25 prefixes and rankings of 100 services; every 10 s it
//! reports that one of them has another order. What that costs, how soon changes are in the answers,
//! and what becomes of it when all of them come at once.

mod crowd;
mod dns;
mod fleet;
mod place;
mod script;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::Args;
use dglb_ca::Ephemeral;
use dglb_node::{lifecycle::Tasks, link::Credentials};
use tokio::runtime::Runtime;

use crate::{
    connections,
    cpu::{self, Cores},
    random::Random,
    sys,
};
use crowd::{Crowd, Order};
use place::{Daemon, Referred, Watched};

/// Most of its processor that the dns-b may use while nothing happens but reports.
const PROCESSOR: f64 = 0.7;
/// Most octets that it may ever hold.
const MEMORY: u64 = 1_536 << 20;
/// Longest time, in 99 of 100 cases, from a MAP to the answer that follows from it.
const VISIBLE: Duration = Duration::from_millis(50);
/// Longest time until a catalogue is everywhere.
const CATALOGUE: Duration = Duration::from_secs(10);
/// Longest time until all are back that were lost at once.
const HERD: Duration = Duration::from_secs(30);
/// Longest wait for anything, so that the bounds can be seen to be missed.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two questions of those who look on.
const PAUSE: Duration = Duration::from_millis(10);
/// Changes of the map that are timed, at most.
const CHANGES: u32 = 400;

/// How many, and how long to look.
#[derive(Args, Debug)]
pub(crate) struct Links {
    /// DNS-LBs
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(fleet::MOST)))]
    links: u32,
    /// Seconds for which the dns-b's use of its processor is measured
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Links without TLS
    #[arg(long)]
    plain: bool,
    /// How many times as long as the bounds have it things may take: more than 1 for builds without
    /// optimisation
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    slack: u32,
}

impl Links {
    /// Measures and prints.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) fn run(&self) -> io::Result<()> {
        sys::isolate()?;
        connections::make_room(self.links as usize)?;
        let cores = Cores::choose()?;
        cpu::pin(cores.client)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut tasks = runtime.block_on(async { Tasks::new() });
        runtime.block_on(async { dns::start(&mut tasks) })?;
        let authority = if self.plain { None } else { Some(Ephemeral::new().map_err(io::Error::other)?) };
        let certificates = crowd::certify(self.links, authority.as_ref())?;
        let under = if self.plain { "plain TCP" } else { "mutual TLS" };
        let (links, entries, services) = (self.links, fleet::ENTRIES, fleet::SERVICES);
        println!("{links} DNS-LBs over {under}, each with {entries} prefixes and {services} services");
        let daemon = Daemon::start(cores.server, links, authority.as_ref())?;
        let mut show = Show { links, slack: self.slack, daemon, missed: Vec::new() };
        show.everything(&runtime, certificates, self.seconds)?;
        match show.missed {
            missed if missed.is_empty() => Ok(()),
            missed => Err(io::Error::other(format!("out of bounds: {}", missed.join("; ")))),
        }
    }
}

/// What is shown, line by line, and which bounds were missed.
struct Show {
    links: u32,
    slack: u32,
    daemon: Daemon,
    missed: Vec<&'static str>,
}

impl Show {
    fn everything(
        &mut self,
        runtime: &Runtime,
        certificates: Vec<Option<Credentials>>,
        seconds: u64,
    ) -> io::Result<()> {
        let begin = Instant::now();
        let crowd = runtime.block_on(async { Crowd::start(self.links, certificates) })?;
        crowd.await_count(|counts| &counts.settled, self.links.into(), PATIENCE)?;
        self.within("all links come to a dns-b that knows nobody", begin.elapsed(), HERD);
        self.await_handed_out(begin)?;
        self.time("all handed out, after", begin.elapsed());
        self.steadily(&crowd, seconds)?;
        self.catalogue(&crowd, 2)?;
        self.cut(&crowd)?;
        self.restart(&crowd)?;
        let peak = cpu::peak(self.daemon.pid())?;
        self.memory("memory, the most since its restart", peak);
        let wrong = crowd.counts().wrong.load(Relaxed);
        self.expect("what should not have been said", &wrong.to_string(), "0", wrong == 0);
        self.checks()
    }

    /// None fails, or, where things may take longer, few: a check has its own limit.
    fn checks(&mut self) -> io::Result<()> {
        let (passed, failed) =
            (self.daemon.metric("dglb_checks_passed_total")?, self.daemon.metric("dglb_checks_failed_total")?);
        let most = (passed + failed) * u64::from(self.slack - 1) / 100;
        let is = format!("{failed} of {}", passed + failed);
        self.expect("rounds of checks that failed since its restart", &is, &format!("<= {most}"), failed <= most);
        Ok(())
    }

    /// Waits until every resolver is sent to its own DNS-LB.
    fn await_handed_out(&self, begin: Instant) -> io::Result<()> {
        for lb in 0..self.links {
            let own = Referred::To(fleet::identity(lb));
            while place::ask(fleet::resolver(lb), lb % fleet::SERVICES, Duration::from_secs(1)).ok().as_ref()
                != Some(&own)
            {
                if begin.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!("{} is not handed out", fleet::identity(lb))));
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Nothing but reports, and a DNS-LB now and then that comes to another resolver.
    fn steadily(&mut self, crowd: &Crowd, seconds: u64) -> io::Result<()> {
        let counts = crowd.counts();
        let (reports, checks) = (counts.reports.load(Relaxed), self.daemon.metric("dglb_checks_passed_total")?);
        let (pid, begin) = (self.daemon.pid(), Instant::now());
        let ours = || Ok::<_, io::Error>(cpu::used(std::process::id())?.saturating_sub(cpu::used(pid)?));
        let (before, ours_before) = (cpu::used(pid)?, ours()?);
        let time = Duration::from_secs(seconds.max(1));
        let changes = self.changes(crowd, begin + time)?;
        thread::sleep((begin + time).saturating_duration_since(Instant::now()));
        let (used, took) = (cpu::used(pid)? - before, begin.elapsed().as_secs_f64());
        let own = ours()?.saturating_sub(ours_before);
        let share = used as f64 / 1e9 / took;
        let reports = (counts.reports.load(Relaxed) - reports) as f64 / took;
        let checks = (self.daemon.metric("dglb_checks_passed_total")? - checks) as f64 / took;
        let most = PROCESSOR * f64::from(self.slack);
        self.expect("processor", &percent(share), &format!("< {}", percent(most)), share < most);
        self.row("    the links' side, of its own", &percent(own as f64 / 1e9 / took));
        self.row("    reports a second", &format!("{reports:.0}"));
        self.row("    rounds of checks a second", &format!("{checks:.0}"));
        let resident = cpu::resident(pid)?;
        self.memory("memory then", resident);
        let peak = cpu::peak(pid)?;
        self.memory("memory, the most so far", peak);
        self.row("a MAP until it is in the answers, median", &millis(changes[changes.len() / 2]));
        let rank = (changes.len() * 99).div_ceil(100).max(1) - 1;
        let (p99, most) = (changes[rank], VISIBLE * self.slack);
        self.expect("    99th percentile", &millis(p99), &format!("< {}", millis(most)), p99 < most);
        self.row("    the longest", &format!("{} of {}", millis(changes[changes.len() - 1]), changes.len()));
        Ok(())
    }

    /// DNS-LBs come to resolvers where nobody is, one after the other; how long each waits for the
    /// answer that shows it, in order of length.
    fn changes(&self, crowd: &Crowd, until: Instant) -> io::Result<Vec<Duration>> {
        let begin = Instant::now();
        let pause = until.saturating_duration_since(begin) / CHANGES;
        let (mut random, mut times) = (Random(3), Vec::new());
        for place in 0..CHANGES {
            let lb = random.below(self.links);
            let (said, is_said) = std::sync::mpsc::channel();
            crowd.order(Order::Come { lb, place, said })?;
            let said = is_said.recv().map_err(io::Error::other)?;
            let (own, resolver) = (Referred::To(fleet::identity(lb)), fleet::wanted(place));
            while place::ask(resolver, 0, Duration::from_secs(1)).ok().as_ref() != Some(&own) {
                if said.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!("nobody is sent to {own:?}")));
                }
                thread::sleep(Duration::from_micros(200));
            }
            times.push(said.elapsed());
            let next = begin + pause * (place + 1);
            if next > until {
                break;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        times.sort_unstable();
        Ok(times)
    }

    /// A catalogue that changes comes to everybody.
    fn catalogue(&mut self, crowd: &Crowd, generation: u64) -> io::Result<()> {
        let watch = Watch::start(self.links)?;
        // That of before is not counted any more.
        crowd.counts().adopted.store(0, Relaxed);
        crowd.order(Order::Publish(generation))?;
        let took = crowd.await_count(|counts| &counts.adopted, self.links.into(), PATIENCE)?;
        self.within("a catalogue is everywhere", took, CATALOGUE);
        self.watched(watch, "    questions meanwhile");
        Ok(())
    }

    /// All links are lost at once.
    fn cut(&mut self, crowd: &Crowd) -> io::Result<()> {
        let watch = Watch::start(self.links)?;
        let begin = Instant::now();
        crowd.cut();
        self.await_lost(crowd)?;
        crowd.await_count(|counts| &counts.settled, self.links.into(), PATIENCE)?;
        self.within("all links, cut at once, are back", begin.elapsed(), HERD);
        self.watched(watch, "    questions meanwhile");
        Ok(())
    }

    /// The dns-b is killed and started again.
    fn restart(&mut self, crowd: &Crowd) -> io::Result<()> {
        let begin = Instant::now();
        self.daemon.restart()?;
        self.await_lost(crowd)?;
        place::await_answer(begin + PATIENCE)?;
        self.time("killed and started again; it answers after", begin.elapsed());
        let watch = Watch::start(self.links)?;
        crowd.await_count(|counts| &counts.settled, self.links.into(), PATIENCE)?;
        self.within("    all links are back", begin.elapsed(), HERD);
        self.await_handed_out(begin)?;
        self.time("    all handed out, after", begin.elapsed());
        self.watched(watch, "    questions meanwhile");
        Ok(())
    }

    /// Waits until it is noticed that links are lost.
    fn await_lost(&self, crowd: &Crowd) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while crowd.counts().settled.load(Relaxed) == u64::from(self.links) {
            if Instant::now() > deadline {
                return Err(io::Error::other("the links are not lost"));
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn row(&mut self, what: &'static str, is: &str) {
        println!("{what:52} {is:>12}");
    }

    fn expect(&mut self, what: &'static str, is: &str, bound: &str, holds: bool) {
        println!("{what:52} {is:>12}   {bound}{}", if holds { "" } else { "   MISSED" });
        self.missed.extend((!holds).then(|| what.trim()));
    }

    fn time(&mut self, what: &'static str, time: Duration) {
        self.row(what, &seconds(time));
    }

    fn within(&mut self, what: &'static str, time: Duration, bound: Duration) {
        let bound = bound * self.slack;
        self.expect(what, &seconds(time), &format!("< {}", seconds(bound)), time < bound);
    }

    fn memory(&mut self, what: &'static str, octets: u64) {
        let mib = |octets: u64| format!("{} MiB", octets >> 20);
        self.expect(what, &mib(octets), &format!("< {}", mib(MEMORY)), octets < MEMORY);
    }

    fn watched(&mut self, watch: Watch, what: &'static str) {
        let Watched { asked, failed, worst } = watch.stop();
        let is = format!("{failed} of {asked} failed, the slowest took {}", millis(worst));
        self.expect(what, &is, "0 failed", failed == 0 && asked > 0);
    }
}

/// Somebody who asks all the time, in the name of one resolver after the other.
struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Watched>>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(links: u32) -> io::Result<Self> {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Watched::default())));
        let (ends, sees) = (Arc::clone(&over), Arc::clone(&seen));
        let thread = thread::Builder::new().name("watch".into()).spawn(move || {
            let mut random = Random(11);
            while !ends.load(Relaxed) {
                let (lb, service) = (random.below(links), random.below(fleet::SERVICES));
                sees.lock().unwrap_or_else(PoisonError::into_inner).look(fleet::resolver(lb), service);
                thread::sleep(PAUSE);
            }
        })?;
        Ok(Self { over, seen, thread })
    }

    fn stop(self) -> Watched {
        self.over.store(true, Relaxed);
        // What a panic leaves behind is too little to pass for a success.
        let _ = self.thread.join();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
