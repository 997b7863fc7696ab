//! Extended errors (RFC 8914): whoever gets less than a good answer hears why, where it can be said.

use dglb_scenarios::{
    Admin, Chain, Ground, Running, Size,
    configs::{self, ADDRESS_TTL, WWW, ZONE, in_label},
    eventually,
    ground::dns,
    packet::{Packet, option, rtype},
    raw, so,
    strict::Strict,
};
use dns_b::DnsB;
use dns_lb::DnsLb;

use super::world::{Role, Setup, World, scenario};

#[test]
fn all_sites_down_is_said() {
    scenario("conduct::ede::all_sites_down_is_said", async |ground| {
        let world = World::plain(ground).await;
        let (dead, www) = (in_label("lb1").replace("www", "dead"), in_label("lb1"));
        for role in [Role::Fallback, Role::Lb] {
            for way in world.ways(role) {
                let reply = way.ask(&Packet::new(&dead, rtype::A).edns(1_232), "label").await;
                assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{way}: the last good ones are answered");
                // "Other", and the text says what (section 4.1).
                assert_eq!(reply.extended_error(), Some(0), "{way}");
                assert_eq!(reply.option(option::EXTENDED_ERROR), Some(&b"\0\0all sites down"[..]), "{way}");
                let reply = way.ask(&Packet::new(&www, rtype::A).edns(1_232), "label").await;
                assert_eq!((reply.answer.len(), reply.extended_error()), (1, None), "{way}");
                // Without EDNS there is no place for it.
                let reply = way.ask(&Packet::new(&dead, rtype::A), "label").await;
                assert_eq!(reply.answer.len(), 1, "{way}");
            }
        }
    });
}

/// SERVFAIL and "not ready" (section 4.15) of a daemon that nobody has told anything yet.
#[test]
fn not_ready_is_said() {
    scenario("conduct::ede::not_ready_is_said", async |ground| {
        let b1: Running<DnsB> = Running::start(&configs::dns_b(&ground, 1, 1, 1, "")).await;
        let lonely: Running<DnsLb> = Running::start(&configs::dns_lb(&ground, 1, 9)).await;
        let places = [(&*b1, ground.referral(1)), (&*b1, ground.fallback(1)), (&*lonely, ground.lb(1))];
        for (admin, address) in places {
            for name in [WWW, ZONE, &in_label("lb1")] {
                for tcp in [false, true] {
                    not_ready(&ground, (admin, address), name, tcp).await;
                }
            }
        }
        // Which other names are its own a DNS-LB does not know before a dns-b has told it.
        for (name, tcp) in [("elsewhere.test", false), ("", true)] {
            not_ready(&ground, (&*lonely, ground.lb(1)), name, tcp).await;
        }
    });
}

/// One zone is there, another is not: its names are no less ours (`may-publish` says so). And what is
/// nobody's is refused all the same.
#[test]
fn what_has_not_come_is_not_refused() {
    scenario("conduct::ede::what_has_not_come_is_not_refused", async |ground| {
        let more = "[[peer]]\nidentity = 'sync2'\nrole = 'dns-a-sync'\nmay-publish = ['other.test']\n".to_owned();
        let world = World::start(ground, Setup { extra: more, ..Setup::default() }).await;
        for role in [Role::Referral, Role::Fallback] {
            for way in world.ways(role) {
                for name in ["other.test", "www.other.test", "www.lb1.other.test", "b1.other.test"] {
                    for kind in [rtype::A, rtype::SOA, rtype::NS] {
                        let reply = way.ask(&Packet::new(name, kind).edns(1_232), "not-ready").await;
                        assert_eq!((reply.rcode(), reply.extended_error()), (2, Some(14)), "{way}: {name} {kind}");
                        assert!(!reply.is_authoritative(), "{way}: {name} {kind}");
                    }
                }
                for name in ["test", "another.test", "elsewhere.test", ""] {
                    let reply = way.ask(&Packet::new(name, rtype::A).edns(1_232), "refused").await;
                    assert_eq!((reply.rcode(), reply.extended_error()), (5, Some(20)), "{way}: {name}");
                }
                let reply = way.ask(&Packet::new(WWW, rtype::A).edns(1_232), "mapped").await;
                assert_eq!((reply.answer.len(), reply.extended_error()), (1, None), "{way}");
            }
        }
    });
}

