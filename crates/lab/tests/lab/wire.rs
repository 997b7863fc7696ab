//! The wire: how long packets take, in which order, and where they cannot go.

use std::{net::UdpSocket, time::Duration};

use dglb_lab::{HostSpec, Topology};

use crate::support::{Echo, alone, backends, ping, three, udp, until, up};

#[test]
fn round_trips_take_as_long_as_they_should() {
    alone("wire::round_trips_take_as_long_as_they_should", || {
        for backend in backends() {
            for (ms, times) in [(1u32, 100), (20, 30), (100, 7), (400, 3)] {
                let lab = up(&three(f64::from(ms)), backend);
                for v6 in [false, true] {
                    let (echo, socket) = (Echo::on(&lab, "b", v6), udp(&lab, "a", v6));
                    let took = (0..times).map(|n| ping(&socket, echo.address, n).expect("nothing is lost"));
                    let (wanted, least) = (Duration::from_millis(ms.into()), took.min().unwrap());
                    assert!(least >= wanted, "{backend:?}: {least:?} is faster than {wanted:?}");
                    // The machine may be busy with other things; the example `accuracy` shows exact figures.
                    let most = wanted + Duration::from_millis(5);
                    assert!(least < most, "{backend:?}: {least:?} instead of {wanted:?}");
                }
                assert_eq!(lab.counters("a", "b").unwrap().sent, 2 * u64::from(times));
                assert_eq!(lab.counters("b", "a").unwrap().sent, 2 * u64::from(times));
                assert_eq!(lab.counters("a", "c").unwrap(), Default::default());
            }
        }
    });
}

#[test]
fn directions_differ_if_told_to() {
    alone("wire::directions_differ_if_told_to", || {
        let text = r#"
            latency = { default = 2 }
            host = [{ name = "a", addresses = ["10.0.0.1"] }, { name = "b", addresses = ["10.0.0.2"] }]
            oneway = [{ from = "b", to = "a", ms = 60 }]
        "#;
        let lab = up(&text.parse().unwrap(), backends()[0]);
        let (echo, socket) = (Echo::on(&lab, "b", false), udp(&lab, "a", false));
        let least = |numbers: std::ops::Range<u32>| {
            numbers.map(|number| ping(&socket, echo.address, number).expect("nothing is lost")).min().unwrap()
        };
        let took = least(0..5);
        assert!((Duration::from_millis(61)..Duration::from_millis(90)).contains(&took), "{took:?}");
        lab.change_one_way("b", "a", |link| link.delay = Duration::from_millis(1)).unwrap();
        let took = least(5..15);
        assert!((Duration::from_millis(2)..Duration::from_millis(30)).contains(&took), "{took:?}");
    });
}

#[test]
fn jitter_reorders_only_if_it_may() {
    alone("wire::jitter_reorders_only_if_it_may", || {
        let lab = up(&three(40.0), backends()[0]);
        let (from, to) = (udp(&lab, "a", false), udp(&lab, "b", false));
        let target = to.local_addr().unwrap();
        let order = |reorder| {
            let jitter = Duration::from_millis(15);
            lab.change_one_way("a", "b", |link| (link.jitter, link.reorder) = (jitter, reorder)).unwrap();
            (0..100u8).for_each(|number| assert_eq!(from.send_to(&[number], target).unwrap(), 1));
            let mut buffer = [0; 8];
            let mut next = || to.recv(&mut buffer).map(|_| buffer[0]).unwrap();
            (0..100).map(|_| next()).collect::<Vec<_>>()
        };
        let sorted: Vec<u8> = (0..100).collect();
        assert_eq!(order(false), sorted);
        let mut mixed = order(true);
        assert_ne!(mixed, sorted);
        mixed.sort_unstable();
        assert_eq!(mixed, sorted, "all have come, each once");
    });
}

#[test]
fn a_host_has_the_families_and_neighbours_it_was_given() {
    alone("wire::a_host_has_the_families_and_neighbours_it_was_given", || {
        for backend in backends() {
            let hosts = vec![
                HostSpec::new("four", ["10.0.0.4".parse().unwrap()]),
                HostSpec::new("six", ["fd66::6".parse().unwrap()]),
                HostSpec::new("both", ["10.0.0.8", "fd66::8", "10.0.1.8"].map(|a| a.parse().unwrap())),
            ];
            let lab = up(&Topology { hosts, ..Topology::default() }, backend);
            let error = lab.in_host("four", || UdpSocket::bind("[::]:0").unwrap().connect("[fd66::8]:53")).unwrap();
            assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::NetworkUnreachable, "no IPv6 at all");
            let error = lab.in_host("six", || UdpSocket::bind("0.0.0.0:0").unwrap().connect("10.0.0.8:53")).unwrap();
            assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::NetworkUnreachable, "no IPv4 at all");
            let source = |to: &'static str, any: &'static str| {
                let source = || {
                    let socket = UdpSocket::bind(any).unwrap();
                    socket.connect(to).unwrap();
                    socket.local_addr().unwrap().ip().to_string()
                };
                lab.in_host("both", source).unwrap()
            };
            assert_eq!(
                (source("10.0.0.4:53", "0.0.0.0:0").as_str(), source("[fd66::6]:53", "[::]:0").as_str()),
                ("10.0.0.8", "fd66::8")
            );
            let (second, four) =
                (lab.in_host("both", || UdpSocket::bind("10.0.1.8:53")).unwrap().unwrap(), udp(&lab, "four", false));
            four.send_to(b"?", "10.0.1.8:53").unwrap();
            second.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            assert_eq!(second.recv_from(&mut [0; 8]).unwrap().1, four.local_addr().unwrap());
            four.send_to(b"?", "192.0.2.1:53").unwrap();
            until("it is counted as unroutable", || lab.wire().strays().unroutable == 1);
            assert_eq!(lab.wire().strays().malformed, 0);
        }
    });
}
