//! How long a reply may be, and what is left out of one that would be longer (RFC 1035 section
//! 4.2.1, RFC 2181 section 9, RFC 6891 section 6.2, RFC 9471).

use dglb_scenarios::{
    configs::{WWW, ZONE, in_label},
    packet::{Packet, rtype},
    strict::{Opt, Strict},
};

use super::world::{LABEL_SOA, LONG, Role, Setup, World, scenario, text};

#[test]
fn replies_are_as_long_as_may_be_and_whole() {
    scenario("conduct::size::replies_are_as_long_as_may_be_and_whole", async |ground| {
        let world = World::plain(ground).await;
        over_udp_no_reply_is_longer_than_both_sides_take(&world).await;
        plain_answers_fit_without_edns(&world).await;
    });
}

/// Octets that a UDP reply may have.
fn limit(payload: Option<u16>, own: u16) -> usize {
    usize::from(payload.map_or(512, |payload| payload.clamp(512, own)))
}

/// What clients say they take: nothing, less than 512 (which counts as 512), and more than we send.
const PAYLOADS: [Option<u16>; 12] = [
    None,
    Some(0),
    Some(511),
    Some(512),
    Some(640),
    Some(700),
    Some(1_231),
    Some(1_232),
    Some(1_233),
    Some(2_600),
    Some(4_096),
    Some(65_535),
];

fn packet(name: &str, kind: u16, payload: Option<u16>) -> Packet {
    let packet = Packet::new(name, kind);
    payload.map_or(packet.clone(), |payload| packet.edns(payload))
}

/// Octets of the OPT record, which is kept whatever is left out.
fn opt_length(reply: &Strict) -> usize {
    let options = |opt: &Opt| opt.options.iter().map(|(_, data)| 4 + data.len()).sum::<usize>();
    reply.opt.as_ref().map_or(0, |opt| 11 + options(opt))
}

/// What a question whose whole answer was `whole` over TCP may be answered with over UDP: the same,
/// or an empty answer with TC where it does not fit.
fn cut(reply: &Strict, whole: &Strict, limit: usize, what: &str) {
    let length = reply.octets.len();
    assert!(length <= limit, "{what}: {length} octets where {limit} are allowed");
    let fits = whole.octets.len() - opt_length(whole) + opt_length(reply);
    assert_eq!(reply.is_truncated(), fits > limit, "{what}: {fits} octets for {limit}");
    let all = |reply: &Strict| [text(&reply.answer), text(&reply.authority), text(&reply.additional)];
    if !reply.is_truncated() {
        assert_eq!(all(reply), all(whole), "{what}");
    } else if whole.answer.is_empty() {
        // A referral: what is there of it is whole, and in its place.
        let (got, want) = (all(reply).concat(), all(whole).concat());
        assert!(want.starts_with(&got), "{what}: {got:?}");
        for kind in [rtype::NS, rtype::A, rtype::AAAA] {
            let owners = |reply: &Strict| {
                let records = [&reply.authority[..], &reply.additional].concat();
                let mut counts = std::collections::BTreeMap::new();
                for record in records.iter().filter(|r| r.rtype == kind) {
                    *counts.entry(record.owner.to_ascii_lowercase()).or_insert(0) += 1;
                }
                counts
            };
            for (owner, count) in owners(reply) {
                assert_eq!(Some(&count), owners(whole).get(&owner), "{what}: half an RRset");
            }
        }
    } else {
        assert!(reply.answer.is_empty() && reply.additional.is_empty(), "{what}: half an answer");
    }
}

/// 512 octets without EDNS, and with it what the client takes, but no more than ours.
async fn over_udp_no_reply_is_longer_than_both_sides_take(world: &World) {
    let (big, huge, long) = (format!("big.{ZONE}"), format!("huge.{ZONE}"), in_label("lb1"));
    let long = long.replace("www", LONG);
    let cases = [
        (Role::Referral, &big[..], rtype::TXT, "authority"),
        (Role::Referral, &huge, rtype::TXT, "authority"),
        (Role::Fallback, &big, rtype::TXT, "authority"),
        (Role::Fallback, &huge, rtype::TXT, "authority"),
        (Role::Fallback, &long, rtype::AAAA, "label"),
        (Role::Lb, &long, rtype::AAAA, "label"),
    ];
    for (role, name, kind, decision) in cases {
        let [udp, tcp] = world.ways(role);
        let whole = tcp.ask(&packet(name, kind, None), decision).await;
        assert!(whole.octets.len() > 512 && !whole.is_truncated(), "{name} is not long enough to show anything");
        for payload in PAYLOADS {
            let asked = packet(name, kind, payload);
            if payload.is_none() || name != long {
                let reply = udp.ask(&asked, decision).await;
                cut(&reply, &whole, limit(payload, 1_232), &format!("{udp}: {name}, {payload:?}"));
            }
            // Over TCP it is whole, whatever EDNS says.
            let reply = tcp.ask(&asked, decision).await;
            assert_eq!(text(&reply.answer), text(&whole.answer), "{tcp}: {name}, {payload:?}");
            assert_eq!(reply.opt.as_ref().map(|opt| opt.payload), payload.map(|_| 1_232));
        }
    }
}

