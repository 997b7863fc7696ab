//! Who gets which part of the clients.

use proptest::prelude::*;

use super::{
    tests::{Known, address, measured, service},
    *,
};
use crate::catalogue::{Policy, Service};

const UP: Known = (Health::Up, Some(20_000), 9);
const DOWN: Known = (Health::Down, Some(20_000), 9);

/// A decision: what was known of each site, its load, and its share before; steps are due.
fn decided(service: &Service, sites: &[(Known, Option<u32>, u16)]) -> Outcome {
    let number = |at| (0..sites.len()).find(|n| address(*n) == at).unwrap();
    let mut inputs = Inputs::new(service, 7, |_, a| measured(a, sites[number(a)].0, (0, 0)), None);
    for (candidate, (_, load, before)) in inputs.sites.iter_mut().zip(sites) {
        candidate.addresses[0].told.utilization = *load;
        inputs.previous.push(Placed { site: candidate.site.name.clone(), share: *before });
    }
    inputs.shares_stood_ms = inputs.shares_stand_ms;
    rank(&inputs)
}

/// The shares in the customer's order.
fn shares(outcome: &Outcome) -> Vec<u16> {
    let mut sites: Vec<_> = outcome.ranking.sites.iter().map(|s| (s.site.clone(), s.share)).collect();
    sites.sort();
    sites.into_iter().map(|(_, share)| share).collect()
}

fn spilling(sites: usize) -> Service {
    service(sites, Policy { target_load: 800, ..Policy::default() })
}

#[test]
fn without_a_target_all_go_to_the_first() {
    let outcome = decided(&service(2, Policy::default()), &[(UP, Some(2_000), 0), (UP, Some(0), 0)]);
    assert_eq!((shares(&outcome), outcome.step), (vec![0, 0], Step::Wanted));
}

#[test]
fn a_full_site_gives_up_what_brings_it_to_its_target_to_those_with_room() {
    let service = spilling(3);
    let outcome = decided(&service, &[(UP, Some(1_000), 0), (UP, Some(600), 0), (UP, Some(200), 0)]);
    // A fifth, one part to three parts of what they have to spare.
    assert_eq!((shares(&outcome), outcome.step), (vec![800, 50, 150], Step::Spilled));
    let nobody = decided(&service, &[(UP, Some(1_000), 0), (UP, Some(900), 0), (UP, Some(800), 0)]);
    assert_eq!((shares(&nobody), nobody.step), (vec![0, 0, 0], Step::Wanted), "nobody has room");
    let much = decided(&service, &[(UP, Some(4_000), 0), (UP, Some(100), 0), (UP, Some(900), 0)]);
    assert_eq!(shares(&much), [500, 500, 0], "not more than half at once");
}

#[test]
fn the_dead_lose_all_at_once_and_what_they_had_is_spread() {
    let service = spilling(3);
    let outcome = decided(&service, &[(DOWN, Some(500), 900), (UP, Some(600), 100), (UP, Some(400), 0)]);
    assert_eq!((shares(&outcome), outcome.step), (vec![0, 400, 600], Step::Spilled));
    let crowded = decided(&service, &[(DOWN, None, 1_000), (UP, Some(900), 0), (UP, Some(900), 0)]);
    assert_eq!(shares(&crowded), [0, 500, 500], "who is up has to bear it");
    assert_eq!(shares(&decided(&service, &[(DOWN, None, 1_000), (DOWN, None, 0), (DOWN, None, 0)])), [0, 0, 0]);
}

#[test]
fn clients_come_back_slowly_and_only_as_far_as_there_is_room() {
    let service = spilling(2);
    let step = |own: u32, share: u16| {
        let outcome = decided(&service, &[(UP, Some(own), share), (UP, Some(300), 1_000 - share)]);
        (shares(&outcome)[0], outcome.step)
    };
    assert_eq!(step(0, 0), (50, Step::Back));
    assert_eq!(step(60, 100), (200, Step::Back), "at most so many at once");
    assert_eq!(step(600, 500), (600, Step::Back));
    assert_eq!(step(700, 700), (720, Step::Back), "what brings it to its aim");
    assert_eq!(step(750, 700), (700, Step::Stands), "between aim and target");
    assert_eq!(step(800, 700), (700, Step::Stands));
    assert_eq!(step(880, 700), (636, Step::Spilled));
}

