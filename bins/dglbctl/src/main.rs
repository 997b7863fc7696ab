//! dglbctl: asks running DGLB daemons how they are, over their admin endpoints, and looks after what
//! stopped ones keep.

mod address;
mod ca;
mod cli;
mod daemon;
mod decision;
mod explain;
mod fetch;
mod force;
mod map;
mod render;
mod replay;
mod store;
mod table;

fn main() -> std::process::ExitCode {
    cli::run()
}
