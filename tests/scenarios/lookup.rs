//! Look-ups through dns-b and dns-lb, hop by hop as a resolver does them: who gets which answer
//! from whom, for how long, and by which way it was found.

use dglb_core::{
    fleet::Fleet,
    proto::message::{Message, PeerRole},
};
use dglb_node::lifecycle::Daemon;
use dglb_scenarios::{
    Chain, Ground, Running, Size,
    chain::leads_to,
    configs::{self, ADDRESS_TTL, WWW, ZONE, in_label},
    dns_b::StandIn,
    eventually,
    ground::dns,
    peer::Peer,
    question::Question,
    scenario,
    sites::Site,
    so,
};
use dns_b::DnsB;
use dns_lb::DnsLb;
use hickory_proto::{op::ResponseCode, rr::RecordType};

/// The resolver of this ISP is in nobody's map.
const STRANGER: u8 = 9;
/// This one may send client subnets.
const FORWARDER: u8 = 8;

/// b1 has lb3 as default group and trusts one resolver's client subnets; b2 has neither.
fn b1_has_defaults(ground: &Ground, n: u8) -> String {
    let forwarder = ground.isp(FORWARDER);
    let defaults = format!("[locate]\necs-from = ['{forwarder}']\n[[default]]\ndns-lb = 'lb3'\n");
    if n == 1 { defaults } else { String::new() }
}

fn alias_of(lb: &str) -> String {
    format!("{}.", in_label(lb))
}

#[test]
fn every_resolver_is_led_to_its_own_dns_lb_and_answered_there() {
    scenario("lookup::every_resolver_is_led_to_its_own_dns_lb_and_answered_there", async |ground| {
        let chain = Chain::settled(ground, Size { servers: 2, lbs: 3, sites: 3 }, b1_has_defaults).await;
        the_map_decides(&chain).await;
        client_subnets_count_where_they_are_trusted(&chain).await;
        strangers_are_served_too(&chain).await;
        the_label_zone_is_referred_and_answered(&chain).await;
        the_cut_looks_the_same_from_both_sides(&chain).await;
        published_by_the_agent(&chain).await;
    });
}

async fn the_map_decides(chain: &Chain) {
    for server in [1, 2] {
        let before = chain.b(server).decisions("mapped").await;
        for isp in [1, 2] {
            let own = format!("lb{isp}");
            leads_to(&chain.ask_b(server as u8, isp, WWW).await, &own, 3_600);
            let tcp = Question::new(chain.ground.isp(isp), &WWW.to_uppercase(), RecordType::AAAA).over_tcp();
            leads_to(&tcp.ask(dns(chain.ground.referral(server as u8))).await, &own, 3_600);
        }
        assert_eq!(chain.b(server).decisions("mapped").await - before, 4, "at b{server}");
    }
}

async fn client_subnets_count_where_they_are_trusted(chain: &Chain) {
    let b1 = dns(chain.ground.referral(1));
    let before = chain.b(1).counters().await;
    let ask = async |from: u8, subnet: &str| {
        Question::new(chain.ground.isp(from), WWW, RecordType::A).for_client(subnet).ask(b1).await
    };
    // 10.1/16, 10.2/16 and 10.3/16 are mapped: everybody in one of them is answered alike.
    let reply = ask(FORWARDER, "10.2.7.0/24").await;
    leads_to(&reply, "lb2", 3_600);
    assert_eq!(reply.scope(), Some(16));
    // Nobody's client: the scope says how far around nobody is.
    let reply = ask(FORWARDER, "10.64.0.0/16").await;
    leads_to(&reply, "lb3", 60);
    assert_eq!(reply.scope(), Some(10));
    // "Do not use my address": the resolver's own counts.
    let reply = ask(FORWARDER, "0.0.0.0/0").await;
    leads_to(&reply, "lb3", 60);
    assert_eq!(reply.scope(), Some(0));
    // Not to be believed: left out of the answer.
    let reply = ask(1, "10.2.7.0/24").await;
    leads_to(&reply, "lb1", 3_600);
    assert_eq!(reply.scope(), None);
    let now = chain.b(1).counters().await;
    assert_eq!(now.decisions("mapped") - before.decisions("mapped"), 2);
    assert_eq!(now.decisions("default-group") - before.decisions("default-group"), 2);
}

/// With a default group they are led to it, for a minute at most; without one they get the site
/// that is best for all.
async fn strangers_are_served_too(chain: &Chain) {
    let before = (chain.b(1).decisions("default-group").await, chain.b(2).decisions("aggregate").await);
    leads_to(&chain.ask_b(1, STRANGER, WWW).await, "lb3", 60);
    let direct = chain.ask_b(2, STRANGER, WWW).await;
    assert_eq!((direct.addresses(), direct.ttl()), (configs::only(chain.ground.site(1)), 30));
    assert!(direct.is_authoritative());
    let now = (chain.b(1).decisions("default-group").await, chain.b(2).decisions("aggregate").await);
    assert_eq!((now.0 - before.0, now.1 - before.1), (1, 1));
}

