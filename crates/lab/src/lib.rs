//! A private Internet in a box. Hosts are network namespaces, joined by one router in this process
//! that forwards IP packets after the delay that a [`Topology`] gives each pair; every host runs
//! its own program. Nothing of a [`Lab`] outlives it, and nothing of it touches the machine's own
//! network.
//!
//! ```text
//!  client1 ns        isp1 ns         lb1 ns
//!  ┌─────────┐     ┌─────────┐     ┌─────────┐
//!  │ program │     │ program │     │ program │    own process, own directory
//!  │  eth0   │     │  eth0   │     │  eth0   │    own addresses /32 and /128
//!  └────┬────┘     └────┬────┘     └────┬────┘
//!       └──────── wire: one thread ─────┘         delay, jitter, loss, cut per pair
//! ```

pub mod cli;
pub mod measure;
pub mod programs;
pub mod sandbox;
pub mod world;

mod control;
mod host;
mod interrupt;
mod lab;
mod links;
mod marker;
mod net;
mod process;
mod ready;
mod runtime;
mod sys;
mod topology;
mod tour;
mod trace;
mod wire;

pub use host::{Activity, HOST_VARIABLE, StartError};
pub use interrupt::Interrupt;
pub use lab::{HostError, Lab, Options, UpError};
pub use marker::{Swept, VARIABLE as MARKER_VARIABLE, sweep};
pub use net::{Backend, INTERFACE, MTU, add_address, remove_address};
pub use process::Signal;
pub use runtime::RUNTIME_VARIABLE;
pub use topology::{HostSpec, Latency, MOST_HOSTS, OneWay, RoundTrip, Topology, TopologyError};
pub use wire::{Counters, Link, Strays, Wire};
