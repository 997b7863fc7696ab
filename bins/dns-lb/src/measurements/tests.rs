use std::sync::Arc;

use dglb_core::{
    catalogue::{ForcedState, Mode, Policy, Probe, ProbeKind, Site},
    load::{Stated, Told},
    report::Health,
};
use dglb_probe::probe::{Failure, Times};

use super::*;

pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// A service with one IPv4 address for each site `s1`, `s2`, …
pub(crate) fn service(name: &str, sites: u8) -> Service {
    Service {
        name: name.parse().unwrap(),
        host: "www.foobar.com".parse().unwrap(),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy: Policy::default(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp { port: 80 },
            interval_ms: 10_000,
            timeout_ms: 1_000,
            fall: 2,
            rise: 2,
        }],
        https: None,
        probe_ceiling: None,
        least_ttl: None,
        sites: (1..=sites)
            .map(|n| Site {
                name: format!("s{n}"),
                addresses: vec![[192, 0, 2, n].into()],
                cost: 0.0,
                ..Site::default()
            })
            .collect(),
    }
}

/// A round trip of so many milliseconds to site `s<n>`, or a failure.
pub(crate) fn sample(service: &Service, n: usize, ms: Option<u64>, at: Instant) -> Sample {
    let target = targets(service).find(|t| t.site == format!("s{n}")).unwrap();
    let outcome = match ms {
        Some(ms) => Outcome::Good(Times { connect: Duration::from_millis(ms), ..Times::default() }),
        None => Outcome::Failed(Failure::Refused),
    };
    Sample { target: Arc::new(target), outcome, told: Told::default(), at }
}

pub(crate) fn order(ranking: &Ranking) -> Vec<&str> {
    ranking.sites.iter().map(|s| s.site.as_str()).collect()
}

#[test]
fn the_first_ranking_waits_for_the_last_address() {
    let now = Instant::now();
    let www = service("www.glb.test", 3);
    let mut m = Measurements::new(SETTLE);
    assert!(!m.is_complete());
    assert_eq!(m.watch(&www, 4, now), None);
    for _ in 0..3 {
        assert_eq!(m.record(&sample(&www, 1, Some(50), now)), None);
        assert_eq!(m.record(&sample(&www, 2, Some(20), now)), None);
    }
    assert_eq!(m.record(&sample(&www, 3, None, now)), None);
    assert!(!m.is_complete());
    let Some(Change::Order(ranking)) = m.record(&sample(&www, 3, None, now)) else { panic!() };
    assert_eq!(order(&ranking), ["s2", "s1", "s3"]);
    assert_eq!((ranking.catalogue, ranking.sites[2].health()), (4, Health::Down));
    assert!(m.is_complete());
    // The same again is only a fresher figure.
    let now = now + PAUSE;
    let change = m.record(&sample(&www, 1, Some(51), now));
    assert!(matches!(change, Some(Change::Figures(_))), "{change:?}");
    let now = now + PAUSE;
    let change = m.record(&sample(&www, 2, None, now));
    assert!(matches!(change, Some(Change::Figures(_))), "one failure is no verdict: {change:?}");
    let Some(Change::Order(ranking)) = m.record(&sample(&www, 2, None, now)) else { panic!() };
    assert_eq!(order(&ranking), ["s1", "s2", "s3"]);
}

#[test]
fn a_slow_address_is_not_waited_for_for_ever() {
    let start = Instant::now();
    let www = service("www.glb.test", 2);
    let mut m = Measurements::new(SETTLE);
    m.watch(&www, 1, start);
    let late = start + SETTLE;
    assert!(m.due(late).is_empty(), "nothing at all was measured");
    for _ in 0..3 {
        m.record(&sample(&www, 2, Some(20), start));
    }
    assert!(m.due(late - Duration::from_millis(1)).is_empty());
    let rankings = m.due(late);
    let [Change::Order(ranking)] = &rankings[..] else { panic!("{rankings:?}") };
    assert_eq!(order(ranking), ["s2", "s1"]);
    assert_eq!(ranking.sites[1].health(), Health::Unknown);
    assert!(m.due(late).is_empty(), "once");
}

