//! How good choices were: against what came afterwards, which no chooser had seen.

use std::ops::RangeInclusive;

use super::{
    matrix::{Matrix, median},
    policy::Policy,
};
use crate::random::Random;

/// How a matrix is gone through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// Rounds before the first choice counts.
    pub(crate) warm_up: usize,
    /// What a site was worth is the median of so many rounds to come.
    pub(crate) ahead: usize,
}

/// Whose choices are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Clients by which the estimator was made.
    Developed,
    /// A third of the clients, by a hash, that nobody looked at before it was made.
    HeldBack,
}

impl Part {
    fn has(self, client: usize) -> bool {
        let held_back = Random(client as u64 ^ 0x5eed).next().is_multiple_of(3);
        held_back == (self == Self::HeldBack)
    }

    /// What it is called in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Developed => "developed",
            Self::HeldBack => "held back",
        }
    }
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    /// How many sites there are.
    pub(crate) sites: usize,
    /// One figure comes of each seed.
    pub(crate) seeds: RangeInclusive<u64>,
    /// Draws of sites for each seed.
    pub(crate) draws: u32,
}

/// What one policy did to all clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// ms over the best site, a figure for each choice.
    excess: Vec<f32>,
    /// Mean of each seed.
    seeds: Vec<f64>,
    /// How many of them are of seeds that have ended.
    ended: usize,
    moves: u64,
    switches: u64,
}

impl Tally {
    fn end_seed(&mut self) {
        self.seeds.push(mean(&self.excess[self.ended..]));
        self.ended = self.excess.len();
    }

    /// Mean excess in ms.
    pub(crate) fn mean(&self) -> f64 {
        mean(&self.excess)
    }

    /// The least and the greatest mean among the seeds.
    pub(crate) fn span(&self) -> (f64, f64) {
        let span = (f64::INFINITY, f64::NEG_INFINITY);
        self.seeds.iter().fold(span, |(low, high), mean| (low.min(*mean), high.max(*mean)))
    }

    /// The excess that so many of a hundred choices do not pass.
    pub(crate) fn percentile(&self, percent: usize) -> f32 {
        let mut sorted = self.excess.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f32::NAN)
    }

    /// Percent of the choices that are more than 10 ms worse than the best.
    pub(crate) fn worse(&self) -> f64 {
        100.0 * self.excess.iter().filter(|e| **e > 10.0).count() as f64 / self.excess.len() as f64
    }

    /// Switches in a hundred rounds of one client.
    pub(crate) fn switches(&self) -> f64 {
        100.0 * self.switches as f64 / self.moves as f64
    }
}

fn mean(figures: &[f32]) -> f64 {
    figures.iter().map(|f| f64::from(*f)).sum::<f64>() / figures.len() as f64
}

/// What each of [`Policy::ALL`] does to the clients of `part`.
pub(crate) fn tallies(matrix: &Matrix, course: Course, part: Part, draws: &Draws) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); Policy::ALL.len()];
    for seed in draws.seeds.clone() {
        let mut random = Random(seed * 1_000);
        for _ in 0..draws.draws {
            let sites = matrix.draw_sites(draws.sites, &mut random);
            let clients = || matrix.nodes().iter().filter(|node| !sites.contains(node));
            let total = |site: usize| clients().map(|c| matrix.median(*c, site)).filter(|m| !m.is_nan()).sum::<f64>();
            let global = (0..sites.len()).min_by(|a, b| total(sites[*a]).total_cmp(&total(sites[*b]))).unwrap_or(0);
            for client in clients().filter(|client| part.has(**client)) {
                let walk = Walk::new(matrix.rounds(*client), &sites, course);
                for (policy, tally) in Policy::ALL.iter().zip(&mut tallies) {
                    walk.follow(*policy, global, tally);
                }
            }
        }
        tallies.iter_mut().for_each(Tally::end_seed);
    }
    tallies
}

/// One client's rounds.
struct Walk {
    warm_up: usize,
    /// What it measured of the sites.
    seen: Vec<Vec<f64>>,
    /// What they were worth after each.
    truth: Vec<Vec<f64>>,
}

impl Walk {
    fn new(rounds: &[Vec<f64>], sites: &[usize], course: Course) -> Self {
        let last = rounds.len().saturating_sub(course.ahead);
        let seen = rounds[..last].iter().map(|row| sites.iter().map(|s| row[*s]).collect()).collect();
        let coming = |at: usize, site: usize| median(rounds[at + 1..=at + course.ahead].iter().map(|row| row[site]));
        let truth = (0..last).map(|at| sites.iter().map(|s| coming(at, *s)).collect()).collect();
        Self { warm_up: course.warm_up, seen, truth }
    }

    fn follow(&self, policy: Policy, global: usize, tally: &mut Tally) {
        let sites = self.seen.first().map_or(0, Vec::len);
        let mut chooser = policy.chooser(sites, global);
        let mut before = None;
        for (at, (round, truth)) in self.seen.iter().zip(&self.truth).enumerate() {
            let chosen = chooser.choose(round);
            if at + 1 >= self.warm_up {
                let best = truth.iter().copied().fold(f64::NAN, f64::min);
                if !truth[chosen].is_nan() {
                    tally.excess.push((truth[chosen] - best) as f32);
                }
                tally.moves += u64::from(before.is_some());
                tally.switches += u64::from(before.is_some_and(|b| b != chosen));
            }
            before = Some(chosen);
        }
    }
}

/// Rounds until a policy leaves a site at 50 ms that gets worse by so many ms, for one at 60 ms.
pub(crate) fn rounds_to_leave(policy: Policy, worse: f64) -> Option<u32> {
    let mut chooser = policy.chooser(2, 0);
    let steady = (0..40).map(|_| chooser.choose(&[50.0, 60.0])).last();
    debug_assert!(policy == Policy::RoundRobin || steady == Some(0));
    (1..=100).find(|_| chooser.choose(&[50.0 + worse, 60.0]) == 1)
}
