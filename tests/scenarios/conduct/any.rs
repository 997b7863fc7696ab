//! ANY gets one of the RRsets that are there (RFC 8482 section 4.1), over TCP as over UDP.

use dglb_scenarios::{
    configs::{WWW, ZONE, in_label},
    packet::{Packet, rtype},
};

use super::world::{Role, World, scenario};

#[test]
fn any_is_answered_with_one_rrset() {
    scenario("conduct::any::any_is_answered_with_one_rrset", async |ground| {
        let world = World::plain(ground).await;
        let apex = format!("lb1.{ZONE}");
        let parent = [
            (ZONE.to_owned(), rtype::SOA, "authority"),
            (WWW.to_owned(), rtype::CNAME, "mapped"),
            (format!("direct.{ZONE}"), rtype::A, "direct"),
            (format!("b1.{ZONE}"), rtype::A, "authority"),
            (format!("mail.{ZONE}"), rtype::MX, "authority"),
            (format!("huge.{ZONE}"), rtype::TXT, "authority"),
        ];
        let label = [
            (apex.clone(), rtype::SOA, "authority"),
            (in_label("lb1"), rtype::A, "label"),
            (format!("ns.{apex}"), rtype::A, "authority"),
            (format!("f1.{apex}"), rtype::A, "authority"),
        ];
        let at_lb = [(WWW.to_owned(), rtype::A, "label")];
        let places = [
            (Role::Referral, [&parent[..]].concat()),
            (Role::Fallback, [&parent[..], &label].concat()),
            (Role::Lb, [&label[..], &at_lb].concat()),
        ];
        for (role, names) in places {
            for way in world.ways(role) {
                for (name, kind, decision) in &names {
                    let reply = way.ask(&Packet::new(name, rtype::ANY).edns(4_096), decision).await;
                    if reply.is_truncated() {
                        assert!(!way.tcp && name.starts_with("huge."), "{way}: {name}");
                        continue;
                    }
                    let kinds: Vec<_> = reply.answer.iter().map(|record| record.rtype).collect();
                    assert!(!kinds.is_empty() && kinds.iter().all(|k| k == kind), "{way}: {name}: {kinds:?}");
                    assert!(reply.is_authoritative());
                }
                // Where nothing is, or only something further down, ANY finds nothing, too.
                if role != Role::Lb {
                    let reply = way.ask(&Packet::new(&format!("b.{ZONE}"), rtype::ANY), "authority").await;
                    assert_eq!((reply.rcode(), reply.answer.len()), (0, 0), "{way}");
                    let reply = way.ask(&Packet::new(&format!("c.b.{ZONE}"), rtype::ANY), "authority").await;
                    assert_eq!(reply.rcode(), 3, "{way}");
                }
            }
        }
        // A delegation is one whatever is asked.
        for way in world.ways(Role::Referral) {
            let reply = way.ask(&Packet::new(&apex, rtype::ANY), "referral").await;
            assert!(reply.answer.is_empty() && !reply.authority.is_empty(), "{way}");
        }
    });
}
