use proptest::prelude::*;

use super::*;
use crate::catalogue::ProbeKind;

fn probe(fall: u8, rise: u8) -> Probe {
    Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 10_000, timeout_ms: 1_000, fall, rise }
}

fn ms(n: u64) -> Observation {
    Observation::Good(Duration::from_millis(n))
}

fn figure(e: &AddressEstimate, now: Instant) -> (Option<u32>, usize) {
    let m = e.measured(IpAddr::from([192, 0, 2, 1]), now);
    (m.figures.latency_us, m.samples)
}

/// The figure and its range after each of these round trips, in ms.
fn after_each(trips: &[u64]) -> Vec<(f64, f64, f64)> {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 2)]);
    let in_ms = |us: u32| f64::from(us) / 1e3;
    let each = trips.iter().map(|n| {
        e.record(0, ms(*n), now);
        let m = e.measured(IpAddr::from([192, 0, 2, 1]), now);
        let (least, most) = m.range_us.unwrap();
        (in_ms(m.figures.latency_us.unwrap()), in_ms(least), in_ms(most))
    });
    each.collect()
}

#[test]
fn what_gets_better_is_followed_quickly() {
    let each = after_each(&[80, 80, 80, 80, 40, 40, 40, 40]);
    assert_eq!(each[3], (80.0, 80.0, 80.0));
    assert_eq!(each[4], (60.0, 60.0, 80.0));
    assert_eq!(each[7], (42.5, 42.5, 60.0), "half of the difference with each");
}

#[test]
fn what_gets_worse_is_believed_when_nothing_contradicts() {
    let each = after_each(&[20, 20, 20, 20, 100, 100, 100, 100, 100, 100, 100]);
    assert_eq!(each[4], (24.0, 20.0, 24.0), "a twentieth");
    assert_eq!(each[7].0, 100.0, "none of four is as good as that any more");
    assert!(each[9].1 < 40.0, "but before that it was: {:?}", each[9]);
    assert_eq!(each[10], (100.0, 100.0, 100.0), "beyond doubt after seven");
    // One that is as good as ever contradicts.
    let each = after_each(&[20, 20, 20, 20, 100, 100, 100, 20, 100, 100, 100]);
    assert!(each.iter().all(|(figure, ..)| *figure < 40.0), "{each:?}");
}

#[test]
fn early_round_trips_leave_the_window_again() {
    let mut trips = vec![1; 5];
    trips.extend([50; WINDOW]);
    assert_eq!(after_each(&trips).last(), Some(&(50.0, 50.0, 50.0)));
}

#[test]
fn one_spike_changes_little() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 2)]);
    for n in [20, 21, 22] {
        e.record(0, ms(n), now);
    }
    assert_eq!(figure(&e, now), (Some(20_147), 3));
    e.record(0, ms(220), now);
    assert_eq!(figure(&e, now), (Some(30_139), 4), "a twentieth of it");
    e.record(0, ms(20), now);
    e.record(0, ms(20), now);
    assert_eq!(figure(&e, now), (Some(22_534), 6), "and not for long");
}

#[test]
fn old_round_trips_give_way_to_one_new_but_not_to_none() {
    let start = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 2)]);
    for _ in 0..20 {
        e.record(0, ms(20), start);
    }
    assert_eq!(figure(&e, start + LEAST_AGE), (Some(20_000), WINDOW));
    let later = start + LEAST_AGE + Duration::from_secs(1);
    assert_eq!(figure(&e, later), (Some(20_000), WINDOW), "the last good ones stand in");
    e.record(0, ms(70), later);
    assert_eq!(figure(&e, later), (Some(70_000), 1));
}

#[test]
fn a_slow_probe_still_gathers_enough() {
    let day = Probe { interval_ms: 86_400_000, ..probe(2, 2) };
    let mut now = Instant::now();
    let mut e = AddressEstimate::new(std::slice::from_ref(&day));
    for _ in 0..5 {
        now += Duration::from_millis(day.interval_ms.into());
        e.record(0, ms(5), now);
    }
    assert!(e.is_settled(now));
}

