//! Hosts' network stacks: a namespace each, with loopback and one interface, `eth0`, whose far end
//! is a descriptor that the wire reads packets from and writes packets to.
//!
//! No bridge, no address resolution, no offloads: what leaves a host's stack is one IP packet of at
//! most [`MTU`] octets with true checksums, whichever [`Backend`] carries it.

mod addresses;
mod attach;
mod namespace;
mod netlink;

pub use addresses::{add_address, remove_address};
pub(crate) use attach::Backbone;
pub(crate) use namespace::Namespace;

/// The largest IP packet on the wire, in octets, as on most of the Internet.
pub const MTU: u32 = 1500;

/// The one interface that every host has beside loopback.
pub const INTERFACE: &str = "eth0";

/// How packets get out of a host's namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// [`Backend::Tun`] where `/dev/net/tun` can be opened, else [`Backend::Veth`].
    #[default]
    Auto,
    /// A TUN device in each host.
    Tun,
    /// A veth pair for each host, the far end in a hub namespace behind a packet socket. Needs no
    /// device node.
    Veth,
}
