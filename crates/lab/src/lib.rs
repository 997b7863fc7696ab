//! A private Internet in a box: hosts as network namespaces, one user-space router between them,
//! real and embedded name servers on them.

pub mod programs;