#[test]
fn falling_and_rising_need_their_own_number_in_a_row() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(3, 2)]);
    let mut feed = |text: &str| {
        for c in text.chars() {
            e.record(0, if c == '+' { ms(1) } else { Observation::Failed }, now);
        }
        e.health()
    };
    assert_eq!(feed(""), Health::Unknown);
    assert_eq!(feed("+-+-+"), Health::Unknown, "never two in a row");
    assert_eq!(feed("+"), Health::Up);
    assert_eq!(feed("--+--"), Health::Up, "never three in a row");
    assert_eq!(feed("-"), Health::Down);
    assert_eq!(feed("+"), Health::Down);
    assert_eq!(feed("-+"), Health::Down);
    assert_eq!(feed("+"), Health::Up);
}

#[test]
fn down_right_after_the_start() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 2)]);
    e.record(0, Observation::Failed, now);
    assert_eq!((e.health(), e.is_settled(now)), (Health::Unknown, false));
    e.record(0, Observation::Failed, now);
    assert_eq!((e.health(), e.is_settled(now)), (Health::Down, true));
}

#[test]
fn a_site_may_call_itself_worse_and_never_better() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 1), probe(2, 1)]);
    for number in [0, 1] {
        e.record(number, ms(8), now);
    }
    let mut said = |number, stated| {
        e.tell_state(number, stated);
        e.health()
    };
    assert_eq!(said(0, Some(Stated::Draining)), Health::Draining);
    assert_eq!(said(1, Some(Stated::Down)), Health::Down, "the worse of two words");
    assert_eq!(said(1, None), Health::Draining, "the other probe's word stands");
    assert_eq!(said(0, None), Health::Up);
    e.tell_state(0, Some(Stated::Draining));
    e.record(1, Observation::Failed, now);
    e.record(1, Observation::Failed, now);
    assert_eq!(e.health(), Health::Down, "draining is no excuse");
}

#[test]
fn every_probe_kind_must_be_up() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 1), probe(2, 1)]);
    e.record(0, ms(8), now);
    assert_eq!(e.health(), Health::Unknown, "the second kind has not spoken");
    e.record(1, ms(9), now);
    assert_eq!(e.health(), Health::Up);
    e.record(1, Observation::Failed, now);
    e.record(1, Observation::Failed, now);
    e.record(0, ms(8), now);
    assert_eq!(e.health(), Health::Down);
    assert_eq!(figure(&e, now), (Some(8_025), 3), "both kinds feed one window, failures none");
    e.record(2, ms(1), now);
    assert_eq!(figure(&e, now).1, 3, "there is no third kind");
}

#[test]
fn what_a_site_said_is_known_for_a_while() {
    let start = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 2)]);
    let told = |e: &AddressEstimate, at| e.measured(IpAddr::from([192, 0, 2, 1]), at).told;
    let busy = Told { utilization: Some(800), ..Told::default() };
    assert_eq!(told(&e, start), Told::default());
    e.tell(busy, start);
    e.tell(Told::default(), start + LEAST_TOLD);
    assert_eq!(told(&e, start + LEAST_TOLD), busy, "a probe that hears nothing takes nothing back");
    assert_eq!(told(&e, start + LEAST_TOLD + Duration::from_millis(1)), Told::default());
}

#[test]
fn one_failure_is_a_suspicion() {
    let now = Instant::now();
    let mut e = AddressEstimate::new(&[probe(2, 1)]);
    let suspect = |e: &AddressEstimate| e.measured(IpAddr::from([192, 0, 2, 1]), now).suspect;
    e.record(0, Observation::Failed, now);
    assert!(!suspect(&e), "it is not up");
    e.record(0, ms(9), now);
    assert!(!suspect(&e));
    e.record(0, Observation::Failed, now);
    assert!(suspect(&e));
    e.record(0, Observation::Failed, now);
    assert!(!suspect(&e), "it is down");
}

proptest! {
    /// The verdict follows from the longest run at the end, whatever came before.
    #[test]
    fn the_verdict_is_the_last_decisive_run(
        fall in 1_u8..5, rise in 1_u8..5, seen in prop::collection::vec(any::<bool>(), 0..40),
    ) {
        let now = Instant::now();
        let mut e = AddressEstimate::new(&[probe(fall, rise)]);
        let mut expected = Health::Unknown;
        for (i, good) in seen.iter().enumerate() {
            e.record(0, if *good { ms(1) } else { Observation::Failed }, now);
            let run = seen[..=i].iter().rev().take_while(|g| *g == good).count();
            if *good && run >= rise.into() {
                expected = Health::Up;
            } else if !good && run >= fall.into() {
                expected = Health::Down;
            }
            prop_assert_eq!(e.health(), expected);
        }
    }
}
