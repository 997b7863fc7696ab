//! Scenario tests: real daemons, real sockets, real resolvers; answers *and* counters.

mod bad_input;
mod ceiling;
mod conduct;
mod config;
mod distribution;
mod documentation;
mod drain;
mod failover;
mod handover;
mod hostile;
mod https;
mod locate;
mod lookup;
mod matrix;
mod measure;
mod persistence;
mod random;
mod residence;
mod rolling;
mod smoke;
mod stop;
mod tours;
mod transcripts;
mod unsafe_code;
