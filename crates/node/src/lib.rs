//! What every DGLB daemon needs from the outside world, once: configuration, command line, life
//! cycle, logs, counters, the admin endpoint, DNS sockets and map links. Nothing here decides; decisions are
//! `dglb_core`'s, and what is particular to one daemon is that daemon's.
//!
//! ```text
//! cli::main → Daemon::load (config) → Daemon::start: bind everything, then run everything
//!                                       ├ serve::Server  lanes: UDP and TCP threads → respond
//!                                       ├ admin::Admin   /metrics /livez /readyz /api/v1/status
//!                                       └ Tasks          the daemon's own, by name
//!           → signals: SIGHUP reloads, SIGTERM drains
//! ```

pub mod admin;
pub mod ask;
pub mod boot;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod decisions;
mod descriptors;
pub mod explain;
mod followed;
pub mod journal;
pub mod lifecycle;
pub mod link;
pub mod metrics;
pub mod serve;
pub mod store;
pub mod telemetry;
