//! Examples, and what the properties share with them.

use std::{net::IpAddr, time::Instant};

use super::*;
use crate::{
    catalogue::{Location, Mode, Policy, Probe, ProbeKind, Service, Site},
    estimate::{ENOUGH, Measured},
};

/// What is known of each site, by its number in the customer's order: one address each.
pub(super) type Known = (Health, Option<u32>, usize);
/// How far below and above the figure the estimate lately was, in microseconds.
pub(super) type Doubt = (u32, u32);

pub(super) fn address(site: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(site).unwrap()])
}

pub(super) fn service(sites: usize, policy: Policy) -> Service {
    Service {
        name: "www.glb.test".parse().unwrap(),
        host: "www.test".parse().unwrap(),
        mode: Mode::Referral,
        ttl: 300,
        answers: 1,
        policy,
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
        sites: (0..sites)
            .map(|n| Site { name: format!("s{n}"), addresses: vec![address(n)], cost: n as f64, ..Site::default() })
            .collect(),
    }
}

pub(super) fn measured(address: IpAddr, (health, latency_us, samples): Known, (below, above): Doubt) -> Measured {
    let range_us = latency_us.map(|l| (l.saturating_sub(below), l + above));
    Measured { figures: Figures { address, health, latency_us }, samples, range_us, ..Measured::unknown(address) }
}

pub(super) fn ranked(service: &Service, known: &[Known], previous: Option<&Ranking>) -> Ranking {
    doubted(service, known, &vec![(0, 0); known.len()], previous)
}

pub(super) fn doubted(service: &Service, known: &[Known], doubts: &[Doubt], previous: Option<&Ranking>) -> Ranking {
    let number = |at| (0..known.len()).find(|n| address(*n) == at).unwrap();
    let look_up = |_: &Site, address| measured(address, known[number(address)], doubts[number(address)]);
    rank(&Inputs::new(service, 7, look_up, previous)).ranking
}

pub(super) fn names(ranking: &Ranking) -> Vec<&str> {
    ranking.sites.iter().map(|s| s.site.as_str()).collect()
}

fn up(ms: u32) -> Known {
    (Health::Up, Some(ms * 1_000), 9)
}

fn down(ms: u32) -> Known {
    (Health::Down, Some(ms * 1_000), 9)
}

const NOTHING: Known = (Health::Unknown, None, 0);

#[test]
fn nearest_first_and_the_dead_last() {
    let ranking = ranked(&service(4, Policy::default()), &[up(80), down(1), NOTHING, up(20)], None);
    assert_eq!(names(&ranking), ["s3", "s0", "s2", "s1"]);
    assert_eq!(ranking.catalogue, 7);
    assert_eq!(ranking.sites[0].score, Some(20.0));
    assert_eq!(ranking.sites[2].score, None);
}

#[test]
fn cost_outweighs_latency_where_the_policy_says_so() {
    let policy = Policy { cost: 30.0, ..Policy::default() };
    let ranking = ranked(&service(3, policy), &[up(50), up(30), up(10)], None);
    assert_eq!(names(&ranking), ["s0", "s1", "s2"]);
    assert_eq!(ranking.sites.iter().map(|s| s.score.unwrap()).collect::<Vec<_>>(), [50.0, 60.0, 70.0]);
}

#[test]
fn few_round_trips_do_not_change_the_customers_order() {
    let service = service(3, Policy::default());
    let two = |ms: u32| (Health::Up, Some(ms * 1_000), ENOUGH - 1);
    assert_eq!(names(&ranked(&service, &[two(90), two(50), two(10)], None)), ["s0", "s1", "s2"]);
    // What was measured goes before, whatever the figure of what was not.
    assert_eq!(names(&ranked(&service, &[two(5), up(90), up(60)], None)), ["s2", "s1", "s0"]);
}

