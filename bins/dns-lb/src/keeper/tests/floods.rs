//! A dns-b that asks for more than it could need, or says the same again and again.

use dglb_core::proto::message::{Budget, Challenge, Nonce, Verdict};

use super::*;

/// Messages of one kind in a flood.
const FLOOD: usize = 1_000;

/// How many messages of a kind go out in answer to a flood of `message`, and in the minute after it.
fn answered(lb: &mut Lb, message: &Message, is_answer: fn(&Message) -> bool) -> (usize, usize) {
    let count = |effects: Effects| effects.send.iter().filter(|(_, said)| is_answer(said)).count();
    let at_once = (0..FLOOD).map(|_| count(lb.said("b1", message.clone()))).sum();
    let mut later = 0;
    for _ in 0..240 {
        lb.now += Duration::from_millis(250);
        later += count(lb.handle(Event::Tick));
        later += count(lb.said("b1", message.clone()));
    }
    (at_once, later)
}

#[test]
fn a_dns_b_that_asks_all_the_time_gets_everything_now_and_then() {
    let (mut lb, _) = Lb::measured();
    let is_report = |message: &Message| matches!(message, Message::Report(_));
    let (at_once, later) = answered(&mut lb, &Message::GetReport, is_report);
    // In a minute one every ten seconds, and the digest that goes out anyhow.
    assert_eq!(at_once, 3);
    assert!((6..=8).contains(&later), "{later} reports in a minute");
    let is_map = |message: &Message| matches!(message, Message::Map(_));
    let (at_once, later) = answered(&mut lb, &Message::Resync(Resync::Map), is_map);
    assert_eq!((at_once, later), (3, 6));
    assert!(lb.metrics.put_off.get() >= 2 * (FLOOD as u64 - 3), "{}", lb.metrics.put_off.get());
    // Another one is not to blame for it.
    lb.up("b2", fleet(1));
    assert!(lb.said("b2", Message::GetReport).send.iter().any(|(to, m)| to.as_str() == "b2" && is_report(m)));
}

#[test]
fn whoever_asked_too_soon_is_not_forgotten() {
    let (mut lb, _) = Lb::measured();
    let reports = |effects: &Effects| effects.send.iter().filter(|(_, m)| matches!(m, Message::Report(_))).count();
    let sent: Vec<usize> = (0..4).map(|_| reports(&lb.said("b1", Message::Resync(Resync::Report)))).collect();
    assert_eq!(sent, [1, 1, 1, 0]);
    lb.now += Duration::from_millis(9_999);
    assert_eq!(reports(&lb.handle(Event::Tick)), 0);
    lb.now += Duration::from_millis(1);
    assert_eq!(reports(&lb.handle(Event::Tick)), 1);
    assert_eq!(reports(&lb.handle(Event::Tick)), 0, "once");
    // A link that ends owes nothing.
    assert_eq!(reports(&lb.said("b1", Message::GetReport)), 0);
    lb.handle(Event::Down(id("b1")));
    lb.now += Duration::from_secs(10);
    assert_eq!(reports(&lb.handle(Event::Tick)), 0);
}

#[test]
fn verdicts_in_a_flood_have_a_site_probed_no_more_often() {
    let (mut lb, _) = Lb::measured();
    let mut probed = 0;
    for turn in 0..FLOOD {
        let verdict = Verdict {
            service: "www.glb.test".parse().unwrap(),
            site: "s1".to_owned(),
            down: turn % 2 == 0,
            pops: 9,
            of: 10,
        };
        lb.now += Duration::from_millis(60);
        probed += lb.said("b1", Message::Verdict(verdict)).probe_now.len();
    }
    // Three at once, and one in each ten seconds of the minute.
    assert!((8..=9).contains(&probed), "{probed} times in a minute");
    assert_eq!(lb.metrics.verdicts.get(), FLOOD as u64);
    // Sites that nobody has leave nothing behind.
    for n in 0..FLOOD {
        let (service, site) = (format!("s{n}.glb.test").parse().unwrap(), "s1".to_owned());
        lb.said("b1", Message::Verdict(Verdict { service, site, down: true, pops: 9, of: 10 }));
    }
    assert!(lb.keeper.called_down().count() <= 1);
}

#[test]
fn challenges_and_budgets_in_a_flood_cost_what_a_few_do() {
    let (mut lb, _) = Lb::measured();
    let mut asked = 0;
    for n in 0..FLOOD {
        let nonce = Nonce([n as u8; 16]);
        let digits = format!("{:02x}", n as u8).repeat(16);
        let names = vec![format!("{digits}.4.b1.prove.ops.test").parse().unwrap()];
        let effects = lb.said("b1", Message::Challenge(Challenge { nonce, names, expires_ms: 5_000 }));
        asked += effects.look_ups.len();
    }
    assert_eq!(asked, 8, "a burst, and no more");
    for generation in 1..=FLOOD as u64 {
        let budget = Budget { generation, of: 1, shares: vec![] };
        let effects = lb.said("b1", Message::Budget(Box::new(budget)));
        assert_eq!((effects.send.len(), effects.shares), (1, None), "nothing has a ceiling");
    }
    assert_eq!(lb.ask("www.sea1.glb.test").0.decision, Decision::Label);
}

#[test]
fn what_a_dns_b_does_not_keep_is_shown() {
    let (mut lb, _) = Lb::measured();
    let refused = |lb: &Lb| lb.keeper.reports().servers()[&id("b1")].refused;
    let generation = lb.keeper.reports().generation();
    assert_eq!(refused(&lb), 0);
    lb.said("b1", Message::ReportAck(ReportAck { generation, refused: 2 }));
    assert_eq!(refused(&lb), 2);
}
