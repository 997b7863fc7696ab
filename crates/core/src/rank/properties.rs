//! What holds of every ranking.

use proptest::prelude::*;

use super::{
    tests::{Doubt, Known, doubted, measured, names, ranked, service},
    *,
};
use crate::{
    catalogue::{Location, Policy, Service, Site},
    estimate::{ENOUGH, Measured},
    load::Told,
};

/// Who is where by the definition: at each place the foremost of before, or who beats it by the
/// worst that it was taken for, or else the best.
fn keep_by_definition(mut left: Vec<Standing>, previous: &Ranking, policy: &Policy) -> Vec<Standing> {
    let mut kept = Vec::new();
    while let Some(best) = left.first() {
        let place = |c: &Standing| previous.sites.iter().position(|s| s.site == c.ranked.site);
        let class = || left.iter().enumerate().filter(|(_, c)| c.health == best.health);
        let present = class().filter_map(|(at, c)| Some((place(c)?, at))).min().filter(|_| best.health != Health::Down);
        let taken = present.map_or(0, |(_, present)| {
            let beats = |(_, c): &(usize, &Standing)| !left[present].holds_against(c, policy);
            let most = |c: &Standing| c.sure.map_or(f64::INFINITY, |s| s.most);
            let strongest = class().filter(beats).min_by(|a, b| most(a.1).total_cmp(&most(b.1)));
            strongest.map_or(present, |(at, _)| at)
        });
        kept.push(left.remove(taken));
    }
    kept
}

fn known() -> impl Strategy<Value = Known> {
    let health = prop_oneof![
        4 => Just(Health::Up), 1 => Just(Health::Unknown), 1 => Just(Health::Draining), 2 => Just(Health::Down),
    ];
    (health, prop::option::weighted(0.9, 0_u32..200_000), 0_usize..10)
        .prop_map(|(h, latency, samples)| (h, latency, if latency.is_some() { samples.max(1) } else { 0 }))
}

/// A service, what was known before, what is known now, and how sure that is.
fn case() -> impl Strategy<Value = (Service, Vec<Known>, Vec<Known>, Vec<Doubt>)> {
    let policy = (0_u32..30, 0_u32..30, 0_u8..3, 0_u8..3).prop_map(|(margin_ms, margin_percent, l, c)| Policy {
        margin_ms,
        margin_percent,
        latency: f64::from(l),
        cost: f64::from(c) * 10.0,
        ..Policy::default()
    });
    (policy, 1_usize..8).prop_flat_map(|(policy, n)| {
        let all = || prop::collection::vec(known(), n);
        let doubts = prop::collection::vec((0_u32..60_000, 0_u32..60_000), n);
        (Just(service(n, policy)), all(), all(), doubts)
    })
}

