//! Questions and answers.

use dglb_core::dns::Decision;
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use crate::{
    backbone::Backbone,
    host::{Lb, Sites, eventually},
};

/// Whether it answers from a ranking. Before that no dns-b answers: it is the customer's order, and that is said.
fn is_ranked(lb: &Lb) -> bool {
    let said = lb.ask("www.sea1.glb.test.", RecordType::A);
    assert!(said.addresses().is_empty() || [None, Some(14)].contains(&said.ede), "{:?}", said.ede);
    !said.addresses().is_empty() && said.ede.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_start_to_the_best_site() {
    let sites = Sites::start(3).await;
    let (mut b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![sites.catalogue(1)]).await);
    b1.state().welcomes = false;
    b2.state().welcomes = false;
    let lb = Lb::start(&[&b1, &b2]).await;

    // Nobody lets it in: it is alive, not ready, and says so to operators and resolvers.
    let said = lb.ask("www.sea1.glb.test.", RecordType::A);
    assert_eq!((said.message.metadata.response_code, said.ede), (ResponseCode::ServFail, Some(14)));
    assert_eq!(lb.admin("/livez").0, 200);
    let (code, reasons) = lb.admin("/readyz");
    assert_eq!(code, 503);
    assert!(reasons.contains("link: ") && reasons.contains("ranking: "), "{reasons}");

    b1.state().welcomes = true;
    b2.state().welcomes = true;
    eventually("an answer from a ranking", || is_ranked(&lb)).await;
    // The cheapest, though the customer's order has it last.
    assert_eq!(lb.site(), [1]);
    eventually("readiness", || lb.admin("/readyz").0 == 200).await;

    let said = lb.ask("WWW.sEa1.gLb.TEST.", RecordType::A);
    assert!(said.message.metadata.authoritative);
    assert_eq!((said.message.answers[0].ttl, said.ede), (17, None));
    assert_eq!(said.message.queries[0].name().to_string(), "WWW.sEa1.gLb.TEST.", "the letter case is kept");
    let v6 = lb.ask("www.sea1.glb.test.", RecordType::AAAA);
    assert_eq!(v6.addresses(), ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(lb.ask("www.glb.test.", RecordType::A).addresses().len(), 1, "forwarded by the ISP");
    let ns = lb.ask("sea1.glb.test.", RecordType::NS);
    let names: Vec<_> = ns.message.answers.iter().map(|r| r.data.to_string()).collect();
    assert!(
        names.contains(&"ns.sea1.glb.test.".to_owned()) && names.contains(&"f1.sea1.glb.test.".to_owned()),
        "{names:?}"
    );
    assert_eq!(
        lb.ask("ns.sea1.glb.test.", RecordType::A).addresses(),
        ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    let soa = lb.ask("sea1.glb.test.", RecordType::SOA);
    assert!(matches!(&soa.message.answers[0].data, RData::SOA(soa) if soa.serial == 1), "{soa:?}");
    assert_eq!(lb.ask("nobody.sea1.glb.test.", RecordType::A).message.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(lb.ask("www.example.test.", RecordType::A).message.metadata.response_code, ResponseCode::Refused);

    let totals = lb.daemon.dns_counters().totals();
    assert!(totals.decision(Decision::Label) >= 5, "{totals:?}");
    assert!(totals.decision(Decision::NotReady) >= 1 && totals.decision(Decision::Refused) == 1, "{totals:?}");
    assert!(lb.metric("dglb_lb_probes_total{kind=\"http\",outcome=\"ok\"}") >= 8);
    assert!(lb.metric("dglb_lb_probes_total{kind=\"tcp\",outcome=\"ok\"}") >= 8);
    assert_eq!(lb.metric("dglb_lb_services_ranked"), 1);
    assert_eq!(lb.metric("dglb_lb_catalogues_total{outcome=\"accepted\"}"), 1);
    eventually("the status", || lb.status()["probes"]["http"]["ok"].as_u64() >= Some(8)).await;
    let status = lb.status();
    assert_eq!(status["identity"], "sea1");
    assert_eq!(status["boot"].as_str().unwrap().len(), 32);
    assert_eq!(status["isp"]["resolvers"][0], "192.0.2.1");
    assert_eq!(status["catalogues"]["glb.test."], 1);
    let ranking = &status["services"]["www.glb.test."]["ranking"];
    assert_eq!(
        (&ranking["sites"][0]["site"], &ranking["sites"][0]["addresses"][0]["health"]),
        (&"s1".into(), &"up".into())
    );
    assert!(ranking["sites"][0]["addresses"][0]["latency_us"].as_u64().unwrap() > 0);
    assert!(b1.state().violations.is_empty(), "{:?}", b1.state().violations);
    b1.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_site_is_left_and_all_dead_are_better_than_silence() {
    let mut sites = Sites::start(2).await;
    let b1 = Backbone::start("b1", vec![sites.catalogue(1)]).await;
    let lb = Lb::start(&[&b1]).await;
    eventually("an answer", || lb.site() == [1]).await;
    eventually("a report", || b1.state().reported_order("www.glb.test") == ["s1", "s2"]).await;

    sites.kill(0).await;
    // The IPv6 address of s1 still answers, so s1 is not down; who has IPv4 alone is sent elsewhere.
    eventually("the IPv4 address of the other site", || lb.site() == [2]).await;
    assert_eq!(b1.state().reported_order("www.glb.test"), ["s1", "s2"]);
    assert_eq!(lb.ask("www.sea1.glb.test.", RecordType::AAAA).addresses().len(), 1);

    sites.kill(2).await;
    eventually("the report", || b1.state().reported_order("www.glb.test") == ["s2", "s1"]).await;
    assert!(b1.state().reports.iter().any(|r| r.base != 0), "only whole reports were sent");

    sites.kill(1).await;
    eventually("the alarm", || lb.ask("www.sea1.glb.test.", RecordType::A).ede.is_some()).await;
    assert_eq!(lb.site(), [1], "the best of the last good ones");
    assert!(lb.metric("dglb_lb_probes_total{kind=\"http\",outcome=\"refused\"}") >= 6);

    sites.revive(1).await;
    eventually("the first to come back", || lb.site() == [2]).await;
    assert_eq!(lb.ask("www.sea1.glb.test.", RecordType::A).ede, None);
    assert!(lb.daemon.metrics().ranking_changes.get() >= 4);
    assert!(b1.state().violations.is_empty(), "{:?}", b1.state().violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_catalogue_changes_what_is_probed_and_answered() {
    let sites = Sites::start(3).await;
    let b1 = Backbone::start("b1", vec![sites.catalogue(1)]).await;
    let lb = Lb::start(&[&b1]).await;
    eventually("an answer", || lb.site() == [1]).await;
    let mut newer = sites.catalogue(2);
    newer.services[0].sites.retain(|s| s.name != "s1");
    b1.say(dglb_core::proto::message::Message::snapshot(newer));
    eventually("the acknowledgement", || b1.state().catalogue_acks.len() == 2).await;
    eventually("the next site", || lb.site() == [2]).await;
    b1.say(dglb_core::proto::message::Message::snapshot(sites.catalogue(1)));
    eventually("the refusal", || b1.state().catalogue_acks.len() == 3).await;
    assert!(b1.state().catalogue_acks[2].refused.as_ref().unwrap().contains("newer"));
    assert_eq!(lb.site(), [2]);
    assert_eq!(lb.metric("dglb_lb_catalogues_total{outcome=\"refused\"}"), 1);
}
