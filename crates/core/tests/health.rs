//! Whose address is answered, whatever is known of the sites: never one that is down where another is
//! up, and never one that is draining where another is not.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use dglb_core::{
    catalogue::{ForcedState, Mode, Policy, Service, Site},
    directory::RankedSites,
    load::Stated,
    ranked::Turn,
    report::{Figures, Health, RankedSite, Ranking},
};
use proptest::prelude::*;

const ALL: [Health; 4] = [Health::Up, Health::Unknown, Health::Draining, Health::Down];

fn address(site: usize, ipv4: bool) -> IpAddr {
    let n = u8::try_from(site).unwrap();
    if ipv4 { [203, 0, 113, n].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into() }
}

/// Sites with one address, in the order in which they are ranked: by health.
fn world(mut healths: Vec<Health>, ipv4: bool, answers: u8) -> (Service, Ranking) {
    healths.sort();
    let name = "www.glb.test".parse().unwrap();
    let site = |n| Site { name: format!("s{n}"), addresses: vec![address(n, ipv4)], ..Site::default() };
    let ranked = |(n, health): (usize, &Health)| RankedSite {
        site: format!("s{n}"),
        score: Some(10.0),
        addresses: vec![Figures { address: address(n, ipv4), health: *health, latency_us: Some(10_000) }],
        share: 0,
    };
    let sites = healths.iter().enumerate().map(ranked).collect();
    let service = Service {
        name,
        host: "www.test".parse().unwrap(),
        mode: Mode::Referral,
        ttl: 300,
        answers,
        policy: Policy::default(),
        probes: vec![],
        sites: (0..healths.len()).map(site).collect(),
        https: None,
        probe_ceiling: None,
        least_ttl: None,
    };
    let ranking = Ranking { service: service.name.clone(), catalogue: 1, sites, unsettled: false };
    (service, ranking)
}

proptest! {
    #[test]
    fn nobody_is_answered_with_a_worse_site_than_there_is(
        healths in prop::collection::vec(prop::sample::select(&ALL[..]), 1..9),
        ipv4: bool,
        answers in 1_u8..6,
    ) {
        let (service, ranking) = world(healths, ipv4, answers);
        let ranked = RankedSites::resolve(&service, &ranking).unwrap();
        let mut found = ArrayVec::new();
        ranked.addresses(&service, ipv4, Turn::default(), &mut found);
        let health = |a: &IpAddr| ranking.sites.iter().flat_map(|s| &s.addresses).find(|f| f.address == *a).unwrap().health;
        let best = ranking.sites[0].health();
        let worst = found.iter().map(health).max();
        prop_assert!(worst.is_some(), "a server that answers nothing helps nobody");
        // Up and not known yet are both worth a try.
        let class = |h: Health| h.max(Health::Unknown);
        prop_assert_eq!(worst.map(class), Some(class(best)));
        prop_assert_eq!(ranked.all_down(), best == Health::Down);
    }
}

#[test]
fn words_make_worse_and_force_makes_what_it_says() {
    for probes in ALL {
        for stated in [None, Some(Stated::Draining), Some(Stated::Down)] {
            let word = probes.by_word(stated, None);
            assert!(word >= probes, "a site never makes itself better");
            assert_eq!(probes.by_word(stated, Some(ForcedState::Up)), Health::Up);
            assert_eq!(probes.by_word(stated, Some(ForcedState::Down)), Health::Down);
            let drained = probes.by_word(stated, Some(ForcedState::Draining));
            assert_eq!(drained, word.max(Health::Draining), "nobody drains a dead site");
        }
    }
}
