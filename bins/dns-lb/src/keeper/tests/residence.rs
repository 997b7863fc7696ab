//! Where a DNS-LB is: addresses that change, challenges of dns-bs, and where its own questions arrive.

use dglb_core::{
    net::Prefix,
    proto::message::{Challenge, Nonce, Proof, ProofSecret, RefusedReason, Seen, SeenOutcome},
};
use prometheus_client::metrics::{counter::Counter, family::Family};

use super::*;
use crate::{metrics::OutcomeLabels, registration::Outgoing, self_check::Arrived};

const NONCE: Nonce = Nonce([0x5a; 16]);

fn challenge(zone: &str) -> Message {
    let name = format!("{}.{zone}", "5a".repeat(16)).parse().unwrap();
    Message::Challenge(Challenge { nonce: NONCE, names: vec![name], expires_ms: 5_000 })
}

fn count(family: &Family<OutcomeLabels, Counter>, outcome: &'static str) -> u64 {
    family.get(&OutcomeLabels { outcome }).map_or(0, |counter| counter.get())
}

/// The MAPs among what is sent: to whom, and what of the resolvers and addresses.
fn maps(effects: &Effects) -> Vec<(String, Vec<String>, Vec<IpAddr>)> {
    let map = |(to, message): &Outgoing| match message {
        Message::Map(map) => {
            let entries = map.entries.iter().map(|e| e.prefix.to_string()).collect();
            Some((to.as_str().to_owned(), entries, map.addresses.clone()))
        }
        _ => None,
    };
    effects.send.iter().filter_map(map).collect()
}

#[test]
fn new_addresses_go_to_every_dns_b_and_into_answers() {
    let (mut lb, _) = Lb::measured();
    lb.up("b2", fleet(1));
    let addresses: Vec<IpAddr> = vec!["198.51.100.77".parse().unwrap()];
    let effects = lb.handle(Event::Addresses(addresses.clone()));
    let resolvers = vec!["192.0.2.1/32".to_owned()];
    let expected = ["b1", "b2"].map(|b| (b.to_owned(), resolvers.clone(), addresses.clone()));
    assert_eq!(maps(&effects), expected);
    assert!(effects.answers);
    let (_, reply) = lb.ask("ns.sea1.glb.test");
    assert!(reply.windows(4).any(|octets| octets == [198, 51, 100, 77]));
    assert_eq!(maps(&lb.handle(Event::Addresses(addresses))), []);
}

#[test]
fn what_the_operator_states_is_answered_whatever_the_interfaces_say() {
    let (mut lb, _) = Lb::measured();
    let stated: IpAddr = "203.0.113.77".parse().unwrap();
    let mut newer = fleet(2);
    newer.labels.push(FleetLabel { identity: id("sea1"), addresses: vec![stated] });
    lb.said("b1", Message::Fleet(Box::new(newer)));
    let effects = lb.handle(Event::Addresses(vec!["198.51.100.77".parse().unwrap()]));
    assert_eq!(maps(&effects).len(), 1);
    let (_, reply) = lb.ask("ns.sea1.glb.test");
    assert!(reply.windows(4).any(|octets| octets == [203, 0, 113, 77]));
}

#[test]
fn a_new_resolver_replaces_the_old_one() {
    let (mut lb, _) = Lb::measured();
    let effects = lb.handle(Event::Resolvers(vec!["192.0.2.9".parse().unwrap()]));
    let maps = maps(&effects);
    assert_eq!(maps.iter().map(|(_, entries, _)| entries.join(" ")).collect::<Vec<_>>(), ["192.0.2.9/32"]);
}

#[test]
fn a_challenge_is_looked_up_and_the_secret_goes_back() {
    let (mut lb, _) = Lb::measured();
    let effects = lb.said("b1", challenge("4.b1.prove.ops.test"));
    assert_eq!(effects.send, []);
    let [look_up] = &effects.look_ups[..] else { panic!("{effects:?}") };
    assert_eq!((look_up.resolver.to_string(), look_up.server.as_str()), ("192.0.2.1".to_owned(), "b1"));
    let effects = lb.handle(Event::LookedUp(look_up.clone(), b"secret".to_vec()));
    let proof = Proof { nonce: NONCE, secret: ProofSecret(b"secret".to_vec()) };
    assert_eq!(effects.send, [(id("b1"), Message::Proof(proof))]);

    let address: IpAddr = "192.0.2.53".parse().unwrap();
    let outcome = SeenOutcome::Mapped { address, prefix: Prefix::host(address) };
    lb.said("b1", Message::Seen(Seen { nonce: NONCE, outcome }));
    let outcome = SeenOutcome::Refused { reason: RefusedReason::Expired, text: "late".to_owned() };
    lb.said("b1", Message::Seen(Seen { nonce: NONCE, outcome }));
    assert_eq!((count(&lb.metrics.proofs, "mapped"), count(&lb.metrics.proofs, "refused")), (1, 1));
    assert_eq!(lb.metrics.isp_addresses_proven.get(), 1);
    assert_eq!(lb.keeper.proofs().status(lb.now)["b1"]["refused"], "late");
    lb.handle(Event::Down(id("b1")));
    assert_eq!(lb.metrics.isp_addresses_proven.get(), 0);
}

#[test]
fn no_dns_b_has_it_ask_for_anything_else() {
    let (mut lb, _) = Lb::measured();
    for zone in ["victim.test", "4.b2.prove.ops.test", "4.b1.prove.victim.test"] {
        let effects = lb.said("b1", challenge(zone));
        assert_eq!(effects, Effects::default(), "{zone}");
    }
    assert_eq!((count(&lb.metrics.challenges, "foreign"), count(&lb.metrics.challenges, "met")), (3, 0));
    for _ in 0..20 {
        lb.said("b1", challenge("4.b1.prove.ops.test"));
    }
    assert_eq!((count(&lb.metrics.challenges, "met"), count(&lb.metrics.challenges, "too-fast")), (8, 12));
}

#[test]
fn it_checks_whether_its_users_reach_it_once_all_know_it() {
    let (mut lb, _) = Lb::measured();
    assert_eq!(lb.handle(Event::Tick).checks, [], "nobody has acknowledged its place");
    let generation = lb.keeper.registration().generation();
    lb.said("b1", Message::MapAck(MapAck { generation, accepted: 1, refused: vec![] }));
    lb.handle(Event::Down(id("b2")));
    let checks = lb.handle(Event::Tick).checks;
    let [check] = &checks[..] else { panic!("{checks:?}") };
    assert_eq!(
        (check.resolver.to_string(), check.label_zone.to_string()),
        ("192.0.2.1".into(), "sea1.glb.test.".into())
    );
    assert_eq!(lb.handle(Event::Tick).checks, [], "the next one has its time");
    lb.handle(Event::Arrived(check.resolver, Arrived::Itself));
    lb.handle(Event::Arrived(check.resolver, Arrived::FallBack));
    assert_eq!(lb.metrics.isp_resolvers_reaching.get(), 1);
    assert_eq!((count(&lb.metrics.self_checks, "itself"), count(&lb.metrics.self_checks, "fall-back")), (1, 1));
    lb.handle(Event::Resolvers(vec!["192.0.2.9".parse().unwrap()]));
    let generation = lb.keeper.registration().generation();
    lb.said("b1", Message::MapAck(MapAck { generation, accepted: 1, refused: vec![] }));
    assert_eq!(lb.handle(Event::Tick).checks.len(), 1, "another resolver is looked at soon");
}
