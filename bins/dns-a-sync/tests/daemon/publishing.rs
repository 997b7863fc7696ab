//! What goes to the dns-bs, and when.

use dglb_core::proto::message::{FleetStamp, Message, Resync};
use dglb_node::lifecycle::Daemon;
use dns_a_sync::DnsASync;

use crate::{
    dns_a::DnsA,
    dns_b::{DnsB, fleet, sites},
    settings::{Settings, Sync},
};

const GLB: &str = "glb.foobar.test";

async fn three_sites() -> DnsA {
    let dns_a = DnsA::start().await;
    for (site, address) in [("sea", "203.0.113.1"), ("fra", "203.0.113.2"), ("hkg", "203.0.113.3")] {
        dns_a.set(&format!("{site}.sites"), &[address]);
    }
    dns_a
}

#[tokio::test]
async fn generations_go_on_from_what_the_dns_bs_remember() {
    let dns_a = three_sites().await;
    let (mut b1, mut b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;

    b1.welcome(&[(GLB, 41)]).await;
    let first = b1.accept().await;
    assert_eq!((first.generation, first.soa_serial), (42, 42));
    assert_eq!(sites(&first)["sea"], ["203.0.113.1"]);
    assert_eq!(first.services[0].host.to_string(), "www.foobar.test.");
    b2.welcome(&[(GLB, 7)]).await;
    assert_eq!(b2.accept().await, first, "b2 is behind and gets the same");

    // Another reading, and another serial, without another content: nothing.
    let read = dns_a.questions();
    dns_a.set("unrelated", &["192.0.2.1"]);
    b1.silence().await;
    assert!(dns_a.questions() > read + 8, "it was not even read");

    dns_a.set("sea.sites", &["203.0.113.1", "2001:db8::1"]);
    let second = b1.accept().await;
    assert_eq!(
        (second.generation, &sites(&second)["sea"][..]),
        (43, &["203.0.113.1".to_owned(), "2001:db8::1".to_owned()][..])
    );
    assert_eq!(b2.accept().await, second);
    let status = sync.until("acknowledged", |s| s["zones"][0]["acknowledged"]["b2"] == 43).await;
    assert_eq!(status["zones"][0]["generation"], 43);
    sync.until("well", |s| s["dns_a"]["problem"].is_null()).await;
    assert_eq!(sync.metric("dglb_sync_publications_total{zone=\"glb.foobar.test.\"}").await, 2);
    let series = "dglb_sync_acknowledged_generation{zone=\"glb.foobar.test.\",peer=\"b1\"}";
    assert_eq!(sync.metric(series).await, 43);
    sync.stop().await;
}

#[tokio::test]
async fn a_number_that_is_not_ours_is_passed_by_everywhere() {
    let dns_a = three_sites().await;
    let (mut b1, mut b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    assert_eq!(b1.accept().await.generation, 1);
    // b2 holds a generation 1 of an earlier life, and nobody knows what is in it.
    b2.welcome(&[(GLB, 1)]).await;
    assert_eq!(b2.accept().await.generation, 2);
    assert_eq!(b1.accept().await.generation, 2);
    sync.stop().await;
}

#[tokio::test]
async fn who_comes_back_is_sent_what_it_missed_and_nothing_else() {
    let dns_a = three_sites().await;
    let mut b1 = DnsB::start("b1").await;
    let settings = Settings::new(dns_a.address, &[("b1", b1.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    assert_eq!(b1.accept().await.generation, 1);

    let address = b1.stop().await;
    sync.until("down", |s| s["dns_bs"][0]["link"] == "down").await;
    let mut b1 = DnsB::start_at("b1", address).await;
    b1.welcome(&[(GLB, 1)]).await;
    b1.silence().await;

    let address = b1.stop().await;
    dns_a.set("fra.sites", &["203.0.113.22"]);
    sync.until("published", |s| s["zones"][0]["generation"] == 2).await;
    dns_a.set("fra.sites", &["203.0.113.23"]);
    sync.until("published", |s| s["zones"][0]["generation"] == 3).await;
    let mut b1 = DnsB::start_at("b1", address).await;
    b1.welcome(&[(GLB, 1)]).await;
    let newest = b1.accept().await;
    assert_eq!((newest.generation, &sites(&newest)["fra"][..]), (3, &["203.0.113.23".to_owned()][..]));
    b1.silence().await;

    // It has lost everything and says so.
    b1.say(Message::Resync(Resync::Catalogue { zone: GLB.parse().unwrap(), held: 0 })).await;
    assert_eq!(b1.accept().await, newest);
    b1.say(Message::Resync(Resync::Catalogue { zone: "other.test".parse().unwrap(), held: 0 })).await;
    b1.silence().await;
    assert_eq!(sync.metric("dglb_sync_resyncs_total{peer=\"b1\"}").await, 1);
    sync.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_until_something_newer_is_accepted() {
    let dns_a = three_sites().await;
    let mut b1 = DnsB::start("b1").await;
    let settings = Settings::new(dns_a.address, &[("b1", b1.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    let first = b1.catalogue().await;
    b1.answer(&first, Some("\"sync\" may not publish this")).await;
    let refused = |s: &serde_json::Value| s["zones"][0]["refused"]["b1"] == "\"sync\" may not publish this";
    let status = sync.until("refused", refused).await;
    assert_eq!(status["zones"][0]["acknowledged"]["b1"], 0);
    assert_eq!(sync.metric("dglb_sync_refusals_total{zone=\"glb.foobar.test.\",peer=\"b1\"}").await, 1);
    assert_eq!(sync.fetch("/readyz").await.0, 503, "nobody has taken anything yet");

    dns_a.set("sea.sites", &["203.0.113.9"]);
    b1.accept().await;
    sync.until("accepted", |s| s["zones"][0]["acknowledged"]["b1"] == 2 && !refused(s)).await;
    assert_eq!(sync.fetch("/readyz").await.0, 200);
    sync.stop().await;
}

#[tokio::test]
async fn a_dns_b_with_another_name_gets_nothing() {
    let dns_a = three_sites().await;
    let mut b2 = DnsB::start("b2").await;
    let settings = Settings::new(dns_a.address, &[("b1", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    let says = "the certificate is dglb:dns-b:b2's, not dglb:dns-b:b1's";
    let told = |s: &serde_json::Value| s["dns_bs"][0]["problem"].as_str().is_some_and(|p| p.contains(says));
    let status = sync.until("told", told).await;
    assert_eq!(status["dns_bs"][0]["link"], "down");
    b2.silence().await;
    sync.stop().await;
}

#[tokio::test]
async fn a_dns_b_of_the_fleet_document_that_nobody_dials_is_an_alarm() {
    let dns_a = three_sites().await;
    // Everybody's document names b1, and this daemon knows of b2 alone.
    let mut b2 = DnsB::start("b2").await;
    let settings = Settings::new(dns_a.address, &[("b2", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b2.welcome(&[]).await;
    let status = sync.until("told", |s| s["dns_bs_not_dialled"] != serde_json::json!([])).await;
    assert_eq!(status["dns_bs_not_dialled"], serde_json::json!(["b1"]));
    assert_eq!(sync.metric("dglb_sync_fleet_not_dialled").await, 1);
    sync.stop().await;
}

#[tokio::test]
async fn a_failing_dns_a_changes_nothing() {
    let dns_a = three_sites().await;
    let mut b1 = DnsB::start("b1").await;
    let settings = Settings::new(dns_a.address, &[("b1", b1.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    b1.accept().await;
    dns_a.fail(true);
    dns_a.set("sea.sites", &["203.0.113.99"]);
    let status =
        sync.until("told", |s| s["dns_a"]["problem"].as_str().is_some_and(|p| p.contains("Server Failure"))).await;
    assert_eq!(status["zones"][0]["generation"], 1);
    b1.silence().await;
    assert_eq!(sync.fetch("/readyz").await.0, 200);
    assert!(sync.metric("dglb_sync_readings_total{outcome=\"failed\"}").await > 0);
    dns_a.fail(false);
    assert_eq!(sites(&b1.accept().await)["sea"], ["203.0.113.99"]);
    sync.until("well", |s| s["dns_a"]["problem"].is_null()).await;
    sync.stop().await;
}

#[tokio::test]
async fn guard_rails_hold_until_somebody_forces_them() {
    let dns_a = three_sites().await;
    let mut b1 = DnsB::start("b1").await;
    let settings = Settings::new(dns_a.address, &[("b1", b1.address)]).with_state();
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    assert_eq!(sites(&b1.accept().await).len(), 3);
    dns_a.set("sea.sites", &[]);
    assert_eq!(sites(&b1.accept().await).len(), 2, "one of three may go");
    // Two of three would be gone from what was published first, one of two from what is now.
    dns_a.set("fra.sites", &[]);
    assert_eq!(sites(&b1.accept().await).len(), 1);
    dns_a.set("hkg.sites", &[]);
    let held = |s: &serde_json::Value| s["zones"][0]["held_back"].as_array().is_some_and(|h| h.len() == 1);
    sync.until("held back", held).await;
    b1.silence().await;
    assert_eq!(sync.metric("dglb_sync_held_services{zone=\"glb.foobar.test.\"}").await, 1);

    // All three come back, with three addresses each; then all but two of the nine are gone.
    for site in ["sea", "fra", "hkg"] {
        let addresses: Vec<String> = (1..4).map(|n| format!("198.51.100.{n}")).collect();
        dns_a.set(&format!("{site}.sites"), &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let whole = |c: &dglb_core::catalogue::ZoneCatalogue| sites(c).values().map(Vec::len).sum::<usize>() == 9;
    let mut last = b1.accept().await;
    while !whole(&last) {
        last = b1.accept().await;
    }
    dns_a.fail(true);
    sync.until("failing", |s| !s["dns_a"]["problem"].is_null()).await;
    dns_a.set("sea.sites", &["198.51.100.1"]);
    dns_a.set("fra.sites", &["198.51.100.1"]);
    dns_a.set("hkg.sites", &[]);
    dns_a.fail(false);
    let status = sync.until("held back", held).await;
    assert!(status["zones"][0]["held_back"][0].as_str().unwrap().contains("--force"), "{status:#}");
    sync.stop().await;
    b1.down().await;

    // A restart alone does not help, since what was published is kept; force does.
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[(GLB, last.generation)]).await;
    sync.until("held back", held).await;
    b1.silence().await;
    sync.stop().await;
    b1.down().await;
    let sync: Sync<true> = Sync::start(&settings.file()).await;
    b1.welcome(&[(GLB, last.generation)]).await;
    let forced = b1.accept().await;
    assert_eq!((forced.generation, sites(&forced).len()), (last.generation + 1, 2));
    sync.stop().await;
}

#[tokio::test]
async fn a_restart_with_state_is_no_news() {
    let dns_a = three_sites().await;
    let mut b1 = DnsB::start("b1").await;
    let settings = Settings::new(dns_a.address, &[("b1", b1.address)]).with_state();
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[(GLB, 8)]).await;
    let published = b1.accept().await;
    sync.until("acknowledged", |s| s["zones"][0]["acknowledged"]["b1"] == 9).await;
    sync.stop().await;
    b1.down().await;
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[(GLB, 9)]).await;
    sync.until("read", |s| s["dns_a"]["serial"].is_number()).await;
    b1.silence().await;
    let status = sync.status().await;
    assert_eq!((&status["zones"][0]["generation"], &status["zones"][0]["acknowledged"]["b1"]), (&9.into(), &9.into()));
    dns_a.set("sea.sites", &["203.0.113.77"]);
    assert_eq!(b1.accept().await.generation, published.generation + 1);
    sync.stop().await;
}

#[tokio::test]
async fn the_newest_fleet_document_says_how_to_delegate_once_the_zone_is_served() {
    let dns_a = three_sites().await;
    let (b1, b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let (mut b1, mut b2) = (b1.with_serial(6), b2.with_serial(7));
    let settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    b2.welcome(&[]).await;
    let to_b1 = b1.catalogue().await;
    b2.catalogue().await;
    b1.delegation(GLB, &[("b1.glb.foobar.test", "192.0.2.1")]).await;
    // Not a name of a dns-b, so not heeded at all.
    b2.delegation(GLB, &[("ns.example.net", "192.0.2.9")]).await;
    sync.until("told", |s| s["dns_bs"][1]["problem"].as_str().is_some_and(|p| p.contains("ns.example.net"))).await;
    b2.delegation(GLB, &[("b1.glb.foobar.test", "192.0.2.1"), ("b2.glb.foobar.test", "192.0.2.2")]).await;
    b2.silence().await;
    assert_eq!(sync.status().await["zones"][0]["delegation"]["state"], "waiting", "nobody serves the zone yet");

    b1.answer(&to_b1, None).await;
    let lines = |s: &serde_json::Value| -> Vec<String> {
        let lines = s["zones"][0]["delegation"]["to_be_changed"].as_array().cloned().unwrap_or_default();
        lines.iter().map(|l| l.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let status = sync.until("printed", |s| s["zones"][0]["delegation"]["state"] == "printed").await;
    assert_eq!(
        lines(&status),
        [
            "glb.foobar.test. 300 IN NS b1.glb.foobar.test.",
            "glb.foobar.test. 300 IN NS b2.glb.foobar.test.",
            "b1.glb.foobar.test. 300 IN A 192.0.2.1",
            "b2.glb.foobar.test. 300 IN A 192.0.2.2",
            "www.foobar.test. 3600 IN CNAME www.glb.foobar.test.",
        ]
    );

    // b1 gets a newer document and now speaks for all.
    b1.say(Message::Fleet(Box::new(fleet(8)))).await;
    b1.delegation(GLB, &[("b3.glb.foobar.test", "192.0.2.3")]).await;
    sync.until("changed", |s| lines(s).iter().any(|l| l.contains("b3")) && lines(s).len() == 3).await;
    assert_eq!(sync.status().await["dns_bs"][0]["fleet_serial"], 8);
    sync.stop().await;
}

#[tokio::test]
async fn fleet_documents_that_disagree_raise_an_alarm_and_hello_names_the_newest() {
    let dns_a = three_sites().await;
    let (b1, b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let (mut b1, mut b2) = (b1.with_serial(6), b2.with_serial(7));
    let settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    let sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    b2.welcome(&[]).await;
    assert_eq!((b1.named, b1.accept().await.generation), (FleetStamp::default(), 1));
    let is = |serial: u32, disagree: &[&str]| serde_json::json!({ "serial": serial, "disagree": disagree });
    sync.until("the older one is behind", |s| s["fleet"] == is(7, &["b1"])).await;
    assert_eq!(sync.metric("dglb_sync_fleet_serial").await, 7);
    assert_eq!(sync.metric("dglb_sync_fleet_disagreements").await, 1);
    b1.say(Message::Fleet(Box::new(fleet(7)))).await;
    sync.until("agreement", |s| s["fleet"] == is(7, &[])).await;
    // One serial, two documents.
    let mut other = fleet(7);
    other.ttl.retry = 1;
    b1.say(Message::Fleet(Box::new(other))).await;
    sync.until("the first one is kept", |s| s["fleet"] == is(7, &["b1"])).await;
    // b1 comes back with the right one: it is named to it, so it does not say it again.
    let b1 = b1.stop().await;
    sync.until("down", |s| s["fleet"] == is(7, &[])).await;
    let mut b1 = DnsB::start_at("b1", b1).await.with_serial(7);
    b1.welcome(&[(GLB, 1)]).await;
    assert_eq!(b1.named, fleet(7).stamp());
    sync.until("up", |s| s["dns_bs"][0]["link"] == "up").await;
    let status = sync.status().await;
    assert_eq!((&status["fleet"], &status["dns_bs"][0]["fleet_serial"]), (&is(7, &[]), &7.into()));
    sync.stop().await;
}

#[tokio::test]
async fn only_a_zone_that_is_named_for_it_is_withdrawn() {
    let dns_a = three_sites().await;
    let (mut b1, mut b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let mut settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    settings.text = format!("withdraw = ['old.foobar.test', 'never.foobar.test']\n{}", settings.text);
    let mut sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[(GLB, 3), ("old.foobar.test", 7), ("left-alone.foobar.test", 9)]).await;
    assert_eq!(b1.withdrawal().await, ("old.foobar.test.".to_owned(), 8));
    assert_eq!(b1.accept().await.generation, 4);
    b2.welcome(&[("old.foobar.test", 8)]).await;
    assert_eq!(b2.accept().await.generation, 4);
    b2.silence().await;
    let status = sync.until("withdrawn", |s| s["withdrawn"][0]["acknowledged"]["b1"] == 8).await;
    assert_eq!(status["withdrawn"][0]["generation"], 8);
    assert_eq!(status["withdrawn"][1]["generation"], serde_json::Value::Null, "nobody ever had it");

    // The published zone goes, too, and comes back with a number above.
    let load = |settings: &Settings| DnsASync::<false>::load(&settings.file()).unwrap().value;
    let whole = settings.text.clone();
    let (top, rest) = whole.split_once("[[zone]]").unwrap();
    let servers = rest.find("[[dns-b]]").unwrap();
    settings.text = top.replace("'never.foobar.test'", "'glb.foobar.test'") + &rest[servers..];
    sync.daemon.reload(load(&settings)).unwrap();
    for b in [&mut b1, &mut b2] {
        assert_eq!(b.withdrawal().await, ("glb.foobar.test.".to_owned(), 5));
    }
    settings.text = whole;
    sync.daemon.reload(load(&settings)).unwrap();
    assert_eq!(b1.accept().await.generation, 6);
    assert_eq!(b2.accept().await.generation, 6);
    sync.stop().await;
}
