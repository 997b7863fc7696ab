//! Whole labs: real namespaces, a real wire, real processes. One at a time, since most of them
//! measure time.

mod background;
mod clean_up;
mod link_control;
mod rootless;
mod supervision;
mod support;
mod tcp;
mod wire;