#[test]
fn the_winner_stays_within_the_margin() {
    let service = service(2, Policy::default());
    let first = ranked(&service, &[up(50), up(55)], None);
    assert_eq!(names(&first), ["s0", "s1"]);
    assert_eq!(names(&ranked(&service, &[up(50), up(40)], Some(&first))), ["s0", "s1"], "10 ms is not more");
    assert_eq!(names(&ranked(&service, &[up(50), up(39)], Some(&first))), ["s1", "s0"]);
    // Ten percent of 200 ms outweigh the ten milliseconds.
    assert_eq!(names(&ranked(&service, &[up(200), up(180)], Some(&first))), ["s0", "s1"]);
    assert_eq!(names(&ranked(&service, &[up(200), up(179)], Some(&first))), ["s1", "s0"]);
}

#[test]
fn the_margin_holds_the_lower_places_too() {
    let service = service(3, Policy::default());
    let first = ranked(&service, &[up(10), up(50), up(55)], None);
    let then = ranked(&service, &[up(10), up(50), up(45)], Some(&first));
    assert_eq!(names(&then), ["s0", "s1", "s2"]);
    assert!(!differs(&first, &then), "other figures lead to no other answer");
    let far = ranked(&service, &[up(10), up(50), up(25)], Some(&then));
    assert_eq!(names(&far), ["s0", "s2", "s1"]);
    assert!(differs(&then, &far));
}

#[test]
fn a_dead_winner_goes_at_once_and_comes_back_only_by_the_margin() {
    let service = service(2, Policy::default());
    let first = ranked(&service, &[up(50), up(55)], None);
    let dead = ranked(&service, &[down(50), up(55)], Some(&first));
    assert_eq!(names(&dead), ["s1", "s0"]);
    let again = ranked(&service, &[up(50), up(55)], Some(&dead));
    assert_eq!(names(&again), ["s1", "s0"]);
    assert!(differs(&dead, &again), "the verdict changed");
}

#[test]
fn when_all_are_dead_the_last_good_figures_order() {
    let service = service(3, Policy::default());
    let first = ranked(&service, &[up(50), up(45), up(90)], None);
    let previous = ranked(&service, &[up(44), up(45), up(90)], Some(&first));
    assert_eq!(names(&previous), ["s1", "s0", "s2"]);
    let dead = [down(44), down(45), (Health::Down, None, 0)];
    assert_eq!(names(&ranked(&service, &dead, Some(&previous))), ["s0", "s1", "s2"]);
}

#[test]
fn a_site_is_as_good_as_its_best_usable_address() {
    let mut service = service(2, Policy::default());
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    service.sites[1].addresses.insert(0, v6);
    let look_up = |v6_health| {
        move |_: &Site, a: IpAddr| {
            let (health, ms) = match a {
                a if a == v6 => (v6_health, 5),
                a if a == address(0) => (Health::Up, 20),
                _ => (Health::Up, 60),
            };
            measured(a, (health, Some(ms * 1_000), 9), (0, 0))
        }
    };
    let well = rank(&Inputs::new(&service, 1, look_up(Health::Up), None)).ranking;
    assert_eq!(names(&well), ["s1", "s0"]);
    assert_eq!(well.sites[0].addresses[0].address, v6);
    // One family dead: the site is usable, but not for what the dead address promised.
    let half = rank(&Inputs::new(&service, 1, look_up(Health::Down), None)).ranking;
    assert_eq!(names(&half), ["s0", "s1"]);
    assert_eq!(half.sites[1].score, Some(60.0));
    assert_eq!(half.sites[1].health(), Health::Up);
    assert_eq!(half.sites[1].addresses.iter().map(|f| f.address).collect::<Vec<_>>(), [address(1), v6]);
}

#[test]
fn sites_without_an_address_are_not_ranked() {
    let mut service = service(2, Policy::default());
    service.sites[0].addresses.clear();
    assert_eq!(names(&ranked(&service, &[NOTHING, NOTHING], None)), ["s1"]);
}

