//! Keeping the delegation.

use std::{collections::BTreeMap, sync::Arc};

use dglb_core::{catalogue::ZoneStyle, proto::message::Delegation};
use dns_a_sync::{
    config::{Config, DelegationMode},
    delegation::{Delegations, Delegator, Offer, State, Wanted, ZoneDelegation, merge},
    metrics::Metrics,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{Named, PATIENCE, SECRET, Zone, config, key, lines, name, program};

const ORIGIN: &str = "foobar.test";
/// What BIND has from the start in every test.
const BASE: [&str; 2] = ["foobar.test. 300 NS ns.foobar.test.", "ns.foobar.test. 300 A 127.0.0.1"];

/// The task under test and what it is fed with.
struct Running {
    config: watch::Sender<Arc<Config>>,
    wanted: watch::Sender<BTreeMap<dglb_core::name::Name, Wanted>>,
    outcome: watch::Receiver<Delegations>,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(config: Config) -> Self {
        let (config, config_out) = watch::channel(Arc::new(config));
        let (wanted, wanted_out) = watch::channel(BTreeMap::new());
        let (outcome_in, outcome) = watch::channel(Delegations::new());
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let keeper =
            Delegator { config: config_out, wanted: wanted_out, outcome: outcome_in, metrics: metrics.clone() };
        let task = tokio::spawn(keeper.run(stop.clone()));
        Self { config, wanted, outcome, metrics, stop, task }
    }

    /// Says how the only zone shall be delegated.
    fn want(&self, ttl: u32, servers: &[(&str, &[&str])]) {
        let zone = self.config.borrow().zones[0].name.clone();
        let servers = servers
            .iter()
            .map(|(server, addresses)| (name(server), addresses.iter().map(|a| a.parse().unwrap()).collect()));
        let delegation = Delegation { zone: zone.clone(), ttl, servers: servers.collect() };
        let wanted = merge([Offer { serial: 1, delegation }].iter()).unwrap();
        self.wanted.send_replace(BTreeMap::from([(zone, wanted)]));
    }

    /// Waits until the only zone is in this state.
    async fn until(&mut self, state: State) -> ZoneDelegation {
        let mut outcome = self.outcome.clone();
        let reached = outcome.wait_for(|all| all.values().any(|d| d.state == state));
        let Ok(reached) = tokio::time::timeout(PATIENCE, reached).await else {
            panic!("never {state:?}: {:?}", *self.outcome.borrow());
        };
        reached.unwrap().values().next().unwrap().clone()
    }

    /// Waits for the outcomes of two looks that began after the call.
    async fn two_looks(&mut self) -> ZoneDelegation {
        self.outcome.mark_unchanged();
        for _ in 0..3 {
            tokio::time::timeout(PATIENCE, self.outcome.changed()).await.unwrap().unwrap();
        }
        self.outcome.borrow().values().next().unwrap().clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn start(records: &str) -> Option<Named> {
    program().map(|program| Named::start(&program, &[Zone(ORIGIN, records)]))
}

fn with_key(named: &Named) -> Config {
    config(named, Some(key("dglb", SECRET)))
}

const B1: (&str, &[&str]) = ("b1.glb.foobar.test", &["192.0.2.1", "2001:db8::1"]);
const B2: (&str, &[&str]) = ("b2.glb.foobar.test", &["192.0.2.2"]);

const B1_B2: [&str; 6] = [
    "glb.foobar.test. 86400 NS b1.glb.foobar.test.",
    "glb.foobar.test. 86400 NS b2.glb.foobar.test.",
    "b1.glb.foobar.test. 86400 A 192.0.2.1",
    "b1.glb.foobar.test. 86400 AAAA 2001:db8::1",
    "b2.glb.foobar.test. 86400 A 192.0.2.2",
    "www.foobar.test. 1800 CNAME www.glb.foobar.test.",
];

#[tokio::test]
async fn a_sub_zone_is_delegated_and_kept_with_everything_else_untouched() {
    let Some(named) = start("mail A 198.51.100.1\nold CNAME www.example.net.\nb1 TXT \"below nothing\"") else {
        return;
    };
    let before = named.transfer(ORIGIN);
    let plus = |more: &[&str]| -> std::collections::BTreeSet<_> { before.union(&lines(more)).cloned().collect() };
    let mut running = Running::start(with_key(&named));
    running.two_looks_without_zone().await;
    assert_eq!(named.transfer(ORIGIN), before, "nothing is written before a dns-b serves the zone");

    running.want(86_400, &[B1, B2]);
    running.until(State::InPlace).await;
    assert_eq!(named.transfer(ORIGIN), plus(&B1_B2));
    let serial = named.serial(ORIGIN).await;
    assert_eq!(running.metrics.updates_taken(), 2, "one for the delegation, one for the alias");

    running.two_looks().await;
    assert_eq!((running.metrics.updates_taken(), named.serial(ORIGIN).await), (2, serial), "nothing to write");

    // b2 leaves, b3 comes, b1 moves, the TTL falls.
    running.want(3600, &[("b1.glb.foobar.test", &["192.0.2.11"]), ("b3.glb.foobar.test", &["192.0.2.3"])]);
    let moved = plus(&[
        "glb.foobar.test. 3600 NS b1.glb.foobar.test.",
        "glb.foobar.test. 3600 NS b3.glb.foobar.test.",
        "b1.glb.foobar.test. 3600 A 192.0.2.11",
        "b3.glb.foobar.test. 3600 A 192.0.2.3",
        "www.foobar.test. 1800 CNAME www.glb.foobar.test.",
    ]);
    running.two_looks().await;
    assert_eq!(named.transfer(ORIGIN), moved);
    assert_eq!(running.metrics.updates_taken(), 3);
    running.stop().await;

    // Another run finds everything in place.
    let mut again = Running::start(with_key(&named));
    again.want(3600, &[("b1.glb.foobar.test", &["192.0.2.11"]), ("b3.glb.foobar.test", &["192.0.2.3"])]);
    again.until(State::InPlace).await;
    again.two_looks().await;
    assert_eq!((again.metrics.updates_taken(), named.transfer(ORIGIN)), (0, moved));
    again.stop().await;
}

impl Running {
    async fn two_looks_without_zone(&mut self) {
        for _ in 0..3 {
            tokio::time::timeout(PATIENCE, self.outcome.changed()).await.unwrap().unwrap();
            assert!(self.outcome.borrow().is_empty());
        }
    }
}

#[tokio::test]
async fn an_alias_and_a_ttl_of_ours_are_corrected() {
    let Some(named) =
        start("www 60 CNAME old.glb\nglb 60 NS b1.glb\nglb 60 NS b9.glb\nb1.glb 60 A 192.0.2.1\nb9.glb A 192.0.2.9")
    else {
        return;
    };
    let mut running = Running::start(with_key(&named));
    running.want(86_400, &[B1, B2]);
    running.until(State::InPlace).await;
    let wanted: Vec<&str> = BASE.iter().chain(&B1_B2).copied().collect();
    assert_eq!(named.transfer(ORIGIN), lines(&wanted));
    running.stop().await;
}

#[tokio::test]
async fn host_style_delegates_the_host_itself_and_says_what_it_hides() {
    let Some(named) = start("www A 198.51.100.7\nwww TXT hello") else { return };
    let mut config = with_key(&named);
    let zone = &mut config.zones[0];
    (zone.style, zone.name, zone.services[0].service.name) =
        (ZoneStyle::Host, name("www.foobar.test"), name("www.foobar.test"));
    let mut running = Running::start(config);
    running.want(300, &[("b1.www.foobar.test", &["192.0.2.1"])]);
    let first = running.until(State::InPlace).await;
    assert_eq!(first.notes, ["the delegation hides A, TXT records that DNS-A has at www.foobar.test."]);
    let mut wanted = BASE.to_vec();
    wanted.extend([
        "www.foobar.test. 300 NS b1.www.foobar.test.",
        "b1.www.foobar.test. 300 A 192.0.2.1",
        "www.foobar.test. 300 A 198.51.100.7",
        "www.foobar.test. 300 TXT hello",
    ]);
    assert_eq!(named.transfer(ORIGIN), lines(&wanted), "what was there stays, though hidden");
    running.two_looks().await;
    assert_eq!(running.metrics.updates_taken(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_wildcard_is_in_nobodys_way() {
    for wildcard in ["* A 198.51.100.50\n* MX 10 mail", "* CNAME www.example.net."] {
        let Some(named) = start(wildcard) else { return };
        let mut wanted = named.transfer(ORIGIN);
        wanted.extend(lines(&B1_B2));
        let mut running = Running::start(with_key(&named));
        running.want(86_400, &[B1, B2]);
        let found = running.until(State::InPlace).await;
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        running.two_looks().await;
        assert_eq!(named.transfer(ORIGIN), wanted);
        assert_eq!(running.metrics.updates_taken(), 2);
        running.stop().await;
    }
}

/// With these records in DNS-A nothing is written, and the problem says this.
async fn refuses(records: &str, change: impl FnOnce(&mut Config), says: &str) {
    let Some(named) = start(records) else { return };
    let before = named.transfer(ORIGIN);
    let serial = named.serial(ORIGIN).await;
    let mut config = with_key(&named);
    change(&mut config);
    let mut running = Running::start(config);
    running.want(86_400, &[B1, B2]);
    let found = running.until(State::Conflict).await;
    assert!(found.problems.iter().any(|p| p.contains(says)), "{:?}", found.problems);
    running.two_looks().await;
    assert_eq!((named.transfer(ORIGIN), named.serial(ORIGIN).await), (before, serial));
    assert_eq!(running.metrics.updates_taken(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_ds_forbids_every_write() {
    let ds = "glb DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";
    refuses(&format!("glb NS b1.glb\nb1.glb A 192.0.2.1\n{ds}"), |_| {}, "DS record").await;
}

#[tokio::test]
async fn somebody_elses_delegation_is_left_alone() {
    refuses(
        "glb NS b1.glb\nglb NS ns.example.net.\nb1.glb A 192.0.2.1",
        |_| {},
        "ns.example.net., which is not a dns-b",
    )
    .await;
}

#[tokio::test]
async fn an_alias_at_the_zone_is_left_alone() {
    refuses("glb CNAME www.example.net.", |_| {}, "glb.foobar.test. CNAME www.example.net.").await;
}

#[tokio::test]
async fn an_address_where_glue_shall_go_is_left_alone() {
    refuses("b2.glb A 198.51.100.99", |_| {}, "b2.glb.foobar.test. 198.51.100.99").await;
}

/// A service whose alias is in the way of something gets none, but the zone is delegated.
async fn delegates_without_alias(records: &str, host: &str, says: &str) {
    let Some(named) = start(records) else { return };
    let mut wanted = named.transfer(ORIGIN);
    wanted.extend(lines(&B1_B2[..5]));
    let mut config = with_key(&named);
    config.zones[0].services[0].service.host = name(host);
    let mut running = Running::start(config);
    running.want(86_400, &[B1, B2]);
    let found = running.until(State::Conflict).await;
    assert!(found.problems.iter().any(|p| p.contains(says)), "{:?}", found.problems);
    running.two_looks().await;
    assert_eq!(named.transfer(ORIGIN), wanted);
    assert_eq!(running.metrics.updates_taken(), 1);
    running.stop().await;
}

#[tokio::test]
async fn somebody_elses_alias_is_left_alone() {
    delegates_without_alias("www CNAME cdn.example.net.", "www.foobar.test", "cdn.example.net.").await;
}

#[tokio::test]
async fn a_host_with_records_of_its_own_is_left_alone() {
    delegates_without_alias("www A 198.51.100.1\nwww MX 10 mail", "www.foobar.test", "A, MX at www.foobar.test.").await;
}

#[tokio::test]
async fn a_host_outside_the_zone_is_somebody_elses() {
    delegates_without_alias("x A 192.0.2.77", "www.foobar.example", "by hand").await;
}

#[tokio::test]
async fn an_unusual_record_at_the_host_is_found_by_the_prerequisite() {
    let Some(named) = start("www SSHFP 4 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF") else {
        return;
    };
    let mut wanted = named.transfer(ORIGIN);
    wanted.extend(lines(&B1_B2[..5]));
    let mut running = Running::start(with_key(&named));
    running.want(86_400, &[B1, B2]);
    let found = running.until(State::Failed).await;
    assert!(found.problems.iter().any(|p| p.contains("not what they were")), "{:?}", found.problems);
    assert_eq!(named.transfer(ORIGIN), wanted);
    running.stop().await;
}

#[tokio::test]
async fn a_dns_a_that_serves_the_zone_itself_is_named() {
    let Some(program) = program() else { return };
    let zones = [Zone(ORIGIN, ""), Zone("glb.foobar.test", "")];
    let named = Named::start(&program, &zones);
    let mut running = Running::start(with_key(&named));
    running.want(86_400, &[B1]);
    let found = running.until(State::Failed).await;
    assert!(found.problems[0].contains("serves glb.foobar.test. itself"), "{:?}", found.problems);
    assert_eq!(running.metrics.updates_taken(), 0);
    running.stop().await;
}

#[tokio::test]
async fn the_wrong_enterprise_zone_is_named() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[Zone(ORIGIN, ""), Zone("eu.foobar.test", "")]);
    let mut config = with_key(&named);
    config.zones[0].name = name("glb.eu.foobar.test");
    config.zones[0].services[0].service.name = name("www.glb.eu.foobar.test");
    let mut running = Running::start(config);
    running.want(60, &[("b1.glb.eu.foobar.test", &["192.0.2.1"])]);
    let found = running.until(State::Failed).await;
    assert!(found.problems[0].contains("lies below eu.foobar.test."), "{:?}", found.problems);
    running.stop().await;
}

#[tokio::test]
async fn a_dead_dns_a_is_tried_again_until_it_is_back() {
    let Some(mut named) = start("") else { return };
    named.stop();
    let mut running = Running::start(with_key(&named));
    running.want(86_400, &[B1, B2]);
    running.until(State::Failed).await;
    named.restart();
    running.until(State::InPlace).await;
    let wanted: Vec<&str> = BASE.iter().chain(&B1_B2).copied().collect();
    assert_eq!(named.transfer(ORIGIN), lines(&wanted));
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_said_and_writes_nothing() {
    let Some(named) = start("") else { return };
    let mut running = Running::start(config(&named, Some(key("dglb", b"wrong"))));
    running.want(86_400, &[B1, B2]);
    let found = running.until(State::Failed).await;
    assert!(found.problems[0].contains("BADSIG"), "{:?}", found.problems);
    assert_eq!(named.transfer(ORIGIN), lines(&BASE));
    running.stop().await;
}

#[tokio::test]
async fn printed_lines_are_what_dns_a_needs() {
    let Some(named) = start("") else { return };
    let printing = |named: &Named| {
        let mut config = config(named, None);
        config.delegation.mode = DelegationMode::Print;
        config
    };
    let mut running = Running::start(printing(&named));
    running.want(86_400, &[B1, B2]);
    let printed = running.until(State::Printed).await.lines;
    assert_eq!(named.transfer(ORIGIN), lines(&BASE), "printing writes nothing");
    running.stop().await;

    // A person pastes them into the zone.
    let Some(pasted) = start(&printed.join("\n")) else { return };
    let wanted: Vec<&str> = BASE.iter().chain(&B1_B2).copied().collect();
    assert_eq!(pasted.transfer(ORIGIN), lines(&wanted));
    let mut running = Running::start(printing(&pasted));
    running.want(86_400, &[B1, B2]);
    running.until(State::InPlace).await;
    running.want(86_400, &[B1]);
    let gone = running.until(State::Printed).await.lines;
    assert!(gone.iter().any(|l| l.starts_with("; remove b2.glb.foobar.test.")), "{gone:?}");
    running.stop().await;
}

#[tokio::test]
async fn switched_off_nothing_is_even_asked() {
    let Some(named) = start("") else { return };
    let mut config = with_key(&named);
    config.delegation.mode = DelegationMode::Off;
    let mut running = Running::start(config);
    running.want(86_400, &[B1]);
    running.two_looks_without_zone().await;
    assert_eq!(named.transfer(ORIGIN), lines(&BASE));
    running.stop().await;
}
