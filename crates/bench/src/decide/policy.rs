//! Who chooses: what this project ships, and what it is held against.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Mode, Policy as Weights, Probe, ProbeKind, Service, Site},
    estimate::{AddressEstimate, Observation},
    rank::{Inputs, rank},
    report::Ranking,
};

/// Time between two rounds: about what it was when the noisy series were measured.
const ROUND: Duration = Duration::from_secs(80);

/// A way of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Each in turn, measured or not.
    RoundRobin,
    /// The one site that is best for all clients together, known in advance.
    OneSite,
    /// The least of the last samples.
    Last,
    /// An exponential average (0.3).
    Average,
    /// The 25th percentile of nine, kept within the larger of 10 ms and 10 %: the reference.
    Quartile,
    /// Quick down (0.5), slow up (0.05); 20 ms better three times running.
    Asymmetric,
    /// What a DNS-LB does.
    Ours,
}

impl Policy {
    /// All of them, ours last.
    pub(crate) const ALL: [Self; 7] =
        [Self::RoundRobin, Self::OneSite, Self::Last, Self::Average, Self::Quartile, Self::Asymmetric, Self::Ours];

    /// What it is called in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::OneSite => "one global site",
            Self::Last => "last sample",
            Self::Average => "EWMA 0.3",
            Self::Quartile => "p25 of 9 + 10 ms, 10 %",
            Self::Asymmetric => "EWMA 0.5/0.05 + 20 ms, 3",
            Self::Ours => "ours",
        }
    }

    /// One client's chooser among `sites`, of which number `global` is the best for all.
    pub(crate) fn chooser(self, sites: usize, global: usize) -> Box<dyn Chooser> {
        let reference = |filter, margin_ms, share, times| {
            let estimates = (0..sites).map(|_| Estimate { filter, seen: Vec::new(), figure: f64::NAN }).collect();
            Box::new(Reference { estimates, margin_ms, share, times, present: None, better: 0 })
        };
        match self {
            Self::RoundRobin => Box::new(Turns { sites, next: 0 }),
            Self::OneSite => Box::new(Fixed(global)),
            Self::Last => reference(Filter::Last, 0.0, 0.0, 1),
            Self::Average => reference(Filter::Average { down: 0.3, up: 0.3 }, 0.0, 0.0, 1),
            Self::Quartile => reference(Filter::Quartile, 10.0, 0.1, 1),
            Self::Asymmetric => reference(Filter::Average { down: 0.5, up: 0.05 }, 20.0, 0.0, 3),
            Self::Ours => Box::new(Ours::new(sites)),
        }
    }
}

/// Chooses for one client.
pub(crate) trait Chooser {
    /// Takes in a round, in ms, NaN where nothing was measured; the number of the site chosen.
    fn choose(&mut self, round: &[f64]) -> usize;
}

struct Turns {
    sites: usize,
    next: usize,
}

impl Chooser for Turns {
    fn choose(&mut self, _: &[f64]) -> usize {
        self.next = (self.next + 1) % self.sites;
        self.next
    }
}

struct Fixed(usize);

impl Chooser for Fixed {
    fn choose(&mut self, _: &[f64]) -> usize {
        self.0
    }
}

/// The production estimator and ranking, fed as a DNS-LB feeds them.
struct Ours {
    service: Service,
    estimates: Vec<AddressEstimate>,
    ranking: Option<Ranking>,
    /// When no address is waited for any longer.
    settle: Instant,
    now: Instant,
}

impl Ours {
    fn new(sites: usize) -> Self {
        let kind = ProbeKind::Tcp { port: 80 };
        let probe = Probe { kind, interval_ms: 10_000, timeout_ms: 1_000, fall: 2, rise: 2 };
        let name = "www.glb.test".parse().unwrap_or_else(|_| unreachable!("a constant that is a name"));
        let site = |n: usize| Site { name: n.to_string(), addresses: vec![address(n)], cost: 0.0, ..Site::default() };
        let service = Service {
            host: Clone::clone(&name),
            name,
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Weights::default(),
            probes: vec![probe],
            sites: (0..sites).map(site).collect(),
            https: None,
            probe_ceiling: None,
            least_ttl: None,
        };
        let estimates = (0..sites).map(|_| AddressEstimate::new(&service.probes)).collect();
        let now = Instant::now();
        Self { service, estimates, ranking: None, settle: now + 5 * ROUND, now }
    }
}

fn address(site: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xc633_6400 + site as u32))
}

impl Chooser for Ours {
    fn choose(&mut self, round: &[f64]) -> usize {
        self.now += ROUND;
        for (estimate, ms) in self.estimates.iter_mut().zip(round).filter(|(_, ms)| !ms.is_nan()) {
            estimate.record(0, Observation::Good(Duration::from_secs_f64(ms / 1e3)), self.now);
        }
        let number = |site: &Site| site.name.parse().unwrap_or(0);
        let measured = |site: &Site, address| self.estimates[number(site)].measured(address, self.now);
        let ranking = rank(&Inputs::new(&self.service, 1, measured, self.ranking.as_ref())).ranking;
        let first = ranking.sites[0].site.parse().unwrap_or(0);
        // A DNS-LB has no ranking before every address is settled or was waited for, and is not handed out.
        let settled = self.now >= self.settle || self.estimates.iter().all(|e| e.is_settled(self.now));
        if self.ranking.is_some() || settled {
            self.ranking = Some(ranking);
        }
        first
    }
}

/// The usual ways.
struct Reference {
    estimates: Vec<Estimate>,
    margin_ms: f64,
    /// Of the present figure.
    share: f64,
    /// How often running another must be better.
    times: u32,
    present: Option<usize>,
    better: u32,
}

#[derive(Clone, Copy)]
enum Filter {
    Last,
    Average { down: f64, up: f64 },
    Quartile,
}

struct Estimate {
    filter: Filter,
    seen: Vec<f64>,
    figure: f64,
}

impl Estimate {
    fn take_in(&mut self, ms: f64) {
        self.figure = match self.filter {
            Filter::Last => ms,
            Filter::Average { .. } if self.figure.is_nan() => ms,
            Filter::Average { down, up } => {
                self.figure + (if ms < self.figure { down } else { up }) * (ms - self.figure)
            }
            Filter::Quartile => {
                self.seen.push(ms);
                let mut window = self.seen[self.seen.len().saturating_sub(9)..].to_vec();
                window.sort_unstable_by(f64::total_cmp);
                window[(window.len() - 1) / 4]
            }
        };
    }
}

impl Chooser for Reference {
    fn choose(&mut self, round: &[f64]) -> usize {
        for (estimate, ms) in self.estimates.iter_mut().zip(round).filter(|(_, ms)| !ms.is_nan()) {
            estimate.take_in(*ms);
        }
        let figure = |site: &usize| self.estimates[*site].figure;
        let known = (0..self.estimates.len()).filter(|site| !figure(site).is_nan());
        let best = known.min_by(|a, b| figure(a).total_cmp(&figure(b))).unwrap_or(0);
        let Some(present) = self.present else {
            self.present = Some(best);
            return best;
        };
        let margin = self.margin_ms.max(self.share * figure(&present));
        self.better = if figure(&present) - figure(&best) > margin { self.better + 1 } else { 0 };
        if self.better < self.times {
            return present;
        }
        self.better = 0;
        self.present = Some(best);
        best
    }
}
