//! Proof of residence with invented time: what a DNS-LB proves it gets, and nothing more.

use dglb_core::{
    proto::message::{Challenge, Proof, ProofSecret, Seen, SeenOutcome},
    residence::{Asked, Family, Secret},
    table::Source,
};

use super::{keep::Disk, *};
use crate::networks::{Networks, Sources};

/// What `lb1` proves here, outside of all that anybody may map.
const RESOLVER: &str = "192.0.2.153";

impl Lab {
    /// `lb1` has said where it is, beside a resolver that it may not map.
    fn beside(address: &str) -> Self {
        let mut lab = Self::with_catalogue();
        lab.keeper.prove.networks = Networks::read(&Sources::default()).unwrap();
        lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
        lab.map(1, 1, &[address]);
        lab
    }

    /// The challenge that goes to `lb<n>` with the next tick, if one does.
    fn challenge(&mut self, n: u64) -> Option<Challenge> {
        self.keeper.take_outbox();
        self.keeper.tick(self.now);
        self.sent().into_iter().find_map(|(to, message)| match message {
            Message::Challenge(challenge) if to == LinkId(n) => Some(challenge),
            _ => None,
        })
    }

    /// A challenge to `lb1`, whenever the last one was.
    fn fresh(&mut self) -> Challenge {
        self.keeper.lbs.values_mut().for_each(|truth| truth.learnt.hurry());
        self.challenge(1).expect("a challenge is due")
    }

    /// Somebody at `from` asks the DNS side for the nonce: what it is answered.
    fn look_up(&self, challenge: &Challenge, from: &str) -> Option<Vec<u8>> {
        let draw = || Secret(rand::random());
        match self.keeper.nonces().lock().asked((&challenge.nonce, Family::V4), ip(from), draw, self.now) {
            Asked::First(secret) => Some(secret.text().to_vec()),
            Asked::Later | Asked::Unknown => None,
        }
    }

    fn prove(&mut self, n: u64, challenge: &Challenge, secret: Vec<u8>) -> SeenOutcome {
        let proof = Proof { nonce: challenge.nonce, secret: ProofSecret(secret) };
        let said = self.say(n, Message::Proof(proof));
        let [Message::Seen(Seen { nonce, outcome })] = &said[..] else { panic!("{said:?}") };
        assert_eq!(*nonce, challenge.nonce);
        outcome.clone()
    }

    /// The whole of it, with a question from `address`.
    fn prove_from(&mut self, address: &str) -> SeenOutcome {
        let challenge = self.fresh();
        let secret = self.look_up(&challenge, address).expect("a secret");
        self.prove(1, &challenge, secret)
    }

