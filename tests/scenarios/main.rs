//! Scenario tests: real daemons, real sockets, real resolvers; answers *and* counters.

mod documentation;
mod matrix;