proptest! {
    #[test]
    fn every_site_once_and_none_dead_before_one_alive((service, before, now, doubts) in case()) {
        let previous = ranked(&service, &before, None);
        for ranking in [&previous, &doubted(&service, &now, &doubts, Some(&previous))] {
            let mut all = names(ranking);
            prop_assert!(ranking.sites.is_sorted_by_key(RankedSite::health));
            all.sort_unstable();
            prop_assert_eq!(all, (0..service.sites.len()).map(|n| format!("s{n}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn places_are_kept_by_the_definition((service, before, now, doubts) in case(), known_of in 0_usize..8) {
        let mut previous = ranked(&service, &before, None);
        // Some sites are new.
        previous.sites.truncate(known_of);
        let fresh = ranked(&service, &now, None);
        let candidates: Vec<_> = fresh.sites.iter().map(|s| {
            let wish: usize = s.site[1..].parse().unwrap();
            let site = &service.sites[wish];
            let addresses = vec![measured(site.addresses[0], now[wish], doubts[wish])];
            Standing::new(wish, &Candidate { site: site.clone(), addresses }, &service.policy, &Here::default())
        }).collect();
        let expected = keep_by_definition(candidates, &previous, &service.policy);
        let expected: Vec<_> = expected.into_iter().map(|c| c.ranked).collect();
        prop_assert_eq!(doubted(&service, &now, &doubts, Some(&previous)).sites, expected);
    }

    #[test]
    fn the_same_again_is_the_same((service, before, now, doubts) in case()) {
        let previous = ranked(&service, &before, None);
        let one = doubted(&service, &now, &doubts, Some(&previous));
        prop_assert_eq!(&one, &doubted(&service, &now, &doubts, Some(&previous)));
        // Nothing new: nothing changes.
        let again = doubted(&service, &now, &doubts, Some(&one));
        prop_assert_eq!(names(&one), names(&again));
    }

    /// Without a past the order is total: no pair depends on what else there is.
    #[test]
    fn leaving_one_site_out_moves_no_other((service, known, ..) in case(), out in 0_usize..8) {
        let whole = ranked(&service, &known, None);
        let mut less = service.clone();
        less.sites.retain(|s| s.name != format!("s{out}"));
        let rest = ranked(&less, &known, None);
        prop_assert_eq!(names(&whole).into_iter().filter(|n| *n != format!("s{out}")).collect::<Vec<_>>(), names(&rest));
    }

    /// In failover latency, doubt and the past do not count, health alone moves a site.
    #[test]
    fn failover_is_the_customers_order_of_each_health((mut service, before, now, doubts) in case()) {
        service.policy.form = Form::Failover;
        let previous = ranked(&service, &before, None);
        let ranking = doubted(&service, &now, &doubts, Some(&previous));
        let mut expected: Vec<usize> = (0..now.len()).collect();
        expected.sort_by_key(|n| now[*n].0);
        let expected: Vec<_> = expected.into_iter().map(|n| format!("s{n}")).collect();
        prop_assert_eq!(names(&ranking), expected);
    }

    #[test]
    fn hysteresis_keeps_nobody_beaten_by_more_than_the_margin((service, before, now, doubts) in case()) {
        let previous = ranked(&service, &before, None);
        let ranking = doubted(&service, &now, &doubts, Some(&previous));
        let winner = &ranking.sites[0];
        let policy = service.policy;
        let number = |site: &RankedSite| site.site[1..].parse::<usize>().unwrap();
        let in_ms = |us: u32| policy.latency * f64::from(us) / 1e3;
        for other in ranking.sites[1..].iter().filter(|o| o.health() == winner.health()) {
            let sure = |site: &RankedSite| site.score.filter(|_| now[number(site)].2 >= ENOUGH);
            if let (Some(w), Some(o)) = (sure(winner), sure(other)) {
                let low = now[number(winner)].1.unwrap_or(0).min(doubts[number(winner)].0);
                let (w, o) = (w - in_ms(low), o + in_ms(doubts[number(other)].1));
                let margin = (policy.latency * f64::from(policy.margin_ms)).max(w * f64::from(policy.margin_percent) / 100.0);
                let bound = if winner.health() == Health::Down { 0.0 } else { margin };
                prop_assert!(w - o <= bound, "{} kept at {w} against {} at {o}", winner.site, other.site);
            }
        }
    }

    /// Getting faster or healthier never costs a site a place.
    #[test]
    fn better_is_never_worse((service, before, now, doubts) in case(), pick in 0_usize..8, gain in 0_u32..100_000) {
        let pick = pick % service.sites.len();
        let previous = ranked(&service, &before, None);
        let place = |r: &Ranking| r.sites.iter().position(|s| s.site == format!("s{pick}")).unwrap();
        let was = place(&doubted(&service, &now, &doubts, Some(&previous)));
        let mut better = now.clone();
        better[pick].1 = better[pick].1.map(|l| l.saturating_sub(gain));
        prop_assert!(place(&doubted(&service, &better, &doubts, Some(&previous))) <= was);
        better[pick].0 = Health::Up;
        prop_assert!(place(&doubted(&service, &better, &doubts, Some(&previous))) <= was);
    }

    /// More of anything that counts against a site never gains it a place: round trip, cost, load, distance.
    #[test]
    fn worse_in_any_figure_is_never_better((inputs, pick) in constrained(), what in 0_usize..4, more in 1_u32..2_000) {
        let place = |inputs: &Inputs| {
            let site = &inputs.sites[pick].site.name;
            rank(inputs).ranking.sites.iter().position(|s| s.site == *site)
        };
        let was = place(&inputs);
        let mut worse = inputs.clone();
        let site = &mut worse.sites[pick];
        let measured = &mut site.addresses[0];
        match what {
            0 => {
                let later = |us: u32| us + 100 * more;
                measured.figures.latency_us = measured.figures.latency_us.map(later);
                measured.range_us = measured.range_us.map(|(least, most)| (later(least), later(most)));
            }
            1 => site.site.cost += f64::from(more),
            2 => measured.told.utilization = measured.told.utilization.map(|load| load + more),
            _ => {
                // The DNS-LB is at the pole.
                let farther = |l: Location| Location { latitude: (l.latitude - f64::from(more) / 20.0).max(-90.0), ..l };
                site.site.location = site.site.location.map(farther);
            }
        }
        prop_assert!(place(&worse) >= was);
    }

    /// Whatever is forbidden, full or far: every site once, the dead last, the forbidden before them.
    #[test]
    fn constraints_order_and_never_lose_a_site((inputs, _) in constrained()) {
        let outcome = rank(&inputs);
        prop_assert_eq!(&outcome, &rank(&inputs));
        let class = |ranked: &RankedSite| {
            let site = &inputs.sites.iter().find(|s| s.site.name == ranked.site).unwrap().site;
            (ranked.health() == Health::Down, !site.admits(&inputs.here.groups), ranked.health())
        };
        prop_assert!(outcome.ranking.sites.is_sorted_by_key(class));
        let mut names = names(&outcome.ranking);
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), inputs.sites.len());
        // As few constraints as possible are overlooked, and as many as it takes.
        let alive = outcome.ranking.sites.iter().filter(|s| s.health() < Health::Draining).count();
        let barred = outcome.barred.iter().filter(|b| {
            outcome.ranking.sites.iter().any(|s| s.site == b.site && s.health() < Health::Draining)
        });
        let (overlooked, kept): (Vec<_>, Vec<_>) = barred.partition(|b| b.loosened);
        let least = inputs.policy.least_sites as usize;
        prop_assert!(alive - kept.len() >= least.min(alive));
        prop_assert!(overlooked.is_empty() || alive - kept.len() == least.min(alive));
        prop_assert!(kept.iter().all(|k| k.by == Bar::Group) || overlooked.iter().all(|o| o.by == Bar::Load));
    }

    /// Where nothing is loosened, no pair depends on what else there is.
    #[test]
    fn a_site_that_is_left_out_swaps_no_two_others((mut inputs, pick) in constrained()) {
        inputs.previous.clear();
        let whole = rank(&inputs).ranking;
        let out = inputs.sites.remove(pick).site.name;
        let rest = rank(&inputs).ranking;
        prop_assert_eq!(names(&whole).into_iter().filter(|n| *n != out).collect::<Vec<_>>(), names(&rest));
    }
}

/// A decision with everything that can count, and one of its sites.
fn constrained() -> impl Strategy<Value = (Inputs, usize)> {
    let groups = || prop::sample::subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
    let policy = (0_u8..3, 0_u8..3, 0_u8..3, 0_u8..3, 0_u32..1_200, 1_u32..5);
    let site =
        (known(), 0_u32..60_000, prop::option::of(0_u32..1_500), prop::option::of(-90.0_f64..90.0), groups(), groups());
    (policy, prop::collection::vec(site, 1..7), groups(), any::<bool>(), any::<prop::sample::Index>()).prop_map(
        |((latency, cost, load, distance, target_load, least_sites), sites, groups, before, pick)| {
            let policy = Policy {
                latency: latency.into(),
                cost: cost.into(),
                load: 50.0 * f64::from(load),
                distance: distance.into(),
                target_load,
                least_sites,
                ..Policy::default()
            };
            let mut service = service(sites.len(), policy);
            let pick = pick.index(sites.len());
            let mut known = Vec::new();
            for (site, (health, doubt, load, latitude, groups, not)) in service.sites.iter_mut().zip(sites) {
                site.location = latitude.map(|latitude| Location { latitude, longitude: 0.0 });
                (site.groups, site.not_groups) = (groups, not);
                known.push((health, doubt, load));
            }
            let look_up = |site: &Site, a| {
                let (known, doubt, load) = known[site.name[1..].parse::<usize>().unwrap()];
                Measured { told: Told { utilization: load, ..Told::default() }, ..measured(a, known, (doubt, doubt)) }
            };
            let location = Some(Location { latitude: 90.0, longitude: 0.0 });
            let mut inputs = Inputs::new(&service, 1, look_up, None).at(&Here { groups, location });
            if before {
                inputs.previous =
                    service.sites.iter().rev().map(|s| Placed { site: s.name.clone(), share: 0 }).collect();
            }
            (inputs, pick)
        },
    )
}
