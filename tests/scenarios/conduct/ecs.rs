//! Client subnets (RFC 7871): what is malformed, what comes back, and for whom else an answer holds.

use std::net::IpAddr;

use dglb_core::net::Prefix;
use dglb_scenarios::{
    configs::{WWW, ZONE, in_label},
    packet::{Packet, option, rtype},
    strict::Strict,
};

use super::world::{Role, Setup, World, scenario};

/// Networks of clients that are mapped to the DNS-LB.
const NETWORKS: [&str; 5] = ["10.1.0.0/16", "10.8.0.0/13", "192.0.2.64/26", "2001:db8:100::/40", "2001:db8:200::7/128"];
/// The resolver of this ISP is in nobody's map, and its client subnets are believed.
const FORWARDER: u8 = 8;

#[test]
fn client_subnets_are_read_strictly_and_answered_truly() {
    let name = "conduct::ecs::client_subnets_are_read_strictly_and_answered_truly";
    scenario(name, async |ground| {
        let extra = format!("[locate]\necs-from = ['{}']\n", ground.isp(FORWARDER));
        let world = World::start(ground, Setup { extra, networks: &NETWORKS, ..Setup::default() }).await;
        malformed_ones_are_said_to_be_so(&world).await;
        from_whom_they_are_not_believed_they_do_not_come_back(&world).await;
        nobodys_address_is_nobodys(&world).await;
        the_scope_says_for_whom_else_it_holds(&world).await;
        only_a_service_is_tailored(&world).await;
    });
}

/// Where the operator wants nobody's subnets: the resolver's own address decides.
#[test]
fn a_zone_can_do_without_client_subnets() {
    scenario("conduct::ecs::a_zone_can_do_without_client_subnets", async |ground| {
        let extra = format!("[locate]\necs-from = ['{}']\necs-off-zones = ['{ZONE}']\n", ground.isp(FORWARDER));
        let world = World::start(ground, Setup { extra, networks: &NETWORKS, ..Setup::default() }).await;
        for role in [Role::Referral, Role::Fallback] {
            for way in world.ways(role) {
                let way = way.from(world.ground.isp(FORWARDER));
                let reply = way.ask(&Packet::new(WWW, rtype::A).subnet(1, 24, &[10, 1, 7]), "aggregate").await;
                assert_eq!((reply.answer.len(), echoed(&reply)), (1, None), "{way}");
            }
        }
        malformed_ones_are_said_to_be_so(&world).await;
    });
}

/// Section 6 and 7.1.2.
async fn malformed_ones_are_said_to_be_so(world: &World) {
    let address = [192, 0, 2, 0x80, 0];
    let mut wrong: Vec<(String, Vec<u8>)> = vec![
        ("nothing in it".into(), vec![]),
        ("no scope".into(), vec![0, 1, 0]),
        ("a scope in a question".into(), vec![0, 1, 24, 24, 192, 0, 2]),
        ("a scope without a prefix".into(), vec![0, 1, 0, 1]),
    ];
    for family in [0, 3, 4, 256, 0xffff_u16] {
        let [f0, f1] = family.to_be_bytes();
        wrong.push((format!("family {family}"), vec![f0, f1, 24, 0, 192, 0, 2]));
        wrong.push((format!("family {family}, prefix 0"), vec![f0, f1, 0, 0]));
    }
    for (family, source) in [(1, 33), (1, 128), (1, 255), (2, 129), (2, 255)] {
        let octets = usize::from(u8::div_ceil(source, 8));
        wrong.push((format!("/{source}"), [vec![0, family, source, 0], vec![0; octets]].concat()));
    }
    for (family, source, right) in [(1, 0, 0), (1, 1, 1), (1, 24, 3), (1, 25, 4), (1, 32, 4), (2, 56, 7), (2, 128, 16)]
    {
        for octets in [right - 1, right + 1, right + 20] {
            if let Ok(octets) = usize::try_from(octets) {
                let data = [vec![0, family, source, 0], vec![0; octets]].concat();
                wrong.push((format!("{octets} octets for /{source}"), data));
            }
        }
    }
    for source in [1_u8, 7, 9, 17, 23, 25, 31] {
        let mut data = [&[0, 1, source, 0], &address[..usize::from(source.div_ceil(8))]].concat();
        *data.last_mut().expect("it has an address") |= 1;
        wrong.push((format!("a bit beyond /{source}"), data));
    }
    wrong.push(("a bit beyond /47".into(), vec![0, 2, 47, 0, 0x20, 1, 0xd, 0xb8, 0, 1]));
    for way in world.everywhere() {
        for (what, data) in &wrong {
            let packet = Packet::new(WWW, rtype::A).option(option::CLIENT_SUBNET, data);
            let reply = way.ask(&packet, "malformed").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (1, 0), "{way}: {what}");
            assert_eq!(reply.option(option::CLIENT_SUBNET), None, "{way}: {what} came back");
        }
        let twice = Packet::new(WWW, rtype::A).subnet(1, 24, &[192, 0, 2]).subnet(1, 24, &[192, 0, 2]);
        assert_eq!(way.ask(&twice, "malformed").await.rcode(), 1, "{way}");
    }
}

