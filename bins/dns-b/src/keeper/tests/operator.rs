//! The map as the operator sees it, several DNS-LBs beside one resolver, and draining them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

impl Lab {
    fn request(&mut self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let parameters: BTreeMap<_, _> = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.keeper.request(path, &parameters, self.now)
    }

    fn drain(&mut self, identity: &str, drained: bool) -> Result<Value, String> {
        let drained = if drained { "true" } else { "false" };
        self.request("/api/v1/drain", &[("dns-lb", identity), ("drained", drained)])
    }

    /// To which DNS-LB a resolver is led.
    fn led(&self, resolver: &str) -> Option<String> {
        let (_, message) = self.ask_for(SERVICE, resolver, Role::Referral);
        let target = message.answers.first()?.data.clone();
        let hickory_proto::rr::RData::CNAME(target) = target else { return None };
        target.0.to_string().split('.').nth(1).map(str::to_owned)
    }

    /// Several DNS-LBs beside one resolver, each with preference and weight.
    fn several_beside(&mut self, resolver: &str, members: &[(u8, u16, u16)]) {
        for (n, preference, weight) in members {
            let identity: Identity = format!("lb{n}").parse().unwrap();
            let bounds = vec!["10.0.0.0/8".parse().unwrap()];
            self.keeper.peers.get_mut(&identity).unwrap().may_map = bounds;
            self.join(*n, [10, 20]);
            let entry = MapEntry {
                prefix: resolver.parse().unwrap(),
                kind: EntryKind::Resolver,
                preference: *preference,
                weight: *weight,
            };
            let map = Map {
                generation: 2,
                lease_ms: 60_000,
                addresses: vec![ip(&format!("198.18.0.{n}"))],
                entries: vec![entry],
            };
            self.say(u64::from(*n), Message::Map(map));
            self.ready(*n, 2);
        }
    }
}

#[test]
fn several_dns_lbs_beside_one_resolver_share_by_preference_and_weight() {
    let mut lab = Lab::with_catalogue();
    lab.several_beside("10.200.0.0/16", &[(1, 10, 1), (2, 10, 3), (3, 20, 1)]);
    let mut shares = BTreeMap::new();
    for n in 0..=255_u8 {
        *shares.entry(lab.led(&format!("10.200.{n}.1")).unwrap()).or_insert(0) += 1;
    }
    // One prefix is one scope: all of it goes to one of the two that are preferred.
    assert_eq!(shares.len(), 1, "{shares:?}");
    let first = shares.keys().next().unwrap().clone();
    assert!(["lb1", "lb2"].contains(&first.as_str()));
    // The others in turn, as those before them go.
    let second = if first == "lb1" { "lb2" } else { "lb1" };
    for (goes, next) in [(first.as_str(), second), (second, "lb3")] {
        lab.drain(goes, true).unwrap();
        assert_eq!(lab.led("10.200.7.1").as_deref(), Some(next));
    }
    lab.drain(&first, false).unwrap();
    assert_eq!(lab.led("10.200.7.1"), Some(first));
}

#[test]
fn a_drained_dns_lb_is_told_and_left_out_while_others_are_there() {
    let mut lab = Lab::with_catalogue();
    lab.several_beside("10.200.0.1/32", &[(1, 10, 1), (2, 20, 1)]);
    assert_eq!(lab.led("10.200.0.1").as_deref(), Some("lb1"));
    lab.keeper.take_outbox();
    assert_eq!(lab.drain("lb1", true).unwrap()["changed"], true);
    assert!(lab.sent().contains(&(LinkId(1), Message::Drain(true))));
    assert_eq!(lab.drain("lb1", true).unwrap()["changed"], false);
    assert_eq!(lab.led("10.200.0.1").as_deref(), Some("lb2"));
    // Who has its name in a cache is referred to it as before.
    let (decision, _) = lab.ask_for("www.lb1.glb.test", "10.200.0.1", Role::Referral);
    assert_eq!(decision, Decision::Referral);

    // It comes back, and is told again; one that never came is remembered.
    lab.keeper.closed(LinkId(1), lab.now);
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    assert!(lab.sent().contains(&(LinkId(1), Message::Drain(true))));
    assert_eq!(lab.drain("lb7", true).unwrap()["changed"], true);
    lab.dial(7, "lb7", PeerRole::DnsLb, 1).unwrap();
    assert!(lab.sent().contains(&(LinkId(7), Message::Drain(true))));

    lab.drain("lb1", false).unwrap();
    assert!(lab.sent().contains(&(LinkId(1), Message::Drain(false))));
    assert_eq!(lab.led("10.200.0.1").as_deref(), Some("lb1"));
    for (identity, wrong) in [("sync", "another role"), ("nobody", "no [[peer]]"), ("No!", "dns-lb:")] {
        assert!(lab.drain(identity, true).unwrap_err().contains(wrong), "{identity}");
    }
}

