//! See the library.

fn main() -> std::process::ExitCode {
    dns_lb::run(std::env::args_os())
}
