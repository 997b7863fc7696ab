//! dglbctl: asks running DGLB daemons how they are, over their admin endpoints.

mod address;
mod ca;
mod cli;
mod fetch;
mod render;

fn main() -> std::process::ExitCode {
    cli::run()
}
