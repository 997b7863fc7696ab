//! The dns-b program.

fn main() -> dglb_node::cli::Exit {
    dglb_node::cli::main::<dns_b::DnsB>()
}
