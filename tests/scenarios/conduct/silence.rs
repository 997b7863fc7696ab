//! What is not answered at all, and is counted: responses, what has no header, what can only be
//! forged.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dglb_lab::sandbox::skip;
use dglb_scenarios::{
    configs::WWW,
    eventually,
    packet::{Packet, rtype},
    raw, so,
    strict::Strict,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::world::{Role, World, scenario};

const DROPPED: &str = "dglb_dns_decisions_total{decision=\"dropped\"}";

#[test]
fn what_deserves_no_answer_gets_none() {
    scenario("conduct::silence::what_deserves_no_answer_gets_none", async |ground| {
        let world = World::plain(ground).await;
        responses_and_scraps(&world).await;
        nobody_asks_from_port_0(&world).await;
    });
}

/// Messages without a header, and messages with QR set, whatever else is in them.
fn unanswerable() -> Vec<Vec<u8>> {
    let question = Packet::new(WWW, rtype::A).edns(1_232).octets();
    let mut messages: Vec<Vec<u8>> = (0..12).map(|length| question[..length].to_vec()).collect();
    for flags in [0x80, 0xff, 0x84, 0xa8] {
        let mut response = question.clone();
        response[2] = flags;
        messages.push(response.clone());
        messages.push(response[..12].to_vec());
    }
    messages
}

async fn responses_and_scraps(world: &World) {
    let messages = unanswerable();
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let [udp, tcp] = world.ways(role);
        let before = udp.counters().await;
        let socket = UdpSocket::bind((world.ground.isp(1), 0)).await.unwrap();
        socket.connect(udp.place.server).await.unwrap();
        for message in &messages {
            socket.send(message).await.unwrap();
            // Datagrams of one socket are answered in their order: the next reply is this one's.
            let good = Packet::new(WWW, rtype::A);
            socket.send(&good.octets()).await.unwrap();
            let mut reply = vec![0; 4_096];
            let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut reply)).await;
            let reply = Strict::read(&reply[..length.expect("the good question is answered").unwrap()]).unwrap();
            assert_eq!(reply.id.to_be_bytes(), good.octets()[..2], "{udp}: {message:02x?} was answered");
        }
        assert_eq!(udp.grown(&before).await.get(DROPPED), Some(&(messages.len() as u64)), "{udp}");
        // Over a connection that ends it: who says such things does not speak DNS.
        let before = tcp.counters().await;
        for message in &messages {
            let octets = [raw::framed(message), raw::framed(&Packet::new(WWW, rtype::A).octets())].concat();
            let replies = raw::over_tcp(world.ground.isp(1), tcp.place.server, &octets).await;
            assert!(replies.is_empty(), "{tcp}: {message:02x?} was answered with {replies:02x?}");
        }
        assert_eq!(tcp.grown(&before).await.get(DROPPED), Some(&(messages.len() as u64)), "{tcp}");
    }
}

/// A reply to port 0 would go nowhere (RFC 6056 section 3.2), so the question was forged.
async fn nobody_asks_from_port_0(world: &World) {
    for role in [Role::Referral, Role::Fallback, Role::Lb] {
        let way = world.way(role, false);
        let before = way.counters().await;
        let question = Packet::new(WWW, rtype::A).octets();
        match forged(world.ground.isp(1), way.place.server, &question) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return skip("a raw socket"),
            Err(error) => panic!("{way}: {error}"),
        }
        eventually("it is counted as dropped", async || {
            let grown = way.grown(&before).await;
            so(grown.get(DROPPED) == Some(&1), grown)
        })
        .await;
        let unsendable = "dglb_dns_incidents_total{incident=\"unsendable\"}";
        assert_eq!(way.grown(&before).await.get(unsendable), None, "{way}: a reply was tried");
    }
}

/// Sends a UDP datagram from port 0, which no socket of its own has.
fn forged(from: IpAddr, to: SocketAddr, octets: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    let length = u16::try_from(8 + octets.len()).expect("a short question");
    let header = [0_u16, to.port(), length, 0].map(u16::to_be_bytes).concat();
    socket.send_to(&[&header[..], octets].concat(), &SocketAddr::new(to.ip(), 0).into())?;
    Ok(())
}
