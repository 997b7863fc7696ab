//! Which decisions are put down, with what.

use dglb_core::{decided::Decided, rank::Rule};

use super::*;

/// The rule and the address that it led to, of each that is put down; each must come out again as it is.
fn put_down(effects: &Effects) -> Vec<(Rule, String)> {
    let told = |decided: &Decided| {
        assert_eq!(decided.again(), *decided);
        assert!(decided.service.probes.is_empty(), "a probe may hold a secret");
        (decided.outcome.rule, decided.answer.ipv4[0].to_string())
    };
    effects.decided.iter().map(told).collect()
}

fn only(rule: Rule, address: &str) -> Vec<(Rule, String)> {
    vec![(rule, address.to_owned())]
}

#[test]
fn a_decision_is_put_down_once_and_a_confirmation_with_the_next_digest() {
    let (mut lb, www) = Lb::with_catalogue();
    let mut first = Vec::new();
    for (n, ms) in [(1, 50), (2, 20), (3, 90)] {
        for _ in 0..3 {
            first.extend(put_down(&lb.sample(&www, n, Some(ms))));
        }
    }
    assert_eq!(first, only(Rule::Score, "192.0.2.2"));
    // New figures, the same order, the same rule: nothing, then or with the digest.
    lb.now += Duration::from_secs(1);
    assert_eq!(put_down(&lb.sample(&www, 2, Some(21))), []);
    lb.now += DIGEST;
    assert_eq!(put_down(&lb.handle(Event::Tick)), []);
    // One that is nearer by now, though not by the margin, is told of with the next one.
    for _ in 0..6 {
        lb.now += Duration::from_secs(1);
        assert_eq!(put_down(&lb.sample(&www, 1, Some(15))), []);
    }
    lb.now += DIGEST;
    assert_eq!(put_down(&lb.handle(Event::Tick)), only(Rule::Margin, "192.0.2.2"));
    lb.now += DIGEST;
    assert_eq!(put_down(&lb.handle(Event::Tick)), []);
    // A verdict is told at once.
    assert_eq!(put_down(&lb.sample(&www, 2, None)), []);
    let down = lb.sample(&www, 2, None);
    assert_eq!(put_down(&down), only(Rule::Score, "192.0.2.1"));
    // What came of it follows from what is put down, and from nothing else.
    let mut altered = down.decided[0].clone();
    let candidate = altered.inputs.sites.iter_mut().find(|candidate| candidate.site.name == "s3").unwrap();
    (candidate.addresses[0].figures.latency_us, candidate.addresses[0].range_us) = (Some(1_000), Some((1_000, 1_000)));
    assert_eq!(altered.again().answer.ipv4, ["192.0.2.3".parse::<IpAddr>().unwrap()]);
    // What is shown of the present is the same.
    assert_eq!(lb.keeper.decided(&www.name).as_ref(), down.decided.first());
}

#[test]
fn what_an_earlier_run_has_decided_is_not_put_down_again() {
    let (mut lb, www) = Lb::measured();
    let ranking = lb.keeper.rankings().next().unwrap().1.unwrap().clone();
    let mut next = Lb::new();
    next.up("b1", fleet(1));
    next.said("b1", Message::snapshot(zone("glb.test", 1, vec![www.clone()])));
    assert!(next.keeper.measurements.restore(&ranking));
    next.now += DIGEST;
    assert_eq!(put_down(&next.handle(Event::Tick)), []);
    assert_eq!(next.keeper.decided(&www.name), None);
    // Nor is one of a service that is gone.
    lb.keeper.measurements.forget(&www.name);
    assert_eq!(lb.keeper.decided(&www.name), None);
}
