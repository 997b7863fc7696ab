//! placeholder
pub mod compose;
pub mod config;
pub mod delegation;
pub mod dns_a;
pub mod generation;
pub mod metrics;
pub mod source;
mod wire;
