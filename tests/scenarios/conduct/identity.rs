//! Who answers here: NSID (RFC 5001), and `id.server` and its like in class CHAOS (RFC 4892).

use dglb_scenarios::{
    Ground,
    configs::WWW,
    packet::{Packet, RD, option, rtype},
};

use super::world::{Role, Setup, Way, World, scenario};

const CHAOS: u16 = 3;

#[test]
fn a_server_says_who_it_is() {
    scenario("conduct::identity::a_server_says_who_it_is", async |ground| {
        let world = World::plain(ground).await;
        for way in world.everywhere() {
            let own = if way.place.role == Role::Lb { "lb1" } else { "b1" };
            says(&way, Some(own), Some(own), Some(concat!("dglb ", env!("CARGO_PKG_VERSION")))).await;
            other_things_are_refused(&way).await;
        }
    });
}

#[test]
fn a_server_says_what_the_operator_wants() {
    scenario("conduct::identity::a_server_says_what_the_operator_wants", async |ground| {
        let world = with(ground, "nsid = 'POP-SEA'\nid-server = 'sea-rack-7'\nversion = 'none of yours'\n").await;
        for way in world.everywhere() {
            says(&way, Some("POP-SEA"), Some("sea-rack-7"), Some("none of yours")).await;
        }
    });
}

#[test]
fn each_can_be_switched_off() {
    scenario("conduct::identity::each_can_be_switched_off", async |ground| {
        let world = with(ground, "nsid = false\nid-server = false\nversion = false\n").await;
        for way in world.everywhere() {
            says(&way, None, None, None).await;
        }
    });
}

async fn with(ground: Ground, dns: &'static str) -> World {
    World::start(ground, Setup { dns, ..Setup::default() }).await
}

async fn says(way: &Way<'_>, nsid: Option<&str>, identity: Option<&str>, version: Option<&str>) {
    let decision = if way.place.role == Role::Lb { "label" } else { "mapped" };
    let asked = Packet::new(WWW, rtype::A).option(option::NSID, &[]);
    let reply = way.ask(&asked, decision).await;
    assert_eq!((reply.answer.len(), reply.option(option::NSID)), (1, nsid.map(str::as_bytes)), "{way}");
    let reply = way.ask(&Packet::new("elsewhere.test", rtype::A).option(option::NSID, &[]), "refused").await;
    assert_eq!(reply.option(option::NSID), nsid.map(str::as_bytes), "{way}: in an error, too");
    // Only who asks is told.
    let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), decision).await;
    assert_eq!(reply.option(option::NSID), None, "{way}");
    for (name, wanted) in [
        ("id.server", identity),
        ("hostname.bind", identity),
        ("version.bind", version),
        ("version.server", version),
        ("VeRsIoN.bInD", version),
    ] {
        let packet = Packet::new(name, rtype::TXT).class(CHAOS).flags(RD);
        for packet in [packet.clone(), packet.edns(512)] {
            let reply = way.ask(&packet, if wanted.is_some() { "chaos" } else { "refused" }).await;
            let Some(wanted) = wanted else {
                assert_eq!((reply.rcode(), reply.answer.len()), (5, 0), "{way}: {name}");
                continue;
            };
            assert_eq!(reply.answers(), [format!("{}. 0 TXT {wanted:?}", name.to_lowercase())], "{way}");
            assert_eq!((reply.answer[0].class, reply.rcode(), reply.is_authoritative()), (CHAOS, 0, true), "{way}");
            assert_eq!(reply.question, packet.question(), "{way}");
        }
    }
}

async fn other_things_are_refused(way: &Way<'_>) {
    for (name, kind) in [
        ("id.server", rtype::A),
        ("version.bind", rtype::MX),
        ("version.bind.", rtype::NS),
        ("authors.bind", rtype::TXT),
        ("bind", rtype::TXT),
        ("server", rtype::SOA),
        ("x.version.bind", rtype::TXT),
        ("", rtype::NS),
        (WWW, rtype::A),
    ] {
        let reply = way.ask(&Packet::new(name, kind).class(CHAOS), "refused").await;
        assert_eq!((reply.rcode(), reply.answer.len()), (5, 0), "{way}: {name} {kind}");
    }
}
