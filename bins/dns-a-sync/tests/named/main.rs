//! Against a real BIND as DNS-A.

mod delegation;
mod source;
mod support;
mod tsig;
