//! What every DGLB daemon needs from the outside world, once: configuration, command line, life
//! cycle, logs, counters, the admin endpoint and DNS sockets. Nothing here decides; decisions are
//! `dglb_core`'s, and what is particular to one daemon is that daemon's.

pub mod config;
