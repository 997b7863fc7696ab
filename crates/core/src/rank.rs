//! The order of a service's sites, best first, for the clients of one DNS-LB.
//!
//! Invariant: a site that is up stands before one that is not known, and that before one that is
//! down; the present order is only ever kept among sites of one such class, and never among dead
//! ones. The result is a function of its arguments alone: that another site was better several times
//! running shows in the ranges of what was [measured](Measured::range_us), not in a state.

use std::{cmp::Ordering, collections::HashMap, net::IpAddr};

use crate::{
    catalogue::{Form, Policy, Service, Site},
    estimate::{ENOUGH, Measured},
    report::{Figures, Health, RankedSite, Ranking},
};

/// Orders the sites of `service`, as `measured` knows their addresses, for catalogue generation
/// `catalogue`.
///
/// Sites are compared by health, then by the policy's composite of latency and cost, or where it says
/// [`Form::Failover`] by the customer's order alone, and nothing of what follows applies. A site whose
/// latency rests on fewer than [`ENOUGH`] round trips comes after those that were measured, in
/// the customer's order. A site's figure is that of its best usable address, since A and AAAA are
/// chosen jointly. At every place the site that `previous` had foremost is kept unless another
/// one is better by more than the policy's margin: the worst that this one was lately taken for than
/// the best that the present one was.
pub fn rank(
    service: &Service,
    catalogue: u64,
    measured: impl Fn(&Site, IpAddr) -> Measured,
    previous: Option<&Ranking>,
) -> Ranking {
    let sites = service.sites.iter().enumerate().filter(|(_, site)| !site.addresses.is_empty());
    let mut candidates: Vec<_> = sites.map(|(at, site)| Candidate::new(at, site, &service.policy, &measured)).collect();
    candidates.sort_by(Candidate::compare);
    if let Some(previous) = previous.filter(|_| service.policy.form == Form::Best) {
        candidates = keep_present(candidates, previous, &service.policy);
    }
    let sites = candidates.into_iter().map(|c| c.ranked).collect();
    Ranking { service: service.name.clone(), catalogue, sites }
}

/// Whether two rankings of a service lead to different answers: another order of sites or
/// addresses, or another verdict on one. Other figures alone do not.
pub fn differs(a: &Ranking, b: &Ranking) -> bool {
    let verdict = |f: &Figures| (f.address, f.health);
    let same = |(x, y): (&RankedSite, &RankedSite)| {
        x.site == y.site && x.addresses.iter().map(verdict).eq(y.addresses.iter().map(verdict))
    };
    a.service != b.service
        || a.catalogue != b.catalogue
        || a.sites.len() != b.sites.len()
        || !a.sites.iter().zip(&b.sites).all(same)
}

/// One site with what decides its place.
#[derive(Clone, Debug)]
struct Candidate {
    ranked: RankedSite,
    health: Health,
    /// The score to be compared, none before enough was measured.
    sure: Option<Score>,
    /// Place in the customer's order.
    wish: usize,
}

/// A composite that rests on enough round trips, lower is better.
#[derive(Clone, Copy, Debug)]
struct Score {
    now: f64,
    /// The least that it lately was.
    least: f64,
    /// The greatest that it lately was.
    most: f64,
}

