//! Where a DNS-LB is changes: its own addresses, on its interface, and its ISP's resolvers, in the file that
//! names them. Every dns-b has the new ones within a second, and not the old ones any more.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use dglb_lab::{add_address, remove_address};
use dglb_scenarios::{
    Chain, Ground, Size,
    chain::nothing_more,
    configs::{ZONE, only},
    eventually,
    ground::scenario_at,
    so,
};
use serde_json::Value;

/// Its address at first, and the one that follows.
const ADDRESSES: [&str; 2] = ["10.66.9.1", "10.66.9.2"];
/// dns-bs.
const SERVERS: usize = 2;
/// One second is meant; a machine that has much else to do may take longer.
const BOUND: Duration = Duration::from_secs(10);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A DNS-LB that finds its addresses out by itself, and may map all resolvers of 10.1.0.0/16.
async fn chain(ground: Ground) -> Chain {
    let mut chain = Chain::settled(ground, Size { servers: SERVERS as u8, lbs: 1, sites: 1 }, nothing_more).await;
    chain.stop_lb(1).await;
    // Not port 53, which others have here.
    let listen = format!("listen = ['{}:53']", chain.ground.lb(1));
    chain.change_lb(1, &listen, "listen = ['0.0.0.0:5354']\nadvertise = 'auto'");
    chain.start_lb(1).await;
    chain
}

/// The addresses of the DNS-LB's name at a dns-b, which answers with them at once.
async fn addresses(chain: &Chain, server: usize) -> Vec<IpAddr> {
    let mut addresses = chain.ask_fallback(server as u8, &format!("ns.lb1.{ZONE}")).await.addresses();
    addresses.sort();
    addresses
}

/// The resolvers that a dns-b maps to the DNS-LB.
async fn resolvers(chain: &Chain, server: usize) -> Vec<String> {
    let map: Value = serde_json::from_str(&chain.b(server).page("/api/v1/map").await).unwrap();
    let entries = map["entries"].as_array().cloned().unwrap_or_default();
    let prefixes = entries.iter().map(|entry| entry["prefix"].as_str().unwrap().to_owned());
    prefixes.filter(|prefix| prefix.ends_with("/32")).collect()
}

/// Waits until every dns-b shows what is wanted, and says how long that took.
async fn everywhere<T: PartialEq + std::fmt::Debug>(what: &str, wanted: T, look: impl AsyncFn(usize) -> T) {
    let began = Instant::now();
    for server in 1..=SERVERS {
        eventually(&format!("{what} at b{server}"), async || {
            let seen = look(server).await;
            so(seen == wanted, seen)
        })
        .await;
    }
    let took = began.elapsed();
    println!("{what}: after {took:.1?}");
    assert!(took < BOUND, "{what}: {took:?}");
}

#[test]
fn a_dns_lb_that_is_renumbered_is_known_by_its_new_address_alone() {
    let name = "place::a_dns_lb_that_is_renumbered_is_known_by_its_new_address_alone";
    scenario_at(name, &[ip(ADDRESSES[0])], async |ground| {
        let chain = chain(ground).await;
        let [old, new] = ADDRESSES.map(ip);
        let at = async |server| addresses(&chain, server).await;
        eventually("it is known by its first address", async || {
            let seen = [at(1).await, at(2).await];
            so(seen.iter().all(|seen| *seen == only(old)), seen)
        })
        .await;
        add_address(new).unwrap();
        everywhere("the new address beside the old", vec![old, new], at).await;
        remove_address(old).unwrap();
        everywhere("the new address alone", only(new), at).await;
        // An interface without any for a moment is no news.
        remove_address(new).unwrap();
        let generation = chain.lb(1).counter("dglb_lb_map_generation").await;
        add_address(old).unwrap();
        everywhere("the old address again", only(old), at).await;
        assert_eq!(chain.lb(1).counter("dglb_lb_map_generation").await, generation + 1);
        for server in 1..=SERVERS {
            assert_eq!(chain.b(server).counter("dglb_leases_ended_total").await, 0);
        }
    });
}

/// `/etc/resolv.conf` is a link in most systems, and whoever writes the file behind it (systemd-resolved,
/// resolvconf, NetworkManager) writes another one and renames it.
fn replace(file: &Path, resolver: &str) {
    let new = file.with_extension("new");
    fs::write(&new, format!("# made by a program\nnameserver {resolver}\noptions edns0\n")).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_resolver_that_changes_is_mapped_and_the_old_one_is_not() {
    let name = "place::a_resolver_that_changes_is_mapped_and_the_old_one_is_not";
    scenario_at(name, &[ip(ADDRESSES[0])], async |ground| {
        let chain = chain(ground).await;
        let at = async |server| resolvers(&chain, server).await;
        let directory = chain.path_lb(1, "");
        let (conf, behind) = (directory.join("resolv.conf"), directory.join("behind.conf"));
        replace(&conf, "10.1.0.1");
        everywhere("a file replaced by rename", vec!["10.1.0.1/32".to_owned()], at).await;
        // A link takes the file's place …
        replace(&behind, "10.1.0.2");
        let link = directory.join("link");
        std::os::unix::fs::symlink(&behind, &link).unwrap();
        fs::rename(&link, &conf).unwrap();
        everywhere("a link in the file's place", vec!["10.1.0.2/32".to_owned()], at).await;
        // … and stays, while the file behind it is replaced.
        replace(&behind, "10.1.0.3");
        everywhere("the file behind a link", vec!["10.1.0.3/32".to_owned()], at).await;
        // Nonsense changes nothing.
        fs::write(&behind, "nameserver is.missing\n").unwrap();
        replace(&behind, "10.1.0.4");
        everywhere("another file behind it", vec!["10.1.0.4/32".to_owned()], at).await;
    });
}
