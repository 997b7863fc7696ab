//! The floor: what the kernel asks for receiving and sending, with next to nothing in between.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
};

use crate::{child, servers::Shape, sys::Batch};

/// Datagrams in one system call.
const BATCH: usize = 32;

/// Sends every datagram back in this shape, so that the client takes it for a reply.
///
/// # Errors
/// When there is no socket.
pub(crate) fn run(shape: Shape) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    child::announce(socket.local_addr()?)?;
    let mut batch = Batch::new().with_peers();
    loop {
        let received = batch.receive(&socket, BATCH, true)?;
        for slot in 0..received {
            let header = batch.place(slot);
            header[2] |= 0x80;
            header[3] = shape.rcode;
            header[6..8].copy_from_slice(&shape.answers.to_be_bytes());
            batch.set_length(slot, shape.length);
        }
        // Loopback takes all. If it does not, the rest is lost, and the client says so.
        batch.send(&socket, received)?;
    }
}
