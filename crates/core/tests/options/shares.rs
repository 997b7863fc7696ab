//! Clients that are shared out: who gets which site, for how long, and for whom else that holds.

use std::{collections::BTreeSet, net::IpAddr};

use dglb_core::{
    catalogue::{Form, ZoneCatalogue},
    directory::Directory,
    dns::Role,
};
use hickory_proto::{
    op::Message,
    rr::{
        RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};
use proptest::prelude::*;

use crate::world::{catalogue, dns_b_with, ip, packet, ranking, send};

const API: &str = "api.glb.foobar.test.";
const LABEL: &str = "api.sea1.glb.foobar.test.";

const SPREAD: [Form; 3] = [Form::Weighted, Form::RoundRobin, Form::Sticky];

/// A zone whose services choose by this form.
fn zone(form: Form, answers: u8) -> ZoneCatalogue {
    let mut zone = catalogue();
    for service in &mut zone.services {
        (service.policy.form, service.answers, service.least_ttl) = (form, answers, Some(30));
    }
    zone
}

/// Where `sea1` has ranked the sites so, with these shares.
fn directory(zone: ZoneCatalogue, order: &[&str], shares: &[u16], unsettled: bool) -> Directory {
    let mut directory = dns_b_with(zone);
    for lb in ["sea1", "tok1"] {
        let lb = directory.lb_of(&lb.parse().unwrap()).unwrap();
        let mut ranking = ranking("api", order);
        ranking.unsettled = unsettled;
        ranking.sites.iter_mut().zip(shares).for_each(|(site, share)| site.share = *share);
        directory.set_ranking(lb, &ranking).unwrap();
    }
    directory
}

fn ask(directory: &Directory, role: Role, owner: &str, rtype: RecordType, client: (IpAddr, u8)) -> (Message, u8) {
    let option = EdnsOption::Subnet(ClientSubnet::new(client.0, client.1, 0));
    let (_, reply) = send(directory, role, &packet(owner, rtype, 1232, &[option]));
    let scope = match reply.edns.as_ref().unwrap().option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => subnet.scope_prefix(),
        other => panic!("no client subnet: {other:?}"),
    };
    (reply, scope)
}

/// The sites that are answered, in order.
fn sites(reply: &Message) -> Vec<u8> {
    let number = |last: u8| if last > 100 { last - 100 } else { last };
    let site = |data: &RData| match data {
        RData::A(a) => number(a.octets()[3]),
        RData::AAAA(a) => number(format!("{:x}", a.segments()[7]).parse().unwrap()),
        other => panic!("{other:?}"),
    };
    let mut sites: Vec<u8> = reply.answers.iter().map(|r| site(&r.data)).collect();
    sites.dedup();
    sites
}

fn network(n: u16) -> (IpAddr, u8) {
    let [high, low] = n.to_be_bytes();
    (IpAddr::from([10, high, low, 0]), 24)
}

proptest! {
    /// Whatever is asked and of whom, a client's answers name one site, where that has both families.
    #[test]
    fn both_families_name_the_same_site(
        n in any::<u16>(),
        form in prop::sample::select(vec![Form::Best, Form::Weighted, Form::RoundRobin, Form::Sticky]),
        shares in prop::collection::vec(0_u16..500, 3),
        down in 0_usize..4,
    ) {
        let mut order = ["site2", "site1", "site3"];
        if let Some(site) = order.get_mut(down) {
            *site = ["-site2", "-site1", "-site3"][down];
        }
        let directory = directory(zone(form, 1), &order, &shares, false);
        for (role, owner) in [(Role::Referral, API), (Role::Fallback, LABEL)] {
            let of = |rtype| sites(&ask(&directory, role, owner, rtype, network(n)).0);
            let (v4, v6) = (of(RecordType::A), of(RecordType::AAAA));
            prop_assert_eq!(v4.len(), 1);
            prop_assert_eq!(&v4, &v6, "{}", owner);
            let dead = order.iter().position(|site| *site == format!("-site{}", v4[0]));
            prop_assert_eq!(dead, None, "a dead site while others are up");
        }
    }

    /// The DNS-LB, its fall-back, and a dns-b that answers for it say the same.
    #[test]
    fn all_servers_draw_alike(n in any::<u16>(), form in prop::sample::select(&SPREAD[..])) {
        let dns_b = directory(zone(form, 1), &["site2", "site1", "site3"], &[500, 300, 200], false);
        let mut dns_lb = dns_b.clone();
        dns_lb.set_own(dns_lb.lb_of(&"sea1".parse().unwrap()).unwrap());
        let answers = [
            ask(&dns_b, Role::Referral, API, RecordType::A, network(n)),
            ask(&dns_b, Role::Fallback, LABEL, RecordType::A, network(n)),
            ask(&dns_lb, Role::DnsLb, LABEL, RecordType::A, network(n)),
        ];
        let [first, ..] = &answers;
        for (reply, scope) in &answers {
            prop_assert_eq!((sites(reply), *scope), (sites(&first.0), 24));
        }
    }

    /// Nobody inside the scope that is echoed is answered otherwise.
    #[test]
    fn the_scope_holds(n in any::<u16>(), host in any::<u8>(), form in prop::sample::select(&SPREAD[..])) {
        let directory = directory(zone(form, 2), &["site2", "site1", "site3"], &[400, 300, 300], false);
        let (network, _) = network(n);
        let IpAddr::V4(v4) = network else { unreachable!() };
        let [a, b, c, _] = v4.octets();
        let (whole, scope) = ask(&directory, Role::Referral, API, RecordType::A, (network, 24));
        let (one, of_one) = ask(&directory, Role::Referral, API, RecordType::A, (IpAddr::from([a, b, c, host]), 32));
        prop_assert_eq!((sites(&one), of_one), (sites(&whole), scope));
        prop_assert_eq!(scope, 24);
    }
}

