//! Against a real BIND as DNS-A.

mod chain;
mod delegation;
mod source;
mod support;
mod tsig;
