//! Shows of the serving engine as a whole, on two processors of one machine and its loopback:
//! whether it is as fast as it has to be, and goes on when it is asked for too much. Every command
//! ends by itself, and with an exit code other than 0 if what it shows does not hold.

mod child;
mod client;
mod compare;
mod cpu;
mod echo;
mod instructions;
mod questions;
mod random;
mod serve;
mod servers;
mod stats;
mod sys;
mod world;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// Shows of the serving engine as a whole.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What a query costs: ours beside an echo, gdnsd, Knot and NSD
    Compare(compare::Compare),
    /// How many instructions an answer takes, against bounds
    Instructions(instructions::Instructions),
    /// Serve what the shows ask for (a child of the others)
    #[command(hide = true)]
    Serve,
    /// Answer with what was asked (a child of `compare`)
    #[command(hide = true)]
    Echo(servers::Shape),
    /// Answer with a header through our lanes (a child of `compare`)
    #[command(hide = true)]
    Lanes(servers::Shape),
    /// Become another program on one processor (a child of the others)
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        core: usize,
        #[arg(last = true)]
        program: Vec<String>,
    },
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Compare(compare) => compare.run(),
        Command::Instructions(instructions) => instructions.run(),
        Command::Serve => serve::run(),
        Command::Echo(shape) => echo::run(shape),
        Command::Lanes(shape) => serve::lanes(shape),
        Command::Hold { core, program } => Err(child::hold(core, &program)),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dglb-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
