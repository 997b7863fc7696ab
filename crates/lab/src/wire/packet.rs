//! Reading the one thing the wire wants to know of a packet: where it is going.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a packet is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Host(IpAddr),
    /// Multicast or broadcast.
    Everybody,
    /// No IP header.
    Malformed,
}

/// The destination of an IP packet that begins at its header.
pub(crate) fn destination(packet: &[u8]) -> Destination {
    let address = match packet.first().map(|octet| octet >> 4) {
        Some(4) if packet.len() >= 20 => field::<4>(packet, 16).map(|a| IpAddr::V4(Ipv4Addr::from(a))),
        Some(6) if packet.len() >= 40 => field::<16>(packet, 24).map(|a| IpAddr::V6(Ipv6Addr::from(a))),
        _ => None,
    };
    match address {
        None => Destination::Malformed,
        Some(IpAddr::V4(v4)) if v4.is_broadcast() => Destination::Everybody,
        Some(address) if address.is_multicast() => Destination::Everybody,
        Some(address) => Destination::Host(address),
    }
}

/// The Ethernet type of an IP packet.
pub(crate) fn ethernet_type(packet: &[u8]) -> [u8; 2] {
    if packet.first().is_some_and(|octet| octet >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] }
}

fn field<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_both_families() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[16..20].copy_from_slice(&[10, 1, 2, 3]);
        assert_eq!(destination(&v4), Destination::Host("10.1.2.3".parse().unwrap()));
        v4[16] = 224;
        assert_eq!(destination(&v4), Destination::Everybody);
        v4[16..20].copy_from_slice(&[255; 4]);
        assert_eq!(destination(&v4), Destination::Everybody);
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[24] = 0xfd;
        v6[39] = 1;
        assert_eq!(destination(&v6), Destination::Host("fd00::1".parse().unwrap()));
        v6[24] = 0xff;
        assert_eq!(destination(&v6), Destination::Everybody);
        assert_eq!((ethernet_type(&v4), ethernet_type(&v6)), ([0x08, 0x00], [0x86, 0xdd]));
    }

    #[test]
    fn what_is_no_packet_goes_nowhere() {
        for bad in [&[][..], &[0x45; 19], &[0x60; 39], &[0x50; 60]] {
            assert_eq!(destination(bad), Destination::Malformed);
        }
    }
}