#[test]
fn the_map_lists_who_holds_what_since_when_and_for_how_long() {
    let mut lab = Lab::with_catalogue();
    lab.several_beside("10.200.0.1/32", &[(1, 10, 1), (2, 20, 3)]);
    lab.map(3, 1, &["10.3.0.0/24"]);
    lab.dial(3, "lb3", PeerRole::DnsLb, 1).unwrap();
    lab.map(3, 1, &["10.3.0.0/24"]);
    lab.drain("lb1", true).unwrap();
    lab.pass(30);
    lab.keeper.closed(LinkId(2), lab.now);
    lab.pass(12);
    let map = lab.request("/api/v1/map", &[]).unwrap();
    let rows: Vec<(String, String, u64, u64)> = map["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let text = |key: &str| e[key].as_str().unwrap().to_owned();
            (text("prefix"), text("dns_lb"), e["preference"].as_u64().unwrap(), e["weight"].as_u64().unwrap())
        })
        .collect();
    let row = |prefix: &str, lb: &str, preference, weight| (prefix.to_owned(), lb.to_owned(), preference, weight);
    assert_eq!(
        rows,
        [row("10.3.0.0/24", "lb3", 1, 1), row("10.200.0.1/32", "lb1", 10, 1), row("10.200.0.1/32", "lb2", 20, 3)]
    );
    let of = |n: usize, key: &str| map["entries"][n][key].clone();
    assert_eq!(
        (of(1, "state"), of(1, "lease_left_seconds"), of(1, "linked")),
        ("drained".into(), Value::Null, true.into())
    );
    assert_eq!(
        (of(2, "state"), of(2, "lease_left_seconds"), of(2, "linked")),
        ("suspect".into(), 48.into(), false.into())
    );
    assert_eq!((of(2, "source"), of(2, "age_seconds")), ("static".into(), 42.into()));
    assert_eq!(map["more"], 0);

    // What overlaps, above and below; and no more than is wanted.
    let count = |lab: &mut Lab, parameters: &[(&str, &str)]| {
        let map = lab.request("/api/v1/map", parameters).unwrap();
        (map["entries"].as_array().unwrap().len(), map["more"].as_u64().unwrap())
    };
    assert_eq!(count(&mut lab, &[("prefix", "10.3.0.7")]), (1, 0));
    assert_eq!(count(&mut lab, &[("prefix", "10.0.0.0/8")]), (3, 0));
    assert_eq!(count(&mut lab, &[("prefix", "10.200.0.0/24"), ("limit", "1")]), (1, 1));
    assert_eq!(count(&mut lab, &[("prefix", "192.0.2.0/24")]), (0, 0));
    for bad in [("prefix", "10.0.0.1/8"), ("prefix", "x"), ("limit", "-1"), ("other", "1")] {
        assert!(lab.request("/api/v1/map", &[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn what_the_operator_states_stands() {
    let mut config = config();
    config.fleet.labels =
        vec![dglb_core::fleet::FleetLabel { identity: "lb1".parse().unwrap(), addresses: vec![ip("203.0.113.53")] }];
    let mut lab = Lab { keeper: Keeper::new(&config, BootId([1; 16]), Instant::now()), now: Instant::now() };
    let lb = lab.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
    let from = "198.51.100.1:1000".parse().unwrap();
    let hello = hello("lb1", PeerRole::DnsLb, 1, FleetStamp::default());
    assert!(matches!(lab.keeper.hello(LinkId(1), &hello, from, lab.now), Verdict::Welcome(_)));
    lab.map(1, 1, &[]);
    assert_eq!(lab.keeper.directory().find_lb(lb).unwrap().addresses, [ip("203.0.113.53")]);
}