#[test]
fn a_step_stands_until_it_can_be_seen() {
    let service = spilling(2);
    let look_up = |_: &crate::catalogue::Site, a| measured(a, UP, (0, 0));
    let mut inputs = Inputs::new(&service, 7, look_up, None);
    assert_eq!(inputs.shares_stand_ms, 320_000, "the time to live and two intervals");
    inputs.sites[0].addresses[0].told.utilization = Some(1_000);
    inputs.previous = ["s0", "s1"].map(|site| Placed { site: site.to_owned(), share: 500 }).to_vec();
    inputs.shares_stood_ms = 319_999;
    assert_eq!((shares(&rank(&inputs)), rank(&inputs).step), (vec![500, 500], Step::Stands));
    inputs.shares_stood_ms = 320_000;
    assert_eq!(shares(&rank(&inputs)), [400, 600]);
    inputs.sites[0].addresses[0].figures.health = Health::Down;
    inputs.shares_stood_ms = 0;
    assert_eq!(shares(&rank(&inputs)), [0, 0], "all go to the one that is left, at once");
    assert_eq!(rank(&inputs).ranking.sites[0].site, "s1");
}

#[test]
fn forms_share_out_by_weight_or_evenly() {
    let mut service = service(3, Policy { form: Form::Weighted, ..Policy::default() });
    (service.sites[0].weight, service.sites[1].weight) = (5, 3);
    let all = [(UP, Some(900), 0), (UP, None, 0), (UP, None, 0)];
    assert_eq!(shares(&decided(&service, &all)), [556, 333, 111]);
    service.policy.form = Form::RoundRobin;
    assert_eq!(shares(&decided(&service, &all)), [334, 333, 333]);
    service.policy = Policy { form: Form::Sticky, target_load: 800, ..service.policy };
    assert_eq!(shares(&decided(&service, &all)), [556, 333, 111], "no load moves a client");
    let dead = [(DOWN, None, 0), (UP, None, 0), (UP, None, 0)];
    assert_eq!(shares(&decided(&service, &dead)), [0, 750, 250]);
}

#[test]
fn while_clients_shift_answers_live_shorter() {
    let mut service = spilling(2);
    service.least_ttl = Some(30);
    let far: Known = (Health::Up, Some(90_000), 9);
    let unsettled = |load| decided(&service, &[(UP, Some(load), 0), (far, Some(0), 0)]).ranking.unsettled;
    assert!(!unsettled(500));
    assert!(unsettled(900));
}

fn site() -> impl Strategy<Value = (Known, Option<u32>, u16)> {
    let health = prop_oneof![
        4 => Just(Health::Up), 1 => Just(Health::Unknown), 1 => Just(Health::Draining), 1 => Just(Health::Down),
    ];
    let known = (health, 1_000_u32..90_000).prop_map(|(health, latency)| (health, Some(latency), 9));
    (known, prop::option::of(0_u32..2_000), 0_u16..400)
}

proptest! {
    /// They add up, and nobody has one that may have no clients.
    #[test]
    fn shares_are_whole_and_only_for_who_may_have_clients(
        sites in prop::collection::vec(site(), 1..7),
        form in prop::sample::select(vec![Form::Best, Form::Failover, Form::Weighted, Form::RoundRobin, Form::Sticky]),
        target_load in prop_oneof![Just(0_u32), 1_u32..1_200],
    ) {
        let service = service(sites.len(), Policy { form, target_load, ..Policy::default() });
        let outcome = decided(&service, &sites);
        let sum: u32 = outcome.ranking.sites.iter().map(|s| u32::from(s.share)).sum();
        prop_assert!(sum == 1_000 || sum == 0, "{sum}");
        for site in &outcome.ranking.sites {
            prop_assert!(site.share == 0 || site.health() < Health::Draining);
        }
        prop_assert_eq!(&outcome, &decided(&service, &sites));
    }

    /// The first site never gets more clients for having more to do.
    #[test]
    fn more_load_is_never_more_clients(
        sites in prop::collection::vec(site(), 2..7),
        more in 1_u32..1_000,
    ) {
        let service = spilling(sites.len());
        let pick: usize = decided(&service, &sites).ranking.sites[0].site[1..].parse().unwrap();
        let part = |sites: &[(Known, Option<u32>, u16)]| {
            let outcome = decided(&service, sites);
            let none = outcome.ranking.sites.iter().all(|s| s.share == 0);
            let at = outcome.ranking.sites.iter().position(|s| s.site == format!("s{pick}")).unwrap();
            match none {
                true => if at == 0 { 1_000 } else { 0 },
                false => outcome.ranking.sites[at].share,
            }
        };
        let mut busier = sites.clone();
        // Who says nothing counts as idle.
        busier[pick].1 = Some(sites[pick].1.unwrap_or(0) + more);
        // One step of rounding apart.
        prop_assert!(part(&busier) <= part(&sites) + 1);
    }
}
