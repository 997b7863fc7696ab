//! VERDICT and BUDGET: what all POPs say of a site, and what they may probe.

use std::num::NonZeroU32;

use dglb_core::proto::message::{Budget, BudgetAck};

use super::*;
use crate::{
    keeper::voices::Voice,
    networks::{Networks, Sources},
};

impl Lab {
    /// As [`Lab::join`], with a link from this address.
    fn join_from(&mut self, n: u8, from: &str) {
        let hello = hello(&format!("lb{n}"), PeerRole::DnsLb, 1, FleetStamp::default());
        let verdict = self.keeper.hello(LinkId(n.into()), &hello, SocketAddr::new(ip(from), 4_000), self.now);
        assert!(matches!(verdict, Verdict::Welcome(_)), "{verdict:?}");
        self.map(n, 1, &[&format!("10.{n}.0.1/32")]);
        self.ready(n, 1);
        self.report(n, 1, 0, vec![ranking([10, 20])]);
        self.check(n, true);
    }

    /// `lb<n>` reports that `site1` is down, or that both sites are up.
    fn reports_site1(&mut self, n: u8, generation: u64, down: bool) {
        let mut ranking = ranking([10, 20]);
        if down {
            ranking.sites[0].addresses[0].health = Health::Down;
        }
        self.keeper.message(
            LinkId(n.into()),
            Message::Report(Report { generation, base: 0, rankings: vec![ranking], removed: vec![] }),
            self.now,
        );
    }

    /// Verdicts under way, by receiver: `1 down 3/9`.
    fn verdicts(&mut self) -> Vec<String> {
        let said = self.sent().into_iter().filter_map(|(to, message)| match message {
            Message::Verdict(v) => {
                assert_eq!((v.service.to_string(), v.site.as_str()), (format!("{SERVICE}."), "site1"));
                Some(format!("{} {} {}/{}", to.0, if v.down { "down" } else { "up" }, v.pops, v.of))
            }
            _ => None,
        });
        let mut said: Vec<String> = said.collect();
        said.sort();
        said
    }

    /// A second goes by; budgets that went out, by receiver: the share of `site1`, and the generation.
    fn budgets(&mut self) -> Vec<(u64, u32, u64)> {
        self.keeper.take_outbox();
        self.pass(1);
        let site1 = ip("203.0.113.1");
        let share = |b: &Budget| b.shares.iter().find(|s| s.address == site1).unwrap().milliprobes_per_second;
        let sent = self.sent().into_iter().filter_map(|(to, message)| match message {
            Message::Budget(b) => Some((to.0, share(&b), b.generation)),
            _ => None,
        });
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable();
        sent
    }

    fn keeps_to(&mut self, n: u8, generation: u64) {
        self.say(n.into(), Message::BudgetAck(BudgetAck { generation }));
    }

    /// With a ceiling of six probes a second on each site.
    fn with_ceiling() -> Self {
        let mut lab = Self::new();
        lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
        let mut zone = zone(1);
        zone.services[0].probe_ceiling = NonZeroU32::new(6_000);
        lab.say(100, Message::snapshot(zone));
        lab
    }
}

#[test]
fn a_quorum_of_pops_has_all_others_look_and_moves_nobody() {
    let mut lab = Lab::with_catalogue();
    (1..=9).for_each(|n| lab.join(n, [10, 20]));
    lab.verdicts();
    lab.reports_site1(1, 2, true);
    lab.reports_site1(2, 2, true);
    lab.reports_site1(2, 3, true);
    assert!(lab.verdicts().is_empty(), "two are no quorum, and nobody counts twice");
    lab.reports_site1(3, 2, true);
    let all: Vec<String> = (1..=9).map(|n| format!("{n} down 3/9")).collect();
    assert_eq!(lab.verdicts(), all);
    assert_eq!(lab.keeper.status(lab.now).document()["verdicts"][0]["down_for"], 3);
    // Who sees it up answers with it as before.
    let (_, reply) = lab.ask_for("www.lb5.glb.test", "192.0.2.77", Role::Fallback);
    assert_eq!(reply.answers[0].data.to_string(), "203.0.113.1");
    lab.reports_site1(1, 3, false);
    assert!(lab.verdicts().is_empty());
    lab.reports_site1(2, 4, false);
    assert_eq!(lab.verdicts(), all.iter().map(|v| v.replace("down 3", "up 1")).collect::<Vec<_>>());
    assert_eq!(lab.keeper.figures().verdicts, 2);
}

