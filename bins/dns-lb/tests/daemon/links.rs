//! Registration and reports over links that come and go.

use dglb_core::proto::message::{EntryKind, FleetStamp, Message, Resync};
use dglb_node::lifecycle::{Daemon, Stopped};
use dns_lb::DnsLb;
use hickory_proto::rr::RecordType;

use crate::{
    backbone::{Backbone, fleet},
    host::{Lb, Sites, eventually},
    tls::equip,
};

fn no_violations(servers: &[&Backbone]) {
    for server in servers {
        assert!(server.state().violations.is_empty(), "{:?}", server.state().violations);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_with_all_then_ready() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    b2.state().acknowledges = false;
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("maps", || !b1.state().maps.is_empty() && !b2.state().maps.is_empty()).await;
    let map = b1.state().maps[0].clone();
    let entries: Vec<_> = map.entries.iter().map(|e| (e.prefix.to_string(), e.kind)).collect();
    assert_eq!(
        entries,
        [("192.0.2.1/32".to_owned(), EntryKind::Resolver), ("198.51.100.0/24".to_owned(), EntryKind::Client)]
    );
    assert_eq!((map.addresses, map.lease_ms), (vec!["127.0.0.1".parse().unwrap()], 60_000));
    // While b2 is connected and has not acknowledged, nobody may hand this DNS-LB out.
    eventually("both links", || lb.metric("dglb_link_up") == 2).await;
    b2.say(Message::Resync(Resync::Map));
    eventually("the map again", || b2.state().maps.len() == 2).await;
    assert_eq!((b2.state().readies.len(), b1.state().readies.len()), (0, 0));
    // What it got twice is no violation here: it asked for it.
    b2.state().violations.clear();
    b2.state().acknowledges = true;
    b2.state().held.0 = 0;
    b2.say(Message::Resync(Resync::Map));
    eventually("READY at b1", || b1.state().ready() == ["b1", "b2"]).await;
    eventually("READY at b2", || b2.state().ready() == ["b1", "b2"]).await;
    assert_eq!(lb.metric("dglb_lb_registered"), 1);
    no_violations(&[&b1, &b2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_resolver_is_everywhere_within_seconds() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("READY", || b2.state().ready() == ["b1", "b2"] && b1.state().ready() == ["b1", "b2"]).await;
    let before = b1.state().held.0;
    lb.replace_resolv_conf("nameserver 192.0.2.7\nnameserver 2001:db8::7\n");
    let holds = |b: &Backbone| {
        let state = b.state();
        let prefixes: Vec<_> = state.maps.last().unwrap().entries.iter().map(|e| e.prefix.to_string()).collect();
        prefixes == ["192.0.2.7/32", "2001:db8::7/128", "198.51.100.0/24"]
    };
    eventually("the new resolvers", || holds(&b1) && holds(&b2)).await;
    eventually("READY again", || b1.state().readies.last().unwrap().map_generation > before).await;
    eventually("the status", || lb.status()["isp"]["resolvers"][1] == "2001:db8::7").await;
    no_violations(&[&b1, &b2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_come_back_and_go_on_from_what_is_held() {
    let sites = Sites::start(1).await;
    let catalogue = vec![sites.catalogue(1)];
    let (mut b1, mut b2) = (Backbone::start("b1", catalogue.clone()).await, Backbone::start("b2", catalogue).await);
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("READY", || b1.state().ready() == ["b1", "b2"] && b2.state().ready() == ["b1", "b2"]).await;
    eventually("reports", || !b1.state().reports.is_empty() && !b2.state().reports.is_empty()).await;

    b2.stop().await;
    eventually("READY without b2", || b1.state().ready() == ["b1"]).await;
    eventually("the status", || lb.status()["links"][1]["state"] == "down").await;
    assert_eq!(lb.site(), [1], "it answers whoever is connected");

    // With its memory: the same is said once more, by the same number.
    let maps = b2.state().maps.len();
    let generation = b2.state().held.0;
    b2.restart().await;
    eventually("READY with b2", || b1.state().ready() == ["b1", "b2"]).await;
    assert_eq!(b2.state().maps.len(), maps + 1);
    assert_eq!(b2.state().held.0, generation);

    // Without its memory: everything is told again.
    b2.stop().await;
    b2.state().held = (0, 0);
    let reports = b2.state().reports.len();
    b2.restart().await;
    eventually("the map", || b2.state().maps.len() > maps + 1).await;
    eventually("the report", || b2.state().reports.len() > reports).await;
    assert_eq!(b2.state().reports[reports].base, 0);

    // With somebody else's memory of an earlier run: counted on from there, at both.
    b1.stop().await;
    b1.state().held = (1_000, 2_000);
    b1.restart().await;
    eventually("the next generation", || b1.state().held.0 > 1_000 && b2.state().held.0 > 1_000).await;
    eventually("the next report", || b1.state().held.1 > 2_000 && b2.state().held.1 > 2_000).await;
    eventually("READY", || b2.state().readies.last().unwrap().map_generation > 1_000).await;
    eventually("the metric", || lb.metric("dglb_lb_map_generation") == 1_001).await;
    no_violations(&[&b1, &b2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_dns_lb_counts_on_and_says_bye() {
    let sites = Sites::start(1).await;
    let b1 = Backbone::start("b1", vec![sites.catalogue(1)]).await;
    let lb = Lb::start(&[&b1]).await;
    eventually("a report", || !b1.state().reports.is_empty()).await;
    let address = lb.daemon.dns_addresses()[0];
    assert_eq!(lb.stop().await, Stopped::default());
    eventually("BYE", || b1.state().ends == ["BYE Shutdown"]).await;
    assert!(std::net::UdpSocket::bind(address).is_ok(), "the DNS socket is still held");

    let before = b1.state().held;
    let lb = Lb::start(&[&b1]).await;
    eventually("a newer map and report", || b1.state().held.0 > before.0 && b1.state().held.1 > before.1).await;
    assert_eq!(b1.state().reports.iter().filter(|r| r.generation == before.1 + 1).count(), 1);
    let boots: Vec<_> = b1.state().hellos.iter().map(|h| h.boot).collect();
    assert_ne!(boots[0], boots[1]);
    eventually("reports acknowledged", || lb.metric("dglb_lb_reports_acknowledged_total") >= 1).await;
    no_violations(&[&b1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_dns_b_is_not_spoken_with() {
    let (b1, b3) = (Backbone::start("b1", vec![]).await, Backbone::start("b3", vec![]).await);
    let lb = Lb::expecting(&["b1", "b2"], &[&b1, &b3]).await;
    eventually("READY", || b1.state().ready() == ["b1"]).await;
    eventually("the reason", || lb.status()["links"][1]["reason"].as_str().is_some_and(|r| r.contains("b3"))).await;
    assert_eq!(lb.status()["links"][1]["state"], "down");
    assert!(b3.state().hellos.is_empty(), "it was told something");
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_documents_that_disagree_raise_an_alarm() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    b2.state().fleet = fleet(2);
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("the alarm", || lb.metric("dglb_lb_fleet_disagreements") == 1).await;
    assert_eq!(lb.metric("dglb_lb_fleet_serial"), 2);
    let shown = serde_json::json!({ "serial": 2, "disagree": ["b1"], "not_dialled": [] });
    eventually("the status says so, too", || lb.status()["fleet"] == shown).await;
    b1.say(Message::Fleet(Box::new(fleet(2))));
    eventually("agreement", || lb.metric("dglb_lb_fleet_disagreements") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_names_the_fleet_document_that_is_held() {
    let mut b1 = Backbone::start("b1", vec![]).await;
    b1.state().fleet = fleet(4);
    let lb = Lb::start(&[&b1]).await;
    eventually("the document", || lb.metric("dglb_lb_fleet_serial") == 4).await;
    assert_eq!(b1.state().hellos[0].fleet, FleetStamp::default());
    b1.restart().await;
    eventually("another HELLO", || b1.state().hellos.len() > 1).await;
    assert_eq!(b1.state().hellos.last().unwrap().fleet, fleet(4).stamp());
    eventually("the link", || lb.status()["links"][0]["state"] == "up").await;
    // WELCOME had no document, and none was needed.
    assert_eq!((lb.metric("dglb_lb_fleet_serial"), lb.metric("dglb_lb_fleet_disagreements")), (4, 0));
    // One serial, two documents: its own stays.
    let mut other = fleet(4);
    other.ttl.retry = 1;
    b1.say(Message::Fleet(Box::new(other)));
    eventually("the alarm", || lb.metric("dglb_lb_fleet_disagreements") == 1).await;
    b1.restart().await;
    eventually("a third HELLO", || b1.state().hellos.len() > 2).await;
    assert_eq!(b1.state().hellos.last().unwrap().fleet, fleet(4).stamp());
    no_violations(&[&b1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_isp_and_names_what_it_cannot_change() {
    let b1 = Backbone::start("b1", vec![]).await;
    let mut lb = Lb::start(&[&b1]).await;
    eventually("a map", || !b1.state().maps.is_empty()).await;
    let path = lb.path("dns-lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::create_dir(lb.path("other")).unwrap();
    equip("dglb:dns-lb:sea2", &lb.path("other"));
    std::fs::write(&path, text.replace("sea1", "sea2").replace("'tls/", "'other/")).unwrap();
    let error = lb.daemon.reload(DnsLb::load(&path).unwrap().value).unwrap_err();
    assert_eq!(error, "identity has changed, which takes a restart");

    std::fs::write(&path, text.replace("resolv-conf = 'resolv.conf'", "resolvers = ['192.0.2.99'], weight = 5"))
        .unwrap();
    lb.daemon.reload(DnsLb::load(&path).unwrap().value).unwrap();
    eventually("the new map", || {
        let state = b1.state();
        let entry = &state.maps.last().unwrap().entries[0];
        (entry.prefix.to_string().as_str(), entry.weight) == ("192.0.2.99/32", 5)
    })
    .await;
    no_violations(&[&b1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_conduct_and_names_what_of_dns_it_cannot_change() {
    let b1 = Backbone::start("b1", vec![]).await;
    let mut lb = Lb::start(&[&b1]).await;
    let path = lb.path("dns-lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut reload = |dns: &str| {
        std::fs::write(&path, text.replace("lanes = 1", &format!("lanes = 1, {dns}"))).unwrap();
        lb.daemon.reload(DnsLb::load(&path).unwrap().value)
    };
    let restart = |key: &str| Err(format!("{key} has changed, which takes a restart"));
    assert_eq!(reload("rate-limit.table-size = 128"), restart("dns.rate-limit.table-size"));
    assert_eq!(reload("udp-payload = 600, rate-limit.slip = 1"), Ok(()));
    // The reply says in its OPT record what the server takes.
    eventually("the new size", || {
        let said = lb.ask("www.glb.test.", RecordType::A).message;
        said.edns.is_some_and(|edns| edns.max_payload() == 600)
    })
    .await;
}
