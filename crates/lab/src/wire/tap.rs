//! A look at the DNS on the wire, for the tour's trace: every UDP packet from or to port 53, copied
//! as it leaves its sender.

use std::{
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Instant,
};

use super::HostNumber;

/// Packets that may wait to be looked at; more are not shown, and nobody waits for the watcher.
const WAITING: usize = 4096;
const UDP: u8 = 17;
const DNS: u16 = 53;

/// A DNS message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) from: HostNumber,
    pub(crate) to: HostNumber,
    pub(crate) destination: IpAddr,
    pub(crate) message: Vec<u8>,
}

/// The wire's side.
#[derive(Debug, Default)]
pub(crate) struct Tap(Option<SyncSender<Seen>>);

impl Tap {
    /// Begins to watch; an earlier watcher sees no more.
    pub(crate) fn open(&mut self) -> Receiver<Seen> {
        let (sender, receiver) = sync_channel(WAITING);
        self.0 = Some(sender);
        receiver
    }

    /// Shows a packet to the watcher, if there is one and it is DNS over UDP.
    pub(crate) fn show(&mut self, from: HostNumber, to: HostNumber, destination: IpAddr, packet: &[u8]) {
        let Some(watcher) = &self.0 else { return };
        let Some(message) = dns_over_udp(packet) else { return };
        let seen = Seen { at: Instant::now(), from, to, destination, message: message.to_vec() };
        if let Err(TrySendError::Disconnected(_)) = watcher.try_send(seen) {
            self.0 = None;
        }
    }
}

/// The payload of an unfragmented UDP packet from or to port 53.
fn dns_over_udp(packet: &[u8]) -> Option<&[u8]> {
    let (protocol, header) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, usize::from(packet[0] & 0x0f) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    let udp = packet.get(header..).filter(|_| protocol == UDP)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    (port(0)? == DNS || port(2)? == DNS).then(|| udp.get(8..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, source: u16, destination: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[20..22].copy_from_slice(&source.to_be_bytes());
        packet[22..24].copy_from_slice(&destination.to_be_bytes());
        packet.extend_from_slice(b"message");
        packet
    }

    #[test]
    fn only_dns_over_udp_is_shown() {
        let address = "10.0.0.1".parse().unwrap();
        let mut tap = Tap::default();
        tap.show(0, 1, address, &packet(UDP, 1000, 53));
        let watcher = tap.open();
        for (protocol, source, destination) in [(UDP, 1000, 53), (UDP, 53, 1000), (UDP, 1000, 80), (6, 1000, 53)] {
            tap.show(0, 1, address, &packet(protocol, source, destination));
        }
        tap.show(0, 1, address, &[0x45; 21]);
        tap.show(0, 1, address, &[]);
        assert_eq!(watcher.try_iter().map(|s| s.message).collect::<Vec<_>>(), [b"message", b"message"]);
        drop(watcher);
        tap.show(0, 1, address, &packet(UDP, 1000, 53));
        assert!(tap.0.is_none());
    }
}
