//! A look at the wire: for the tour's trace every UDP packet from or to port 53, copied as it leaves
//! its sender; for who measures distances the handshakes of TCP, with the router's own stamps.

use std::{
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Instant,
};

use super::HostNumber;

/// Packets that may wait to be looked at; more are not shown, and nobody waits for the watcher.
const WAITING: usize = 4096;
const UDP: u8 = 17;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
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

/// One half of a TCP handshake at the router: a SYN as its sender hands it in, or a SYN with ACK as it
/// is handed over to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) at: Instant,
    /// Who connects, and to whom.
    pub(crate) client: HostNumber,
    pub(crate) server: HostNumber,
    /// The client's port.
    pub(crate) port: u16,
    /// Whether it is the reply.
    pub(crate) reply: bool,
}

/// The wire's side.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    dns: Option<SyncSender<Seen>>,
    handshakes: Option<SyncSender<Handshake>>,
}

impl Tap {
    /// Begins to watch; an earlier watcher sees no more.
    pub(crate) fn open(&mut self) -> Receiver<Seen> {
        let (sender, receiver) = sync_channel(WAITING);
        self.dns = Some(sender);
        receiver
    }

    /// Begins to watch handshakes; an earlier watcher sees no more.
    pub(crate) fn open_handshakes(&mut self) -> Receiver<Handshake> {
        let (sender, receiver) = sync_channel(WAITING);
        self.handshakes = Some(sender);
        receiver
    }

    /// Shows a packet to the watcher, if there is one and it is DNS over UDP.
    pub(crate) fn show(&mut self, from: HostNumber, to: HostNumber, destination: IpAddr, packet: &[u8]) {
        self.show_handshake(from, to, packet, SYN);
        let Some(watcher) = &self.dns else { return };
        let Some(message) = dns_over_udp(packet) else { return };
        let seen = Seen { at: Instant::now(), from, to, destination, message: message.to_vec() };
        if let Err(TrySendError::Disconnected(_)) = watcher.try_send(seen) {
            self.dns = None;
        }
    }

    /// Shows a packet that has come to where it was going.
    pub(crate) fn show_delivered(&mut self, from: HostNumber, to: HostNumber, packet: &[u8]) {
        self.show_handshake(from, to, packet, SYN | ACK);
    }

    fn show_handshake(&mut self, from: HostNumber, to: HostNumber, packet: &[u8], wanted: u8) {
        let Some(watcher) = &self.handshakes else { return };
        let Some((source, destination, flags)) = tcp(packet) else { return };
        if flags & (SYN | ACK) != wanted {
            return;
        }
        let reply = wanted & ACK != 0;
        let (client, server, port) = if reply { (to, from, destination) } else { (from, to, source) };
        let seen = Handshake { at: Instant::now(), client, server, port, reply };
        if let Err(TrySendError::Disconnected(_)) = watcher.try_send(seen) {
            self.handshakes = None;
        }
    }
}

/// Source port, destination port and flags of an unfragmented TCP packet.
fn tcp(packet: &[u8]) -> Option<(u16, u16, u8)> {
    let tcp = payload(packet, TCP)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    Some((port(0)?, port(2)?, *tcp.get(13)?))
}

/// The payload of an unfragmented UDP packet from or to port 53.
fn dns_over_udp(packet: &[u8]) -> Option<&[u8]> {
    let udp = payload(packet, UDP)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    (port(0)? == DNS || port(2)? == DNS).then(|| udp.get(8..)).flatten()
}

/// What is behind the IP header, if it is of this protocol.
fn payload(packet: &[u8], wanted: u8) -> Option<&[u8]> {
    let (protocol, header) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, usize::from(packet[0] & 0x0f) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    packet.get(header..).filter(|_| protocol == wanted)
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
        assert!(tap.dns.is_none());
    }

    #[test]
    fn handshakes_are_shown_from_the_clients_side() {
        let address = "10.0.0.1".parse().unwrap();
        let tcp = |source, destination, flags| {
            let mut packet = packet(TCP, source, destination);
            packet.resize(40, 0);
            packet[33] = flags;
            packet
        };
        let mut tap = Tap::default();
        let watcher = tap.open_handshakes();
        tap.show(0, 1, address, &tcp(1_000, 80, SYN));
        tap.show(1, 0, address, &tcp(80, 1_000, SYN | ACK));
        tap.show_delivered(1, 0, &tcp(80, 1_000, SYN | ACK));
        tap.show_delivered(0, 1, &tcp(1_000, 80, SYN));
        tap.show(0, 1, address, &tcp(1_000, 80, ACK));
        tap.show(0, 1, address, &packet(UDP, 1_000, 80));
        let seen: Vec<_> = watcher.try_iter().map(|h| (h.client, h.server, h.port, h.reply)).collect();
        assert_eq!(seen, [(0, 1, 1_000, false), (0, 1, 1_000, true)]);
        drop(watcher);
        tap.show(0, 1, address, &tcp(1_000, 80, SYN));
        assert!(tap.handshakes.is_none());
    }
}
