//! Where the DNS-LB is changes: every dns-b hears of it within one second, and what it held before is
//! withdrawn by the same message. Seen on the wire.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dglb_core::proto::message::{Challenge, Message, Nonce};
use dglb_node::lifecycle::Daemon;
use dns_lb::DnsLb;
use hickory_proto::rr::RecordType;

use crate::{
    backbone::Backbone,
    host::{Lb, eventually},
};

/// How many changes are timed. The quickest is as quick as is promised; the middle one has more time, since others
/// use this machine, too.
const CHANGES: u8 = 5;
const BOUND: Duration = Duration::from_secs(5);

/// The last MAP's resolvers and addresses, and its generation.
fn place(server: &Backbone) -> (Vec<String>, Vec<String>, u64) {
    let state = server.state();
    let Some(map) = state.maps.last() else { return Default::default() };
    let entries = map.entries.iter().map(|entry| entry.prefix.to_string());
    // The last entry is the network of the clients, which stays.
    let resolvers = entries.filter(|prefix| prefix != "198.51.100.0/24").collect();
    (resolvers, map.addresses.iter().map(ToString::to_string).collect(), map.generation)
}

/// Makes a few changes, each to the next resolver, and takes the time until both dns-bs have a newer MAP
/// that has this resolver and no other.
async fn timed(servers: [&Backbone; 2], mut change: impl FnMut(&str)) {
    let mut took = Vec::new();
    for n in 1..=CHANGES {
        let resolver = format!("192.0.2.{}", 100 + n);
        let before = servers.map(|server| place(server).2);
        let started = Instant::now();
        change(&resolver);
        let wanted = vec![format!("{resolver}/32")];
        eventually("both dns-bs have the new resolver alone", || {
            servers.iter().zip(before).all(|(server, before)| {
                let (resolvers, _, generation) = place(server);
                resolvers == wanted && generation > before
            })
        })
        .await;
        took.push(started.elapsed());
    }
    took.sort();
    assert!(took[0] < Duration::from_secs(1) && took[usize::from(CHANGES) / 2] < BOUND, "{took:?}");
    servers.iter().for_each(|server| assert!(server.state().violations.is_empty(), "{:?}", server.state().violations));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolv_conf_that_is_replaced() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("both have a map", || [&b1, &b2].iter().all(|b| !b.state().maps.is_empty())).await;
    timed([&b1, &b2], |resolver| lb.replace_resolv_conf(&format!("nameserver {resolver}\n"))).await;
    lb.stop().await;
}

/// As resolvconf, NetworkManager and systemd have it: `/etc/resolv.conf` is a link, and a new link is
/// renamed over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolv_conf_that_is_a_link_to_another_file() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    let lb = Lb::start(&[&b1, &b2]).await;
    eventually("both have a map", || [&b1, &b2].iter().all(|b| !b.state().maps.is_empty())).await;
    timed([&b1, &b2], |resolver| {
        let file = lb.path(&format!("of-{resolver}"));
        std::fs::write(&file, format!("nameserver {resolver}\n")).unwrap();
        std::os::unix::fs::symlink(&file, lb.path("link")).unwrap();
        std::fs::rename(lb.path("link"), lb.path("resolv.conf")).unwrap();
    })
    .await;
    lb.stop().await;
}

fn reload(lb: &mut Lb, path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    lb.daemon.reload(DnsLb::load(path).unwrap().value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_the_configuration() {
    let (b1, b2) = (Backbone::start("b1", vec![]).await, Backbone::start("b2", vec![]).await);
    let mut lb = Lb::start(&[&b1, &b2]).await;
    eventually("both have a map", || [&b1, &b2].iter().all(|b| !b.state().maps.is_empty())).await;
    let path = lb.path("dns-lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    timed([&b1, &b2], |resolver| {
        // One reload at a time is taken; the last one was over when the maps had come.
        reload(&mut lb, &path, &text.replace("resolv-conf = 'resolv.conf'", &format!("resolvers = ['{resolver}']")));
    })
    .await;
    reload(&mut lb, &path, &text.replace("lanes = 1", "lanes = 1, advertise = ['203.0.113.77']"));
    eventually("both have the new address alone", || {
        [&b1, &b2].iter().all(|server| place(server).1 == ["203.0.113.77"])
    })
    .await;
    lb.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_addresses_are_answered_at_its_own_name() {
    let b1 = Backbone::start("b1", vec![crate::host::Sites::start(1).await.catalogue(1)]).await;
    let mut lb = Lb::start(&[&b1]).await;
    let path = lb.path("dns-lb.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    reload(&mut lb, &path, &text.replace("lanes = 1", "lanes = 1, advertise = ['203.0.113.77']"));
    eventually("the new glue", || {
        let addresses = lb.ask("ns.sea1.glb.test.", RecordType::A).addresses();
        addresses == ["203.0.113.77".parse::<std::net::IpAddr>().unwrap()]
    })
    .await;
    lb.stop().await;
}

/// A hostile dns-b cannot make a DNS-LB ask its resolver for whatever it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_about_other_names_is_not_met() {
    let b1 = Backbone::start("b1", vec![]).await;
    let lb = Lb::start(&[&b1]).await;
    eventually("a map", || !b1.state().maps.is_empty()).await;
    let digits = "5a".repeat(16);
    for zone in ["victim.test", "4.b2.prove.ops.test"] {
        let names = vec![format!("{digits}.{zone}").parse().unwrap()];
        b1.say(Message::Challenge(Challenge { nonce: Nonce([0x5a; 16]), names, expires_ms: 5_000 }));
    }
    let counted = "dglb_lb_challenges_total{outcome=\"foreign\"}";
    eventually("both are counted", || lb.admin("/metrics").1.contains(&format!("{counted} 2"))).await;
    assert!(!lb.admin("/metrics").1.contains("outcome=\"met\""));
    assert!(b1.state().violations.is_empty());
    lb.stop().await;
}