/// FAMILY, SOURCE PREFIX-LENGTH, SCOPE PREFIX-LENGTH and address of what came back.
fn echoed(reply: &Strict) -> Option<&[u8]> {
    reply.option(option::CLIENT_SUBNET)
}

async fn from_whom_they_are_not_believed_they_do_not_come_back(world: &World) {
    for way in world.everywhere() {
        let decision = if way.place.role == Role::Lb { "label" } else { "mapped" };
        for packet in [
            Packet::new(WWW, rtype::A).subnet(1, 24, &[10, 1, 7]),
            Packet::new(WWW, rtype::A).subnet(1, 32, &[198, 51, 100, 7]),
            Packet::new(WWW, rtype::A).subnet(2, 56, &[0x20, 1, 0xd, 0xb8, 1, 0, 0]),
        ] {
            let reply = way.ask(&packet, decision).await;
            assert_eq!((reply.answer.len(), echoed(&reply)), (1, None), "{way}");
        }
    }
}

/// Section 7.1.2: SOURCE PREFIX-LENGTH 0 means that the client's address is not to be used, whoever
/// says so; the resolver's own is.
async fn nobodys_address_is_nobodys(world: &World) {
    for from in [1, FORWARDER] {
        for way in world.everywhere() {
            let way = way.from(world.ground.isp(from));
            let decision = match (way.place.role, from) {
                (Role::Lb, _) => "label",
                (_, 1) => "mapped",
                _ => "aggregate",
            };
            let plain = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), decision).await;
            for family in [1, 2] {
                let reply = way.ask(&Packet::new(WWW, rtype::A).subnet(family, 0, &[]), decision).await;
                assert_eq!(echoed(&reply), Some(&[0, family as u8, 0, 0][..]), "{way}");
                assert_eq!(reply.answers(), plain.answers(), "{way}");
            }
        }
    }
}

/// The client networks of a family.
fn networks(v4: bool) -> Vec<Prefix> {
    let all = NETWORKS.iter().map(|network| network.parse::<Prefix>().expect("a prefix"));
    all.filter(|network| network.address().is_ipv4() == v4).collect()
}

/// Leading bits that two addresses share.
fn common_bits(a: IpAddr, b: IpAddr) -> u8 {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    (bits(a) ^ bits(b)).leading_zeros() as u8
}