async fn the_label_zone_is_referred_and_answered(chain: &Chain) {
    let name = in_label("lb1");
    let before = (chain.b(1).counters().await, chain.lb(1).decisions("label").await);
    let referral = chain.ask_b(1, 1, &name).await;
    assert!(!referral.is_authoritative() && referral.answers().is_empty());
    assert_eq!(referral.code(), ResponseCode::NoError);
    // Whoever asks gets the same delegation.
    assert_eq!(chain.ask_b(2, STRANGER, &name).await.additionals(), referral.additionals());
    // The cheapest site, though the customer's order has it last: it was measured and ranked.
    for reply in [chain.ask_lb(1, &name).await, chain.ask_fallback(1, &name).await] {
        assert!(reply.is_authoritative());
        assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), ADDRESS_TTL));
        assert_eq!(reply.extended_error(), None);
    }
    let now = (chain.b(1).counters().await, chain.lb(1).decisions("label").await);
    assert_eq!(now.0.decisions("referral") - before.0.decisions("referral"), 1);
    assert_eq!(now.0.decisions("label") - before.0.decisions("label"), 1);
    assert_eq!(now.1 - before.1, 1);
    assert!(chain.sites.iter().all(|site| site.served() > 0), "a site was never probed");
}

/// The parent's NS set and glue, the DNS-LB's and the fall-back's are one and the same.
async fn the_cut_looks_the_same_from_both_sides(chain: &Chain) {
    let apex = format!("lb1.{ZONE}");
    let ns = async |to| Question::new(chain.ground.isp(1), &apex, RecordType::NS).ask(dns(to)).await;
    let parent = ns(chain.ground.referral(1)).await;
    let (child, fallback) = (ns(chain.ground.lb(1)).await, ns(chain.ground.fallback(2)).await);
    assert_eq!(parent.authorities().len(), 3, "{parent:?}");
    for server in ["ns", "f1", "f2"] {
        assert!(parent.authorities().contains(&format!("{apex}. NS {server}.{apex}.")), "{parent:?}");
        let address = Question::new(chain.ground.isp(1), &format!("{server}.{apex}"), RecordType::A);
        let at_child = address.ask(dns(chain.ground.lb(1))).await.answers();
        assert_eq!(at_child.len(), 1);
        assert!(parent.additionals().contains(&at_child[0]), "{at_child:?} is no glue of {parent:?}");
        let v6 = Question::new(chain.ground.isp(1), &format!("{server}.{apex}"), RecordType::AAAA);
        let v6 = v6.ask(dns(chain.ground.lb(1))).await;
        assert_eq!((v6.code(), v6.answers().len()), (ResponseCode::NoError, 0), "a family that is missing");
    }
    assert!(child.is_authoritative() && fallback.is_authoritative() && !parent.is_authoritative());
    assert_eq!(child.answers(), parent.authorities());
    assert_eq!(fallback.answers(), parent.authorities());
    // The parent's side of the cut answers for DS, which is not there.
    let ds = Question::new(chain.ground.isp(1), &apex, RecordType::DS).ask(dns(chain.ground.referral(1))).await;
    assert!(ds.is_authoritative() && ds.answers().is_empty());
    assert!(ds.authorities()[0].starts_with(&format!("{ZONE}. SOA")), "{ds:?}");
    // A label that nobody knows is no NXDOMAIN: somebody else may know it.
    let before = chain.b(1).decisions("aggregate").await;
    let unknown = chain.ask_b(1, 1, &in_label("elsewhere")).await;
    assert_eq!((unknown.addresses(), unknown.ttl()), (configs::only(chain.ground.site(1)), 30));
    assert_eq!(chain.b(1).decisions("aggregate").await - before, 1);
}

async fn published_by_the_agent(chain: &Chain) {
    let status = chain.sync.status().await;
    let zone = &status["zones"][0];
    assert_eq!((&zone["zone"], &zone["generation"]), (&format!("{ZONE}.").into(), &1.into()), "{status:#}");
    assert_eq!((&zone["acknowledged"]["b1"], &zone["acknowledged"]["b2"]), (&1.into(), &1.into()), "{status:#}");
    // A site that DNS-A no longer has is answered no more.
    chain.dns_a.set("s1", &[]);
    eventually("the next site is answered", async || {
        let reply = chain.ask_lb(1, &in_label("lb1")).await;
        so(reply.addresses() == [chain.ground.site(2)], reply.addresses())
    })
    .await;
    for server in [1, 2] {
        eventually("the new generation is shown", async || {
            let zones = chain.b(server).status().await["zones"].clone();
            so(zones[0]["generation"] == 2, zones)
        })
        .await;
        assert_eq!(chain.b(server).counter("dglb_catalogues_refused_total").await, 0);
    }
}

