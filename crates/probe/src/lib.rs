//! How sites are measured (design section 5): what a probe does, when which site is probed, and how
//! often at most. Whoever measures from a point of presence does it with this.
//!
//! ```text
//! targets, shares ──▶ prober ──▶ turns ──▶ probe ──▶ site
//!                        └──── samples ──▶ whoever estimates and ranks
//! ```
//!
//! Nothing here decides which site is good: a sample says how one probe went.

mod connection;
mod dns;
mod http;
mod icmp;
mod outcome;
pub mod pace;
pub mod probe;
pub mod prober;
mod report;
pub mod rhythm;
pub mod shares;
mod tcp_info;
pub mod trust;
mod turns;
