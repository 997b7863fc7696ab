//! The same rows over IPv6: a host with several addresses of its own, and servers that are asked there.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dglb_scenarios::{
    Running,
    configs::{self, WWW, ZONE, in_label},
    eventually,
    ground::{dns, scenario_at},
    packet::{Packet, option, rtype},
    raw, so,
    strict::Strict,
};
use dns_lb::DnsLb;
use tokio::{net::UdpSocket, time::timeout};

use super::world::{Role, Setup, Way, World};

/// The first dns-b's referral and fall-back addresses, and the DNS-LB's.
const SERVERS: [&str; 3] = ["fd00:0:0:1::1", "fd00:0:0:1::2", "fd00:0:0:2::3"];
/// Whoever asks.
const CLIENT: &str = "fd00:0:0:9::53";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn addresses() -> Vec<IpAddr> {
    SERVERS.iter().chain([&CLIENT]).map(|text| ip(text)).collect()
}

/// One address over one transport, from the client's.
fn way(world: &World, role: Role, tcp: bool) -> Way<'_> {
    let server = match role {
        Role::Referral => SERVERS[0],
        Role::Fallback => SERVERS[1],
        Role::Lb => SERVERS[2],
    };
    let mut way = world.way(role, tcp).from(ip(CLIENT));
    way.place.server = dns(ip(server));
    way
}

fn everywhere(world: &World) -> impl Iterator<Item = Way<'_>> {
    let ways = [Role::Referral, Role::Fallback, Role::Lb].map(|role| [way(world, role, false), way(world, role, true)]);
    ways.into_iter().flatten()
}

/// Nobody has mapped the client's address.
fn decision(way: &Way<'_>) -> &'static str {
    if way.place.role == Role::Lb { "label" } else { "aggregate" }
}

#[test]
fn the_rows_hold_over_ipv6() {
    scenario_at("conduct::v6::the_rows_hold_over_ipv6", &addresses(), async |ground| {
        let extra = format!("[locate]\necs-from = ['{CLIENT}']\n");
        let world = World::start(ground, Setup { extra, more: Some(SERVERS.map(ip)), ..Setup::default() }).await;
        options_are_heeded(&world).await;
        names_and_sizes_are_as_over_ipv4(&world).await;
        subnets_are_echoed(&world).await;
        many_questions_go_over_one_connection(&world).await;
    });
}

async fn options_are_heeded(world: &World) {
    for way in everywhere(world) {
        let reply = way.ask(&Packet::new(WWW, rtype::A), decision(&way)).await;
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
        let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232).version(1), "malformed").await;
        assert_eq!(reply.rcode(), 16, "{way}");
        let asked = Packet::new(WWW, rtype::A).option(option::COOKIE, b"a client");
        let reply = way.ask_with_cookie(&asked, decision(&way), "client-only").await;
        let cookie = reply.option(option::COOKIE).expect("a cookie").to_vec();
        // It is good for this address, and for no other.
        let asked = Packet::new(WWW, rtype::A).option(option::COOKIE, &cookie);
        way.ask_with_cookie(&asked, decision(&way), "valid").await;
        let other = way.from(ip(SERVERS[0]));
        other.ask_with_cookie(&asked, decision(&other), "invalid").await;
    }
}

async fn names_and_sizes_are_as_over_ipv4(world: &World) {
    let apex = format!("lb1.{ZONE}");
    for tcp in [false, true] {
        let way = way(world, Role::Referral, tcp);
        let reply = way.ask(&Packet::new("wWw.Lb1.gLb.FooBar.tEst", rtype::AAAA), "referral").await;
        let servers = ["ns", "f1", "f2"].map(|server| format!("{apex}. 3600 NS {server}.{apex}."));
        assert_eq!(reply.authorities(), servers, "{way}");
        let glue = reply.additionals();
        assert!(glue.contains(&format!("ns.{apex}. 3600 AAAA {}", SERVERS[2])), "{way}: {glue:?}");
        assert!(glue.iter().any(|line| line.ends_with(&format!("AAAA {}", SERVERS[1]))), "{way}: {glue:?}");
    }
    for role in [Role::Referral, Role::Fallback] {
        let packet = Packet::new(&format!("huge.{ZONE}"), rtype::TXT);
        let cut = way(world, role, false).ask(&packet, "authority").await;
        assert!(cut.is_truncated() && cut.answer.is_empty() && cut.octets.len() <= 512);
        let whole = way(world, role, true).ask(&packet, "authority").await;
        assert!(!whole.is_truncated() && whole.answer.len() == 9);
    }
    for role in [Role::Fallback, Role::Lb] {
        for tcp in [false, true] {
            let way = way(world, role, tcp);
            let reply = way.ask(&Packet::new(&in_label("lb1"), rtype::A), "label").await;
            assert_eq!(reply.answer.len(), 1, "{way}");
            let reply = way.ask(&Packet::new(&format!("nothing.{apex}"), rtype::A), "authority").await;
            assert_eq!((reply.rcode(), reply.authority.len()), (3, 1), "{way}");
        }
    }
}

