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
mod openssl;
mod persistence;
mod place;
mod random;
mod residence;
mod revocation;
mod rolling;
mod smoke;
mod stop;
mod tours;
mod transcripts;
mod unsafe_code;
