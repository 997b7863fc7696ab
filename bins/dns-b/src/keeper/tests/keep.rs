//! What goes to the store and what comes back from it, without a disk: batches are applied to tables
//! in memory.

use std::collections::BTreeMap;

use dglb_core::{
    identity::Identity,
    table::{Claim, Source},
};
use dglb_node::store::Batch;

use super::*;
use crate::{
    keeper::{Restored, RestoredReport},
    record::{self, FLEET, LBS, LbRecord, REPORTS, ZONES},
};

/// What is on the disk.
#[derive(Default)]
pub(super) struct Disk(BTreeMap<(&'static str, Vec<u8>), Vec<u8>>);

impl Disk {
    fn apply(&mut self, batch: &Batch) {
        for (table, writes) in batch.tables() {
            for (key, value) in writes {
                match value {
                    Some(value) => drop(self.0.insert((table, key.clone()), value.clone())),
                    None => drop(self.0.remove(&(table, key.clone()))),
                }
            }
        }
    }

    /// Writes what is due; the number under which it was.
    pub(super) fn write(&mut self, keeper: &mut Keeper) -> Option<u64> {
        let (number, batch) = keeper.take_writes()?;
        self.apply(&batch);
        Some(number)
    }

    fn table(&self, wanted: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().filter(move |((table, _), _)| *table == wanted).map(|((_, key), value)| (&key[..], &value[..]))
    }

    fn lb(&self, n: u8) -> Option<LbRecord> {
        let (_, value) = self.table(LBS).find(|(key, _)| *key == format!("lb{n}").as_bytes())?;
        Some(LbRecord::decode(value).unwrap())
    }

    fn restored(&self) -> Restored {
        let identity = |key: &[u8]| std::str::from_utf8(key).unwrap().parse().unwrap();
        Restored {
            fleet: self.table(FLEET).map(|(_, value)| record::fleet(value).unwrap()).next(),
            zones: self.table(ZONES).map(|(_, value)| record::catalogue(value).unwrap()).collect(),
            lbs: self.table(LBS).map(|(key, value)| (identity(key), LbRecord::decode(value).unwrap())).collect(),
        }
    }

    fn reports(&self) -> Vec<RestoredReport> {
        let mut reports: BTreeMap<Identity, Vec<Report>> = BTreeMap::new();
        for (key, value) in self.table(REPORTS) {
            reports.entry(record::report_owner(key).unwrap()).or_default().push(record::report(value).unwrap());
        }
        reports.into_iter().collect()
    }

    /// A dns-b that starts with this disk.
    pub(super) fn start(&self, config: &Config, now: Instant) -> Lab {
        let mut keeper = Keeper::new(config, BootId([2; 16]), now);
        keeper.restore(self.restored(), now);
        keeper.keep();
        keeper.restore_reports(self.reports(), now);
        keeper.directory.set_filling(false);
        Lab { keeper, now }
    }
}

fn kept() -> Lab {
    let mut lab = Lab::new();
    lab.keeper.keep();
    lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
    lab.say(100, Message::snapshot(zone(1)));
    lab
}

/// The numbers that messages to this link wait for.
fn waits(lab: &mut Lab, link: u64) -> Vec<u64> {
    let outbox = lab.keeper.take_outbox();
    let wait = |outgoing| match outgoing {
        Outgoing::After(number, _) => number,
        _ => 0,
    };
    outbox.into_iter().filter(|(to, _)| *to == LinkId(link)).map(|(_, outgoing)| wait(outgoing)).collect()
}

#[test]
fn after_a_restart_it_answers_as_before_while_nobody_is_back() {
    let mut lab = Lab::new();
    lab.keeper.keep();
    lab.dial(100, "sync", PeerRole::DnsASync, 1).unwrap();
    lab.say(100, Message::snapshot(zone(7)));
    (1..=4).for_each(|n| lab.join(n, [10 * u32::from(n), 20]));
    lab.pass(1);
    let mut disk = Disk::default();
    disk.write(&mut lab.keeper).unwrap();

    let again = disk.start(&config(), lab.now + Duration::from_secs(3_600));
    for n in 1..=9 {
        let resolver = format!("10.{n}.0.1");
        let (before, after) =
            (lab.ask_for(SERVICE, &resolver, Role::Referral), again.ask_for(SERVICE, &resolver, Role::Referral));
        assert_eq!(before.1.answers[0].data, after.1.answers[0].data, "lb{n}");
        let label = format!("www.lb{n}.glb.test");
        let answer = |lab: &Lab| lab.ask_for(&label, &resolver, Role::Fallback).1.answers;
        assert_eq!(answer(&lab), answer(&again), "lb{n}");
    }
    // Of four nobody is there: that must be this server's own restart.
    assert_eq!((again.ask("10.1.0.1").0, again.state(1)), (Decision::Mapped, LbState::Alive));
    assert_eq!(again.keeper.figures().prefixes, 4);
}

#[test]
fn everybody_has_one_lease_from_the_restart_on() {
    let mut lab = kept();
    lab.join(1, [10, 20]);
    let mut disk = Disk::default();
    lab.pass(1);
    disk.write(&mut lab.keeper).unwrap();
    let mut again = disk.start(&config(), lab.now + Duration::from_secs(1_000_000));
    assert_eq!(again.ask("10.1.0.1").0, Decision::Suspect);
    again.pass(59);
    assert_eq!(again.ask("10.1.0.1").0, Decision::Suspect);
    again.pass(1);
    assert_eq!((again.ask("10.1.0.1").0, again.state(1)), (Decision::Aggregate, LbState::Gone));
    // Its label is in caches for longer, and outlives another restart.
    disk.write(&mut again.keeper).unwrap();
    let record = disk.lb(1).unwrap();
    assert_eq!((record.map_generation, record.claims.len(), record.addresses), (0, 0, vec![ip("198.18.0.1")]));
    let mut third = disk.start(&config(), again.now);
    assert_eq!((third.state(1), third.keeper.figures().prefixes), (LbState::Gone, 0));
    assert_eq!(third.ask_for("www.lb1.glb.test", "10.1.0.1", Role::Fallback).0, Decision::Label);
    third.pass(7_201);
    disk.write(&mut third.keeper).unwrap();
    third.pass(1);
    disk.write(&mut third.keeper);
    assert_eq!((disk.lb(1), disk.reports().len()), (None, 0), "nobody can have it in a cache any more");
}

#[test]
fn who_comes_back_goes_on_where_it_was() {
    let mut lab = kept();
    lab.join(1, [10, 20]);
    lab.report(1, 5, 1, vec![ranking([20, 10])]);
    lab.pass(1);
    let mut disk = Disk::default();
    disk.write(&mut lab.keeper).unwrap();
    lab.report(1, 6, 5, vec![ranking([10, 20])]);

    let mut again = disk.start(&config(), lab.now);
    let hello = |identity: &str, role| hello(identity, role, 1, FleetStamp::default());
    let from = "198.51.100.1:1000".parse().unwrap();
    let Verdict::Welcome(welcome) = again.keeper.hello(LinkId(1), &hello("lb1", PeerRole::DnsLb), from, again.now)
    else {
        panic!("it is let in");
    };
    // The newer report was in use, and not written: WELCOME says what there is.
    assert_eq!((welcome.map_generation, welcome.report_generation), (1, 5));
    assert_eq!(again.ask("10.1.0.1"), (Decision::Mapped, 3600), "the same run of it needs no new READY");
    let said = again.report(1, 7, 5, vec![ranking([10, 20])]);
    assert!(matches!(&said[..], [Message::ReportAck(ack)] if ack.generation == 7), "{said:?}");
    let said = again.map(1, 0, &["10.1.0.9/32"]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 0), "older than what was kept: {said:?}");
    let Verdict::Welcome(welcome) = again.keeper.hello(LinkId(2), &hello("sync", PeerRole::DnsASync), from, again.now)
    else {
        panic!("it is let in");
    };
    assert_eq!((welcome.catalogues.len(), welcome.catalogues[0].generation), (1, 1));
    // Another run of it has to say READY anew.
    let mut again = disk.start(&config(), lab.now);
    again.dial(1, "lb1", PeerRole::DnsLb, 2).unwrap();
    assert_eq!(again.ask("10.1.0.1").0, Decision::Direct);
}

#[test]
fn an_ack_waits_for_what_it_acknowledges() {
    let mut lab = kept();
    let mut disk = Disk::default();
    disk.write(&mut lab.keeper).unwrap();
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    let map = |generation| {
        Message::Map(Map { generation, lease_ms: 60_000, addresses: vec![ip("198.18.0.1")], entries: vec![] })
    };
    let mut last = 0;
    let steps: [(u64, Message); 4] = [
        (1, map(1)),
        (1, Message::Unmap(Unmap { generation: 2, prefixes: vec![] })),
        (100, Message::snapshot(zone(2))),
        (1, map(3)),
    ];
    for (link, message) in steps {
        lab.keeper.take_outbox();
        lab.keeper.message(LinkId(link), message, lab.now);
        let wait = waits(&mut lab, link)[0];
        let number = disk.write(&mut lab.keeper).unwrap();
        assert!(last < wait && wait <= number, "{last} {wait} {number}");
        last = number;
    }
    assert_eq!(disk.lb(1).unwrap().map_generation, 3);
    assert_eq!(disk.restored().zones[0].generation(), 2);
    // The same again has nothing to wait for but what it says; a refusal has nothing at all.
    lab.keeper.message(LinkId(100), Message::snapshot(zone(2)), lab.now);
    assert_eq!(waits(&mut lab, 100)[0], last);
    assert_eq!(disk.write(&mut lab.keeper), None);
    lab.keeper.message(LinkId(100), Message::snapshot(zone(1)), lab.now);
    lab.keeper.message(LinkId(1), map(2), lab.now);
    assert_eq!((waits(&mut lab, 100).len(), disk.write(&mut lab.keeper)), (1, None));
}

#[test]
fn without_a_store_nothing_waits_and_nothing_is_collected() {
    let mut lab = Lab::with_catalogue();
    lab.join(1, [10, 20]);
    lab.keeper.take_outbox();
    lab.map(1, 2, &["10.1.0.1/32"]);
    lab.keeper.message(LinkId(1), Message::Unmap(Unmap { generation: 3, prefixes: vec![] }), lab.now);
    assert_eq!(waits(&mut lab, 1), [0]);
    lab.pass(1);
    assert!(lab.keeper.take_writes().is_none() && lab.keeper.take_last_writes().is_none());
}

#[test]
fn leases_and_checks_write_nothing_and_reports_in_their_turn() {
    let mut lab = kept();
    (1..=9).for_each(|n| lab.join(n, [10, 20]));
    let mut disk = Disk::default();
    lab.pass(1);
    while disk.write(&mut lab.keeper).is_some() {}
    assert_eq!((disk.table(LBS).count(), disk.reports().len()), (9, 9));
    for _ in 0..30 {
        (1..=9).for_each(|n| lab.check(n, true));
        lab.pass(1);
    }
    assert_eq!(disk.write(&mut lab.keeper), None);
    for generation in 2..20 {
        (1..=9).for_each(|n| drop(lab.report(n, generation, 0, vec![ranking([u32::from(n), 20])])));
        assert_eq!(disk.write(&mut lab.keeper), None, "a report waits for its turn");
    }
    lab.pass(1);
    let mut written = 0;
    while let Some((_, batch)) = lab.keeper.take_writes() {
        written += batch.len();
        disk.apply(&batch);
    }
    assert_eq!(written, 9, "of many reports the last");
    assert!(disk.reports().iter().all(|(_, parts)| parts[0].generation == 19));
    // The end does not wait.
    lab.report(1, 20, 0, vec![]);
    disk.apply(&lab.keeper.take_last_writes().unwrap().1);
    assert_eq!(disk.reports().len(), 8, "nothing is ranked any more");
}

#[test]
fn reports_of_many_go_in_portions_and_nothing_is_left() {
    const MANY: u8 = 40;
    let mut lab = kept();
    let mut open = config();
    open.map.dns_lbs = DnsLbs::Certified;
    lab.keeper.reconfigure(&open, lab.now);
    (1..=MANY).for_each(|n| lab.join(n, [10, 20]));
    let mut disk = Disk::default();
    // Each second some more are due, and the disk is slow.
    (0..3).for_each(|_| lab.pass(1));
    let mut portions = Vec::new();
    while let Some((_, batch)) = lab.keeper.take_writes() {
        let before = disk.reports().len();
        disk.apply(&batch);
        portions.push(disk.reports().len() - before);
    }
    assert_eq!(portions, [4; 10]);
    // At the end nothing is left to the next portion.
    (1..=MANY).for_each(|n| drop(lab.report(n, 3, 0, vec![ranking([10, 30])])));
    lab.pass(1);
    disk.apply(&lab.keeper.take_last_writes().unwrap().1);
    assert!(disk.reports().iter().all(|(_, parts)| parts[0].generation == 3));
    assert!(lab.keeper.take_last_writes().is_none());
}

#[test]
fn a_long_report_is_kept_in_parts() {
    let mut lab = kept();
    lab.join(1, [10, 20]);
    let ranking = |n: usize| Ranking { service: format!("s{n}.glb.test").parse().unwrap(), ..ranking([10, 20]) };
    lab.report(1, 2, 0, (0..900).map(ranking).chain([super::ranking([10, 20])]).collect());
    lab.say(
        100,
        Message::snapshot({
            let mut zone = zone(2);
            let service = zone.services[0].clone();
            zone.services.extend(
                (0..2_500).map(|n| Service { name: format!("s{n}.glb.test").parse().unwrap(), ..service.clone() }),
            );
            zone
        }),
    );
    lab.report(1, 3, 2, (900..2_500).map(ranking).collect());
    let mut disk = Disk::default();
    lab.pass(1);
    disk.write(&mut lab.keeper).unwrap();
    assert_eq!(disk.table(REPORTS).count(), 3);
    let again = disk.start(&config(), lab.now);
    let lb = again.keeper.directory().lb_of(&"lb1".parse().unwrap()).unwrap();
    assert_eq!((again.keeper.lbs[&lb].rankings.len(), again.keeper.lbs[&lb].report_generation), (2_501, 3));
    // A shorter one takes the parts away that it does not need, after a restart, too.
    let mut again = again;
    again.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    again.report(1, 4, 0, vec![super::ranking([10, 20])]);
    again.pass(1);
    disk.write(&mut again.keeper).unwrap();
    assert_eq!((disk.table(REPORTS).count(), disk.reports()[0].1[0].rankings.len()), (1, 1));
}

#[test]
fn rights_are_those_of_now() {
    let mut lab = kept();
    (1..=3).for_each(|n| lab.join(n, [10, 20]));
    lab.map(1, 2, &["10.1.0.1/32", "10.1.9.0/24"]);
    lab.pass(1);
    let mut disk = Disk::default();
    disk.write(&mut lab.keeper).unwrap();
    // What was proven is not a matter of the file.
    let mut proven = disk.lb(3).unwrap();
    let claim = Claim { prefix: "192.0.2.99/32".parse().unwrap(), preference: 1, weight: 1, source: Source::Proven };
    proven.claims.push((claim, false));
    disk.0.insert((LBS, b"lb3".to_vec()), proven.encode());

    let mut config = config();
    let id = |text: &str| text.parse::<Identity>().unwrap();
    config.peers.get_mut(&id("lb1")).unwrap().may_map = vec!["10.1.9.0/24".parse().unwrap()];
    config.peers.remove(&id("lb2"));
    let again = disk.start(&config, lab.now);
    let mapped: Vec<_> = again.keeper.all.iter().map(|held| held.claim.prefix.to_string()).collect();
    assert_eq!(mapped, ["10.1.9.0/24", "10.3.0.1/32", "192.0.2.99/32"]);
    assert_eq!(again.state(2), LbState::Gone);
    assert_eq!(again.ask_for("www.lb2.glb.test", "10.2.0.1", Role::Fallback).0, Decision::Label, "its label is known");
    config.peers.remove(&id("sync"));
    let again = disk.start(&config, lab.now);
    assert!(!again.keeper.directory().has_zones(), "nobody may publish it any more");
}
