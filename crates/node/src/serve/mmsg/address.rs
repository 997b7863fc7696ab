//! Addresses as the kernel writes them, read octet by octet, so that nothing about them has to be
//! believed.

use std::{
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

/// Room for the longest socket address of ours, `sockaddr_in6`; the kernel never writes more than it
/// is given.
#[repr(C, align(8))]
#[derive(Clone)]
pub(super) struct Peer([u8; size_of::<libc::sockaddr_in6>()]);

/// Room for one packet-information message of either family; a header must be aligned like a word.
#[repr(C, align(8))]
#[derive(Clone)]
pub(super) struct Control([u8; CONTROL]);

/// Octets of a control message's header, which are a multiple of its alignment.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// `CMSG_SPACE` of the longer packet information.
const CONTROL: usize = space(size_of::<libc::in6_pktinfo>());

/// `CMSG_SPACE`: a header, so much data, and the padding behind it.
const fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(size_of::<usize>())
}

/// `N` octets at a place, which the caller knows to be within.
fn at<const N: usize>(octets: &[u8], place: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&octets[place..place + N]);
    found
}

impl Peer {
    /// The address, of which the kernel has written `length` octets.
    pub(super) fn socket_address(&self, length: libc::socklen_t) -> Option<SocketAddr> {
        let octets = &self.0;
        let family = libc::sa_family_t::from_ne_bytes(at(octets, offset_of!(libc::sockaddr_in, sin_family)));
        match i32::from(family) {
            libc::AF_INET if length as usize >= size_of::<libc::sockaddr_in>() => {
                let address = Ipv4Addr::from(at::<4>(octets, offset_of!(libc::sockaddr_in, sin_addr)));
                let port = u16::from_be_bytes(at(octets, offset_of!(libc::sockaddr_in, sin_port)));
                Some(SocketAddrV4::new(address, port).into())
            }
            libc::AF_INET6 if length as usize >= size_of::<libc::sockaddr_in6>() => {
                let address = Ipv6Addr::from(at::<16>(octets, offset_of!(libc::sockaddr_in6, sin6_addr)));
                let port = u16::from_be_bytes(at(octets, offset_of!(libc::sockaddr_in6, sin6_port)));
                let flow = u32::from_ne_bytes(at(octets, offset_of!(libc::sockaddr_in6, sin6_flowinfo)));
                let scope = u32::from_ne_bytes(at(octets, offset_of!(libc::sockaddr_in6, sin6_scope_id)));
                Some(SocketAddrV6::new(address, port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Another port, which both families have in the same place.
    #[cfg(test)]
    pub(super) fn set_port(&mut self, port: u16) {
        self.0[offset_of!(libc::sockaddr_in, sin_port)..][..2].copy_from_slice(&port.to_be_bytes());
    }
}

impl Control {
    /// Turns received packet information, of which the kernel has written `length` octets, into that
    /// of the reply: the address that was asked becomes the source, on whatever interface the route
    /// says, except that a link-local address means nothing without its interface. Returns how much
    /// of this is to be sent; 0 if there was none.
    pub(super) fn turn_around(&mut self, length: usize) -> usize {
        if length < HEADER {
            return 0;
        }
        let octets = &mut self.0;
        let number = |place| i32::from_ne_bytes(at(octets, place));
        let kind = (number(offset_of!(libc::cmsghdr, cmsg_level)), number(offset_of!(libc::cmsghdr, cmsg_type)));
        let (v4, v6) = (size_of::<libc::in_pktinfo>(), size_of::<libc::in6_pktinfo>());
        match kind {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if length >= HEADER + v4 => {
                octets[HEADER + offset_of!(libc::in_pktinfo, ipi_ifindex)..][..4].fill(0);
                space(v4)
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if length >= HEADER + v6 => {
                let address = Ipv6Addr::from(at::<16>(octets, HEADER + offset_of!(libc::in6_pktinfo, ipi6_addr)));
                if !address.is_unicast_link_local() {
                    octets[HEADER + offset_of!(libc::in6_pktinfo, ipi6_ifindex)..][..4].fill(0);
                }
                space(v6)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, data: &[u8]) -> Control {
        let mut control = Control([0; CONTROL]);
        control.0[offset_of!(libc::cmsghdr, cmsg_level)..][..4].copy_from_slice(&level.to_ne_bytes());
        control.0[offset_of!(libc::cmsghdr, cmsg_type)..][..4].copy_from_slice(&kind.to_ne_bytes());
        control.0[HEADER..][..data.len()].copy_from_slice(data);
        control
    }

    #[test]
    fn only_link_local_addresses_keep_their_interface() {
        let mut v4 = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &[7, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 1]);
        assert_eq!(v4.turn_around(HEADER + 12), space(12));
        assert_eq!(v4.0[HEADER..HEADER + 12], [0, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 1]);
        for (address, interface) in [("2001:db8::1", [0; 4]), ("fe80::1", [7, 0, 0, 0])] {
            let address: Ipv6Addr = address.parse().unwrap();
            let data = [&address.octets()[..], &[7, 0, 0, 0]].concat();
            let mut v6 = control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            assert_eq!(v6.turn_around(HEADER + 20), space(20));
            assert_eq!(v6.0[HEADER + 16..HEADER + 20], interface);
        }
    }

    #[test]
    fn what_is_cut_or_something_else_is_not_sent() {
        let data = [7; 20];
        assert_eq!(control(libc::IPPROTO_IP, libc::IP_PKTINFO, &data).turn_around(HEADER + 11), 0);
        assert_eq!(control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data).turn_around(HEADER + 19), 0);
        assert_eq!(control(libc::IPPROTO_IP, libc::IP_TTL, &data).turn_around(CONTROL), 0);
        assert_eq!(control(libc::IPPROTO_IP, libc::IP_PKTINFO, &data).turn_around(0), 0);
    }

    #[test]
    fn unknown_families_and_short_addresses_are_nobody() {
        let mut peer = Peer([0; size_of::<libc::sockaddr_in6>()]);
        assert_eq!(peer.socket_address(28), None);
        peer.0[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
        peer.set_port(53);
        assert_eq!(peer.socket_address(16), Some("0.0.0.0:53".parse().unwrap()));
        assert_eq!(peer.socket_address(15), None);
        peer.0[..2].copy_from_slice(&(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
        assert_eq!(peer.socket_address(28), Some("[::]:53".parse().unwrap()));
        assert_eq!(peer.socket_address(27), None);
    }
}
