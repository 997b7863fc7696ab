//! dns-lb: measures the sites from its point of presence and answers with the best one.

pub mod probe;
pub mod prober;
mod tcp_info;
