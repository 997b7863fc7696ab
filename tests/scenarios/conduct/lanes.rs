//! All ways lead to the same answer: whatever is sent, over UDP, TCP, TLS, HTTPS and QUIC the decoded
//! replies are equal, but for what a transport demands.

use std::time::Duration;

use dglb_scenarios::{
    configs::{WWW, ZONE, in_label},
    packet::{Packet, option, rtype},
    raw,
    strict::Strict,
};
use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use tokio::net::UdpSocket;

use super::{
    clients::{Client, Over},
    encrypted::world,
    world::{LONG, Role, Way, scenario},
};

/// Messages that every address is sent, and every how many-th goes over encrypted transports, too.
const MESSAGES: usize = 400;
/// TYPE.
const TSIG: u16 = 250;
const ENCRYPTED: usize = 4;

#[test]
fn every_lane_says_the_same() {
    scenario("conduct::lanes::every_lane_says_the_same", async |ground| {
        let (world, client) = world(ground).await;
        let mut runner = TestRunner::default();
        let mut outcomes = [0; 4];
        for role in [Role::Referral, Role::Fallback, Role::Lb] {
            let [udp, tcp] = world.ways(role);
            for n in 0..MESSAGES {
                let octets = message().new_tree(&mut runner).expect("there is always a message").current();
                let over_tcp = stream(&tcp, &octets).await;
                let over_udp = datagram(&udp, &octets, over_tcp.is_some()).await;
                outcomes[compare(&octets, over_udp, over_tcp.clone(), &format!("{role:?}, UDP"))] += 1;
                if n % ENCRYPTED == 0 {
                    over_the_others(&client, &tcp, &octets, over_tcp).await;
                }
            }
        }
        // Silence, response codes, answers and signed refusals: none of it may be all there is.
        assert!(outcomes.iter().all(|n| *n > 50), "{outcomes:?}");
    });
}

/// Names of every kind, in whatever letters.
fn name() -> impl Strategy<Value = String> {
    let zone = |name: &str| format!("{name}.{ZONE}");
    let label = |name: &str| format!("{name}.lb1.{ZONE}");
    let names = vec![
        WWW.to_owned(),
        ZONE.to_owned(),
        in_label("lb1"),
        format!("lb1.{ZONE}"),
        zone("direct"),
        zone("big"),
        zone("huge"),
        zone("mail"),
        zone("b"),
        zone("b1"),
        zone("x_y"),
        zone("www.elsewhere"),
        label("ns"),
        label("f1"),
        label("dead"),
        label(LONG),
        label("svc.ent"),
        label("nothing"),
        label("0f._dglb"),
        "elsewhere.test".to_owned(),
        "version.bind".to_owned(),
        "id.server".to_owned(),
        String::new(),
    ];
    (select(names), any::<u64>()).prop_map(|(name, seed)| {
        let letter = |(n, c): (usize, char)| if seed >> (n % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c };
        name.chars().enumerate().map(letter).collect()
    })
}

fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let subnet = (select(vec![0, 24, 32, 33_u8]), vec(any::<u8>(), 0..5))
        .prop_map(|(source, address)| (option::CLIENT_SUBNET, [vec![0, 1, source, 0], address].concat()));
    let option = prop_oneof![
        Just((option::NSID, vec![])),
        Just((option::KEEPALIVE, vec![])),
        Just((option::COOKIE, b"a client".to_vec())),
        (0..20_usize).prop_map(|length| (option::PADDING, vec![0; length])),
        vec(any::<u8>(), 0..45).prop_map(|data| (option::COOKIE, data)),
        (any::<u16>(), vec(any::<u8>(), 0..20)),
        subnet,
    ];
    vec(option, 0..4)
}

/// A question as somebody may ask it.
fn packet() -> impl Strategy<Value = Packet> {
    let kinds = vec![1, 2, 5, 6, 12, 15, 16, 28, 41, 43, 48, 65, 99, 250, 251, 252, 255, 257, 65_280];
    let classes = prop_oneof![8 => Just(1_u16), 2 => Just(3), 1 => Just(255), 1 => any::<u16>()];
    let flags = prop_oneof![6 => Just(0x0100_u16), 3 => any::<u16>().prop_map(|bits| bits & 0x07ff), 1 => any::<u16>()];
    let edns =
        (select(vec![0, 511, 512, 1_232, 4_096, u16::MAX]), select(vec![0, 0, 0, 0, 1_u8]), any::<u16>(), options());
    (name(), select(kinds), classes, flags, prop::option::of(edns)).prop_map(|(name, kind, class, flags, edns)| {
        let mut packet = Packet::new(&name, kind).class(class).flags(flags);
        if let Some((payload, version, flags, options)) = edns {
            packet = packet.edns(payload).version(version).edns_flags(flags);
            for (code, data) in options {
                packet = packet.option(code, &data);
            }
        }
        packet
    })
}

fn question() -> impl Strategy<Value = Vec<u8>> {
    packet().prop_map(|packet| packet.octets())
}

