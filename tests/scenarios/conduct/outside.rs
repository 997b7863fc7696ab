//! Names that are not ours: REFUSED with an extended error (RFC 8914 section 4.21), no referral
//! upwards, no recursion.

use dglb_scenarios::{
    configs::{ENTERPRISE, ZONE},
    packet::{Packet, RD, rtype},
};

use super::world::{Role, World, scenario};

#[test]
fn what_is_not_ours_is_refused() {
    scenario("conduct::outside::what_is_not_ours_is_refused", async |ground| {
        let world = World::plain(ground).await;
        let near = [format!("x{ZONE}"), format!("{ZONE}.evil"), format!("glb.x.{ENTERPRISE}"), "glb".to_owned()];
        let far = ["", "test", ENTERPRISE, "www.foobar.test", "www.example.com", "version.bind", "localhost"];
        let names: Vec<&str> = far.into_iter().chain(near.iter().map(String::as_str)).collect();
        for way in world.everywhere() {
            for name in &names {
                for kind in [rtype::A, rtype::NS, rtype::SOA, rtype::ANY, rtype::DS] {
                    let packet = Packet::new(name, kind).flags(RD);
                    let reply = way.ask(&packet.clone().edns(1_232), "refused").await;
                    assert_eq!((reply.rcode(), reply.extended_error()), (5, Some(20)), "{way}: {name} {kind}");
                    let bare = way.ask(&packet, "refused").await;
                    assert_eq!(bare.rcode(), 5, "{way}: {name} {kind}");
                    for reply in [reply, bare] {
                        let nothing = [reply.answer, reply.authority, reply.additional].concat();
                        assert!(nothing.is_empty(), "{way}: {name} {kind}: {nothing:?}");
                    }
                }
            }
        }
        the_zone_itself_is_not_the_dns_lbs(&world).await;
    });
}

/// A DNS-LB has authority over its label zones and answers services that are forwarded to it; the
/// zone is the dns-bs', and other label zones are other DNS-LBs'.
async fn the_zone_itself_is_not_the_dns_lbs(world: &World) {
    for way in world.ways(Role::Lb) {
        let names = ["", "mail.", "b1.", "a.b.", "nothing.", "lb2.", "www.lb2.", "x_y.", "ns."];
        for name in names.map(|name| format!("{name}{ZONE}")) {
            for kind in [rtype::A, rtype::NS, rtype::SOA, rtype::TXT] {
                let reply = way.ask(&Packet::new(&name, kind).edns(1_232), "refused").await;
                assert_eq!((reply.rcode(), reply.extended_error()), (5, Some(20)), "{way}: {name} {kind}");
            }
        }
    }
}
