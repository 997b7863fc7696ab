//! dns-lb: measures the sites from its point of presence and answers with the best one.

pub mod config;
pub mod keeper;
pub mod measurements;
pub mod metrics;
pub mod probe;
pub mod prober;
pub mod registration;
pub mod reports;
pub mod resolver;
mod tcp_info;