    /// What `lb1` holds, and by what right.
    fn held(&self) -> Vec<(String, Source)> {
        let lb = self.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
        self.keeper.all.held(lb).map(|held| (held.claim.prefix.to_string(), held.claim.source)).collect()
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        let counted = super::super::PROOF_REFUSALS.into_iter().zip(self.keeper.figures().proofs_refused);
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

fn mapped(prefix: &str) -> SeenOutcome {
    let prefix: dglb_core::net::Prefix = prefix.parse().unwrap();
    SeenOutcome::Mapped { address: prefix.address(), prefix }
}

fn reason(outcome: &SeenOutcome) -> RefusedReason {
    match outcome {
        SeenOutcome::Refused { reason, text } if !text.is_empty() => *reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pop_that_proves_its_resolver_gets_that_and_nothing_more() {
    let mut lab = Lab::beside(RESOLVER);
    assert_eq!(lab.held(), []);
    assert_eq!(lab.prove_from(RESOLVER), mapped("192.0.2.153/32"));
    assert_eq!(lab.held(), [("192.0.2.153/32".to_owned(), Source::Proven)]);
    lab.ready(1, 1);
    lab.report(1, 1, 0, vec![ranking([10, 20])]);
    lab.check(1, true);
    assert_eq!(lab.ask(RESOLVER), (Decision::Mapped, 3600));
    assert_ne!(lab.ask("192.0.2.154").0, Decision::Mapped, "its neighbour is somebody else's");
    let figures = lab.keeper.figures();
    assert_eq!((figures.proofs_accepted, figures.proven, figures.prefixes), (1, 1, 1));
    assert_eq!(lab.refusals(), []);
    let status = lab.keeper.status(lab.now).document();
    let of_lb1 = status["dns_lbs"].as_array().unwrap().iter().find(|lb| lb["identity"] == "lb1").unwrap();
    assert_eq!(of_lb1["proven"][0]["prefix"], "192.0.2.153/32");
}

#[test]
fn a_challenge_names_what_only_this_dns_b_answers() {
    let mut lab = Lab::beside(RESOLVER);
    let challenge = lab.challenge(1).unwrap();
    let names: Vec<String> = challenge.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("{}.4.b1.prove.ops.test.", String::from_utf8_lossy(&challenge.nonce.label()))]);
    assert_eq!(challenge.expires_ms, 5_000);
    assert!(lab.challenge(1).is_none(), "the next one has its time");
    lab.pass(2);
    assert_ne!(lab.keeper.figures().nonces.issued, 0);
}

#[test]
fn a_forged_source_maps_nothing() {
    let mut lab = Lab::beside("198.51.100.66");
    let challenge = lab.fresh();
    // lb1 sends one packet as if it came from its victim, and can but guess what the victim is answered.
    assert!(lab.look_up(&challenge, "198.51.100.66").is_some());
    assert!(lab.look_up(&challenge, "203.0.113.1").is_none(), "itself it is told nothing");
    for guess in [vec![b'0'; 32], vec![b'0'; 1]] {
        let outcome = lab.prove(1, &challenge, guess);
        assert!(matches!(reason(&outcome), RefusedReason::WrongSecret | RefusedReason::UnknownNonce), "{outcome:?}");
    }
    assert_eq!(lab.held(), []);
    assert_eq!(lab.refusals(), [("unknown-nonce", 1), ("wrong-secret", 1)]);
    assert_eq!(lab.keeper.figures().nonces.later, 1);
}

#[test]
fn replayed_late_and_foreign_secrets_map_nothing() {
    let mut lab = Lab::beside(RESOLVER);
    lab.dial(2, "lb2", PeerRole::DnsLb, 1).unwrap();
    lab.map(2, 1, &["10.2.0.1/32"]);
    let challenge = lab.challenge(1).unwrap();
    let secret = lab.look_up(&challenge, RESOLVER).unwrap();
    assert_eq!(reason(&lab.prove(2, &challenge, secret.clone())), RefusedReason::UnknownNonce, "another's");
    assert_eq!(lab.prove(1, &challenge, secret.clone()), mapped("192.0.2.153/32"));
    assert_eq!(reason(&lab.prove(1, &challenge, secret)), RefusedReason::UnknownNonce, "replayed");

    let late = lab.fresh();
    let secret = lab.look_up(&late, "203.0.113.99").unwrap();
    lab.now += Duration::from_millis(10_001);
    assert_eq!(reason(&lab.prove(1, &late, secret)), RefusedReason::Expired);
    let unasked = lab.fresh();
    lab.now += Duration::from_millis(5_001);
    assert!(lab.look_up(&unasked, "203.0.113.99").is_none(), "asked too late");

    // A link that ended takes its nonces along, even if the same process comes back.
    let lost = lab.fresh();
    let secret = lab.look_up(&lost, "203.0.113.99").unwrap();
    lab.keeper.closed(LinkId(1), lab.now);
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert_eq!(reason(&lab.prove(1, &lost, secret)), RefusedReason::UnknownNonce);
    assert!(lab.held().iter().all(|(prefix, _)| !prefix.starts_with("203")), "{:?}", lab.held());
    assert_eq!(lab.keeper.figures().proofs_accepted, 1);
}

#[test]
fn open_resolvers_are_never_proven() {
    let mut lab = Lab::beside(RESOLVER);
    for open in
        ["8.8.8.8", "172.253.1.1", "1.1.1.1", "9.9.9.9", "208.67.222.222", "94.140.14.14", "2001:4860:4860::8844"]
    {
        assert_eq!(reason(&lab.prove_from(open)), RefusedReason::OpenResolver, "{open}");
    }
    assert_eq!((lab.held(), lab.refusals()), (vec![], vec![("open-resolver", 7)]));
}

#[test]
fn an_ipv6_resolver_is_mapped_with_its_network() {
    let mut lab = Lab::beside(RESOLVER);
    let outcome = lab.prove_from("2001:db8:7::53");
    let prefix = "2001:db8:7::/64".parse().unwrap();
    assert_eq!(outcome, SeenOutcome::Mapped { address: ip("2001:db8:7::53"), prefix });
    lab.keeper.prove.v6_bits = 128;
    assert_eq!(lab.prove_from("2001:db8:8::53"), mapped("2001:db8:8::53/128"));
}

#[test]
fn bounds_of_an_identity_hold() {
    let mut lab = Lab::beside(RESOLVER);
    let bounds = |within: &[&str]| {
        let mut config = config();
        let lb1 = config.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap();
        lb1.prove.within = within.iter().map(|p| p.parse().unwrap()).collect();
        config
    };
    lab.keeper.reconfigure(&bounds(&["192.0.2.0/24"]), lab.now);
    assert_eq!(lab.prove_from(RESOLVER), mapped("192.0.2.153/32"));
    assert_eq!(reason(&lab.prove_from("198.51.100.1")), RefusedReason::OutsideBounds);
    // Other bounds: what was proven before is judged by them, too.
    lab.prove_from(RESOLVER);
    lab.keeper.reconfigure(&bounds(&["198.51.100.0/24"]), lab.now);
    assert_eq!(lab.held(), []);
    assert_eq!(lab.prove_from("198.51.100.1"), mapped("198.51.100.1/32"));
    assert_eq!(lab.refusals(), [("outside-bounds", 1)]);
}

#[test]
fn an_identity_may_be_bound_to_an_autonomous_system() {
    let mut lab = Lab::beside(RESOLVER);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    std::fs::write(&path, crate::networks::tests::database()).unwrap();
    let mut config = config();
    config.prove.networks = Networks::read(&Sources { as_database: Some(path), ..Sources::default() }).unwrap();
    let lb1 = config.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap();
    (lb1.prove.numbers, lb1.prove.within) = (vec![64_500], vec!["192.0.2.0/24".parse().unwrap()]);
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(lab.prove_from("198.51.100.53"), mapped("198.51.100.53/32"), "announced by it");
    assert_eq!(lab.prove_from(RESOLVER), mapped("192.0.2.153/32"), "either bound is enough");
    assert_eq!(reason(&lab.prove_from("198.51.101.53")), RefusedReason::OutsideBounds);
    assert_eq!(reason(&lab.prove_from("9.9.9.9")), RefusedReason::OpenResolver);
    // The list has more in it from now on.
    let list = directory.path().join("open");
    std::fs::write(&list, "198.51.100.0/24\n").unwrap();
    let sources = Sources { open_resolvers: Some(list), as_database: None };
    lab.keeper.set_networks(Networks::read(&sources).unwrap(), lab.now);
    assert_eq!(lab.held(), [("192.0.2.153/32".to_owned(), Source::Proven)]);
}

#[test]
fn no_catalogue_may_have_the_names_of_proofs() {
    let mut lab = Lab::with_catalogue();
    let mut config = config();
    let sync = config.peers.get_mut(&"sync".parse::<Identity>().unwrap()).unwrap();
    sync.may_publish.push("ops.test".parse().unwrap());
    lab.keeper.reconfigure(&config, lab.now);
    let taken = ZoneCatalogue { zone: "ops.test".parse().unwrap(), services: vec![], ..zone(1) };
    let said = lab.say(100, Message::snapshot(taken));
    let [Message::CatalogueAck(ack)] = &said[..] else { panic!("{said:?}") };
    assert!(ack.refused.as_ref().is_some_and(|reason| reason.contains("proofs")), "{ack:?}");
}

#[test]
fn who_may_not_prove_is_not_asked_to() {
    let mut lab = Lab::beside(RESOLVER);
    let open = lab.challenge(1).unwrap();
    let secret = lab.look_up(&open, RESOLVER).unwrap();
    let mut config = config();
    config.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap().prove.allowed = false;
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(reason(&lab.prove(1, &open, secret)), RefusedReason::NotAllowed);
    lab.pass(300);
    assert!(lab.challenge(1).is_none());
    let said = lab.map(1, 2, &[RESOLVER]);
    let [Message::MapAck(ack)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(ack.refused[0].reason, RefusedReason::NotAllowed);
}

#[test]
fn what_is_not_seen_any_more_lapses_but_the_operators_word_stands() {
    let mut lab = Lab::beside("10.1.0.1");
    assert_eq!(lab.prove_from("10.1.0.1"), mapped("10.1.0.1/32"));
    assert_eq!(lab.held(), [("10.1.0.1/32".to_owned(), Source::Static)]);
    assert_eq!(lab.prove_from(RESOLVER), mapped("192.0.2.153/32"));
    assert_eq!(lab.held().len(), 2);
    lab.pass(180);
    assert_eq!(lab.held().len(), 2);
    lab.pass(121);
    assert_eq!(lab.held(), [("10.1.0.1/32".to_owned(), Source::Static)]);
    let figures = lab.keeper.figures();
    assert_eq!((figures.proofs_lapsed, figures.proven, figures.prefixes), (2, 0, 1));
}

#[test]
fn a_map_of_what_is_proven_is_accepted_and_client_networks_never_are() {
    let mut lab = Lab::beside(RESOLVER);
    lab.prove_from(RESOLVER);
    let entry = |prefix: &str, kind| MapEntry { prefix: prefix.parse().unwrap(), kind, preference: 7, weight: 3 };
    let entries = vec![
        entry("192.0.2.153/32", EntryKind::Resolver),
        entry("192.0.2.154/32", EntryKind::Resolver),
        entry("192.0.2.153/32", EntryKind::Client),
    ];
    let map = Map { generation: 2, lease_ms: 60_000, addresses: vec![ip("198.18.0.1")], entries };
    let said = lab.say(1, Message::Map(map));
    let [Message::MapAck(ack)] = &said[..] else { panic!("{said:?}") };
    let refused: Vec<_> = ack.refused.iter().map(|r| (r.prefix.to_string(), r.reason)).collect();
    let (other, client) = ("192.0.2.154/32".to_owned(), "192.0.2.153/32".to_owned());
    assert_eq!(refused, [(other, RefusedReason::NotProven), (client, RefusedReason::NotAllowed)]);
    assert_eq!((ack.accepted, lab.held().len()), (1, 1));
    let lb = lab.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
    let claim = lab.keeper.all.held(lb).next().unwrap().claim;
    assert_eq!((claim.preference, claim.weight), (7, 3), "as it says of its resolvers");
    assert_eq!(lab.keeper.clients.held(lb).count(), 0);
}

#[test]
fn with_the_lease_ends_what_was_proven() {
    let mut lab = Lab::beside(RESOLVER);
    lab.prove_from(RESOLVER);
    lab.keeper.closed(LinkId(1), lab.now);
    lab.pass(59);
    assert_eq!(lab.held().len(), 1);
    lab.pass(2);
    assert_eq!(lab.held(), []);
    assert_eq!(lab.keeper.figures().proven, 0);
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert!(lab.challenge(1).is_none(), "before it says where it is");
    lab.map(1, 2, &[RESOLVER]);
    assert!(lab.challenge(1).is_some());
}

#[test]
fn a_withdrawal_withdraws_what_was_proven() {
    let mut lab = Lab::beside(RESOLVER);
    for address in ["192.0.2.153", "192.0.2.154", "192.0.2.155"] {
        lab.prove_from(address);
    }
    lab.say(1, Message::Unmap(Unmap { generation: 2, prefixes: vec!["192.0.2.154/32".parse().unwrap()] }));
    assert_eq!(lab.held().iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["192.0.2.153/32", "192.0.2.155/32"]);
    lab.say(1, Message::Unmap(Unmap { generation: 3, prefixes: vec![] }));
    assert_eq!((lab.held(), lab.keeper.figures().proven), (vec![], 0));
}

#[test]
fn what_was_proven_before_a_restart_holds_for_its_time() {
    let mut lab = Lab::beside(RESOLVER);
    lab.keeper.keep();
    assert_eq!(lab.prove_from(RESOLVER), mapped("192.0.2.153/32"));
    let mut disk = Disk::default();
    disk.write(&mut lab.keeper).unwrap();
    lab.keeper.take_outbox();
    // Seen once more: nothing has to be written.
    lab.prove_from(RESOLVER);
    assert_eq!(disk.write(&mut lab.keeper), None);

    let held = |lab: &Lab| lab.held().iter().map(|(prefix, _)| prefix.clone()).collect::<Vec<_>>();
    let mut again = disk.start(&config(), lab.now);
    assert_eq!((held(&again), again.keeper.figures().proven), (vec!["192.0.2.153/32".to_owned()], 1));
    again.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    again.pass(179);
    assert_eq!(held(&again).len(), 1);
    again.pass(2);
    assert_eq!(held(&again), [""; 0], "it was not seen again");

    let mut other = config();
    other.peers.get_mut(&"lb1".parse::<Identity>().unwrap()).unwrap().prove.allowed = false;
    assert_eq!(held(&disk.start(&other, lab.now)), [""; 0], "the operator has changed its mind meanwhile");
}

/// With `map.dns-lbs = "certified"`: a certificate alone is not the operator's word.
#[test]
fn who_is_no_peer_proves_little_and_nothing_that_is_anothers() {
    let mut lab = Lab::with_catalogue();
    let mut config = config();
    config.map.dns_lbs = DnsLbs::Certified;
    config.prove.networks = Networks::read(&Sources::default()).unwrap();
    // The tests' helper speaks as lb1, which is nobody's [[peer]] here; lb2 and lb3 are.
    config.peers.remove(&"lb1".parse::<Identity>().unwrap());
    config.peers.get_mut(&"lb3".parse::<Identity>().unwrap()).unwrap().prove.within =
        vec!["192.0.2.0/25".parse().unwrap()];
    lab.keeper.reconfigure(&config, lab.now);
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.map(1, 1, &[RESOLVER]);
    for (address, why) in [
        ("10.2.0.1", RefusedReason::NotAllowed),
        ("192.0.2.1", RefusedReason::NotAllowed),
        ("8.8.8.8", RefusedReason::OpenResolver),
    ] {
        assert_eq!(reason(&lab.prove_from(address)), why, "{address}");
    }
    for n in 0..8 {
        let address = format!("198.51.100.{n}");
        assert_eq!(lab.prove_from(&address), mapped(&format!("{address}/32")), "eight by default");
    }
    assert_eq!(reason(&lab.prove_from("198.51.100.8")), RefusedReason::Limit);
    assert_eq!(lab.prove_from("198.51.100.3"), mapped("198.51.100.3/32"), "what it has it keeps");
    // Fewer, and elsewhere: what it has proven is judged by that.
    config.prove.unlisted.most = 2;
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(lab.held().len(), 2);
    config.prove.unlisted.within = vec!["203.0.113.0/24".parse().unwrap()];
    lab.keeper.reconfigure(&config, lab.now);
    assert_eq!(lab.held(), []);
    assert_eq!(reason(&lab.prove_from("198.51.100.3")), RefusedReason::OutsideBounds);
    config.prove.unlisted.allowed = false;
    lab.keeper.reconfigure(&config, lab.now);
    lab.keeper.lbs.values_mut().for_each(|truth| truth.learnt.hurry());
    assert!(lab.challenge(1).is_none(), "it is not even asked");
}
