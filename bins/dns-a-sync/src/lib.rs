//! placeholder
mod compose;
mod config;
mod dns_a;
mod generation;
mod source;
mod wire;
