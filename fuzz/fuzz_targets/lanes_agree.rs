//! The same messages by every way through the server: alone and in a batch, over every transport.
//! A batch must give the very octets; transports the same message, apart from what a transport
//! itself demands: its size, and the options about connections and padding.
#![no_main]

use arbitrary::Arbitrary;
use dglb_core::dns::{Asked, Decision, Exchange, Handled, Names, Responder, Role, Transport};
use dglb_fuzz::{DNS_B, DNS_LB, Input, only_malformed_over_connections, responder};
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

/// Messages in one batch, as many as a lane takes.
const MOST: usize = 32;
/// Octets of room for a reply; more than any of this world has.
const ROOM: usize = 8_192;

#[derive(Arbitrary, Debug)]
enum Sent {
    Question(Input),
    Damaged(Input, u16, u8),
    Raw(Vec<u8>),
    Signed(Input),
}

#[derive(Arbitrary, Debug)]
struct Batch {
    lb: bool,
    fallback: bool,
    sent: Vec<Sent>,
}

impl Sent {
    fn packet(&self) -> Vec<u8> {
        match self {
            Self::Question(question) => question.packet(),
            Self::Damaged(question, at, octet) => {
                let mut packet = question.packet();
                let at = usize::from(*at) % packet.len();
                packet[at] = *octet;
                packet
            }
            Self::Raw(octets) => octets.clone(),
            Self::Signed(question) => signed(question.packet()),
        }
    }

    fn peer(&self) -> std::net::SocketAddr {
        match self {
            Self::Question(question) | Self::Damaged(question, ..) | Self::Signed(question) => question.peer(),
            Self::Raw(_) => "198.51.100.77:4242".parse().expect("an address"),
        }
    }
}

/// With a TSIG record behind it (RFC 8945 section 4.2), of a key that nobody shares.
fn signed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[11] += 1;
    packet.extend_from_slice(b"\x05a-key\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0");
    // Time signed, fudge, MAC, original id, error, other data.
    packet.extend_from_slice(&[0, 0, 0x6a, 0, 0, 0, 1, 44, 0, 32]);
    packet.extend_from_slice(&[7; 32]);
    packet.extend_from_slice(&[0x12, 0x34, 0, 0, 0, 0]);
    packet
}

fuzz_target!(|batch: Batch| {
    let directory = if batch.lb { &*DNS_LB } else { &*DNS_B };
    let role = match (batch.lb, batch.fallback) {
        (true, _) => Role::DnsLb,
        (false, false) => Role::Referral,
        (false, true) => Role::Fallback,
    };
    let responder = responder(directory);
    let packets: Vec<_> = batch.sent.iter().take(MOST).map(|sent| (sent.packet(), sent.peer())).collect();
    for transport in Transport::ALL {
        let asked = packets.iter().map(|(packet, peer)| Asked { packet, peer: *peer, transport, role });
        let mut replies = vec![vec![0; ROOM]; packets.len()];
        let each = asked.clone().zip(&mut replies);
        let mut exchanges: Vec<_> =
            each.map(|(asked, reply)| Exchange { asked, reply, handled: Handled::DROPPED }).collect();
        responder.respond_batch(&mut exchanges, &mut Names::default());
        for exchange in exchanges {
            let mut alone = vec![0; ROOM];
            let handled = responder.respond(&exchange.asked, &mut alone);
            assert_eq!(handled, exchange.handled);
            assert_eq!(alone[..handled.length], exchange.reply[..handled.length], "alone and in a batch");
            if transport != Transport::Udp {
                compare(&responder, &exchange.asked, (handled, &alone[..handled.length]));
            }
        }
    }
});

/// Another transport's reply against that over UDP.
fn compare(responder: &Responder<'_>, asked: &Asked<'_>, (handled, whole): (Handled, &[u8])) {
    let mut reply = vec![0; ROOM];
    let udp = responder.respond(&Asked { transport: Transport::Udp, ..*asked }, &mut reply);
    if only_malformed_over_connections(udp.rcode, handled.rcode) {
        return;
    }
    assert_eq!((udp.decision, udp.rcode), (handled.decision, handled.rcode), "the transport decides");
    assert_eq!(udp.length == 0, handled.length == 0);
    if handled.decision == Decision::Dropped {
        return;
    }
    let short = Message::from_vec(&reply[..udp.length]).expect("a readable reply over UDP");
    let whole = Message::from_vec(whole).expect("a readable reply");
    assert!(!whole.metadata.truncation);
    assert_eq!((&short.queries, short.metadata.authoritative), (&whole.queries, whole.metadata.authoritative));
    if !udp.truncated {
        assert_eq!((&short.answers, &short.authorities), (&whole.answers, &whole.authorities));
        assert_eq!(short.additionals, whole.additionals);
    }
    assert_eq!(short.edns.is_some(), whole.edns.is_some());
}
