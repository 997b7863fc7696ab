//! Proof of residence through real resolvers: dns-bs that allow no DNS-LB any prefix learn both addresses
//! of every ISP's resolver, and its clients are led to their own DNS-LB. And every DNS-LB finds out that
//! its ISP's users reach it.

use std::{net::IpAddr, time::Duration};

use dglb_lab::{
    Options, programs, sandbox,
    world::{DnsA, Families, ISPS, Plan, Resolver, SERVERS, World},
};
use serde_json::Value;

/// How long it may take until everybody has proven everything. BIND for one asks a server of a zone that
/// it does not know yet several times before the TXT record.
const SETTLE: Duration = Duration::from_secs(40);
/// A look-up.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn through_unbound_and_bind() {
    sandbox::run_test("residence::through_unbound_and_bind", || {
        play([Resolver::Unbound, Resolver::Bind], ["strict", "strict"], Families::Dual);
    });
}

#[test]
fn through_knot_resolver_and_powerdns_recursor() {
    sandbox::run_test("residence::through_knot_resolver_and_powerdns_recursor", || {
        play([Resolver::Knot, Resolver::PowerDns], ["on", "on"], Families::Dual);
    });
}

#[test]
fn without_minimised_names_and_over_ipv4_alone() {
    sandbox::run_test("residence::without_minimised_names_and_over_ipv4_alone", || {
        play([Resolver::PowerDns, Resolver::Unbound], ["off", "off"], Families::V4);
    });
}

fn play(resolvers: [Resolver; ISPS], qmin: [&'static str; ISPS], families: Families) {
    let kinds = resolvers.map(Resolver::kind).into_iter().chain([DnsA::Bind.kind()]);
    let missing: Vec<String> = kinds.filter_map(|kind| programs::usable(kind).err()).map(|e| e.to_string()).collect();
    if !missing.is_empty() {
        return sandbox::skip(&missing.join("; "));
    }
    let mut plan = Plan::new(11);
    (plan.resolvers, plan.qmin, plan.families, plan.dns_a) = (resolvers, qmin, families, DnsA::Bind);
    (plan.mapping, plan.proving) = (false, true);
    let world = World::up(plan, &Options::default()).unwrap_or_else(|error| panic!("{resolvers:?}: {error}"));
    world.wait_delegated(SETTLE).unwrap();
    for isp in 0..ISPS {
        everything_is_proven(&world, isp);
    }
    let settled = world.settle(SETTLE).unwrap();
    println!("{resolvers:?} {families:?}: settled after {settled:.1?}");
    for isp in 0..ISPS {
        its_clients_get_the_best_site(&world, isp);
        its_users_reach_the_dns_lb(&world, isp);
    }
    nobody_else_has_proven_anything(&world);
}

/// The prefixes that a dns-b has by proof of a DNS-LB, sorted.
fn proven(status: &Value, lb: &str) -> Vec<String> {
    let lbs = status["dns_lbs"].as_array().cloned().unwrap_or_default();
    let lb = lbs.into_iter().find(|known| known["identity"] == lb);
    let entries = lb.and_then(|lb| lb["proven"].as_array().cloned()).unwrap_or_default();
    let mut prefixes: Vec<String> = entries.iter().map(|e| e["prefix"].as_str().unwrap().to_owned()).collect();
    prefixes.sort();
    prefixes
}

/// At every dns-b: the resolver's addresses, all of them and no others.
fn everything_is_proven(world: &World, isp: usize) {
    let (resolver, lb) = (format!("isp{}", isp + 1), format!("lb{}", isp + 1));
    let host = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
    let mut wanted: Vec<String> = world.plan().host_addresses(&resolver).iter().map(host).collect();
    wanted.sort();
    for server in SERVERS {
        let what = format!("{lb} has proven {wanted:?} to {server}");
        let took = world.wait(&what, SETTLE, || {
            let status = world.status(server)?;
            let proven = proven(&status, &lb);
            let counters = ["challenges", "nonces_given", "nonces_asked_again", "nonces_unknown", "proofs_accepted"];
            let count = |name: &&str| world.counter(server, &format!("dglb_{name}_total"), "").unwrap_or(0);
            Ok((
                proven == wanted,
                format!("{proven:?}; {counters:?} {:?}", counters.iter().map(count).collect::<Vec<_>>()),
            ))
        });
        println!("{what} after {:.1?}", took.unwrap());
        assert_eq!(world.counter(server, "dglb_proofs_refused_total", "").unwrap(), 0, "{server}");
        assert!(world.counter(server, "dglb_proofs_accepted_total", "").unwrap() >= wanted.len() as u64);
    }
}

fn its_clients_get_the_best_site(world: &World, isp: usize) {
    let got = world.look_up(isp, world.qtype(), PATIENCE).unwrap();
    let best = world.plan().distances().best(isp, |_| true);
    assert_eq!(got.address().and_then(|a| world.site_of(a)), Some(best), "ISP {}: {}", isp + 1, got.describe());
    let mapped = |server: &str| world.counter(server, "dglb_dns_decisions_total", "decision=\"mapped\"").unwrap();
    let mapped: u64 = SERVERS.into_iter().map(mapped).sum();
    assert!(mapped >= 1, "the map matched nobody");
}

/// What its own status says, in words and counters.
fn its_users_reach_the_dns_lb(world: &World, isp: usize) {
    let lb = format!("lb{}", isp + 1);
    let took = world.wait(&format!("the users of {lb}'s ISP reach it"), SETTLE, || {
        let status = world.status(&lb)?;
        let check = &status["self_check"];
        Ok((check["verdict"] == "my ISP's users reach me", check.to_string()))
    });
    took.unwrap();
    let status = world.status(&lb).unwrap();
    println!("{lb}: {}", status["self_check"]["resolvers"]);
    let arrived = |outcome| world.counter(&lb, "dglb_lb_self_checks_total", outcome).unwrap();
    assert!(arrived("outcome=\"itself\"") >= 1);
    for server in SERVERS {
        let residence = &status["residence"][server];
        let mapped = residence["mapped"].as_array().map_or(0, Vec::len);
        assert_eq!(mapped, world.plan().host_addresses("isp1").len(), "{server}: {residence}");
        assert!(residence["refused"].is_null(), "{residence}");
    }
    assert_eq!(world.counter(&lb, "dglb_lb_challenges_total", "outcome=\"foreign\"").unwrap(), 0);
}

/// The default group's DNS-LB has no resolver, so it has nothing to prove.
fn nobody_else_has_proven_anything(world: &World) {
    for server in SERVERS {
        let status = world.status(server).unwrap();
        assert_eq!(proven(&status, "lb3"), [""; 0], "{server}");
    }
    assert_eq!(world.counter("lb3", "dglb_lb_challenges_total", "outcome=\"met\"").unwrap(), 0);
}