#[test]
fn shares_come_true_over_many_networks() {
    let directory = directory(zone(Form::Best, 1), &["site2", "site1", "site3"], &[700, 300, 0], false);
    let drawn: Vec<u8> =
        (0..2_000).map(|n| sites(&ask(&directory, Role::Fallback, LABEL, RecordType::A, network(n)).0)[0]).collect();
    let share = |site: u8| drawn.iter().filter(|s| **s == site).count();
    assert_eq!(share(3), 0, "it has no share");
    assert!((1_320..1_480).contains(&share(2)), "{}", share(2));
    // No client subnet: who asks draws, and everybody behind it has the same.
    let asked: BTreeSet<Vec<u8>> =
        (0..9).map(|_| sites(&send(&directory, Role::Fallback, &packet(LABEL, RecordType::A, 1232, &[])).1)).collect();
    assert_eq!(asked.len(), 1);
}

#[test]
fn one_ranking_without_shares_answers_all_alike_for_the_widest_scope() {
    let directory = directory(zone(Form::Best, 1), &["site2", "site1", "site3"], &[0, 0, 0], false);
    for n in 0..99 {
        let (reply, scope) = ask(&directory, Role::Fallback, LABEL, RecordType::A, network(n));
        assert_eq!((sites(&reply), scope), (vec![2], 0));
    }
}

#[test]
fn round_robin_goes_on_in_the_customers_order() {
    let directory = directory(zone(Form::RoundRobin, 3), &["site2", "site1", "site4"], &[334, 333, 333], false);
    let mut firsts = BTreeSet::new();
    for n in 0..99 {
        let found = sites(&ask(&directory, Role::Referral, API, RecordType::A, network(n)).0);
        let turn =
            [[1, 2, 4], [2, 4, 1], [4, 1, 2]].into_iter().find(|turn| found.iter().zip(turn).all(|(a, b)| a == b));
        assert!(turn.is_some(), "{found:?}");
        firsts.insert(found[0]);
    }
    assert_eq!(firsts.len(), 3);
}

#[test]
fn a_family_that_no_shared_site_has_is_answered_from_the_others() {
    let directory = directory(zone(Form::Best, 1), &["site4", "site1", "site3"], &[1_000, 0, 0], false);
    assert_eq!(sites(&ask(&directory, Role::Referral, API, RecordType::A, network(7)).0), [4]);
    assert_eq!(sites(&ask(&directory, Role::Referral, API, RecordType::AAAA, network(7)).0), [1]);
}

#[test]
fn what_may_soon_be_another_lives_shorter() {
    for (unsettled, ttl) in [(false, 300), (true, 30)] {
        let directory = directory(zone(Form::Best, 1), &["site2", "site1", "site3"], &[0, 0, 0], unsettled);
        for (role, owner) in [(Role::Referral, API), (Role::Fallback, LABEL)] {
            let (reply, _) = ask(&directory, role, owner, RecordType::A, network(1));
            assert_eq!(reply.answers[0].ttl, ttl, "{owner}");
        }
    }
    let mut never = zone(Form::Best, 1);
    never.services.iter_mut().for_each(|s| s.least_ttl = Some(900));
    let directory = directory(never, &["site2", "site1", "site3"], &[0, 0, 0], true);
    assert_eq!(ask(&directory, Role::Referral, API, RecordType::A, network(1)).0.answers[0].ttl, 300, "never longer");
}

#[test]
fn where_nobody_was_located_forms_spread_all_the_same() {
    // A resolver that nobody knows, and no default group: all rankings together, or the customer's order.
    let directory = directory(zone(Form::Weighted, 1), &["site2", "site1", "site3"], &[900, 50, 50], false);
    let unknown = "api.nobody.glb.foobar.test.";
    let drawn: BTreeSet<u8> =
        (0..200).map(|n| sites(&ask(&directory, Role::Fallback, unknown, RecordType::A, network(n)).0)[0]).collect();
    assert!(drawn.len() >= 3, "{drawn:?}");
    assert_eq!(ip("10.0.0.0"), network(0).0);
}
