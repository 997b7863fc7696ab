//! What a DNS-LB keeps, through a real file.

use dglb_node::store::{Store, StoreFigures};

use super::*;
use crate::keeper::{Restored, SCHEMA};

/// A DNS-LB that keeps, and its file.
struct Keeping {
    lb: Lb,
    store: Store,
    _directory: tempfile::TempDir,
}

impl Keeping {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("test.redb"), &SCHEMA).unwrap().store;
        let mut lb = Lb::new();
        lb.keeper.keep();
        Self { lb, store, _directory: directory }
    }

    /// With one service, which has sites `s1` to `s3`; not measured.
    fn with_catalogue() -> (Self, Service) {
        let mut keeping = Self::new();
        keeping.lb.up("b1", fleet(1));
        let www = service("www.glb.test", 3);
        keeping.lb.said("b1", Message::snapshot(zone("glb.test", 4, vec![www.clone()])));
        (keeping, www)
    }

    fn measure(&mut self, www: &Service, ms: [u64; 3]) {
        for (n, ms) in (1..).zip(ms) {
            for _ in 0..3 {
                self.lb.sample(www, n, Some(ms));
            }
        }
    }

    /// Writes what is due; the number under which it was.
    fn write(&mut self) -> Option<u64> {
        let (number, batch) = self.lb.keeper.take_writes()?;
        self.store.commit(&batch).unwrap();
        Some(number)
    }

    /// A new process with the same file.
    fn restart(&mut self) -> Effects {
        let figures = StoreFigures::default();
        let restored = Restored::read(&self.store, &figures).unwrap();
        assert_eq!(figures.unreadable.get(), 0);
        self.lb = Lb::new();
        let effects = self.lb.keeper.restore(restored, self.lb.now);
        self.lb.keeper.keep();
        effects
    }
}

#[test]
fn after_a_restart_it_answers_as_before_with_nobody_in_reach() {
    let (mut keeping, www) = Keeping::with_catalogue();
    keeping.measure(&www, [50, 20, 90]);
    keeping.write().unwrap();
    let before = keeping.lb.ask("www.sea1.glb.test");
    assert_eq!(before.0.decision, Decision::Label);

    let effects = keeping.restart();
    assert!(effects.targets && effects.answers && effects.send.is_empty(), "{effects:?}");
    assert_eq!(keeping.lb.ask("www.sea1.glb.test"), before);
    assert!(keeping.lb.keeper.can_answer());
    assert_eq!(keeping.lb.keeper.targets().len(), 3, "it is measured anew");
    assert_eq!((keeping.lb.keeper.fleet().unwrap().serial, keeping.lb.keeper.catalogues().len()), (1, 1));
    assert_eq!(keeping.write(), None, "what was read is not written again");
}

#[test]
fn a_ranking_of_before_stands_until_there_is_a_good_one_and_is_not_reported() {
    let (mut keeping, www) = Keeping::with_catalogue();
    keeping.measure(&www, [50, 20, 90]);
    keeping.write().unwrap();
    keeping.restart();
    let before = keeping.lb.ask("www.sea1.glb.test");
    // The dns-b holds the report of the run before.
    let effects = keeping.lb.up_holding("b1", fleet(1), 9);
    assert_eq!(report(&effects), None);
    // The worst is the first that is measured: that says nothing yet.
    for _ in 0..3 {
        assert_eq!(keeping.lb.sample(&www, 3, Some(10)), Effects::default());
    }
    keeping.lb.now += Duration::from_secs(1);
    assert_eq!(keeping.lb.handle(Event::Tick), Effects::default());
    assert_eq!(keeping.lb.ask("www.sea1.glb.test"), before);
    let effects =
        [(1, 70), (2, 40)].map(|(n, ms)| (0..3).map(|_| keeping.lb.sample(&www, n, Some(ms))).last().unwrap());
    let (to, report) = report(&effects[1]).expect("now it is ranked");
    assert_eq!((to, report.generation, order(report)), ("b1", 10, vec!["s3", "s2", "s1"]));
    assert_ne!(keeping.lb.ask("www.sea1.glb.test"), before);
    // That is the one that the next restart finds.
    let now = keeping.lb.ask("www.sea1.glb.test");
    keeping.write().unwrap();
    keeping.restart();
    assert_eq!(keeping.lb.ask("www.sea1.glb.test"), now);
}

#[test]
fn what_is_not_measured_again_takes_nothing_away_at_a_dns_b() {
    let mut keeping = Keeping::new();
    keeping.lb.up("b1", fleet(1));
    let (www, api) = (service("www.glb.test", 3), service("api.glb.test", 3));
    keeping.lb.said("b1", Message::snapshot(zone("glb.test", 4, vec![www.clone(), api.clone()])));
    keeping.measure(&www, [50, 20, 90]);
    keeping.measure(&api, [50, 20, 90]);
    keeping.write().unwrap();
    keeping.restart();
    keeping.lb.up_holding("b1", fleet(1), 9);
    let mut sent = Vec::new();
    for (n, ms) in [(1, 50), (2, 20), (3, 90)] {
        for _ in 0..3 {
            let effects = keeping.lb.sample(&www, n, Some(ms));
            sent.extend(report(&effects).map(|(_, report)| report.clone()));
        }
    }
    let [report] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((report.base, report.rankings.len(), &report.removed[..]), (9, 1, &[][..]), "api is not there yet");
}

#[test]
fn a_catalogue_is_acknowledged_when_it_is_on_the_disk() {
    let mut keeping = Keeping::new();
    keeping.lb.up("b1", fleet(1));
    keeping.write().unwrap();
    let www = service("www.glb.test", 3);
    let effects = keeping.lb.said("b1", Message::snapshot(zone("glb.test", 4, vec![www.clone()])));
    assert_eq!((refusal(&effects), effects.after.len()), (None, 1));
    let number = keeping.write().unwrap();
    assert!(effects.after[0].0 <= number);
    // A zone that goes takes its rankings with it.
    keeping.measure(&www, [50, 20, 90]);
    let api = service("api.glb.test", 3);
    keeping.lb.said("b1", Message::snapshot(zone("glb.test", 5, vec![api])));
    keeping.write().unwrap();
    let restored = Restored::read(&keeping.store, &StoreFigures::default()).unwrap();
    assert_eq!((restored.zones[0].generation, restored.rankings.len()), (5, 0));
}

#[test]
fn without_a_store_nothing_waits() {
    let mut lb = Lb::new();
    lb.up("b1", fleet(1));
    let effects = lb.said("b1", Message::snapshot(zone("glb.test", 4, vec![service("www.glb.test", 3)])));
    assert_eq!((refusal(&effects), effects.after.len()), (Some("accepted"), 0));
    assert!(lb.keeper.take_writes().is_none());
}
