//! EDNS (RFC 6891). That OPT stands in every reply to a question with OPT and in no other is
//! checked with every reply.

use dglb_scenarios::{
    configs::{WWW, ZONE},
    packet::{Packet, option, rtype},
};

use super::world::{Role, Way, World, scenario};

#[test]
fn edns_is_read_strictly_and_answered_always() {
    scenario("conduct::edns::edns_is_read_strictly_and_answered_always", async |ground| {
        let world = World::plain(ground).await;
        later_versions_are_told_ours(&world).await;
        unknown_options_are_passed_over(&world).await;
        what_is_wrong_with_opt_is_said_to_be_so(&world).await;
        dnssec_ok_comes_back(&world).await;
        other_records_are_passed_over(&world).await;
    });
}

/// How the service is answered there.
fn decision(way: &Way<'_>) -> &'static str {
    if way.place.role == Role::Lb { "label" } else { "mapped" }
}

/// Section 6.1.3.
async fn later_versions_are_told_ours(world: &World) {
    for way in world.everywhere() {
        for version in [1, 2, 127, 255] {
            let packet = Packet::new(WWW, rtype::A).edns(4_096).version(version);
            // What a later version's options mean, nobody knows.
            for packet in [packet.clone(), packet.option(option::CLIENT_SUBNET, &[0xff; 3])] {
                let reply = way.ask(&packet, "malformed").await;
                assert_eq!((reply.rcode(), reply.flags & 0x000f), (16, 0), "{way}: version {version}");
                assert!(reply.answer.is_empty() && reply.question == packet.question());
            }
        }
    }
}

/// Section 6.1.2.
async fn unknown_options_are_passed_over(world: &World) {
    for way in world.everywhere() {
        for code in [0, 1, 2, 4, 5, 6, 7, 9, 13, 14, 16, 17, 65_001, 65_534, 65_535] {
            let packet = Packet::new(WWW, rtype::A).option(code, b"anything").option(code, &[]);
            let reply = way.ask(&packet, decision(&way)).await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}: option {code}");
            assert_eq!(reply.option(code), None, "{way}: option {code} came back");
        }
    }
}

/// Section 6.1.1, and options that are no options.
async fn what_is_wrong_with_opt_is_said_to_be_so(world: &World) {
    let packet = Packet::new(WWW, rtype::A).edns(1_232);
    let (opt, named) = (packet.opt(), [&b"\x01x"[..], &packet.opt()].concat());
    let compressed = [&[0xc0, 0x0c], &packet.opt()[1..]].concat();
    let data = |octets: &[u8]| {
        let length = (octets.len() as u16).to_be_bytes();
        [&opt[..9], &length, octets].concat()
    };
    let messages = [
        ("two", packet.with_sections([1, 0, 0, 2], &opt.repeat(2))),
        ("three", packet.with_sections([1, 0, 0, 3], &opt.repeat(3))),
        ("with an owner", packet.with_sections([1, 0, 0, 1], &named)),
        ("with a compressed owner", packet.with_sections([1, 0, 0, 1], &compressed)),
        ("as an answer", packet.with_sections([1, 1, 0, 0], &opt)),
        ("as an authority", packet.with_sections([1, 0, 1, 0], &opt)),
        ("with half an option", packet.with_sections([1, 0, 0, 1], &data(&[0, 3, 0]))),
        ("with an option cut short", packet.with_sections([1, 0, 0, 1], &data(&[0, 3, 0, 2, 1]))),
    ];
    for way in world.everywhere() {
        for (what, octets) in &messages {
            let reply = way.ask_octets(octets, true, "malformed").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (1, 0), "{way}: {what}");
            assert_eq!(reply.question, packet.question());
        }
    }
}

/// RFC 3225 section 3; the other flags are nobody's.
async fn dnssec_ok_comes_back(world: &World) {
    for way in world.everywhere() {
        for (flags, wanted) in [(0, 0), (0x8000, 0x8000), (0x7fff, 0), (0xffff, 0x8000)] {
            let asked = |name: &str, kind| Packet::new(name, kind).edns(1_232).edns_flags(flags);
            let replies = [
                way.ask(&asked(WWW, rtype::A), decision(&way)).await,
                way.ask(&asked("elsewhere.test", rtype::A), "refused").await,
                way.ask(&asked(WWW, rtype::A).version(1), "malformed").await,
                way.ask(&asked(WWW, rtype::A).subnet(7, 0, &[]), "malformed").await,
            ];
            for reply in replies {
                let opt = reply.opt.expect("it was asked for");
                assert_eq!(opt.flags, wanted, "{way}: {flags:04x}");
            }
        }
    }
}

/// Records that do not belong into a question but could stand there are passed over, as those of
/// transaction signatures would be.
async fn other_records_are_passed_over(world: &World) {
    let packet = Packet::new(ZONE, rtype::SOA).edns(1_232);
    let other = [&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1][..]].concat();
    let around = [&other[..], &packet.opt(), &other].concat();
    for way in [world.ways(Role::Referral), world.ways(Role::Fallback)].into_iter().flatten() {
        let reply = way.ask_octets(&packet.with_sections([1, 0, 0, 3], &around), true, "authority").await;
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
        let reply = way.ask_octets(&packet.with_sections([1, 0, 0, 1], &other), false, "authority").await;
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}");
    }
}