/// Who has many certificates in one autonomous system has one voice.
#[test]
fn an_isp_has_one_voice_however_many_dns_lbs_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    std::fs::write(&path, crate::networks::tests::database()).unwrap();
    let known = Networks::read(&Sources { as_database: Some(path), ..Sources::default() }).unwrap();
    let mut lab = Lab::with_catalogue();
    lab.keeper.set_networks(known, lab.now);
    // Five in AS 64500, two in one network that the database does not know, two in networks of their own.
    (1..=5).for_each(|n| lab.join_from(n, &format!("198.51.100.{n}")));
    for (n, from) in [(6, "192.0.2.6"), (7, "192.0.2.7"), (8, "203.0.113.8"), (9, "2001:db8::9")] {
        lab.join_from(n, from);
    }
    lab.verdicts();
    (1..=7).for_each(|n| lab.reports_site1(n, 2, true));
    assert!(lab.verdicts().is_empty(), "seven certificates, two voices");
    lab.reports_site1(8, 2, true);
    assert_eq!(lab.verdicts(), (1..=9).map(|n| format!("{n} down 3/4")).collect::<Vec<_>>());
    assert_eq!(lab.keeper.status(lab.now).document()["verdicts"][0]["down_for"], 3);
    // Most of AS 64500 do not say so any more, and so it does not; the network of two is half of one.
    (1..=3).for_each(|n| lab.reports_site1(n, 3, false));
    lab.reports_site1(8, 3, false);
    assert_eq!(lab.verdicts()[0], "1 up 1/4");
    // Without the database every DNS-LB has its own: lb4 to lb7 still say so.
    lab.keeper.set_networks(Networks::default(), lab.now);
    assert!(lab.verdicts().is_empty(), "the site was called down a moment ago");
    lab.now += Duration::from_secs(10);
    lab.reports_site1(8, 4, true);
    assert_eq!(lab.verdicts()[0], "1 down 5/9");
}

#[test]
fn what_was_kept_of_many_has_one_voice_until_they_are_linked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asn.mmdb");
    std::fs::write(&path, crate::networks::tests::database()).unwrap();
    let known = Networks::read(&Sources { as_database: Some(path), ..Sources::default() }).unwrap();
    let mut lab = Lab::with_catalogue();
    (1..=5).for_each(|n| lab.join_from(n, &format!("198.51.100.{n}")));
    (1..=5).for_each(|n| lab.keeper.closed(LinkId(n), lab.now));
    lab.keeper.set_networks(known, lab.now);
    for n in 1..=5 {
        let lb = lab.keeper.directory().lb_of(&format!("lb{n}").parse().unwrap()).unwrap();
        assert_eq!(lab.keeper.verdicts.voice(lb), Voice::Unheard);
    }
}

#[test]
fn the_dead_have_no_say() {
    let mut lab = Lab::with_catalogue();
    (1..=5).for_each(|n| lab.join(n, [10, 20]));
    (1..=3).for_each(|n| lab.reports_site1(n, 2, true));
    assert_eq!(lab.verdicts().len(), 5);
    lab.keeper.closed(LinkId(1), lab.now);
    lab.keeper.closed(LinkId(2), lab.now);
    lab.pass(60);
    assert_eq!(lab.verdicts(), ["3 up 1/3", "4 up 1/3", "5 up 1/3"]);
    // A service that nobody has makes no verdict.
    let elsewhere = Ranking { service: "www.elsewhere.test".parse().unwrap(), ..ranking([1, 2]) };
    (3..=5).for_each(|n| drop(lab.report(n, 9, 0, vec![elsewhere.clone()])));
    assert!(lab.keeper.status(lab.now).document()["verdicts"].as_array().unwrap().is_empty());
}

#[test]
fn a_newcomer_gets_its_share_of_a_ceiling_after_the_others_have_shrunk() {
    let mut lab = Lab::with_ceiling();
    lab.join(1, [10, 20]);
    let first = lab.budgets();
    assert_eq!(first.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>(), [(1, 6_000)]);
    lab.keeps_to(1, first[0].2);
    lab.join(2, [10, 20]);
    let shrunk = lab.budgets();
    assert_eq!(shrunk.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>(), [(1, 3_000)]);
    assert!(lab.budgets().is_empty(), "lb1 has not said that it keeps to it");
    lab.keeps_to(1, shrunk[0].2);
    let second = lab.budgets();
    assert_eq!(second.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>(), [(2, 3_000)]);
    lab.keeps_to(2, second[0].2);
    // One that is cut off may go on probing: its share is nobody else's while its lease runs.
    lab.keeper.closed(LinkId(1), lab.now);
    assert!(lab.budgets().is_empty());
    lab.pass(60);
    assert_eq!(lab.budgets().iter().map(|b| (b.0, b.1)).collect::<Vec<_>>(), []);
    let status = lab.keeper.status(lab.now).document();
    assert_eq!((&status["probe_budget"]["addresses"], &status["probe_budget"]["dns_lbs"]), (&2.into(), &1.into()));
}

#[test]
fn a_dns_b_that_still_fills_gives_nobody_what_others_may_be_using() {
    let mut lab = Lab::with_ceiling();
    lab.keeper.directory.set_filling(true);
    lab.join(1, [10, 20]);
    let first = lab.budgets();
    assert_eq!(first.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>(), [(1, 250)], "nine may come: half of a twelfth");
    lab.keeps_to(1, first[0].2);
    lab.pass(60);
    assert_eq!(lab.budgets().len(), 0, "it has been given already");
    assert_eq!(lab.keeper.status(lab.now).document()["probe_budget"]["parts"], 1, "there is nobody else");
}

#[test]
fn without_a_ceiling_nobody_hears_of_budgets() {
    let mut lab = Lab::with_catalogue();
    (1..=3).for_each(|n| lab.join(n, [10, 20]));
    assert!(lab.budgets().is_empty());
}
