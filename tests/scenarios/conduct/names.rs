//! Names: letter case, who answers at and below the cuts, what is empty and what is not there. That
//! pointers lead backwards to where a label began is checked with every reply.

use dglb_scenarios::{
    configs::{WWW, ZONE, in_label},
    ground::dns,
    packet::{Packet, rtype},
    raw,
    strict::Strict,
};

use super::world::{LABEL_SOA, Role, World, ZONE_SOA, scenario};

#[test]
fn names_are_answered_alike_by_all_who_have_them() {
    scenario("conduct::names::names_are_answered_alike_by_all_who_have_them", async |ground| {
        let world = World::plain(ground).await;
        letter_case_is_kept_and_means_nothing(&world).await;
        the_zones_name_servers_are_the_same_everywhere(&world).await;
        the_label_zones_name_servers_are_the_same_everywhere(&world).await;
        the_parents_side_of_the_cut_answers_for_ds(&world).await;
        what_has_something_below_is_there(&world).await;
        what_is_not_there_is_said_not_to_be(&world).await;
        a_valid_label_is_never_denied(&world).await;
        who_the_dns_lb_is_only_the_dns_lb_says(&world).await;
    });
}

/// A name in letters of both sizes (draft-vixie-dnsext-dns0x20): the n-th bit of `seed` is the
/// n-th letter's.
fn mixed(name: &str, seed: u32) -> String {
    let letter = |(n, c): (usize, char)| if seed >> (n % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c };
    name.chars().enumerate().map(letter).collect()
}

/// RFC 4343; the question comes back octet for octet, which is checked with every reply.
async fn letter_case_is_kept_and_means_nothing(world: &World) {
    let (label, apex) = (in_label("lb1"), format!("lb1.{ZONE}"));
    let check = format!("0123456789abcdef._dglb.{apex}");
    let parent = [
        (WWW, rtype::A, "mapped"),
        (ZONE, rtype::NS, "authority"),
        (&format!("a.b.{ZONE}"), rtype::TXT, "authority"),
        (&format!("b2.{ZONE}"), rtype::A, "authority"),
        (&format!("x_y.{ZONE}"), rtype::A, "authority"),
    ];
    let child = [
        (&label[..], rtype::A, "label"),
        (&apex, rtype::NS, "authority"),
        (&format!("f2.{apex}"), rtype::A, "authority"),
        (&format!("nothing.{apex}"), rtype::A, "authority"),
    ];
    let places = [
        (Role::Referral, [&parent[..], &[(&label, rtype::A, "referral")]].concat()),
        (Role::Fallback, [&parent[..], &child].concat()),
        (Role::Lb, [&child[..], &[(&check, rtype::TXT, "authority")]].concat()),
    ];
    for (role, names) in places {
        for way in world.ways(role) {
            for (name, kind, decision) in &names {
                let plain = way.ask(&Packet::new(name, *kind), decision).await;
                for seed in [u32::MAX, 0x5555_5555, 0xaaaa_aaaa, 0x1357_9bdf] {
                    let packet = Packet::new(&mixed(name, seed), *kind);
                    let reply = way.ask(&packet, decision).await;
                    let lower = |texts: Vec<String>| texts.concat().to_lowercase();
                    assert_eq!(reply.question, packet.question(), "{way}: {name}");
                    assert_eq!(lower(reply.answers()), lower(plain.answers()), "{way}: {name}");
                    assert_eq!(reply.authorities(), plain.authorities(), "{way}: {name}");
                    assert_eq!(reply.additionals(), plain.additionals(), "{way}: {name}");
                }
            }
        }
    }
}

