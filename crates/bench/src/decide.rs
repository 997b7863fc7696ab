//! Whether clients are sent to the best site: the estimator and the ranking that a DNS-LB uses, on
//! round trips that were really measured, beside the usual ways of choosing.
//!
//! Invariant: nothing that a choice is judged by had been seen when it was made.

mod matrix;
mod policy;
mod score;

use std::{fmt::Write as _, io, path::PathBuf};

use clap::Args;

use matrix::Matrix;
use policy::Policy;
use score::{Course, Draws, Part, Tally, rounds_to_leave, tallies};

/// Most switches of one client in a hundred rounds.
const MOST_SWITCHES: f64 = 2.0;
/// Most rounds until a path that got worse is left.
const MOST_ROUNDS: u32 = 7;
/// How much worse, in ms.
const WORSE: [f64; 3] = [30.0, 60.0, 200.0];
/// What everything is judged by.
const USUAL: Course = Course { warm_up: 10, ahead: 7 };
/// Wired hosts have few slices, half a day apart: the next one says what became of an early choice.
const NEXT: Course = Course { warm_up: 3, ahead: 1 };

/// Whether clients are sent to the best site
#[derive(Args, Debug)]
pub(crate) struct Decide {
    /// Where the matrices lie
    #[arg(long, default_value = "../shared/data/latency")]
    data: PathBuf,
    /// Seeds of the draws of sites
    #[arg(long, default_value_t = 4)]
    seeds: u64,
    /// Draws of sites for each seed
    #[arg(long, default_value_t = 20)]
    draws: u32,
    /// Numbers of sites
    #[arg(long, value_delimiter = ',', default_values_t = [3, 8, 16])]
    sites: Vec<usize>,
}