impl Candidate {
    fn new(wish: usize, site: &Site, policy: &Policy, measured: impl Fn(&Site, IpAddr) -> Measured) -> Self {
        let mut addresses: Vec<_> = site.addresses.iter().map(|a| measured(site, *a)).collect();
        // Stable: among equals the customer's order, so that one site's addresses do not flap.
        addresses.sort_by_key(|m| m.figures.health);
        let health = addresses.first().map_or(Health::Unknown, |m| m.figures.health);
        let usable = || addresses.iter().filter(|m| m.figures.health == health);
        let composite = |us: u32| policy.score(us, site.cost);
        let score = |sure: bool| {
            let samples = move |m: &&Measured| (m.samples >= ENOUGH) == sure;
            let latencies = usable().filter(samples).filter_map(|m| m.figures.latency_us.map(|l| (l, m.range_us)));
            // Each is the least of the addresses': the site is as good as its best one.
            let each = latencies.map(|(l, range)| (l, range.unwrap_or((l, l))));
            each.map(|(l, (least, most))| [l, least, most])
                .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].min(b[2])])
        };
        let sure = score(true).map(|us| us.map(composite)).map(|[now, least, most]| Score { now, least, most });
        let score = sure.map(|s| s.now).or_else(|| score(false).map(|us| composite(us[0])));
        // Without a score nobody compares it, here or where reports of many are put together.
        let (sure, score) = if policy.form == Form::Failover { (None, None) } else { (sure, score) };
        let addresses = addresses.iter().map(|m| m.figures).collect();
        Self { ranked: RankedSite { site: site.name.clone(), score, addresses }, health, sure, wish }
    }

    /// Total: two candidates of one service never have the same wish.
    fn compare(&self, other: &Self) -> Ordering {
        let by_score = || match (self.sure, other.sure) {
            (Some(a), Some(b)) => a.now.total_cmp(&b.now),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        self.health.cmp(&other.health).then_with(by_score).then_with(|| self.wish.cmp(&other.wish))
    }

    /// Whether this one, in place, stays before `rival`, of the same health.
    fn holds_against(&self, rival: &Self, policy: &Policy) -> bool {
        // What was not measured yet cannot be beaten yet either.
        let (Some(mine), Some(theirs)) = (self.sure, rival.sure) else { return true };
        mine.least - theirs.most <= policy.margin(mine.least)
    }
}

