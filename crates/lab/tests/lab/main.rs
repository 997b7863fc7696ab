//! Whole labs: real namespaces, a real wire, real processes. One at a time, since most of them
//! measure time.

mod support;
mod wire;