async fn not_ready(ground: &Ground, (admin, address): (&Admin, std::net::IpAddr), name: &str, tcp: bool) {
    let before = admin.counters().await;
    let octets = Packet::new(name, rtype::A).edns(1_232).octets();
    let reply = if tcp {
        raw::over_tcp(ground.isp(1), dns(address), &raw::framed(&octets)).await.pop()
    } else {
        raw::over_udp(ground.isp(1), dns(address), &octets).await
    };
    let reply = Strict::read(&reply.expect("a reply")).unwrap();
    assert_eq!((reply.rcode(), reply.extended_error()), (2, Some(14)), "{address}: {name}");
    assert!(!reply.is_authoritative() && reply.answer.is_empty(), "{address}: {name}");
    let now = admin.counters().await;
    // What a DNS-LB lacks below its own label it would have from a dns-b, if it knew one.
    let decision = if address == ground.lb(1) && name == in_label("lb1") { "relay" } else { "not-ready" };
    assert_eq!(now.decisions(decision) - before.decisions(decision), 1, "{address}: {name}");
    assert_eq!(now.replies("SERVFAIL") - before.replies("SERVFAIL"), 1);
}

/// A ranking that is too old is called stale (section 4.4), be it a neighbour's that stands in for it
/// or, where there is no neighbour, itself.
#[test]
fn a_stale_ranking_is_said_to_be_one() {
    scenario("conduct::ede::a_stale_ranking_is_said_to_be_one", async |ground| {
        let brief = |_: &Ground, _| "report-stale-after = '3s'\n".to_owned();
        let mut chain = Chain::settled(ground, Size { servers: 1, lbs: 2, sites: 1 }, brief).await;
        for (lb, first) in [(1, true), (2, false)] {
            // A report may be late for once.
            let fresh = eventually("the ranking is fresh", async || {
                let reply = at_fallback(&chain, lb, first).await;
                so(reply.extended_error().is_none(), &reply)?;
                Ok(reply)
            })
            .await;
            assert_eq!(fresh.answer.len(), 1);
            chain.stop_lb(lb).await;
            for tcp in [false, true] {
                let reply = eventually("the fall-back says that the ranking is old", async || {
                    let reply = at_fallback(&chain, lb, tcp).await;
                    so(reply.extended_error() == Some(3), &reply)?;
                    Ok(reply)
                })
                .await;
                let addresses = |reply: &Strict| reply.answer.iter().map(|a| a.rdata.clone()).collect::<Vec<_>>();
                assert_eq!((reply.rcode(), addresses(&reply)), (0, addresses(&fresh)));
                assert!(reply.answer[0].ttl <= 30, "what is old is not for long");
                let text = reply.option(option::EXTENDED_ERROR).map(|data| &data[2..]);
                assert!(text.is_some_and(|text| std::str::from_utf8(text).is_ok()), "EXTRA-TEXT is UTF-8");
            }
        }
    });
}

/// So it is where a dns-b answers with sites itself: in direct mode.
#[test]
fn a_stale_ranking_is_said_to_be_one_in_direct_mode() {
    scenario("conduct::ede::a_stale_ranking_is_said_to_be_one_in_direct_mode", async |ground| {
        let extra = "report-stale-after = '2s'\n".to_owned();
        let mut world = World::start(ground, Setup { extra, lease: Some("60s"), ..Setup::default() }).await;
        let packet = Packet::new(&format!("direct.{ZONE}"), rtype::A).edns(1_232);
        let fresh = eventually("the ranking is fresh", async || {
            let reply = world.way(Role::Referral, false).ask(&packet, "direct").await;
            so(reply.extended_error().is_none(), &reply)?;
            Ok(reply)
        })
        .await;
        assert_eq!(fresh.answer[0].ttl, ADDRESS_TTL);
        world.stop_lb().await;
        for role in [Role::Referral, Role::Fallback] {
            for way in world.ways(role) {
                eventually("the ranking is old", async || {
                    let reply = Strict::read(&way.send(&packet.octets()).await)?;
                    so(reply.extended_error() == Some(3), &reply)
                })
                .await;
                let reply = way.ask(&packet, "suspect").await;
                assert_eq!((reply.extended_error(), reply.answer[0].ttl), (Some(3), 30), "{way}");
                assert_eq!(reply.answer[0].rdata, fresh.answer[0].rdata, "{way}");
            }
        }
    });
}

/// What the fall-back answers in a DNS-LB's name.
async fn at_fallback(chain: &Chain, lb: usize, tcp: bool) -> Strict {
    let (from, server) = (chain.ground.isp(1), dns(chain.ground.fallback(1)));
    let octets = Packet::new(&in_label(&format!("lb{lb}")), rtype::A).edns(1_232).octets();
    let reply = if tcp {
        raw::over_tcp(from, server, &raw::framed(&octets)).await.pop()
    } else {
        raw::over_udp(from, server, &octets).await
    };
    Strict::read(&reply.expect("a reply")).unwrap()
}