#[test]
fn nobody_is_handed_out_before_every_dns_b_knows_it() {
    scenario("lookup::nobody_is_handed_out_before_every_dns_b_knows_it", async |ground| {
        let (_s1, _s2) = (Site::start(ground.site(1)).await, Site::start(ground.site(2)).await);
        let b1: Running<DnsB> = Running::start(&configs::dns_b(&ground, 1, 2, 1, "")).await;
        let b2 = StandIn::start(ground.map(2), "b2", b1_fleet(&ground)).await;
        b2.state().acknowledges = false;
        let _sync = Peer::publisher(ground.map(1), &configs::catalogue(&ground, 2, 1)).await;
        let lb: Running<DnsLb> = Running::start(&configs::dns_lb(&ground, 1, 2)).await;
        eventually("b2 gets a MAP", async || so(!b2.state().maps.is_empty(), "none")).await;
        let ranked = async || {
            let status = b1.status().await;
            let seen = &status["dns_lbs"][0];
            so(seen["services_ranked"] == 1 && seen["check"]["passed"] == true, seen)
        };
        eventually("b1 has lb1's ranking and has checked it", ranked).await;

        // b1 knows all that it has to know, and still waits for b2: until then it answers itself.
        let ask = async || Question::new(ground.isp(1), WWW, RecordType::A).ask(dns(ground.referral(1))).await;
        let before = b1.decisions("direct").await;
        let reply = ask().await;
        assert_eq!((reply.alias(), reply.addresses(), reply.ttl()), (None, configs::only(ground.site(1)), 30));
        assert_eq!(b1.decisions("direct").await - before, 1);
        assert_eq!(b1.status().await["dns_lbs"][0]["ready"], false);
        assert_eq!(lb.counter("dglb_lb_registered").await, 0);

        b2.acknowledge();
        let mapped = async || {
            let reply = ask().await;
            so(reply.alias() == Some((alias_of("lb1"), 3_600)), reply.alias())
        };
        eventually("b1 hands lb1 out", mapped).await;
        eventually("READY at b2", async || {
            let named: Vec<_> = b2.state().readies.last().map_or(vec![], |r| r.servers.clone());
            so(named.len() == 2, named)
        })
        .await;
        assert_eq!(lb.counter("dglb_lb_registered").await, 1);
        assert_eq!(b1.decisions("mapped").await, 1);
    });
}

fn b1_fleet(ground: &Ground) -> Fleet {
    DnsB::load(&configs::dns_b(ground, 1, 2, 1, "").main()).unwrap().value.fleet
}

#[test]
fn who_is_not_configured_is_not_let_in() {
    scenario("lookup::who_is_not_configured_is_not_let_in", async |ground| {
        let b1: Running<DnsB> = Running::start(&configs::dns_b(&ground, 1, 1, 1, "")).await;
        let _sync = Peer::publisher(ground.map(1), &configs::catalogue(&ground, 1, 1)).await;
        for (identity, role) in [("lb7", PeerRole::DnsLb), ("lb1", PeerRole::DnsASync), ("sync", PeerRole::DnsLb)] {
            let refused = Peer::try_dial(ground.map(1), identity, role).await.unwrap_err().to_string();
            assert!(refused.contains("refused by the peer: Identity"), "{identity}: {refused}");
        }
        eventually("refusals are counted", async || {
            let refused = b1.counter("dglb_links_refused_total").await;
            so(refused == 3, refused)
        })
        .await;
        // A zone that it may not publish.
        let mut other = configs::catalogue(&ground, 1, 1);
        other.zone = "elsewhere.test".parse().unwrap();
        other.services[0].name = "www.elsewhere.test".parse().unwrap();
        let mut sync = Peer::dial(ground.map(1), "sync", PeerRole::DnsASync).await;
        sync.say(Message::snapshot(other));
        let refused = sync
            .hear("CATALOGUE-ACK", |m| match m {
                Message::CatalogueAck(ack) => ack.refused,
                _ => None,
            })
            .await;
        assert!(refused.contains("may not publish"), "{refused}");
        let question = Question::new(ground.isp(1), "www.elsewhere.test", RecordType::A);
        let reply = question.ask(dns(ground.referral(1))).await;
        assert_eq!((reply.code(), reply.extended_error()), (ResponseCode::Refused, Some(20)));
        assert_eq!(b1.decisions("refused").await, 1);
        eventually("the refusal is counted", async || {
            let refused = b1.counter("dglb_catalogues_refused_total").await;
            so(refused == 1, refused)
        })
        .await;
    });
}
