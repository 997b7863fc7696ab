//! Whose fault it is, and what is probed before it is due.

use super::*;

/// The sites fail one after the other, then the last link, and come back in another order.
#[test]
fn a_dns_lb_that_is_cut_off_does_not_judge_sites_by_its_own_fault() {
    let (mut lb, www) = Lb::measured();
    for n in [2, 2, 1, 1, 3, 3] {
        lb.sample(&www, n, None);
    }
    assert_eq!(lb.answered(), "192.0.2.2", "all are down: the last good figures");
    lb.handle(Event::Tick);
    assert!(!lb.keeper.is_cut_off(), "a dns-b is reached, so it is the sites");
    lb.handle(Event::Down(id("b1")));
    let back = lb.handle(Event::Tick);
    assert!(back.answers && lb.keeper.is_cut_off() && lb.metrics.cut_offs.get() == 1);
    for _ in 0..9 {
        lb.now += Duration::from_secs(10);
        for n in 1..=3 {
            lb.sample(&www, n, None);
        }
        lb.handle(Event::Tick);
    }
    let again = lb.sample(&www, 3, Some(90));
    assert_eq!(again.probe_now.len(), 3, "all are looked at now");
    lb.sample(&www, 3, Some(90));
    assert_eq!((lb.answered().as_str(), lb.metrics.cut_off.get()), ("192.0.2.2", 0));
    for n in [3, 1, 1, 1, 2, 2, 2] {
        lb.sample(&www, n, Some([50, 20, 90][n - 1]));
        assert_eq!(lb.answered(), "192.0.2.2");
    }
}

/// A service that is probed once in an hour is probed when somebody asks for it, and not for every question.
#[test]
fn what_is_old_is_probed_when_somebody_asks() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(1));
    let mut hourly = service("www.glb.test", 2);
    hourly.probes[0].interval_ms = 3_600_000;
    let often = service("api.glb.test", 2);
    lb.said("b1", Message::snapshot(zone("glb.test", 1, vec![hourly.clone(), often.clone()])));
    for (n, ms) in [(1, 20), (1, 20), (1, 20), (2, 50), (2, 50), (2, 50)] {
        lb.sample(&hourly, n, Some(ms));
        lb.sample(&often, n, Some(ms));
    }
    let wanted = |lb: &mut Lb| lb.handle(Event::Tick).probe_now;
    let ask = |lb: &Lb| ["www", "api"].map(|name| lb.ask(&format!("{name}.sea1.glb.test")).0.decision);
    assert_eq!(ask(&lb), [Decision::Label; 2]);
    assert!(wanted(&mut lb).is_empty(), "nothing is old");
    lb.now += ON_DEMAND + Duration::from_millis(1);
    assert!(wanted(&mut lb).is_empty(), "nobody asks");
    lb.sample(&hourly, 2, Some(50));
    ask(&lb);
    ask(&lb);
    let of = |n: u8| (hourly.name.clone(), format!("s{n}"));
    assert_eq!(wanted(&mut lb), [of(1)], "what is old, once, and nothing of what is probed anyhow");
    assert_eq!((wanted(&mut lb), lb.metrics.probed_on_demand.get()), (vec![], 1));
    // Where the ceiling has no room the probe is wanted again, but not all the time.
    let again: usize = (0..400)
        .map(|_| {
            lb.now += Duration::from_millis(250);
            ask(&lb);
            wanted(&mut lb).iter().filter(|site| **site == of(1)).count()
        })
        .sum();
    assert!((2..=13).contains(&again), "{again}");
    // A catalogue in which it is probed often.
    let often = Service { probes: often.probes.clone(), ..hourly };
    lb.said("b1", Message::snapshot(zone("glb.test", 2, vec![often])));
    lb.now += ON_DEMAND * 2;
    ask(&lb);
    assert!(wanted(&mut lb).is_empty());
}
