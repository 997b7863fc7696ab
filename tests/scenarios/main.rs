//! Scenario tests: real daemons, real sockets, real resolvers; answers *and* counters.

mod bad_input;
mod config;
mod documentation;
mod lookup;
mod matrix;
mod stop;
