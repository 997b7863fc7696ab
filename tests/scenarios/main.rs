//! Real daemons, real sockets, real resolvers; answers *and* counters. One file for each subject.

mod bad_input;
mod config;
mod hostile;
mod lookup;
mod matrix;
mod stop;
