//! The dns-a-sync program.

fn main() -> dglb_node::cli::Exit {
    dns_a_sync::run(std::env::args_os())
}
