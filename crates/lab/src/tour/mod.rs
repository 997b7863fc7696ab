//! The tour: what `dglb-lab` does without a command. It builds the world, sends both ISPs' clients
//! to the service, breaks things, and says in the end whether all went as it should.

mod script;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{
    interrupt::enter_until_signalled,
    lab::Options,
    world::{Plan, World},
};

/// The topology of `dglb-lab up` without a file.
pub(crate) const PLAYGROUND: &str = include_str!("../../topologies/playground.toml");

/// Show the whole chain at work.
#[derive(Debug, Parser)]
#[command(name = "dglb-lab tour", max_term_width = 100)]
struct Arguments {
    /// Draws which site is best for whom; at random unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Run the daemons of this folder instead of the lab's own copies
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Use the lab's own resolvers and name servers even where real ones are installed
    #[arg(long)]
    embedded: bool,
    /// Keep the lab's folder with all logs
    #[arg(long)]
    keep: bool,
    /// Test the tour itself, which must then fail
    #[arg(long, value_enum, value_name = "HOW")]
    sabotage: Option<Sabotage>,
}

/// What is done to the world so that the tour must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// No DNS-LB may map its ISP's resolver: every client is led to lb3
    NoMap,
}

/// Runs the tour; `args` is what follows `dglb-lab tour`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let name = OsString::from("dglb-lab tour");
    let arguments = Arguments::parse_from(std::iter::once(&name).chain(args));
    let plan = plan(&arguments);
    let options = Options { keep_dir: arguments.keep, ..Options::default() };
    if let Err(error) = enter_until_signalled() {
        eprintln!("dglb-lab: {error}");
        return ExitCode::FAILURE;
    }
    script::introduce(&plan);
    let world = match World::up(plan, &options) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("dglb-lab: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.keep {
        println!("  All logs are in {}", world.lab().dir().display());
    }
    match script::play(&world) {
        Ok(failures) if failures.is_empty() => {
            println!("\nVERDICT: all as it should be.");
            ExitCode::SUCCESS
        }
        Ok(failures) => {
            println!("\nVERDICT: {} of it went wrong (seed {}):", failures.len(), world.plan().seed);
            failures.iter().for_each(|f| println!("  - {f}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("\nVERDICT: the tour could not go on (seed {}): {error}", world.plan().seed);
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &Arguments) -> Plan {
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let mut plan = if arguments.embedded { Plan::new(seed) } else { Plan::of_installed(seed) };
    plan.binaries.clone_from(&arguments.binaries);
    plan.mapping = arguments.sabotage != Some(Sabotage::NoMap);
    plan
}
