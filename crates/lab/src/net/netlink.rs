//! Just enough of rtnetlink (rtnetlink(7)) to build a host: links, addresses, routes. Every request
//! asks for an acknowledgement and waits for it, so errors belong to the call that caused them.

use std::{
    io::{self, Read, Write},
    net::IpAddr,
    os::fd::RawFd,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

const NLMSG_ERROR: u16 = 0x2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
/// Create it, and fail if it exists.
const NLM_F_NEW: u16 = 0x400 | 0x200;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;

const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// The interface index of loopback in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// A conversation with the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What [`Netlink::set_up`] sets on an interface.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    pub(crate) mtu: Option<u32>,
    /// No address resolution: every packet goes straight out.
    pub(crate) no_arp: bool,
    /// Packets that may wait for a slow reader.
    pub(crate) queue: Option<u32>,
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
        // The kernel answers within the call; the limit only keeps a surprise from hanging us.
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A veth pair: `near` here, `far` in the namespace behind the descriptor.
    pub(crate) fn add_veth(&mut self, near: VethEnd<'_>, far: VethEnd<'_>, far_namespace: RawFd) -> io::Result<()> {
        let mut message = Message::new(&interface_header(0, 0));
        message.text(IFLA_IFNAME, near.name).bytes(IFLA_ADDRESS, &near.mac);
        let info = message.open(IFLA_LINKINFO);
        message.bytes(IFLA_INFO_KIND, b"veth");
        let data = message.open(IFLA_INFO_DATA);
        let peer = message.open(VETH_INFO_PEER);
        message.0.extend_from_slice(&interface_header(0, 0));
        message.text(IFLA_IFNAME, far.name).bytes(IFLA_ADDRESS, &far.mac);
        message.number(IFLA_NET_NS_FD, far_namespace.cast_unsigned());
        message.close(peer).close(data).close(info);
        self.request(RTM_NEWLINK, NLM_F_NEW, &message)
    }

    /// Brings an interface up. It never makes itself an IPv6 link-local address: a host has the
    /// addresses that its topology gives it, and one without IPv6 has none.
    pub(crate) fn set_up(&mut self, index: u32, link: Link) -> io::Result<()> {
        if index != LOOPBACK {
            self.no_link_local(index)?;
        }
        let no_arp = if link.no_arp { libc::IFF_NOARP } else { 0 };
        let mut message = Message::new(&interface_header(index, (libc::IFF_UP | no_arp).cast_unsigned()));
        if let Some(mtu) = link.mtu {
            message.number(IFLA_MTU, mtu);
        }
        if let Some(queue) = link.queue {
            message.number(IFLA_TXQLEN, queue);
        }
        self.request(RTM_NEWLINK, 0, &message)
    }

    /// Gives an interface an address of its own and nobody else's: /32 or /128, usable at once.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        self.request(RTM_NEWADDR, NLM_F_NEW, &of_address(index, address))
    }

    /// Takes such an address away.
    pub(crate) fn remove_address(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        self.request(RTM_DELADDR, 0, &of_address(index, address))
    }

    /// The default route of `source`'s family leads out of the interface, with that source address
    /// where a program does not choose one.
    pub(crate) fn add_default_route(&mut self, index: u32, source: IpAddr) -> io::Result<()> {
        let (family, octets) = family_and_octets(source);
        let scope = if source.is_ipv4() { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
        let header = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0, 0, 0, 0];
        let mut message = Message::new(&header);
        message.number(RTA_OIF, index).bytes(RTA_PREFSRC, &octets);
        self.request(RTM_NEWROUTE, NLM_F_NEW, &message)
    }

    /// Kernels without IPv6 refuse this, and then there is nothing to refuse it for.
    fn no_link_local(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(&interface_header(index, 0));
        let families = message.open(IFLA_AF_SPEC);
        let inet6 = message.open(libc::AF_INET6 as u16);
        message.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        message.close(inet6).close(families);
        match self.request(RTM_NEWLINK, 0, &message) {
            Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
            other => other,
        }
    }

    fn request(&mut self, kind: u16, flags: u16, message: &Message) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(16 + message.0.len()).map_err(io::Error::other)?;
        let mut request = Vec::with_capacity(16 + message.0.len());
        request.extend_from_slice(&length.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(&message.0);
        (&self.socket).write_all(&request)?;
        loop {
            let mut reply = [0; 4096];
            let length = (&self.socket).read(&mut reply)?;
            if let Some(outcome) = acknowledgement(&reply[..length], self.sequence) {
                return outcome;
            }
        }
    }
}

/// The outcome of the request with this sequence number, if this datagram tells it.
fn acknowledgement(reply: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let word = |at: usize| reply.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    if kind != NLMSG_ERROR || word(8)? != sequence {
        return None;
    }
    match word(16)?.cast_signed() {
        0 => Some(Ok(())),
        error => Some(Err(io::Error::from_raw_os_error(error.wrapping_neg()))),
    }
}

/// `struct ifinfomsg`: these flags, and among those that we know no others.
fn interface_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// `struct ifaddrmsg` with the address.
fn of_address(index: u32, address: IpAddr) -> Message {
    let (family, octets) = family_and_octets(address);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let mut header = vec![family, bits, IFA_F_NODAD, RT_SCOPE_UNIVERSE];
    header.extend_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(&header);
    message.bytes(IFA_LOCAL, &octets).bytes(IFA_ADDRESS, &octets);
    message
}

fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    }
}

/// A message body: the fixed header of its kind, then attributes, each padded to four octets.
struct Message(Vec<u8>);

impl Message {
    fn new(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start)
    }

    fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.close(start)
    }

    fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Begins an attribute that [`Message::close`] must end; returns where it begins.
    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        let length = self.0.len() - start;
        // Attributes here are a few octets each, far below 65 536.
        self.0[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.0.resize(start + length.next_multiple_of(4), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_nested_and_padded() {
        let mut message = Message::new(&[]);
        let outer = message.open(7);
        message.text(3, "ab").number(4, 0x0102_0304);
        message.close(outer);
        let mut expected = vec![];
        for part in [&20u16.to_ne_bytes()[..], &7u16.to_ne_bytes(), &7u16.to_ne_bytes(), &3u16.to_ne_bytes()] {
            expected.extend_from_slice(part);
        }
        expected.extend_from_slice(b"ab\0\0");
        for part in [&8u16.to_ne_bytes()[..], &4u16.to_ne_bytes(), &0x0102_0304u32.to_ne_bytes()] {
            expected.extend_from_slice(part);
        }
        assert_eq!(message.0, expected);
    }

    #[test]
    fn acknowledgements_are_matched_to_their_request() {
        let reply = |sequence: u32, error: i32| {
            let mut r = vec![];
            r.extend_from_slice(&36u32.to_ne_bytes());
            r.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
            r.extend_from_slice(&[0; 2]);
            r.extend_from_slice(&sequence.to_ne_bytes());
            r.extend_from_slice(&[0; 4]);
            r.extend_from_slice(&error.to_ne_bytes());
            r
        };
        assert!(matches!(acknowledgement(&reply(3, 0), 3), Some(Ok(()))));
        let refused = acknowledgement(&reply(3, -libc::EPERM), 3).unwrap().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(acknowledgement(&reply(2, 0), 3).is_none());
        assert!(acknowledgement(&reply(3, 0)[..17], 3).is_none());
    }
}
