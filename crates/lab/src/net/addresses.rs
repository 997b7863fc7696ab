//! A host that already runs gets other addresses, as when its provider renumbers it. The wire goes on
//! leading to those of the topology alone; what changes is what the host knows of itself.

use std::{io, net::IpAddr};

use super::{INTERFACE, netlink::Netlink};
use crate::sys::device;

/// Gives [`INTERFACE`] of this thread's network namespace one more address.
///
/// # Errors
/// What the kernel says, `AlreadyExists` among it.
pub fn add_address(address: IpAddr) -> io::Result<()> {
    Netlink::open()?.add_address(device::interface_index(INTERFACE)?, address)
}

/// Takes an address away from [`INTERFACE`] of this thread's network namespace.
///
/// # Errors
/// What the kernel says, `AddrNotAvailable` where it does not have it.
pub fn remove_address(address: IpAddr) -> io::Result<()> {
    Netlink::open()?.remove_address(device::interface_index(INTERFACE)?, address)
}