/// RFC 7871 with FAMILY 2.
async fn subnets_are_echoed(world: &World) {
    for way in everywhere(world) {
        let reply =
            way.ask(&Packet::new(WWW, rtype::A).subnet(2, 56, &[0x20, 1, 0xd, 0xb8, 1, 0, 0]), decision(&way)).await;
        let echoed = [&[0, 2, 56, 0][..], &[0x20, 1, 0xd, 0xb8, 1, 0, 0]].concat();
        let wanted = (way.place.role != Role::Lb).then_some(&echoed[..]);
        assert_eq!(reply.option(option::CLIENT_SUBNET), wanted, "{way}");
        let reply = way.ask(&Packet::new(WWW, rtype::A).subnet(2, 47, &[0x20, 1, 0xd, 0xb8, 0, 1]), "malformed").await;
        assert_eq!(reply.rcode(), 1, "{way}: a bit beyond the prefix");
    }
}

async fn many_questions_go_over_one_connection(world: &World) {
    for way in everywhere(world).filter(|way| way.tcp) {
        let octets: Vec<u8> = (0..50).flat_map(|_| raw::framed(&Packet::new(WWW, rtype::A).octets())).collect();
        let replies = raw::over_tcp(way.place.from, way.place.server, &octets).await;
        assert_eq!(replies.len(), 50, "{way}");
        assert!(replies.iter().all(|reply| Strict::read(reply).is_ok_and(|reply| reply.answer.len() == 1)), "{way}");
    }
}

/// A host's addresses are there a moment before anything can be sent to them.
async fn until_it_hears(address: IpAddr) {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    let own = socket.local_addr().unwrap();
    eventually("the host hears itself", async || {
        socket.send_to(b"?", own).await.map_err(|error| error.to_string())?;
        let heard = timeout(Duration::from_millis(100), socket.recv(&mut [0])).await;
        so(heard.is_ok_and(|heard| heard.is_ok()), address)
    })
    .await;
}

/// One socket for all addresses: a reply comes from where it was asked, or resolvers drop it; left to itself
/// the system would send it from the address that is nearest to the client's.
#[test]
fn replies_leave_from_the_address_that_was_asked() {
    let name = "conduct::v6::replies_leave_from_the_address_that_was_asked";
    scenario_at(name, &addresses(), async |ground| {
        let files = configs::dns_lb(&ground, 1, 9);
        let first = ground.lb(1);
        files.replace(&format!("['{first}:53']"), &format!("['{first}:53', '[::]:53']"));
        let lonely: Running<DnsLb> = Running::start(&files).await;
        for address in addresses() {
            until_it_hears(address).await;
        }
        for from in addresses() {
            for asked in addresses() {
                let before = lonely.counters().await;
                for octets in [Packet::new(WWW, rtype::A).octets(), Packet::new(WWW, rtype::A).signed()] {
                    // The socket hears nobody else.
                    let server = SocketAddr::new(asked, 53);
                    let reply = raw::over_udp(from, server, &octets).await;
                    let Some(reply) = reply else {
                        let grown = lonely.counters().await.since(&before);
                        panic!("{from} hears nothing from {asked} to {octets:02x?}: {grown:#?}");
                    };
                    assert_eq!(reply[..2], octets[..2]);
                }
                let now = lonely.counters().await;
                let grown = |decision| now.decisions(decision) - before.decisions(decision);
                assert_eq!((grown("not-ready"), grown("signed")), (1, 1), "{from} to {asked}");
            }
        }
    });
}
