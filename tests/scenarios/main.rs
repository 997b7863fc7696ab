//! Whole daemons, started through the same code as the programs, asked over real sockets: one file
//! for each subject.

mod bad_input;
mod lookup;
mod stop;
