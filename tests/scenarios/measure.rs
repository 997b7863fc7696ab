//! What measuring is worth: distances as the router has them, and sites that fail in every way left
//! within the bound. `dglb-lab measure` shows the same with strict bounds, on a machine that has time.

use std::time::Duration;

use dglb_lab::{
    Options,
    measure::{Bound, Distance, Failing, distances, failover, up},
    sandbox,
    world::Plan,
};

/// How long everybody may take to find each other.
const SETTLE: Duration = Duration::from_secs(30);
/// Beside every bound: other tests want the processors, too.
const SLACK: Duration = Duration::from_secs(10);
const PROBES: usize = 100;

#[test]
fn sites_that_fail_in_every_way_are_left_in_time() {
    sandbox::run_test("measure::sites_that_fail_in_every_way_are_left_in_time", || {
        let world = up(Plan::new(7), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        world.settle(SETTLE).unwrap();
        for Distance { from, to, probed, stamped } in distances(&world, PROBES).unwrap() {
            println!("{from} to {to}: {probed:?}, the router's {stamped:?}");
            let allowed = Duration::from_millis(1) + stamped / 50;
            assert!(stamped > Duration::from_millis(1), "{from} to {to}: nothing was stamped");
            // Other things that the machine does make it longer, never shorter.
            let right = probed + allowed >= stamped && probed <= stamped + 10 * allowed;
            assert!(right, "{from} to {to}: {probed:?} instead of {stamped:?}");
        }
        let bound = Bound::of_lab(world.plan());
        for failing in Failing::ALL {
            let came = failover(&world, failing).unwrap();
            println!("{}: {:?} of {:?}, {}", failing.describe(), came.took, bound.whole(), came.outcome);
            assert_eq!(came.outcome, failing.outcome(), "{}", failing.describe());
            assert!(came.took <= bound.whole() + SLACK, "{}: {:?}", failing.describe(), came.took);
        }
        // What is no end in order is a signal of its own: the resets, at least.
        assert!(world.counter("lb1", "dglb_lb_abnormal_ends_total", "").unwrap() >= 2);
        let probes = &world.status("lb1").unwrap()["services"]["www.glb.foobar.test."]["probes"];
        assert_eq!((probes[0]["kind"].as_str(), probes[0]["interval_ms"].as_u64()), (Some("https"), Some(1_000)));
        let whole = u64::try_from(bound.whole().as_millis()).unwrap();
        // The second probe's time-out is within the gap before it.
        assert_eq!(probes[0]["failover_ms"].as_u64(), Some(whole - 500));
    });
}