/// Fills the places from the first to the last: each goes to the one that had stood foremost, if
/// it holds against the strongest that is left, else to that. Where none had stood or all are dead,
/// it goes to the best.
fn keep_present(sorted: Vec<Candidate>, previous: &Ranking, policy: &Policy) -> Vec<Candidate> {
    let places: HashMap<&str, usize> = previous.sites.iter().zip(0..).map(|(s, at)| (s.site.as_str(), at)).collect();
    let place = |(at, c): (usize, &Candidate)| Some((c.health, *places.get(c.ranked.site.as_str())?, at));
    let mut present: Vec<_> = sorted.iter().enumerate().filter_map(place).collect();
    present.sort_unstable();
    // The strongest is who was at worst the best.
    let mut rivals: Vec<usize> = (0..sorted.len()).filter(|at| sorted[*at].sure.is_some()).collect();
    let most = |at: &usize| sorted[*at].sure.map_or(f64::INFINITY, |s| s.most);
    rivals.sort_by(|a, b| sorted[*a].health.cmp(&sorted[*b].health).then(most(a).total_cmp(&most(b))));
    let mut present = present.into_iter().map(|(_, _, at)| at).peekable();
    let mut rivals = rivals.into_iter().peekable();
    let mut left: Vec<Option<Candidate>> = sorted.into_iter().map(Some).collect();
    let mut kept = Vec::with_capacity(left.len());
    let mut foremost = 0;
    while let Some(place) = left.get(foremost) {
        let Some(best) = place else {
            foremost += 1;
            continue;
        };
        while present.next_if(|at| left[*at].is_none()).is_some() {}
        while rivals.next_if(|at| left[*at].is_none()).is_some() {}
        // None of a better class is left, and nothing is kept of a worse one.
        let of_class = |at: &usize| left[*at].as_ref().filter(|c| c.health == best.health && c.health != Health::Down);
        let standing = present.peek().and_then(|at| Some((*at, of_class(at)?)));
        let rival = rivals.peek().and_then(|at| Some((*at, of_class(at)?)));
        let taken = match (standing, rival) {
            (None, _) => foremost,
            (Some((_, mine)), Some((at, theirs))) if !mine.holds_against(theirs, policy) => at,
            (Some((at, _)), _) => at,
        };
        kept.extend(left[taken].take());
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::{Mode, Probe, ProbeKind};

    /// What is known of each site, by its number in the customer's order: one address each.
    type Known = (Health, Option<u32>, usize);
    /// How far below and above the figure the estimate lately was, in microseconds.
    type Doubt = (u32, u32);

    fn address(site: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(site).unwrap()])
    }

    fn service(sites: usize, policy: Policy) -> Service {
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
            sites: (0..sites)
                .map(|n| Site { name: format!("s{n}"), addresses: vec![address(n)], cost: n as f64, ..Site::default() })
                .collect(),
        }
    }

    fn measured(address: IpAddr, (health, latency_us, samples): Known, (below, above): Doubt) -> Measured {
        let range_us = latency_us.map(|l| (l.saturating_sub(below), l + above));
        Measured { figures: Figures { address, health, latency_us }, samples, range_us }
    }

    fn ranked(service: &Service, known: &[Known], previous: Option<&Ranking>) -> Ranking {
        doubted(service, known, &vec![(0, 0); known.len()], previous)
    }

    fn doubted(service: &Service, known: &[Known], doubts: &[Doubt], previous: Option<&Ranking>) -> Ranking {
        let number = |at| (0..known.len()).find(|n| address(*n) == at).unwrap();
        let look_up = |_: &Site, address| measured(address, known[number(address)], doubts[number(address)]);
        rank(service, 7, look_up, previous)
    }

    fn names(ranking: &Ranking) -> Vec<&str> {
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
        let well = rank(&service, 1, look_up(Health::Up), None);
        assert_eq!(names(&well), ["s1", "s0"]);
        assert_eq!(well.sites[0].addresses[0].address, v6);
        // One family dead: the site is usable, but not for what the dead address promised.
        let half = rank(&service, 1, look_up(Health::Down), None);
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

    /// Who is where by the definition: at each place the foremost of before, or who beats it by the
    /// worst that it was taken for, or else the best.
    fn keep_by_definition(mut left: Vec<Candidate>, previous: &Ranking, policy: &Policy) -> Vec<Candidate> {
        let mut kept = Vec::new();
        while let Some(best) = left.first() {
            let place = |c: &Candidate| previous.sites.iter().position(|s| s.site == c.ranked.site);
            let class = || left.iter().enumerate().filter(|(_, c)| c.health == best.health);
            let present =
                class().filter_map(|(at, c)| Some((place(c)?, at))).min().filter(|_| best.health != Health::Down);
            let taken = present.map_or(0, |(_, present)| {
                let beats = |(_, c): &(usize, &Candidate)| !left[present].holds_against(c, policy);
                let most = |c: &Candidate| c.sure.map_or(f64::INFINITY, |s| s.most);
                let strongest = class().filter(beats).min_by(|a, b| most(a.1).total_cmp(&most(b.1)));
                strongest.map_or(present, |(at, _)| at)
            });
            kept.push(left.remove(taken));
        }
        kept
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is time that is measured")]
    fn many_sites_are_ranked_in_no_time() {
        let mut service = service(0, Policy::default());
        let name = |n: usize| format!("a-site-with-a-long-name-of-which-the-end-alone-differs-{n}");
        let site = |n| Site { name: name(n), addresses: vec![address(0)], cost: 0.0, ..Site::default() };
        service.sites = (0..20_000).map(site).collect();
        let look_up = |_: &Site, address| measured(address, (Health::Up, Some(1_000), 9), (0, 0));
        let first = rank(&service, 1, look_up, None);
        let started = Instant::now();
        let second = rank(&service, 1, look_up, Some(&first));
        let took = started.elapsed();
        assert!(!differs(&first, &second));
        assert!(took < Duration::from_secs(2), "20 000 sites took {took:?}");
    }

    fn known() -> impl Strategy<Value = Known> {
        let health = prop_oneof![4 => Just(Health::Up), 1 => Just(Health::Unknown), 2 => Just(Health::Down)];
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
                let wish = s.site[1..].parse().unwrap();
                Candidate::new(wish, &service.sites[wish], &service.policy, |_, a| measured(a, now[wish], doubts[wish]))
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
    }
}
