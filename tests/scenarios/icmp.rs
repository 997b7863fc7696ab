//! ICMP probes over a wire: the echo of another host, and who the system lets ask for one.

use std::{fs, net::IpAddr, time::Duration};

use dglb_core::catalogue::{Probe, ProbeKind};
use dglb_lab::{HostSpec, Lab, Options, Topology, sandbox};
use dglb_probe::{
    probe::{Failure, Means, Outcome, Phase, probe},
    trust::Trust,
};

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// The groups that may open such sockets, in each net namespace.
const ALLOWED: &str = "/proc/sys/net/ipv4/ping_group_range";

/// One echo request from the host `pop`.
fn echo(lab: &Lab, to: IpAddr, timeout_ms: u32) -> Outcome {
    let wanted = Probe { kind: ProbeKind::Icmp, interval_ms: 1_000, timeout_ms, fall: 2, rise: 2 };
    let means = Means { body_limit: 0, trust: Trust::nobody() };
    let host = "www.foobar.test".parse().unwrap();
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe(&wanted, to, &host, &means)).outcome
    };
    lab.in_host("pop", run).unwrap()
}

#[test]
fn an_echo_needs_a_permitted_group_and_takes_the_round_trip() {
    sandbox::run_test("icmp::an_echo_needs_a_permitted_group_and_takes_the_round_trip", || {
        let host = |(name, number): (&str, u8)| {
            HostSpec::new(name, [IpAddr::from([10, 0, 0, number]), format!("fd66::{number}").parse().unwrap()])
        };
        let mut topology = Topology { hosts: [("pop", 1), ("site", 2)].map(host).into(), ..Topology::default() };
        topology.latency.default = ROUND_TRIP.as_secs_f64() * 1e3;
        let lab = Lab::up(&topology, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let site: [IpAddr; 2] = ["10.0.0.2", "fd66::2"].map(|a| a.parse().unwrap());
        // No group at all, as the kernel begins.
        lab.in_host("pop", || fs::write(ALLOWED, "1 0")).unwrap().unwrap();
        for to in site {
            assert_eq!(echo(&lab, to, 2_000), Outcome::Local, "{to}: that is no fault of the site");
        }
        // The one that this runs as, in whatever user namespace.
        lab.in_host("pop", || fs::write(ALLOWED, "0 0")).unwrap().unwrap();
        for to in site {
            let Outcome::Good(times) = echo(&lab, to, 10_000) else { panic!("{to}: no echo") };
            assert!(times.connect >= ROUND_TRIP, "{to}: {:?} is faster than the wire", times.connect);
            assert!(times.connect < ROUND_TRIP + Duration::from_secs(5), "{to}: {:?}", times.connect);
            assert_eq!((times.tls, times.first_byte, times.bytes), (None, None, 0));
        }
        let sent = lab.counters("pop", "site").unwrap().sent;
        assert!(sent >= 2, "{sent}: both went over the wire");
        let nobody = ["10.0.0.9", "fd66::9"].map(|a| a.parse().unwrap());
        for to in nobody {
            let outcome = echo(&lab, to, 300);
            let lost = [Failure::Unreachable, Failure::TimedOut(Phase::Connect)].map(Outcome::Failed);
            assert!(lost.contains(&outcome), "{to}: {outcome:?}");
        }
    });
}
