//! tmp
pub mod config;
pub mod keeper;
