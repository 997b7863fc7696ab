//! Opcodes, classes, counts and flags (RFC 1035 section 4.1.1, RFC 9619).

use dglb_scenarios::{
    configs::{WWW, ZONE},
    packet::{AD, CD, Packet, RD, option, rtype},
};

use super::world::{Role, World, scenario};

#[test]
fn what_a_header_says_is_heeded_or_refused() {
    scenario("conduct::header::what_a_header_says_is_heeded_or_refused", async |ground| {
        let world = World::plain(ground).await;
        opcodes_that_nobody_has_are_said_to_be_so(&world).await;
        classes_that_nobody_has_are_refused(&world).await;
        one_question_is_all_that_is_asked_at_a_time(&world).await;
        transfers_are_refused(&world).await;
        flags_are_copied_or_left_clear(&world).await;
    });
}

async fn opcodes_that_nobody_has_are_said_to_be_so(world: &World) {
    for way in world.everywhere() {
        // IQUERY, STATUS, NOTIFY, UPDATE, DSO and those that are nothing yet (RFC 6895 section 2.2).
        for opcode in 1..16 {
            let packet = Packet::new(ZONE, rtype::SOA).opcode(opcode).flags(RD);
            for packet in [packet.clone(), packet.edns(1_232)] {
                let reply = way.ask(&packet, "malformed").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (4, 0), "{way}: opcode {opcode}");
                assert!(!reply.is_authoritative());
            }
            // Whatever is wrong with it, OPT is answered with OPT (RFC 6891 section 7).
            let later = Packet::new(ZONE, rtype::SOA).opcode(opcode).edns(1_232).version(1);
            let bent = Packet::new(ZONE, rtype::SOA).opcode(opcode).option(option::CLIENT_SUBNET, &[0, 3, 8, 0]);
            for packet in [later, bent] {
                let reply = way.ask(&packet, "malformed").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (4, 0), "{way}: opcode {opcode}, {packet:?}");
            }
            // A body that is none, such as that of DSO (RFC 8490 section 5.4).
            let empty = Packet::new(ZONE, rtype::SOA).opcode(opcode).with_sections([0; 4], &[0, 1, 0, 2, 7, 7]);
            assert_eq!(way.ask_octets(&empty, false, "malformed").await.rcode(), 4, "{way}: opcode {opcode}");
        }
    }
}

async fn classes_that_nobody_has_are_refused(world: &World) {
    for way in world.everywhere() {
        for class in [0, 2, 4, 254, 255, 65_280] {
            for packet in [Packet::new(WWW, rtype::A), Packet::new(WWW, rtype::A).edns(1_232)] {
                let reply = way.ask(&packet.class(class), "refused").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (5, 0), "{way}: class {class}");
            }
        }
    }
}

async fn one_question_is_all_that_is_asked_at_a_time(world: &World) {
    let asked = Packet::new(WWW, rtype::A);
    let question = asked.question();
    let messages = [
        ("none", asked.with_sections([0, 0, 0, 0], &[])),
        ("two", asked.with_sections([2, 0, 0, 0], &question)),
        ("three", asked.with_sections([3, 0, 0, 0], &question.repeat(2))),
        ("two announced", asked.with_sections([2, 0, 0, 0], &[])),
        ("65 535 announced", asked.with_sections([65_535, 0, 0, 0], &question)),
    ];
    for way in world.everywhere() {
        for (what, octets) in &messages {
            let reply = way.ask_octets(octets, false, "malformed").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (1, 0), "{way}: {what}");
        }
        let opt = asked.clone().edns(1_232).opt();
        for (questions, tail) in [(0, vec![]), (2, question.clone()), (3, question.repeat(2))] {
            let octets = asked.with_sections([questions, 0, 0, 1], &[tail, opt.clone()].concat());
            let reply = way.ask_octets(&octets, true, "malformed").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (1, 0), "{way}: {questions} questions with OPT");
        }
        let later = asked.clone().edns(1_232).version(1).opt();
        for octets in [
            asked.with_sections([0, 0, 0, 1], &later),
            asked.with_sections([2, 0, 0, 1], &[question.clone(), later.clone()].concat()),
            asked.with_sections([0, 0, 0, 2], &opt.repeat(2)),
        ] {
            assert_eq!(way.ask_octets(&octets, true, "malformed").await.rcode(), 1, "{way}: {octets:02x?}");
        }
    }
}

/// AXFR, IXFR and the meta types are no questions for records (RFC 6895 section 3.1).
async fn transfers_are_refused(world: &World) {
    for way in world.everywhere() {
        for kind in [249, 250, 251, 252, 253, 254] {
            let reply = way.ask(&Packet::new(ZONE, kind).edns(1_232), "refused").await;
            assert_eq!((reply.rcode(), reply.answer.len()), (5, 0), "{way}: type {kind}");
        }
    }
}

/// What the header asks for comes back or does not, whatever the answer is; the rest of it is
/// checked with every reply.
async fn flags_are_copied_or_left_clear(world: &World) {
    for way in world.everywhere() {
        let decision = if way.place.role == Role::Lb { "label" } else { "mapped" };
        for flags in [0, RD, CD, AD, RD | CD, RD | AD | CD, 0x0080, 0x0040, 0x0400, 0x0200, 0x000f, 0x07ff] {
            let reply = way.ask(&Packet::new(WWW, rtype::A).flags(flags), decision).await;
            assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}: flags {flags:04x}");
            assert!(reply.is_authoritative() && !reply.is_truncated());
            let reply = way.ask(&Packet::new("elsewhere.test", rtype::A).flags(flags), "refused").await;
            assert_eq!(reply.rcode(), 5, "{way}: flags {flags:04x}");
        }
    }
}
