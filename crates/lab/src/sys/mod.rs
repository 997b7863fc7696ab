//! Every call into the kernel that Rust's standard library has no safe form of; the only `unsafe`
//! of the lab. Nothing here decides anything.

pub(crate) mod device;
pub(crate) mod namespace;
pub(crate) mod poll;
pub(crate) mod process;

use std::io;

/// Turns a C return value, -1 for an error told in `errno`, into a `Result`.
fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
