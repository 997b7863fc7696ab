//! A peer of the map protocol that keeps to no rule.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use dglb_core::{
    peer_name::role_text,
    proto::{
        FrameCodec, MAGIC, body,
        message::{ByeReason, Message, PeerRole, RefuseReason},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Decoder;

use crate::{peer::hello, raw, tls, wait::LONG};

/// A connection to the map port that does what it likes.
#[derive(Debug)]
pub struct Intruder {
    /// As it is.
    pub stream: TlsStream<TcpStream>,
    codec: FrameCodec,
    received: BytesMut,
    first: bool,
}

/// How a link ended, as its peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Before it was let in.
    Refused(RefuseReason),
    /// After.
    Bye(ByeReason),
    /// Without a word.
    Closed,
}

impl Intruder {
    /// Connects from an address of this host, with the certificate of the DNS-LB `evil-lb`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect(from: IpAddr, server: SocketAddr) -> Self {
        Self::certified(from, server, "dglb:dns-lb:evil-lb").await
    }

    async fn certified(from: IpAddr, server: SocketAddr, name: &str) -> Self {
        let stream = tls::over(raw::connect(from, server).await, name).await;
        let mut codec = FrameCodec::default();
        codec.set_limit(1 << 20);
        Self { stream, codec, received: BytesMut::new(), first: true }
    }

    /// A link that is up, as a peer that is configured.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn established(from: IpAddr, server: SocketAddr, identity: &str, role: PeerRole) -> Self {
        let mut intruder = Self::certified(from, server, &format!("dglb:{}:{identity}", role_text(role))).await;
        intruder.say(&Message::Hello(hello(identity, role))).await;
        let welcome = intruder.next().await;
        assert!(matches!(welcome, Some(Message::Welcome(_))), "{welcome:?}");
        intruder
    }

    /// Says something that is a message.
    ///
    /// # Panics
    /// When no peer would take it.
    pub async fn say(&mut self, message: &Message) {
        let encoded = message.encode().expect("a message of ours");
        let octets = self.frame(encoded.number().0, encoded.body());
        self.send(&octets).await;
    }

    /// A frame as it goes over the wire; the first with the magic.
    ///
    /// # Panics
    /// When its length cannot be said.
    pub fn frame(&mut self, number: u16, body: &[u8]) -> Vec<u8> {
        let magic: &[u8] = if std::mem::take(&mut self.first) { &MAGIC } else { &[] };
        let length = u32::try_from(4 + magic.len() + body.len()).expect("far below 4 GiB");
        [&length.to_be_bytes(), &number.to_be_bytes()[..], &[0, 0], magic, body].concat()
    }

    /// Sends octets.
    pub async fn send(&mut self, octets: &[u8]) {
        // Who is cut off amid its words does not hear of it at once.
        if self.stream.write_all(octets).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// The next message that is no PING; `None` at the end of the connection.
    ///
    /// # Panics
    /// When nothing happens, or what comes is no message.
    pub async fn next(&mut self) -> Option<Message> {
        let read = async {
            loop {
                while let Some(frame) = self.codec.decode(&mut self.received).expect("frames") {
                    let decoded = body::decode(frame.number, frame.body, 100_000).expect("a body");
                    let message = decoded.expect("dns-b says nothing that we do not know").message;
                    if !matches!(message, Message::Ping(_)) {
                        return Some(message);
                    }
                }
                // A reset is an end, too.
                if self.stream.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        timeout(LONG, read).await.expect("neither a message nor the end")
    }

    /// Waits until the other side ends it; what was said before is passed over.
    ///
    /// # Panics
    /// When it does not.
    pub async fn end(&mut self) -> End {
        let mut end = End::Closed;
        while let Some(message) = self.next().await {
            match message {
                Message::Refuse(refuse) => end = End::Refused(refuse.reason),
                Message::Bye(bye) => end = End::Bye(bye.reason),
                _ => {}
            }
        }
        end
    }
}
