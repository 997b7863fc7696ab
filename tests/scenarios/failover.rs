//! What clients see when a DNS-LB, a dns-b or a site is gone, and when it comes back.

use std::time::{Duration, Instant};

use dglb_scenarios::{
    Chain, Ground, Size,
    chain::{leads_to, nothing_more},
    configs::{self, ADDRESS_TTL, WWW, ZONE, in_label},
    eventually,
    ground::dns,
    question::{Question, Reply},
    scenario, so,
};
use hickory_proto::{op::ResponseCode, rr::RecordType};

/// The resolver of this ISP is in nobody's map.
const STRANGER: u8 = 9;

#[test]
fn a_dns_lb_that_is_gone_costs_no_answer() {
    scenario("failover::a_dns_lb_that_is_gone_costs_no_answer", async |ground| {
        let size = Size { servers: 2, lbs: 2, sites: 2 };
        let mut chain = Chain::settled(ground, size, nothing_more).await;
        chain.stop_lb(1).await;
        eventually("b1 suspects lb1", async || so(chain.seen_by(1, 1).await["state"] == "suspect", "alive")).await;
        let before = chain.b(1).counters().await;
        // Who has its name in a cache is answered in its name, by the fall-back, from its report.
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 60);
        let reply = chain.ask_fallback(1, &in_label("lb1")).await;
        assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), ADDRESS_TTL));
        let now = chain.b(1).counters().await;
        assert_eq!(now.decisions("suspect") - before.decisions("suspect"), 1);
        assert_eq!(now.decisions("label") - before.decisions("label"), 1);

        // Its lease ends, and with it its entries; its label stays known, and its last ranking, as long
        // as somebody may have it in a cache.
        for server in [1, 2] {
            let gone = async || so(chain.seen_by(server, 1).await["state"] == "gone", "still there");
            eventually("lb1's lease ends", gone).await;
            assert_eq!(chain.b(server).counter("dglb_leases_ended_total").await, 1);
        }
        let reply = chain.ask_b(1, 1, WWW).await;
        assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), 30));
        let referral = chain.ask_b(1, 1, &in_label("lb1")).await;
        assert!(!referral.is_authoritative());
        assert!(referral.authorities().contains(&format!("lb1.{ZONE}. NS f1.lb1.{ZONE}.")), "{referral:?}");
        let reply = chain.ask_fallback(2, &in_label("lb1")).await;
        assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), ADDRESS_TTL));
        leads_to(&chain.ask_b(1, 2, WWW).await, "lb2", 3_600);

        chain.start_lb(1).await;
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
    });
}

#[test]
fn a_restarted_dns_lb_says_that_it_is_not_ready_until_it_is() {
    scenario("failover::a_restarted_dns_lb_says_that_it_is_not_ready_until_it_is", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, nothing_more).await;
        chain.stop_lb(1).await;
        // Without the dns-b it learns of no catalogue.
        chain.stop_b(1).await;
        chain.start_lb(1).await;
        let name = in_label("lb1");
        let reply = chain.ask_lb(1, &name).await;
        assert_eq!((reply.code(), reply.extended_error()), (ResponseCode::ServFail, Some(14)));
        assert_eq!(chain.lb(1).decisions("not-ready").await, 1);
        assert_eq!(chain.lb(1).fetch("/readyz").await.unwrap().0.as_u16(), 503);

        chain.start_b(1).await;
        let started = chain.b(1).counters().await;
        assert_eq!(started.decisions("label"), 0);
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        let reply = chain.ask_lb(1, &name).await;
        assert_eq!(reply.addresses(), [chain.ground.site(1)]);
        assert_eq!(chain.lb(1).decisions("label").await, 1);
        let lb = chain.lb(1);
        eventually("lb1 is ready", async || so(lb.fetch("/readyz").await?.0.as_u16() == 200, "not ready")).await;
    });
}

