//! Builds one host's stack and hands out the descriptor at the far end of its interface.

use std::{fs::File, io, net::IpAddr};

use super::{
    Backend, INTERFACE, MTU, Namespace,
    netlink::{LOOPBACK, Link, Netlink, VethEnd},
};
use crate::sys::device;

/// Packets that wait in a host's interface until the wire reads them; beyond it they are lost, as
/// on any router. The wire reads at once, so only a burst comes near.
const QUEUE: u32 = 2_000;

/// The far end of a host's interface.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) file: File,
    /// What precedes the IP packet in everything that is written: nothing, or an Ethernet header
    /// whose last two octets, the type, are still to be set.
    pub(crate) header: Vec<u8>,
}

/// What all hosts are attached to.
#[derive(Debug)]
pub(crate) enum Backbone {
    Tun,
    /// The namespace of all far ends. It has no addresses, so it never answers.
    Veth(Namespace),
}

impl Backbone {
    /// The backbone for this choice; [`Backend::Auto`] tries to open the device node.
    pub(crate) fn new(backend: Backend) -> io::Result<Self> {
        let tun = match backend {
            Backend::Tun => true,
            Backend::Veth => false,
            Backend::Auto => Namespace::create()?.run(|| device::open_tun(INTERFACE))?.is_ok(),
        };
        if tun { Ok(Self::Tun) } else { Ok(Self::Veth(Namespace::create()?)) }
    }

    /// The backend that was chosen, never [`Backend::Auto`].
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Tun => Backend::Tun,
            Self::Veth(_) => Backend::Veth,
        }
    }

    /// Brings up loopback and [`INTERFACE`] in a fresh namespace, with these addresses and a
    /// default route for each family among them. `number` is the host's own in this lab.
    pub(crate) fn attach(&self, host: &Namespace, number: u16, addresses: &[IpAddr]) -> io::Result<Attachment> {
        match self {
            Self::Tun => host.run(|| {
                let file = device::open_tun(INTERFACE)?;
                configure(&mut Netlink::open()?, addresses, false)?;
                Ok(Attachment { file, header: Vec::new() })
            })?,
            Self::Veth(hub) => attach_veth(hub, host, number, addresses),
        }
    }
}

fn attach_veth(hub: &Namespace, host: &Namespace, number: u16, addresses: &[IpAddr]) -> io::Result<Attachment> {
    let [high, low] = number.to_be_bytes();
    let (hub_mac, host_mac) = ([2, 0, 0, 0, high, low], [2, 1, 0, 0, high, low]);
    let port = format!("h{number}");
    let file = hub.run(|| {
        let mut netlink = Netlink::open()?;
        let near = VethEnd { name: &port, mac: hub_mac };
        netlink.add_veth(near, VethEnd { name: INTERFACE, mac: host_mac }, host.raw())?;
        let index = device::interface_index(&port)?;
        netlink.set_up(index, Link { mtu: Some(MTU), no_arp: true, queue: None })?;
        device::open_packet_socket(index)
    })??;
    host.run(|| {
        device::switch_offloads_off(INTERFACE)?;
        configure(&mut Netlink::open()?, addresses, true)
    })??;
    let mut header = Vec::from(host_mac);
    header.extend_from_slice(&hub_mac);
    header.extend_from_slice(&[0, 0]);
    Ok(Attachment { file, header })
}

fn configure(netlink: &mut Netlink, addresses: &[IpAddr], no_arp: bool) -> io::Result<()> {
    netlink.set_up(LOOPBACK, Link::default())?;
    let index = device::interface_index(INTERFACE)?;
    // A veth pair has no queue of its own: the packet socket at the far end is the queue.
    let queue = (!no_arp).then_some(QUEUE);
    netlink.set_up(index, Link { mtu: Some(MTU), no_arp, queue })?;
    for &address in addresses {
        netlink.add_address(index, address)?;
    }
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if let Some(&source) = addresses.iter().find(|a| family(a)) {
            netlink.add_default_route(index, source)?;
        }
    }
    Ok(())
}