#[test]
fn figures_wait_for_each_other_and_verdicts_for_nothing() {
    let start = Instant::now();
    let www = service("www.glb.test", 2);
    let mut m = Measurements::new(SETTLE);
    m.watch(&www, 1, start);
    for n in [1, 1, 1, 2, 2, 2] {
        m.record(&sample(&www, n, Some(20), start));
    }
    assert!(m.is_complete());
    for _ in 0..9 {
        assert_eq!(m.record(&sample(&www, 1, Some(90), start)), None, "just ranked");
    }
    assert!(m.due(start + PAUSE - Duration::from_millis(1)).is_empty());
    // No further sample is needed for what came last to count.
    let changes = m.due(start + PAUSE);
    let [Change::Order(ranking)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(order(ranking), ["s2", "s1"]);
    assert!(m.due(start + 2 * PAUSE).is_empty(), "nothing new");
    let later = start + PAUSE;
    assert_eq!(m.record(&sample(&www, 2, None, later)), None);
    let Some(Change::Order(ranking)) = m.record(&sample(&www, 2, None, later)) else { panic!("a dead site stays") };
    assert_eq!(order(&ranking), ["s1", "s2"]);
}

#[test]
fn who_calls_itself_draining_or_down_gives_its_place_up_at_once() {
    let now = Instant::now();
    let www = service("www.glb.test", 2);
    let mut m = Measurements::new(SETTLE);
    m.watch(&www, 1, now);
    let says = |n, ms, state| Sample { told: Told { state, ..Told::default() }, ..sample(&www, n, ms, now) };
    for n in [1, 1, 1, 2, 2, 2] {
        m.record(&sample(&www, n, Some(10 * n as u64), now));
    }
    for (word, health) in [(Stated::Draining, Health::Draining), (Stated::Down, Health::Down)] {
        let Some(Change::Order(ranking)) = m.record(&says(1, Some(10), Some(word))) else { panic!("{word:?}") };
        assert_eq!((order(&ranking), ranking.sites[1].health()), (vec!["s2", "s1"], health));
    }
    assert_eq!(m.record(&says(1, None, None)), None, "silence takes nothing back");
    let Some(Change::Order(ranking)) = m.record(&says(1, Some(10), None)) else { panic!() };
    assert_eq!((order(&ranking)[1], ranking.sites[1].health()), ("s1", Health::Up), "by the margin only");
    // A page that says so may be one with a bad status.
    assert!(m.record(&says(1, None, Some(Stated::Down))).is_some());
}

#[test]
fn a_forced_site_is_what_it_is_forced_to_be_until_that_expires() {
    let now = Instant::now();
    let mut www = service("www.glb.test", 3);
    let force = |state, until| Some(Forced { state, until, reason: "test".to_owned() });
    www.sites[0].forced = force(ForcedState::Down, 2_000);
    www.sites[1].forced = force(ForcedState::Up, 3_000);
    let mut m = Measurements::new(SETTLE);
    m.set_clock(1_000);
    m.watch(&www, 1, now);
    for n in [1, 2, 3] {
        for _ in 0..3 {
            m.record(&sample(&www, n, (n != 2).then_some(10 * n as u64), now));
        }
    }
    let health = |m: &Measurements| {
        let ranking = m.rankings().next().unwrap().1.unwrap().clone();
        ranking.sites.iter().map(|s| (s.site.clone(), s.health())).collect::<Vec<_>>()
    };
    let of = |n: u8, health| (format!("s{n}"), health);
    assert_eq!(health(&m), [of(3, Health::Up), of(2, Health::Up), of(1, Health::Down)]);
    assert!(m.due(now).is_empty());
    m.set_clock(2_000);
    assert!(matches!(&m.due(now)[..], [Change::Order(_)]));
    assert_eq!(health(&m), [of(1, Health::Up), of(3, Health::Up), of(2, Health::Up)]);
    m.set_clock(3_000);
    assert!(matches!(&m.due(now)[..], [Change::Order(_)]));
    assert_eq!(health(&m)[2], of(2, Health::Down));
    assert!(m.due(now).is_empty());
    // This DNS-LB's operator has the last word, over a new catalogue, too.
    let draining = Forced { state: ForcedState::Draining, until: 4_000, reason: "test".to_owned() };
    assert!(m.force(&www.name, "s1".to_owned(), Some(draining), now).is_some());
    www.sites[0].forced = force(ForcedState::Up, 9_000);
    m.watch(&www, 2, now);
    assert_eq!(health(&m), [of(3, Health::Up), of(1, Health::Draining), of(2, Health::Down)]);
    assert_eq!(m.forced().map(|(_, site, _, by)| (site, by)).collect::<Vec<_>>(), [("s1", "operator")]);
    m.force(&www.name, "s1".to_owned(), None, now);
    assert_eq!(m.forced().map(|(_, site, _, by)| (site, by)).collect::<Vec<_>>(), [("s1", "customer")]);
    assert_eq!(health(&m)[2], of(2, Health::Down));
}

#[test]
fn what_this_host_could_not_do_says_nothing() {
    let now = Instant::now();
    let www = service("www.glb.test", 1);
    let mut m = Measurements::new(SETTLE);
    m.watch(&www, 1, now);
    let local = Sample { outcome: Outcome::Local, ..sample(&www, 1, None, now) };
    for _ in 0..5 {
        assert_eq!(m.record(&local), None);
    }
    assert!(m.due(now + SETTLE).is_empty());
}

#[test]
fn a_new_catalogue_keeps_what_was_measured() {
    let now = Instant::now();
    let mut www = service("www.glb.test", 2);
    let mut m = Measurements::new(SETTLE);
    m.watch(&www, 1, now);
    for _ in 0..3 {
        m.record(&sample(&www, 1, Some(50), now));
        m.record(&sample(&www, 2, Some(20), now));
    }
    www.sites.push(Site {
        name: "s3".to_owned(),
        addresses: vec![[192, 0, 2, 3].into()],
        cost: 0.0,
        ..Site::default()
    });
    www.sites.remove(0);
    let Some(Change::Order(ranking)) = m.watch(&www, 2, now) else { panic!() };
    assert_eq!((order(&ranking), ranking.catalogue), (vec!["s2", "s3"], 2));
    assert_eq!(ranking.sites[0].addresses[0].latency_us, Some(20_000));
    assert_eq!(m.targets().len(), 2);
    // Another way of measuring starts anew, but what was found stands until it has its own.
    let old = sample(&www, 2, Some(1), now);
    www.probes[0].kind = ProbeKind::Tcp { port: 81 };
    let Some(Change::Order(ranking)) = m.watch(&www, 3, now) else { panic!() };
    assert_eq!(ranking.sites[0].health(), Health::Unknown);
    assert_eq!(order(&ranking), ["s2", "s3"]);
    assert_eq!(m.record(&old), None, "a probe of the old kind");
    m.forget(&www.name);
    assert_eq!(m.record(&sample(&www, 2, Some(1), now)), None);
    assert!(m.targets().is_empty());
}