impl Decide {
    /// Prints all figures.
    ///
    /// # Errors
    /// If a matrix cannot be read, or ours is worse than it has to be.
    pub(crate) fn run(&self) -> io::Result<()> {
        let noisy = Matrix::seattle(&self.data)?;
        let wired = Matrix::planetlab(&self.data)?;
        let mut wrong = leaving();
        for sites in &self.sites {
            let draws = Draws { sites: *sites, seeds: 1..=self.seeds, draws: self.draws };
            for part in [Part::Developed, Part::HeldBack] {
                wrong += &on_noisy(&noisy, part, &draws);
                wrong += &on_wired(&wired, part, &draws);
                let name = format!("wired hosts by the next slice, {sites} sites, clients {}", part.name());
                print_table(&name, &tallies(&wired, NEXT, part, &draws));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(io::Error::other(wrong)) }
    }
}

/// Prints after how many rounds each policy leaves a path that got worse; says where ours is too late.
fn leaving() -> String {
    println!("rounds until a path at 50 ms that gets worse is left for one at 60 ms");
    println!("{:26} {:>7} {:>7} {:>7}", "", "30 ms", "60 ms", "200 ms");
    let mut wrong = String::new();
    for policy in Policy::ALL.into_iter().filter(|p| !matches!(p, Policy::RoundRobin | Policy::OneSite)) {
        let rounds = WORSE.map(|worse| rounds_to_leave(policy, worse));
        let [a, b, c] = rounds.map(|r| r.map_or("never".to_owned(), |r| r.to_string()));
        println!("{:26} {a:>7} {b:>7} {c:>7}", policy.name());
        if policy == Policy::Ours && rounds.iter().any(|r| r.is_none_or(|r| r > MOST_ROUNDS)) {
            let _ = writeln!(wrong, "a path that got worse is left after {a}, {b}, {c} rounds, not {MOST_ROUNDS}");
        }
    }
    wrong
}

/// No worse than the reference, and steady.
fn on_noisy(matrix: &Matrix, part: Part, draws: &Draws) -> String {
    let name = format!("noisy devices, {} sites, clients {}", draws.sites, part.name());
    let tallies = tallies(matrix, USUAL, part, draws);
    print_table(&name, &tallies);
    let mut wrong = no_worse(&name, &tallies, Policy::Quartile);
    let switches = of(&tallies, Policy::Ours).switches();
    if switches > MOST_SWITCHES {
        let _ = writeln!(wrong, "{name}: {switches:.2} switches in 100 rounds, not {MOST_SWITCHES}");
    }
    wrong
}

/// No worse than the last sample.
fn on_wired(matrix: &Matrix, part: Part, draws: &Draws) -> String {
    let name = format!("wired hosts, {} sites, clients {}", draws.sites, part.name());
    let tallies = tallies(matrix, USUAL, part, draws);
    print_table(&name, &tallies);
    no_worse(&name, &tallies, Policy::Last)
}

fn no_worse(name: &str, tallies: &[Tally], than: Policy) -> String {
    let (ours, theirs) = (of(tallies, Policy::Ours).mean(), of(tallies, than).mean());
    if ours <= theirs {
        return String::new();
    }
    format!("{name}: {ours:.2} ms over the best site, {} has {theirs:.2} ms\n", than.name())
}

fn of(tallies: &[Tally], policy: Policy) -> &Tally {
    let at = Policy::ALL.iter().position(|p| *p == policy);
    &tallies[at.unwrap_or(0)]
}

fn print_table(name: &str, tallies: &[Tally]) {
    println!("\n{name}: ms over the best site");
    println!(
        "{:26} {:>7} {:>17} {:>7} {:>7} {:>8} {:>12}",
        "", "mean", "(by seed)", "p90", "p99", "> 10 ms", "switches/100"
    );
    for (policy, tally) in Policy::ALL.iter().zip(tallies) {
        let (low, high) = tally.span();
        let span = format!("({low:.2} to {high:.2})");
        println!(
            "{:26} {:7.2} {span:>17} {:7.1} {:7.1} {:6.1} % {:12.2}",
            policy.name(),
            tally.mean(),
            tally.percentile(90),
            tally.percentile(99),
            tally.worse(),
            tally.switches(),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/latency");

    #[test]
    fn a_path_that_got_worse_is_left_in_time() {
        assert_eq!(leaving(), "");
        assert_eq!(rounds_to_leave(Policy::Quartile, 60.0), Some(7), "as was computed elsewhere");
        assert_eq!(WORSE.map(|worse| rounds_to_leave(Policy::Asymmetric, worse)), [None, Some(16), Some(6)]);
    }

    #[test]
    fn clients_are_sent_no_worse_than_by_the_reference() {
        let folder = Path::new(DATA);
        if !folder.is_dir() {
            println!("nothing was compared: the measured matrices are not here ({DATA})");
            return;
        }
        let (noisy, wired) = (Matrix::seattle(folder).unwrap(), Matrix::planetlab(folder).unwrap());
        let mut wrong = String::new();
        for sites in [3, 8, 16] {
            let draws = Draws { sites, seeds: 1..=4, draws: 20 };
            for part in [Part::Developed, Part::HeldBack] {
                wrong += &on_noisy(&noisy, part, &draws);
                wrong += &on_wired(&wired, part, &draws);
            }
        }
        assert_eq!(wrong, "");
    }

    #[test]
    fn the_matrices_are_read_as_they_are() {
        let folder = Path::new(DATA);
        if !folder.is_dir() {
            println!("nothing was read: the measured matrices are not here ({DATA})");
            return;
        }
        let noisy = Matrix::seattle(folder).unwrap();
        let first = &noisy.rounds(0)[0];
        assert!(first[0].is_nan());
        assert_eq!(first[1..5], [170.0, 320.0, 440.0, 20.0]);
        let wired = Matrix::planetlab(folder).unwrap();
        assert_eq!((wired.rounds(1).len(), wired.nodes().len()), (18, 220));
        assert_eq!(wired.rounds(0)[0][1..4], [0.2, 2.6, 121.4]);
        assert_eq!(wired.rounds(3)[0][0].to_bits(), 121.4_f64.to_bits(), "the other triangle");
        assert!(wired.median(0, 0).is_nan());
    }
}
