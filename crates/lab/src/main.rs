//! `dglb-lab`; all of it is in the library, so that tests run the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    dglb_lab::cli::main()
}