/// Every server that has the zone gives the same apex NS set, addresses and SOA; none says "me".
async fn the_zones_name_servers_are_the_same_everywhere(world: &World) {
    let ground = &world.ground;
    let servers = [1, 2].map(|n| format!("{ZONE}. 86400 NS b{n}.{ZONE}."));
    let glue = [1, 2].map(|n| format!("b{n}.{ZONE}. 86400 A {}", ground.referral(n)));
    let addresses = [1, 2].into_iter().flat_map(|n| [ground.referral(n), ground.fallback(n)]);
    for address in addresses {
        for (name, kind, want) in [
            (ZONE.to_owned(), rtype::NS, servers.to_vec()),
            (format!("b1.{ZONE}"), rtype::A, vec![glue[0].clone()]),
            (format!("b2.{ZONE}"), rtype::A, vec![glue[1].clone()]),
            (ZONE.to_owned(), rtype::SOA, vec![format!("{ZONE}. 30 {ZONE_SOA}")]),
        ] {
            let octets = Packet::new(&name, kind).octets();
            let reply = raw::over_udp(ground.isp(1), dns(address), &octets).await.expect("a reply");
            let reply = Strict::read(&reply).unwrap();
            assert_eq!((reply.answers(), reply.is_authoritative()), (want, true), "{address}: {name}");
            let courtesy = if kind == rtype::NS { glue.to_vec() } else { vec![] };
            assert_eq!(reply.additionals(), courtesy, "{address}: {name}");
        }
    }
    // Over TCP, too, and counted.
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            let reply = way.ask(&Packet::new(ZONE, rtype::NS), "authority").await;
            assert_eq!((reply.answers(), reply.additionals()), (servers.to_vec(), glue.to_vec()), "{way}");
        }
    }
    // The DNS-LB is no server of the zone.
    for way in world.ways(Role::Lb) {
        let reply = way.ask(&Packet::new(ZONE, rtype::NS), "refused").await;
        assert_eq!((reply.rcode(), reply.answer.len(), reply.authority.len()), (5, 0, 0), "{way}");
    }
    // Their other family is NODATA.
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            let reply = way.ask(&Packet::new(&format!("b1.{ZONE}"), rtype::AAAA), "authority").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}");
        }
    }
}

/// NS set and addresses of `ns`, `f1` and `f2`: the parent's referral, the DNS-LB and the fall-back.
async fn the_label_zones_name_servers_are_the_same_everywhere(world: &World) {
    let apex = format!("lb1.{ZONE}");
    let servers = ["ns", "f1", "f2"].map(|server| format!("{apex}. 3600 NS {server}.{apex}."));
    let parent = world.way(Role::Referral, false).ask(&Packet::new(&apex, rtype::NS), "referral").await;
    assert_eq!((parent.authorities(), parent.answer.len()), (servers.to_vec(), 0));
    assert_eq!(parent.additional.len(), 3, "{:?}", parent.additionals());
    for role in [Role::Fallback, Role::Lb] {
        for way in world.ways(role) {
            let reply = way.ask(&Packet::new(&apex, rtype::NS), "authority").await;
            assert_eq!(reply.answers(), servers, "{way}");
            assert!(reply.is_authoritative());
            assert_eq!(reply.additionals(), parent.additionals(), "{way}");
            let reply = way.ask(&Packet::new(&apex, rtype::SOA), "authority").await;
            assert_eq!(reply.answers(), [format!("{apex}. 30 {LABEL_SOA}")], "{way}");
        }
    }
    for way in world.everywhere() {
        for server in ["ns", "f1", "f2"] {
            let owner = format!("{server}.{apex}");
            let glue: Vec<_> = parent.additionals().into_iter().filter(|r| r.starts_with(&owner)).collect();
            let decision = if way.place.role == Role::Referral { "referral" } else { "authority" };
            for (kind, want) in [(rtype::A, glue), (rtype::AAAA, vec![]), (rtype::TXT, vec![])] {
                let reply = way.ask(&Packet::new(&owner, kind), decision).await;
                assert_eq!(reply.rcode(), 0, "{way}: {owner} {kind}");
                if way.place.role == Role::Referral {
                    assert_eq!(reply.additionals(), parent.additionals(), "{way}: {owner} {kind}");
                } else {
                    assert_eq!(reply.answers(), want, "{way}: {owner} {kind}");
                }
            }
        }
    }
}

/// RFC 4035 section 3.1.4.1.
async fn the_parents_side_of_the_cut_answers_for_ds(world: &World) {
    let apex = format!("lb1.{ZONE}");
    for way in world.everywhere() {
        let reply = way.ask(&Packet::new(&apex, rtype::DS), "authority").await;
        let soa = match way.place.role {
            // A fall-back address has both sides of the cut, and so is the parent's.
            Role::Referral | Role::Fallback => format!("{ZONE}. 30 {ZONE_SOA}"),
            Role::Lb => format!("{apex}. 30 {LABEL_SOA}"),
        };
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}");
        assert_eq!(reply.authorities(), [soa], "{way}");
        // Below the cut there is no DS but the child's business.
        let decision = if way.place.role == Role::Referral { "referral" } else { "authority" };
        let reply = way.ask(&Packet::new(&format!("ns.{apex}"), rtype::DS), decision).await;
        assert_eq!(reply.answer.len(), 0, "{way}");
    }
    // At the zone's own apex the parent is DNS-A; who is asked all the same knows of none.
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            let reply = way.ask(&Packet::new(ZONE, rtype::DS), "authority").await;
            assert_eq!((reply.rcode(), reply.authorities()), (0, vec![format!("{ZONE}. 30 {ZONE_SOA}")]), "{way}");
        }
    }
}

