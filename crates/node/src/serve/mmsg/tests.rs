//! Batches over loopback.

use std::{net::UdpSocket, os::fd::AsFd};

use super::*;

fn nth(batch: &mut Batch, n: usize) -> Datagram<'_> {
    batch.datagrams(n + 1).nth(n).expect("a slot")
}

const SOON: Duration = Duration::from_secs(5);

fn pair() -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    (server, client)
}

/// Receives until there are `count`, which are few enough to come as one batch once all are
/// sent over loopback.
fn receive(batch: &mut Batch, server: &UdpSocket, count: usize) {
    wait(&mut [readable(server.as_fd())], SOON);
    assert_eq!(batch.receive(server.as_fd()).unwrap(), count);
}

#[test]
fn a_reply_that_cannot_be_sent_does_not_hold_up_the_others() {
    let (server, client) = pair();
    let mut batch = Batch::new();
    (0..5).for_each(|n| _ = client.send(&[n]).unwrap());
    receive(&mut batch, &server, 5);
    for n in 0..5 {
        let datagram = nth(&mut batch, n);
        assert_eq!(datagram.peer, Some(client.local_addr().unwrap()));
        let packet = datagram.packet.unwrap();
        datagram.reply[0] = packet[0];
        // The fourth stays without an answer.
        *datagram.reply_length = usize::from(packet[0] != 3);
    }
    for unreachable in [0, 2] {
        // Nothing can be sent to a port 0.
        batch.arena().slots[unreachable].peer.set_port(0);
    }
    assert_eq!(batch.send(server.as_fd(), 5, SOON), Sent { sent: 2, refused: 2 });
    let mut replies = [0; 2];
    for reply in &mut replies {
        assert_eq!(client.recv(std::slice::from_mut(reply)).unwrap(), 1);
    }
    assert_eq!(replies, [1, 4]);
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn nothing_of_an_earlier_batch_is_left_in_the_next() {
    let (server, client) = pair();
    let mut batch = Batch::new();
    assert_eq!(batch.receive(server.as_fd()).unwrap(), 0);
    client.send(&[9; RECEIVE + 1]).unwrap();
    receive(&mut batch, &server, 1);
    assert_eq!(nth(&mut batch, 0).packet, None);
    *nth(&mut batch, 0).reply_length = 5;
    client.send(b"ab").unwrap();
    receive(&mut batch, &server, 1);
    assert_eq!(nth(&mut batch, 0).packet, Some(&b"ab"[..]));
    assert_eq!(*nth(&mut batch, 0).reply_length, 0);
    assert_eq!(batch.send(server.as_fd(), 1, SOON), Sent::default());
}
