//! Types: what there is of each, and NODATA for what there is not.

use dglb_scenarios::{
    configs::{ADDRESS_TTL, WWW, ZONE, in_label},
    packet::{Packet, rtype},
};

use super::world::{Role, World, ZONE_SOA, scenario};

/// Types that nobody has here: old, new, private and not yet assigned.
const OTHERS: [u16; 16] = [3, 12, 13, 33, 35, 44, 46, 52, 64, 99, 257, 262, 32_769, 65_281, 65_534, 65_535];

#[test]
fn every_type_is_answered_or_empty() {
    scenario("conduct::types::every_type_is_answered_or_empty", async |ground| {
        let world = World::plain(ground).await;
        what_the_parent_has(&world).await;
        what_the_label_zone_has(&world).await;
        what_the_dns_lb_answers_for_its_isp(&world).await;
        every_type_of_a_service_leads_to_its_alias(&world).await;
        https_has_the_addresses_of_a(&world).await;
        nothing_else_is_there(&world).await;
        families_that_are_down_or_missing_are_empty(&world).await;
    });
}

async fn what_the_parent_has(world: &World) {
    let ground = &world.ground;
    let direct = format!("direct.{ZONE}");
    let cases = [
        (ZONE.to_owned(), rtype::SOA, vec![format!("{ZONE}. 30 {ZONE_SOA}")], "authority"),
        (format!("a.b.{ZONE}"), rtype::TXT, vec![format!("a.b.{ZONE}. 600 TXT \"aaaaaaaaaa\"")], "authority"),
        (format!("mail.{ZONE}"), rtype::TXT, vec![format!("mail.{ZONE}. 600 TXT \"{}\"", "a".repeat(20))], "authority"),
        (format!("odd.{ZONE}"), 65_280, vec![format!("odd.{ZONE}. 600 TYPE65280 010203")], "authority"),
        (
            format!("mail.{ZONE}"),
            rtype::MX,
            vec![format!("mail.{ZONE}. 600 TYPE15 000a026d7806666f6f626172047465737400")],
            "authority",
        ),
        (
            format!("alias.{ZONE}"),
            rtype::HTTPS,
            vec![format!("alias.{ZONE}. 600 TYPE65 000004706f6f6c06666f6f626172047465737400")],
            "authority",
        ),
        (format!("b2.{ZONE}"), rtype::A, vec![format!("b2.{ZONE}. 86400 A {}", ground.referral(2))], "authority"),
        (WWW.to_owned(), rtype::A, vec![format!("{WWW}. 3600 CNAME {}.", in_label("lb1"))], "mapped"),
        (direct.clone(), rtype::A, vec![format!("{direct}. {ADDRESS_TTL} A {}", ground.site(1))], "direct"),
    ];
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            for (name, kind, want, decision) in &cases {
                let reply = way.ask(&Packet::new(name, *kind), decision).await;
                assert_eq!((&reply.answers(), reply.rcode()), (want, 0), "{way}: {name} {kind}");
                assert!(reply.is_authoritative());
            }
        }
    }
}

async fn what_the_label_zone_has(world: &World) {
    let (ground, name) = (&world.ground, in_label("lb1"));
    let deep = format!("svc.ent.lb1.{ZONE}");
    for role in [Role::Fallback, Role::Lb] {
        for way in world.ways(role) {
            for name in [&name, &deep] {
                let reply = way.ask(&Packet::new(name, rtype::A), "label").await;
                assert_eq!(reply.answers(), [format!("{name}. {ADDRESS_TTL} A {}", ground.site(1))], "{way}: {name}");
                assert!(reply.is_authoritative());
            }
        }
    }
}

/// A service at its own name, asked of a DNS-LB, is answered with sites (design section 5).
async fn what_the_dns_lb_answers_for_its_isp(world: &World) {
    for way in world.ways(Role::Lb) {
        for name in [WWW.to_owned(), format!("direct.{ZONE}")] {
            let reply = way.ask(&Packet::new(&name, rtype::A), "label").await;
            let want = format!("{name}. {ADDRESS_TTL} A {}", world.ground.site(1));
            assert_eq!(reply.answers(), [want], "{way}: {name}");
        }
    }
}

