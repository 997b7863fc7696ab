//! `dglb-lab`: the command line of the lab.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "run" => dglb_lab::programs::run(rest),
        _ => {
            eprintln!("usage: dglb-lab run <program> --config FILE");
            ExitCode::from(64)
        }
    }
}
