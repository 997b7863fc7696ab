//! The whole daemon in this process, between a DNS-A and dns-bs that do as the tests want.

mod dns_a;
mod dns_b;
mod publishing;
mod running;
mod settings;
/// The same as dns-lb's tests have.
#[path = "../../../dns-lb/tests/daemon/tls.rs"]
mod tls;
