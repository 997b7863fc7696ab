//! The lab's programs on loopback, without namespaces: every program is prepared and started as the
//! lab would, as a process of its own, and asked over real sockets.

mod daemons;
mod families;
mod harness;
mod name_server;
mod oracles;
mod real;
mod silence;
mod site;
mod updates;