/// The operator may want shorter replies.
#[test]
fn our_own_limit_counts_where_it_is_less() {
    scenario("conduct::size::our_own_limit_counts_where_it_is_less", async |ground| {
        let setup = Setup { dns: "udp-payload = 600\n", ..Setup::default() };
        let world = World::start(ground, setup).await;
        let big = format!("big.{ZONE}");
        let long = in_label("lb1").replace("www", LONG);
        for (role, name, kind, decision) in [
            (Role::Referral, &big, rtype::TXT, "authority"),
            (Role::Fallback, &big, rtype::TXT, "authority"),
            (Role::Fallback, &long, rtype::AAAA, "label"),
            (Role::Lb, &long, rtype::AAAA, "label"),
        ] {
            let [udp, tcp] = world.ways(role);
            let whole = tcp.ask(&packet(name, kind, Some(1_232)), decision).await;
            for payload in PAYLOADS {
                let reply = udp.ask(&packet(name, kind, payload), decision).await;
                assert_eq!(reply.opt.as_ref().map(|opt| opt.payload), payload.map(|_| 600));
                cut(&reply, &whole, limit(payload, 600), &format!("{udp}: {name}, {payload:?}"));
            }
        }
    });
}

/// So many name servers with so many addresses that every label has its fall-backs among them, and
/// no referral fits 512 octets, nor 1 232.
fn many_addresses() -> String {
    let addresses = |n: u8| -> Vec<String> { (1..=16).map(|at| format!("'2001:db8:{n}::{at}'")).collect() };
    let server = |n: u8| {
        let fallback = addresses(n).join(", ");
        format!("[[dns-b]]\nidentity = 'x{n}'\nreferral = ['192.0.2.{n}']\nfallback = [{fallback}]\n")
    };
    (1..=20).map(server).collect()
}

/// Where the operator wants it, the label zone's NS set and addresses stand beside the alias into it,
/// as far as there is room; they are never a reason for TC. By default they are not there.
#[test]
fn a_referral_beside_an_alias_is_a_courtesy() {
    scenario("conduct::size::a_referral_beside_an_alias_is_a_courtesy", async |ground| {
        let extra = "[locate]\nreferral-with-cname = true\n".to_owned();
        let world = World::start(ground, Setup { extra, fleet: many_addresses(), ..Setup::default() }).await;
        for role in [Role::Referral, Role::Fallback] {
            let [udp, tcp] = world.ways(role);
            let whole = tcp.ask(&packet(WWW, rtype::A, None), "mapped").await;
            assert_eq!((whole.authority.len(), whole.additional.len()), (3, 33), "{tcp}");
            for payload in PAYLOADS {
                let reply = udp.ask(&packet(WWW, rtype::A, payload), "mapped").await;
                assert!(!reply.is_truncated() && reply.is_authoritative(), "{udp}: {payload:?}");
                assert!(reply.octets.len() <= limit(payload, 1_232), "{udp}: {payload:?}");
                assert_eq!(text(&reply.answer), text(&whole.answer), "{udp}: {payload:?}");
                assert!(text(&whole.authority).starts_with(&text(&reply.authority)), "{udp}: {payload:?}");
                assert!(text(&whole.additional).starts_with(&text(&reply.additional)), "{udp}: {payload:?}");
            }
        }
    });
}

/// RFC 9471 section 3: a referral without all of its glue is no referral; TC says so.
#[test]
fn a_referral_without_its_glue_is_truncated() {
    scenario("conduct::size::a_referral_without_its_glue_is_truncated", async |ground| {
        let setup = Setup { fleet: many_addresses(), ..Setup::default() };
        let world = World::start(ground, setup).await;
        let apex = format!("lb1.{ZONE}");
        let [udp, tcp] = world.ways(Role::Referral);
        for (name, kind) in [(in_label("lb1"), rtype::A), (apex.clone(), rtype::NS), (apex.clone(), rtype::TXT)] {
            let whole = tcp.ask(&packet(&name, kind, None), "referral").await;
            assert_eq!((whole.authority.len(), whole.additional.len()), (3, 33), "{:?}", whole.additionals());
            for payload in PAYLOADS {
                let reply = udp.ask(&packet(&name, kind, payload), "referral").await;
                assert!(!reply.is_authoritative() && reply.answer.is_empty());
                cut(&reply, &whole, limit(payload, 1_232), &format!("{udp}: {name} {kind}, {payload:?}"));
            }
        }
        // In an answer the same addresses are a courtesy: left out without a word (RFC 2181 section 9).
        for role in [Role::Fallback, Role::Lb] {
            let [udp, tcp] = world.ways(role);
            let whole = tcp.ask(&packet(&apex, rtype::NS, None), "authority").await;
            assert_eq!((whole.answer.len(), whole.additional.len()), (3, 33), "{tcp}");
            for payload in PAYLOADS {
                let reply = udp.ask(&packet(&apex, rtype::NS, payload), "authority").await;
                assert!(!reply.is_truncated(), "{udp}: {payload:?}");
                assert!(reply.octets.len() <= limit(payload, 1_232));
                assert_eq!(text(&reply.answer), text(&whole.answer), "{udp}: {payload:?}");
                assert!(text(&whole.additional).starts_with(&text(&reply.additional)));
            }
        }
        let reply = world.way(Role::Lb, false).ask(&Packet::new(&apex, rtype::SOA), "authority").await;
        assert_eq!(reply.answers(), [format!("{apex}. 30 {LABEL_SOA}")]);
    });
}

/// What fits is not cut: the service's own answers never need more than 512 octets.
async fn plain_answers_fit_without_edns(world: &World) {
    for (role, name, decision) in [
        (Role::Referral, WWW.to_owned(), "mapped"),
        (Role::Referral, in_label("lb1"), "referral"),
        (Role::Fallback, in_label("lb1"), "label"),
        (Role::Lb, in_label("lb1"), "label"),
    ] {
        let way = world.way(role, false);
        let reply = way.ask(&Packet::new(&name, rtype::A), decision).await;
        assert!(!reply.is_truncated(), "{way}: {name}");
    }
}