#[test]
fn failover_goes_by_the_customers_order_and_returns_at_once() {
    let service = service(3, Policy { form: Form::Failover, ..Policy::default() });
    let first = ranked(&service, &[up(90), up(10), up(50)], None);
    assert_eq!(names(&first), ["s0", "s1", "s2"]);
    let dead = ranked(&service, &[down(90), up(10), up(50)], Some(&first));
    assert_eq!(names(&dead), ["s1", "s2", "s0"]);
    let back = ranked(&service, &[up(90), up(10), up(50)], Some(&dead));
    assert_eq!(names(&back), ["s0", "s1", "s2"]);
    assert!(back.sites.iter().all(|s| s.score.is_none()), "a dns-b that adds reports up finds no other order");
}

#[test]
fn doubt_is_for_who_is_in_place() {
    let service = service(2, Policy::default());
    let first = ranked(&service, &[up(50), up(90)], None);
    let now = |doubts: &[Doubt]| names(&doubted(&service, &[up(50), up(30)], doubts, Some(&first))).join(" ");
    assert_eq!(now(&[(0, 0), (0, 0)]), "s1 s0");
    assert_eq!(now(&[(0, 0), (0, 9_999)]), "s1 s0");
    assert_eq!(now(&[(0, 0), (0, 10_000)]), "s0 s1", "it was at 40 ms just now");
    assert_eq!(now(&[(10_000, 0), (0, 0)]), "s0 s1", "the present one was at 40 ms just now");
    assert_eq!(now(&[(0, 900_000), (30_000, 0)]), "s1 s0", "that it was worse yet is no doubt");
}