#[test]
fn a_dns_b_comes_and_goes() {
    scenario("failover::a_dns_b_comes_and_goes", async |ground| {
        let size = Size { servers: 2, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, nothing_more).await;
        chain.stop_b(1).await;
        let question = Question::new(chain.ground.isp(1), WWW, RecordType::A);
        assert!(question.try_ask(dns(chain.ground.referral(1))).await.is_none(), "a stopped dns-b answers");
        leads_to(&chain.ask_b(2, 1, WWW).await, "lb1", 3_600);
        assert_eq!(chain.ask_fallback(2, &in_label("lb1")).await.addresses(), [chain.ground.site(1)]);

        chain.start_b(1).await;
        // From the first moment on it denies nothing that b2 hands out.
        let since = Instant::now();
        loop {
            let reply = chain.ask_b(1, 1, &in_label("lb1")).await;
            let good = [ResponseCode::NoError, ResponseCode::ServFail].contains(&reply.code());
            assert!(good, "{reply:?}");
            if reply.authorities().iter().any(|ns| ns.contains(" NS ")) {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "b1 never refers to lb1 again: {reply:?}");
            // One network gets no more than a thousand replies a second.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        assert_eq!(chain.b(1).decisions("mapped").await, 1, "it counts from its start");
        assert_eq!(chain.b(1).counter("dglb_zones").await, 1);
        // b2 has noticed nothing.
        assert_eq!(chain.seen_by(2, 1).await["state"], "alive");
        assert_eq!(chain.b(2).counter("dglb_leases_ended_total").await, 0);
    });
}

#[test]
fn a_dead_site_is_left_by_all() {
    scenario("failover::a_dead_site_is_left_by_all", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, nothing_more).await;
        let name = in_label("lb1");
        let answered_by_all = async |chain: &Chain, site: u8| {
            let want = chain.ground.site(site);
            let replies =
                [chain.ask_lb(1, &name).await, chain.ask_fallback(1, &name).await, chain.ask_b(1, STRANGER, WWW).await];
            let got: Vec<_> = replies.iter().flat_map(Reply::addresses).collect();
            so(got == [want; 3], got)
        };
        eventually("s1 is answered", async || answered_by_all(&chain, 1).await).await;
        let reports = chain.b(1).counter("dglb_reports_total").await;
        chain.sites[0].kill().await;
        eventually("s2 is answered", async || answered_by_all(&chain, 2).await).await;
        chain.sites[1].kill().await;
        // Nothing is left: the last good ones are better than silence, and it says so.
        let alarm = async || {
            let reply = chain.ask_lb(1, &name).await;
            so(reply.extended_error().is_some() && !reply.addresses().is_empty(), reply)
        };
        eventually("the alarm", alarm).await;
        chain.sites[1].revive().await;
        eventually("s2 is answered", async || answered_by_all(&chain, 2).await).await;
        assert_eq!(chain.ask_lb(1, &name).await.extended_error(), None);
        eventually("reports are counted", async || {
            let now = chain.b(1).counter("dglb_reports_total").await;
            so(now >= reports + 3, now)
        })
        .await;
        assert!(chain.lb(1).counter("dglb_lb_probes_total{kind=\"http\",outcome=\"refused\"}").await >= 4);
    });
}

/// A dns-b that has just started may not yet know who sits beside a resolver: until all have come that
/// may come, or a lease has passed, what it says is a guess.
#[test]
fn a_dns_b_that_still_fills_its_store_only_guesses() {
    scenario("failover::a_dns_b_that_still_fills_its_store_only_guesses", async |ground| {
        // lb2 may come, and never does.
        let absent = |ground: &Ground, _| {
            format!("[[peer]]\nidentity = 'lb2'\nrole = 'dns-lb'\nmay-map = ['{}']\n", ground.isp(2))
        };
        let started = Instant::now();
        let chain = Chain::start(ground, Size { servers: 1, lbs: 1, sites: 1 }, absent).await;
        chain.until_handed_out(1, 1).await;
        // A machine that is so slow that this is over may be excused.
        let fills = async || chain.b(1).status().await["filling"] == true;
        let (before, reply, after) = (fills().await, chain.ask_b(1, 1, WWW).await, fills().await);
        if before && after {
            leads_to(&reply, "lb1", 60);
        }
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        assert!(started.elapsed() > Duration::from_secs(4), "it did not wait for lb2");
    });
}