/// RFC 4592 section 2.2.2, RFC 8020: empty non-terminals are NODATA.
async fn what_has_something_below_is_there(world: &World) {
    let apex = format!("lb1.{ZONE}");
    for way in world.everywhere() {
        let (names, soa) = match way.place.role {
            Role::Referral => (vec![format!("b.{ZONE}"), format!("ent.{ZONE}")], format!("{ZONE}. 30 {ZONE_SOA}")),
            Role::Fallback | Role::Lb => {
                (vec![format!("ent.{apex}"), apex.clone(), format!("_dglb.{apex}")], format!("{apex}. 30 {LABEL_SOA}"))
            }
        };
        for name in names {
            for kind in [rtype::A, rtype::AAAA, rtype::TXT, rtype::MX, 65_280] {
                let reply = way.ask(&Packet::new(&name, kind), "authority").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}: {name} {kind}");
                assert_eq!(reply.authorities(), [&soa[..]], "{way}: {name} {kind}");
            }
        }
    }
}

/// NXDOMAIN with the SOA of the innermost zone (RFC 2308 section 2.1).
async fn what_is_not_there_is_said_not_to_be(world: &World) {
    let apex = format!("lb1.{ZONE}");
    let (zone_soa, label_soa) = (format!("{ZONE}. 30 {ZONE_SOA}"), format!("{apex}. 30 {LABEL_SOA}"));
    let parent = ["x_y.", "c.b.", "x.mail.", "x.b1.", "ns.", "f1.", "x.www."].map(|name| format!("{name}{ZONE}"));
    let child = ["nothing.", "x.ns.", "x.www.", "mail.", "x.ent.", "b1."].map(|name| format!("{name}{apex}"));
    for way in world.everywhere() {
        let role = way.place.role;
        let denied =
            |names: &[String], soa: &str| names.iter().map(|name| (name.clone(), soa.to_owned())).collect::<Vec<_>>();
        let cases = match role {
            Role::Referral => denied(&parent, &zone_soa),
            Role::Fallback => [denied(&parent, &zone_soa), denied(&child, &label_soa)].concat(),
            Role::Lb => denied(&child, &label_soa),
        };
        for (name, soa) in cases {
            for kind in [rtype::A, rtype::NS, rtype::TXT, rtype::ANY] {
                let reply = way.ask(&Packet::new(&name, kind), "authority").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (3, 0), "{way}: {name} {kind}");
                assert_eq!(reply.authorities(), [&soa[..]], "{way}: {name} {kind}");
                assert!(reply.is_authoritative());
            }
        }
    }
}

/// Another dns-b may have handed it out, or this one before a restart (design section 3): nothing that
/// is said of it may keep a resolver from its DNS-LB for long, the NS set least of all.
async fn a_valid_label_is_never_denied(world: &World) {
    let apex = format!("elsewhere.{ZONE}");
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            let reply = way.ask(&Packet::new(&format!("www.{apex}"), rtype::A), "aggregate").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
            assert!(reply.answer[0].ttl <= 30, "{way}");
            let reply = way.ask(&Packet::new(&apex, rtype::A), "authority").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}");
            let reply = way.ask(&Packet::new(&apex, rtype::NS), "authority").await;
            assert_eq!((reply.rcode(), reply.answer.len(), reply.additional.len()), (0, 2, 2), "{way}");
            for name in ["", "ns.", "f1.", "f2.", "nothing."].map(|inner| format!("{inner}{apex}")) {
                for kind in [rtype::A, rtype::AAAA, rtype::NS, rtype::SOA, rtype::DS, rtype::TXT] {
                    let reply = way.ask(&Packet::new(&name, kind), "authority").await;
                    let mut records = [&reply.answer, &reply.authority, &reply.additional].into_iter().flatten();
                    assert!(records.all(|record| record.ttl <= 30), "{way}: {name} {kind}: {reply:?}");
                }
            }
        }
    }
}

/// Design section 4: the nonce and the identity, TTL 0.
async fn who_the_dns_lb_is_only_the_dns_lb_says(world: &World) {
    let name = format!("00ff00ff00ff00ff._dglb.lb1.{ZONE}");
    for way in world.everywhere() {
        let decision = if way.place.role == Role::Referral { "referral" } else { "authority" };
        let reply = way.ask(&Packet::new(&name, rtype::TXT), decision).await;
        match way.place.role {
            Role::Referral => assert_eq!(reply.answer.len(), 0, "{way}"),
            Role::Fallback => assert_eq!(reply.rcode(), 3, "{way}"),
            Role::Lb => assert_eq!(reply.answers(), [format!("{name}. 0 TXT \"lb1\" \"00ff00ff00ff00ff\"")], "{way}"),
        }
    }
}
