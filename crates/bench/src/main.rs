//! Shows of the serving engine as a whole, on two processors of one machine and its loopback:
//! whether it is as fast as it has to be, and goes on when it is asked for too much. Every command
//! ends by itself, and with an exit code other than 0 if what it shows does not hold.

mod child;
mod churn;
mod client;
mod compare;
mod connections;
mod cpu;
mod decide;
mod echo;
mod instructions;
mod links;
mod overload;
mod probes;
mod questions;
mod random;
mod serve;
mod servers;
mod stats;
mod sys;
mod world;

use std::{io, path::PathBuf, process::ExitCode};

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
    /// A dns-b that is asked twice what it can answer
    Overload(overload::Overload),
    /// Thousands of TCP connections, slow ones among them
    Connections(connections::Connections),
    /// What a query costs while the map changes, and that no answer mixes two versions
    Churn(churn::Churn),
    /// Ten thousand DNS-LBs on one dns-b
    Links(links::Links),
    /// A DNS-LB that probes ten thousand sites
    Probes(probes::Probes),
    /// Whether clients are sent to the best site, on measured round trips
    Decide(decide::Decide),
    /// How many instructions an answer takes, against bounds
    Instructions(instructions::Instructions),
    /// Serve what the shows ask for (a child of the others)
    #[command(hide = true)]
    Serve(serve::Serve),
    /// Answer with what was asked (a child of `compare`)
    #[command(hide = true)]
    Echo(servers::Shape),
    /// Answer with a header through our lanes (a child of `compare`)
    #[command(hide = true)]
    Lanes(servers::Shape),
    /// Be a dns-b (a child of `overload` and `links`)
    #[command(hide = true)]
    Daemon { config: PathBuf },
    /// Keep a processor busy (a child of `overload`)
    #[command(hide = true)]
    Spin,
    /// Open connections (a child of `connections`)
    #[command(hide = true)]
    Crowd(connections::Crowd),
    /// Be sites (a child of `probes`)
    #[command(hide = true)]
    Sites(probes::Sites),
    /// Probe them (a child of `probes`)
    #[command(hide = true)]
    Prober(probes::Measure),
    /// Become another program on one processor (a child of the others)
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        core: usize,
        #[arg(last = true)]
        program: Vec<String>,
    },
}

fn run(command: Command) -> io::Result<ExitCode> {
    match command {
        Command::Daemon { config } => return Ok(overload::run_daemon(&config)),
        Command::Spin => overload::spin(),
        Command::Crowd(crowd) => connections::run_crowd(crowd),
        Command::Overload(overload) => overload.run(),
        Command::Connections(connections) => connections.run(),
        Command::Compare(compare) => compare.run(),
        Command::Churn(churn) => churn.run(),
        Command::Links(links) => links.run(),
        Command::Probes(probes) => probes.run(),
        Command::Sites(sites) => probes::run_sites(&sites),
        Command::Prober(wanted) => probes::run_prober(&wanted),
        Command::Decide(decide) => decide.run(),
        Command::Instructions(instructions) => instructions.run(),
        Command::Serve(serve) => serve::run(serve),
        Command::Echo(shape) => echo::run(shape),
        Command::Lanes(shape) => serve::lanes(shape),
        Command::Hold { core, program } => Err(child::hold(core, &program)),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dglb-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
