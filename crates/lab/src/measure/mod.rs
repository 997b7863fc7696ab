//! `dglb-lab measure`: what measuring is worth. The distances that probes find beside the router's own
//! stamps, and how long clients are sent to a site that has failed, for every way to fail, beside the
//! bound.

mod distances;
mod faults;
mod secured;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub use distances::{Distance, distances};
pub use faults::{Bound, Failing, Failover, failover};
pub use secured::up;

use crate::{
    interrupt::enter_until_signalled,
    lab::Options,
    world::{Plan, World, WorldError},
};

/// Probes of each site.
const PROBES: usize = 100;

/// Measure distances and fail-overs.
#[derive(Debug, Parser)]
#[command(name = "dglb-lab measure", max_term_width = 100)]
struct Arguments {
    /// Draws which site is best for whom; at random unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only this way to fail; may be given several times
    #[arg(long = "fault", value_enum, value_name = "HOW")]
    faults: Vec<Failing>,
}

/// Runs it; `args` is what follows `dglb-lab measure`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let name = OsString::from("dglb-lab measure");
    let arguments = Arguments::parse_from(std::iter::once(&name).chain(args));
    if let Err(error) = enter_until_signalled() {
        eprintln!("dglb-lab: {error}");
        return ExitCode::FAILURE;
    }
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let world = match up(Plan::new(seed), &Options::default()) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("dglb-lab: {error}");
            return ExitCode::FAILURE;
        }
    };
    match show(&world, &arguments.faults) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\nNot all is as it should be (seed {seed}).");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("\nIt could not go on (seed {seed}): {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints both tables; whether all is within its bounds.
fn show(world: &World, only: &[Failing]) -> Result<bool, WorldError> {
    world.settle(faults::SETTLE)?;
    println!("Round trips, median of {PROBES} probes, in ms\n");
    println!("  from   to      probes   router   differ by   allowed");
    let mut good = true;
    for Distance { from, to, probed, stamped } in distances(world, PROBES)? {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let (differ, allowed) = (probed.abs_diff(stamped), distances::allowed(stamped));
        println!(
            "  {from:<6} {to:<6} {:>7.3}  {:>7.3}     {:>7.3}   {:>7.3}",
            ms(probed),
            ms(stamped),
            ms(differ),
            ms(allowed)
        );
        good &= differ <= allowed;
    }
    let bound = Bound::of_lab(world.plan());
    println!("\nFrom a failure until a client is sent elsewhere; bound {:.1?}: {}\n", bound.whole(), bound.describe());
    println!("  failure               took   outcome of the probes");
    for failing in Failing::ALL.into_iter().filter(|failing| only.is_empty() || only.contains(failing)) {
        let Failover { took, outcome } = failover(world, failing)?;
        println!("  {:<18} {:>7.2} s   {outcome}", failing.describe(), took.as_secs_f64());
        good &= took <= bound.whole();
    }
    Ok(good)
}