#[test]
fn the_place_goes_to_who_is_better_beyond_doubt() {
    let service = service(3, Policy::default());
    let first = ranked(&service, &[up(50), up(90), up(90)], None);
    let known = [up(50), up(10), up(20)];
    let then = doubted(&service, &known, &[(0, 0), (0, 90_000), (0, 0)], Some(&first));
    assert_eq!(names(&then), ["s2", "s0", "s1"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is time that is measured")]
fn ten_times_the_sites_take_little_more_than_ten_times_as_long() {
    let mut service = service(0, Policy::default());
    let name = |n: usize| format!("a-site-with-a-long-name-of-which-the-end-alone-differs-{n}");
    let site = |n| Site { name: name(n), addresses: vec![address(0)], cost: 0.0, ..Site::default() };
    let look_up = |_: &Site, address| measured(address, (Health::Up, Some(1_000), 9), (0, 0));
    let mut least = |sites| {
        service.sites = (0..sites).map(site).collect();
        let first = rank(&Inputs::new(&service, 1, look_up, None)).ranking;
        let once = |_| {
            let started = Instant::now();
            let second = rank(&Inputs::new(&service, 1, look_up, Some(&first))).ranking;
            let took = started.elapsed();
            assert!(!differs(&first, &second));
            took
        };
        // Whatever else the machine does only makes it longer.
        (0..5).map(once).min().unwrap()
    };
    let (few, many) = (least(2_000), least(20_000));
    assert!(many < 40 * few, "{few:?}, and for ten times as many {many:?}");
}

#[test]
fn the_rule_says_why_the_first_is_first() {
    let service = service(2, Policy::default());
    let rule = |service: &Service, known: &[Known], previous: Option<&Ranking>| {
        let number = |at| (0..known.len()).find(|n| address(*n) == at).unwrap();
        rank(&Inputs::new(service, 7, |_, a| measured(a, known[number(a)], (0, 0)), previous)).rule
    };
    let mut alone = service.clone();
    alone.sites.truncate(1);
    let failover = Service { policy: Policy { form: Form::Failover, ..service.policy }, ..service.clone() };
    let first = ranked(&service, &[up(50), up(55)], None);
    assert_eq!(rule(&alone, &[up(50)], None), Rule::Alone);
    assert_eq!(rule(&service, &[down(5), up(50)], None), Rule::Health);
    assert_eq!(rule(&service, &[NOTHING, NOTHING], None), Rule::Order);
    assert_eq!(rule(&failover, &[up(50), up(5)], None), Rule::Order);
    assert_eq!(rule(&service, &[NOTHING, (Health::Unknown, Some(9), 9)], None), Rule::Score);
    assert_eq!(rule(&service, &[up(50), up(45)], None), Rule::Score);
    assert_eq!(rule(&service, &[up(50), up(45)], Some(&first)), Rule::Margin);
    assert_eq!(rule(&service, &[up(50), up(5)], Some(&first)), Rule::Score);
    assert_eq!(rule(&service, &[down(50), down(45)], Some(&first)), Rule::LastGood);
}

#[test]
fn what_was_decided_can_be_decided_again_from_what_was_written_down() {
    let service = service(2, Policy::default());
    let look_up = |_: &Site, a| measured(a, if a == address(0) { up(50) } else { up(45) }, (1_000, 2_000));
    let first = ranked(&service, &[up(50), up(55)], None);
    let inputs = Inputs::new(&service, 7, look_up, Some(&first));
    let mut again: Inputs = serde_json::from_str(&serde_json::to_string(&inputs).unwrap()).unwrap();
    assert_eq!((&again, rank(&again)), (&inputs, rank(&inputs)));
    assert_eq!(rank(&again).rule, Rule::Margin);
    again.previous.reverse();
    assert_ne!(rank(&again).ranking.sites[0].site, rank(&inputs).ranking.sites[0].site);
}

/// A decision of a service whose sites all are up and near, with changes.
fn decided(service: &Service, known: &[Known], change: impl FnOnce(&mut Inputs)) -> Outcome {
    let number = |at| (0..known.len()).find(|n| address(*n) == at).unwrap();
    let mut inputs = Inputs::new(service, 7, |_, a| measured(a, known[number(a)], (0, 0)), None);
    change(&mut inputs);
    rank(&inputs)
}

fn at_load(inputs: &mut Inputs, site: usize, load: u32) {
    inputs.sites[site].addresses[0].told.utilization = Some(load);
}

#[test]
fn a_busy_site_is_worse_by_as_much_as_the_policy_says() {
    let service = service(2, Policy { load: 40.0, ..Policy::default() });
    let scores = |load| {
        let outcome = decided(&service, &[up(20), up(50)], |inputs| at_load(inputs, 0, load));
        (
            outcome.ranking.sites[0].site.clone(),
            outcome.ranking.sites.iter().map(|s| s.score.unwrap()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(scores(500), ("s0".to_owned(), vec![40.0, 50.0]));
    assert_eq!(scores(1_000), ("s1".to_owned(), vec![50.0, 60.0]));
}

#[test]
fn requests_by_capacity_are_a_load_where_none_is_told() {
    let mut site = Candidate { site: Site::default(), addresses: vec![Measured::unknown(address(0)); 2] };
    site.addresses[1].told.requests = Some(300_000);
    assert_eq!(site.load(), None, "nobody knows what it can do");
    site.site.capacity = Some(400.0);
    assert_eq!(site.load(), Some(750));
    site.addresses[0].told.utilization = Some(900);
    assert_eq!(site.load(), Some(900), "the one that says most");
    site.addresses[0].told.requests = Some(4_000_000);
    assert_eq!(site.load(), Some(900), "its own word goes before what follows from its requests");
}

#[test]
fn distance_counts_where_both_places_are_known() {
    let mut service = service(3, Policy { latency: 0.0, distance: 1.0, ..Policy::default() });
    let at = |latitude, longitude| Some(Location { latitude, longitude });
    service.sites[1].location = at(47.6, -122.3);
    service.sites[2].location = at(50.1, 8.7);
    let known = [up(5), up(5), up(5)];
    let berlin = Here { location: at(52.5, 13.4), groups: vec![] };
    let here = decided(&service, &known, |inputs| inputs.here = berlin);
    assert_eq!(names(&here.ranking), ["s2", "s1", "s0"], "what is nowhere is far away");
    assert!((4.0..4.5).contains(&here.ranking.sites[0].score.unwrap()), "{here:?}");
    assert_eq!(names(&decided(&service, &known, |_| ()).ranking), ["s0", "s1", "s2"]);
}

#[test]
fn what_is_not_for_these_groups_is_for_when_all_others_are_down() {
    let mut service = service(3, Policy::default());
    service.sites[0].not_groups = vec!["eu".to_owned()];
    service.sites[2].groups = vec!["eu".to_owned()];
    let eu = |inputs: &mut Inputs| inputs.here.groups = vec!["eu".to_owned()];
    let known = [up(10), up(50), up(40)];
    let outcome = decided(&service, &known, eu);
    assert_eq!(names(&outcome.ranking), ["s2", "s1", "s0"]);
    assert_eq!(outcome.rule, Rule::Group);
    assert_eq!(outcome.barred, [Barred { site: "s0".to_owned(), by: Bar::Group, loosened: false }]);
    assert_eq!(outcome.ranking.sites[2].score, None, "it is not beside the best, however near");
    let elsewhere = decided(&service, &known, |_| ());
    assert_eq!(names(&elsewhere.ranking), ["s0", "s1", "s2"]);
    assert_eq!(elsewhere.rule, Rule::Score);
    let last = decided(&service, &[up(10), down(50), down(40)], eu);
    assert_eq!(names(&last.ranking), ["s0", "s2", "s1"]);
    assert!(last.barred[0].loosened, "one site is left at least: {last:?}");
    // An unknown one that is allowed goes before it.
    let unknown = decided(&service, &[up(10), NOTHING, down(40)], eu);
    assert_eq!(names(&unknown.ranking), ["s1", "s0", "s2"]);
}

#[test]
fn constraints_are_loosened_in_order() {
    let mut service = service(4, Policy { target_load: 800, ..Policy::default() });
    service.sites[0].not_groups = vec!["eu".to_owned()];
    let loosened = |least| {
        service.policy.least_sites = least;
        let known = [up(10), up(20), up(30), down(5)];
        let outcome = decided(&service, &known, |inputs| {
            inputs.here.groups = vec!["eu".to_owned()];
            at_load(inputs, 1, 801);
            at_load(inputs, 2, 800);
        });
        assert_eq!(names(&outcome.ranking), ["s1", "s2", "s0", "s3"], "the order stays");
        let barred: Vec<_> = outcome.barred.iter().map(|b| (b.site.clone(), b.by)).collect();
        assert_eq!(barred, [("s1".to_owned(), Bar::Load), ("s0".to_owned(), Bar::Group)]);
        outcome.barred.iter().filter(|b| b.loosened).map(|b| b.site.clone()).collect::<Vec<_>>().join(" ")
    };
    let mut loosened = loosened;
    assert_eq!(loosened(1), "");
    assert_eq!(loosened(2), "s1", "first that it is full");
    assert_eq!(loosened(3), "s1 s0", "then that it is not for us");
    assert_eq!(loosened(4), "s1 s0", "and never that it is down");
}

#[test]
fn a_choice_is_unsettled_while_another_is_near_or_a_probe_has_failed() {
    let mut service = service(2, Policy::default());
    let unsettled = |service: &Service, ms: u32, change: fn(&mut Inputs)| {
        decided(service, &[up(50), up(ms)], change).ranking.unsettled
    };
    assert!(!unsettled(&service, 51, |_| ()), "it has no shorter time to live");
    service.least_ttl = Some(30);
    assert!(unsettled(&service, 60, |_| ()));
    assert!(!unsettled(&service, 61, |_| ()));
    assert!(unsettled(&service, 70, |inputs| inputs.was_unsettled = true), "not at the edge each time");
    assert!(!unsettled(&service, 71, |inputs| inputs.was_unsettled = true));
    assert!(unsettled(&service, 90, |inputs| inputs.sites[0].addresses[0].suspect = true));
    assert!(!unsettled(&service, 90, |inputs| inputs.sites[1].addresses[0].suspect = true));
    service.least_ttl = Some(service.ttl);
    assert!(!unsettled(&service, 60, |_| ()));
}