/// RFC 1034 section 3.6.2: whatever is asked for at an alias, the alias is the answer.
async fn every_type_of_a_service_leads_to_its_alias(world: &World) {
    let own = [rtype::AAAA, rtype::NS, rtype::SOA, rtype::TXT, rtype::DS, rtype::DNSKEY, rtype::HTTPS, rtype::CNAME];
    for role in [Role::Referral, Role::Fallback] {
        for way in world.ways(role) {
            for kind in own.into_iter().chain(OTHERS) {
                let reply = way.ask(&Packet::new(WWW, kind), "mapped").await;
                assert_eq!(reply.answers(), [format!("{WWW}. 3600 CNAME {}.", in_label("lb1"))], "{way}: {kind}");
            }
        }
    }
}

/// RFC 9460 section 2.2: priority 1, the owner as target, keys in order; and the hints are what the
/// address types are answered with (section 7.3).
async fn https_has_the_addresses_of_a(world: &World) {
    let name = format!("web.lb1.{ZONE}");
    for role in [Role::Fallback, Role::Lb] {
        for way in world.ways(role) {
            let a = way.ask(&Packet::new(&name, rtype::A), "label").await;
            let reply = way.ask(&Packet::new(&name, rtype::HTTPS).edns(1_232), "label").await;
            let [record] = &reply.answer[..] else { panic!("{way}: {:?}", reply.answers()) };
            let fixed = b"\0\x01\0\0\x01\0\x06\x02h3\x02h2\0\x02\0\0\0\x03\0\x02\x20\xfb\0\x04\0\x04";
            assert_eq!(record.rdata, [&fixed[..], &a.answer[0].rdata].concat(), "{way}");
            assert_eq!((record.ttl, reply.is_authoritative()), (ADDRESS_TTL, true), "{way}");
            // The other type of the same form is not there.
            let reply = way.ask(&Packet::new(&name, rtype::SVCB), "label").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}");
        }
    }
}

async fn nothing_else_is_there(world: &World) {
    let parent = [
        (ZONE.to_owned(), "authority"),
        (format!("mail.{ZONE}"), "authority"),
        (format!("b1.{ZONE}"), "authority"),
        (format!("direct.{ZONE}"), "direct"),
    ];
    let child =
        [(format!("lb1.{ZONE}"), "authority"), (format!("ns.lb1.{ZONE}"), "authority"), (in_label("lb1"), "label")];
    for (role, names) in [
        (Role::Referral, parent.to_vec()),
        (Role::Fallback, [&parent[..], &child].concat()),
        (Role::Lb, [&child[..], &[(WWW.to_owned(), "label")]].concat()),
    ] {
        for way in world.ways(role) {
            for (name, decision) in &names {
                for kind in
                    OTHERS.into_iter().chain([rtype::HTTPS, rtype::DNSKEY, rtype::CNAME, 10, 47, 50, 59, 60, 63])
                {
                    let reply = way.ask(&Packet::new(name, kind).edns(1_232), decision).await;
                    assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}: {name} {kind}");
                }
            }
        }
    }
}

/// The service has an IPv6 address that is down: NODATA, not for long, and nobody else's address.
async fn families_that_are_down_or_missing_are_empty(world: &World) {
    for name in ["both", "www"] {
        let label = in_label("lb1").replace("www", name);
        let direct = format!("direct.{ZONE}");
        for (role, name, decision) in
            [(Role::Fallback, &label, "label"), (Role::Lb, &label, "label"), (Role::Referral, &direct, "direct")]
        {
            for way in world.ways(role) {
                let reply = way.ask(&Packet::new(name, rtype::AAAA), decision).await;
                assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}: {name}");
                assert!(reply.authority[0].ttl <= 30, "{way}: {name}");
                let reply = way.ask(&Packet::new(name, rtype::A), decision).await;
                assert_eq!(reply.answer.len(), 1, "{way}: {name}");
            }
        }
    }
}
