//! VERDICT and BUDGET.

use std::num::NonZeroU32;

use dglb_core::proto::message::{Budget, BudgetAck, BudgetShare, Verdict};
use dglb_probe::shares::Share;

use super::*;

impl Lb {
    fn called(&mut self, server: &str, site: &str, down: bool) -> Vec<(Name, String)> {
        let (service, site) = ("www.glb.test".parse().unwrap(), site.to_owned());
        let before = self.keeper.directory().clone();
        let effects = self.said(server, Message::Verdict(Verdict { service, site, down, pops: 9, of: 10 }));
        assert!(!effects.answers, "a word moves nobody");
        drop(before);
        effects.probe_now
    }

    fn given(&mut self, server: &str, generation: u64, milliprobes_per_second: u32) -> Effects {
        let shares = vec![BudgetShare { address: "192.0.2.1".parse().unwrap(), milliprobes_per_second }];
        self.said(server, Message::Budget(Box::new(Budget { generation, of: 4, shares })))
    }

    fn share(&self, n: usize) -> Share {
        self.keeper.shares()[n - 1].1
    }
}

#[test]
fn more_than_half_of_the_dns_bs_have_a_site_probed_at_once() {
    let (mut lb, _) = Lb::measured();
    assert_eq!(lb.called("b1", "s2", true).len(), 1, "one is all of one");
    assert!(lb.called("b1", "s2", true).is_empty(), "it said so already");
    lb.up("b2", fleet(1));
    lb.up("b3", fleet(1));
    assert!(lb.called("b1", "s1", true).is_empty(), "one of three");
    let now = lb.called("b3", "s1", true);
    assert_eq!(now, [("www.glb.test".parse().unwrap(), "s1".to_owned())], "two of three");
    assert!(lb.called("b2", "s1", true).is_empty(), "it is probed already");
    // Taken back, and said again.
    for server in ["b1", "b2", "b3"] {
        lb.called(server, "s1", false);
    }
    assert!(lb.called("b2", "s1", true).is_empty());
    assert_eq!(lb.called("b1", "s1", true).len(), 1);
    // The word of a dns-b that is gone counts no more, and no word of what is not measured ever did.
    lb.handle(Event::Down(id("b1")));
    assert_eq!(
        lb.keeper.called_down().map(|(_, site, by)| (site.to_owned(), by)).collect::<Vec<_>>(),
        [("s1".into(), 1)]
    );
    assert!(lb.called("b2", "nowhere", true).is_empty());
    assert_eq!((lb.metrics.verdicts.get(), lb.metrics.probed_at_once.get()), (11, 3));
}

#[test]
fn a_ceiling_waits_for_the_first_share_and_the_least_holds() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(1));
    lb.up("b2", fleet(1));
    let mut www = service("www.glb.test", 2);
    www.probe_ceiling = NonZeroU32::new(1_000);
    let effects = lb.said("b1", Message::snapshot(zone("glb.test", 1, vec![www.clone()])));
    let shares = effects.shares.unwrap();
    assert_eq!((shares.len(), shares.values().all(|s| *s == Share::None)), (2, true), "nothing may start yet");
    assert_eq!((lb.metrics.ceilings.get(), lb.metrics.without_share.get()), (2, 2));
    let effects = lb.given("b1", 7, 500);
    let ack = (id("b1"), Message::BudgetAck(BudgetAck { generation: 7 }));
    assert_eq!((effects.shares, effects.send), (None, vec![ack]), "b2 has not said anything");
    let effects = lb.given("b2", 1, 400);
    assert!(effects.shares.is_some(), "what is acknowledged holds");
    assert_eq!((lb.share(1), lb.share(2)), (Share::AtMost(400), Share::None));
    lb.given("b1", 8, 100);
    assert_eq!(lb.share(1), Share::AtMost(100));
    lb.handle(Event::Down(id("b1")));
    assert_eq!(lb.share(1), Share::AtMost(400));
    lb.handle(Event::Down(id("b2")));
    assert_eq!(lb.share(1), Share::AtMost(400), "measuring goes on");
    // The ceiling goes.
    lb.up("b1", fleet(1));
    www.probe_ceiling = None;
    let effects = lb.said("b1", Message::snapshot(zone("glb.test", 2, vec![www])));
    assert!(effects.shares.unwrap().is_empty());
    assert_eq!(lb.metrics.ceilings.get(), 0);
}
