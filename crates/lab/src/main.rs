//! `dglb-lab`, see the library.
fn main() {}