/// A question, or what is left of one, or worse; one that is signed goes another way through the server.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let cut = (question(), any::<prop::sample::Index>()).prop_map(|(mut octets, at)| {
        octets.truncate(at.index(octets.len()));
        octets
    });
    let bent = (question(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(|(mut octets, bends)| {
        for (at, octet) in bends {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        octets
    });
    let longer = (question(), vec(any::<u8>(), 1..40)).prop_map(|(octets, more)| [octets, more].concat());
    let signed = packet().prop_map(|packet| packet.signed());
    prop_oneof![6 => question(), 2 => signed, 2 => cut, 3 => bent, 1 => longer, 1 => vec(any::<u8>(), 0..80)]
}

/// What comes back over UDP, before the answer to a good question that is asked behind it; or behind that,
/// if something is `awaited`, since the slow lane is overtaken.
async fn datagram(way: &Way<'_>, octets: &[u8], awaited: bool) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((way.place.from, 0)).await.unwrap();
    socket.connect(way.place.server).await.unwrap();
    let good = Packet::new(WWW, rtype::A).flags(0x0010).octets();
    socket.send(octets).await.unwrap();
    socket.send(&good).await.unwrap();
    let (mut replies, mut answered) = (vec![], false);
    while !answered || awaited && replies.is_empty() {
        let mut reply = vec![0; 65_536];
        let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut reply)).await;
        reply.truncate(length.unwrap_or_else(|_| panic!("{way}: silent after {octets:02x?}")).unwrap());
        let is_good = reply.get(..2) == Some(&good[..2]) && reply[3] & 0x10 != 0;
        if !answered && is_good { answered = true } else { replies.push(reply) }
    }
    assert!(replies.len() <= 1, "{way}: {} replies to {octets:02x?}", replies.len());
    replies.pop()
}

async fn stream(way: &Way<'_>, octets: &[u8]) -> Option<Vec<u8>> {
    let mut replies = raw::over_tcp(way.place.from, way.place.server, &raw::framed(octets)).await;
    assert!(replies.len() <= 1, "{way}: {} replies to {octets:02x?}", replies.len());
    replies.pop()
}

/// The same over the encrypted transports.
async fn over_the_others(client: &Client, tcp: &Way<'_>, octets: &[u8], over_tcp: Option<Vec<u8>>) {
    for over in Over::ALL {
        let what = format!("{:?}, {over:?}", tcp.place.role);
        let mut sent = octets.to_vec();
        if over == Over::Quic {
            // RFC 9250 sections 4.2.1 and 5.5.2: the id is 0, and keepalive ends the connection.
            sent.iter_mut().take(2).for_each(|octet| *octet = 0);
            if keepalive(octets) {
                continue;
            }
        }
        let mut reply = client.ask(over, tcp.place.server.ip(), &sent).await;
        if let Some(reply) = &mut reply {
            assert_eq!(reply[..2], sent[..2], "{what}");
            reply[..2].copy_from_slice(&octets[..2]);
            assert_eq!(reply[2] & 0x02, 0, "{what}: cut short over a stream");
        }
        compare(octets, reply, over_tcp.clone(), &what);
    }
}

/// Without the time in a TSIG record (RFC 8945 section 4.2), which goes on from one reply to the next.
fn untimed(reply: &Strict) -> Strict {
    let mut reply = reply.clone();
    for record in reply.additional.iter_mut().filter(|record| record.rtype == TSIG) {
        let mut at = 0;
        while record.rdata[at] != 0 {
            at += 1 + usize::from(record.rdata[at]);
        }
        record.rdata[at + 1..at + 7].fill(0);
    }
    reply
}

/// Whether the option may be in there.
fn keepalive(octets: &[u8]) -> bool {
    octets.windows(2).any(|pair| pair == [0, 11])
}

/// Both replies are one; what sort of one.
fn compare(octets: &[u8], one: Option<Vec<u8>>, over_tcp: Option<Vec<u8>>, lane: &str) -> usize {
    let what = format!("{lane}: {octets:02x?}: {one:02x?} and over TCP {over_tcp:02x?}");
    let (one, tcp) = match (one, over_tcp) {
        (Some(one), Some(tcp)) => (Strict::read(&one), Strict::read(&tcp)),
        (None, None) => return 0,
        _ => panic!("one lane answers, the other does not: {what}"),
    };
    let read = |reply: Result<Strict, String>| reply.unwrap_or_else(|wrong| panic!("{wrong}: {what}"));
    let (one, tcp) = (read(one), read(tcp));
    if one.rcode() != tcp.rcode() {
        // RFC 7828 section 3.2.1: a client's keepalive that says something is wrong over TCP alone.
        assert!(keepalive(octets) && tcp.rcode() == 1, "{what}");
        return 1;
    }
    const TC: u16 = 0x0200;
    assert_eq!((one.id, one.flags & !TC, tcp.flags), (tcp.id, tcp.flags, tcp.flags & !TC), "{what}");
    assert_eq!(one.question, tcp.question, "{what}");
    let opt = |reply: &Strict| {
        let opt = reply.opt.as_ref()?;
        // The time stands in cookies, and sizes are padded, as connections are kept, over some
        // transports alone.
        let apart = [option::COOKIE, option::KEEPALIVE, option::PADDING];
        let options: Vec<_> = opt.options.iter().filter(|(code, _)| !apart.contains(code)).cloned().collect();
        Some((opt.payload, opt.flags, opt.version, options, reply.option(option::COOKIE).map(<[u8]>::len)))
    };
    assert_eq!(opt(&one), opt(&tcp), "{what}");
    if !one.is_truncated() {
        let (one, tcp) = (untimed(&one), untimed(&tcp));
        assert_eq!((one.answers(), one.authorities()), (tcp.answers(), tcp.authorities()), "{what}");
        // What is a courtesy is left out where there is no room for it.
        let courtesy = tcp.additionals().starts_with(&one.additionals());
        assert!(one.additional.len() == tcp.additional.len() || !one.answer.is_empty(), "{what}");
        assert!(courtesy, "{what}");
    }
    if tcp.additional.iter().any(|record| record.rtype == TSIG) { 3 } else { 1 + usize::from(tcp.rcode() == 0) }
}