/// Whether a client is in a mapped network, and the depth below which nobody is answered otherwise:
/// decided at SOURCE, and deeper where others are in it (design section 4).
fn expected(client: Prefix) -> (bool, u8) {
    let own = networks(client.address().is_ipv4());
    let matched = own.iter().find(|n| n.bits() <= client.bits() && n.contains(client.address()));
    if let Some(network) = matched {
        return (true, network.bits());
    }
    let depth = |network: &Prefix| match common_bits(network.address(), client.address()) {
        shared if shared >= client.bits() => network.bits(),
        shared => shared + 1,
    };
    (false, own.iter().map(depth).max().unwrap_or_default())
}

async fn the_scope_says_for_whom_else_it_holds(world: &World) {
    let clients = [
        "10.1.7.0/24",
        "10.1.0.0/16",
        "10.1.255.255/32",
        "10.0.0.0/8",
        "10.0.0.0/15",
        "10.0.0.0/16",
        "10.2.0.0/16",
        "10.2.3.4/32",
        "10.8.0.0/13",
        "10.9.9.0/24",
        "10.15.255.0/24",
        "10.16.0.0/12",
        "11.0.0.0/8",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "192.0.2.64/26",
        "192.0.2.127/32",
        "192.0.2.0/24",
        "192.0.2.0/26",
        "192.0.2.128/25",
        "192.0.3.0/24",
        "203.0.113.77/32",
        "2001:db8:100::/40",
        "2001:db8:100::/56",
        "2001:db8:1ff:ffff::/64",
        "2001:db8:200::7/128",
        "2001:db8:200::6/128",
        "2001:db8:200::/64",
        "2001:db8:200::/48",
        "2001:db8::/32",
        "2001:db8:300::/48",
        "2a00::/12",
        "::/1",
        "8000::/1",
    ];
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            let way = way.from(world.ground.isp(FORWARDER));
            for client in clients {
                let client: Prefix = client.parse().expect("a prefix");
                let (family, octets) = match client.address() {
                    IpAddr::V4(v4) => (1, v4.octets().to_vec()),
                    IpAddr::V6(v6) => (2, v6.octets().to_vec()),
                };
                let (mapped, scope) = expected(client);
                let used = &octets[..usize::from(client.bits().div_ceil(8))];
                let packet = Packet::new(WWW, rtype::A).subnet(family, client.bits(), used);
                let reply = way.ask(&packet, if mapped { "mapped" } else { "aggregate" }).await;
                let want = [&[0, family as u8, client.bits(), scope], used].concat();
                assert_eq!(echoed(&reply), Some(&want[..]), "{way}: {client}");
                let kind = if mapped { rtype::CNAME } else { rtype::A };
                assert_eq!(reply.answer[0].rtype, kind, "{way}: {client}");
            }
        }
    }
}

/// Section 7.4: delegations and what is no service are the same for everybody.
async fn only_a_service_is_tailored(world: &World) {
    for (role, name, kind, decision) in [
        (Role::Referral, in_label("lb1"), rtype::A, "referral"),
        (Role::Referral, ZONE.to_owned(), rtype::NS, "authority"),
        (Role::Referral, format!("mail.{ZONE}"), rtype::MX, "authority"),
        (Role::Referral, format!("nothing.a.{ZONE}"), rtype::A, "authority"),
        (Role::Fallback, in_label("lb1"), rtype::A, "label"),
        (Role::Fallback, format!("lb1.{ZONE}"), rtype::NS, "authority"),
    ] {
        for way in world.ways(role) {
            let way = way.from(world.ground.isp(FORWARDER));
            let plain = way.ask(&Packet::new(&name, kind).edns(1_232), decision).await;
            for network in [[10, 1, 7], [203, 0, 113]] {
                let reply = way.ask(&Packet::new(&name, kind).subnet(1, 24, &network), decision).await;
                let want = [&[0, 1, 24, 0], &network[..]].concat();
                assert_eq!(echoed(&reply), Some(&want[..]), "{way}: {name}");
                assert_eq!(reply.answers(), plain.answers(), "{way}: {name}");
                assert_eq!(reply.authorities(), plain.authorities(), "{way}: {name}");
            }
        }
    }
}
