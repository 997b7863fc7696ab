//! The wire: how long packets take, which of them arrive, and that each is counted.

use std::time::Duration;

use crate::support::{Echo, address, alone, backends, ping, three, udp, until, up};

#[test]
fn round_trips_take_as_long_as_they_should() {
    alone("wire::round_trips_take_as_long_as_they_should", || {
        for backend in backends() {
            for (ms, times) in [(1u32, 100), (20, 30), (100, 7), (400, 3)] {
                let lab = up(&three(f64::from(ms)), backend);
                for v6 in [false, true] {
                    let (echo, socket) = (Echo::on(&lab, "b", v6), udp(&lab, "a", v6));
                    let mut took: Vec<_> =
                        (0..times).map(|n| ping(&socket, echo.address, n).expect("nothing is lost")).collect();
                    took.sort_unstable();
                    let wanted = Duration::from_millis(ms.into());
                    let (least, median) = (took[0], took[took.len() / 2]);
                    eprintln!("{backend:?} v6 {v6}: {ms} ms: median {:?} over", median.saturating_sub(wanted));
                    assert!(least >= wanted, "{backend:?}: {least:?} is faster than {wanted:?}");
                    // The machine may be busy with other things; the example `accuracy` shows exact figures.
                    assert!(
                        median < wanted + Duration::from_millis(3),
                        "{backend:?}: {median:?} instead of {wanted:?}"
                    );
                }
                assert_eq!(lab.counters("a", "b").unwrap().sent, 2 * u64::from(times));
                assert_eq!(lab.counters("b", "a").unwrap().sent, 2 * u64::from(times));
                assert_eq!(lab.counters("a", "c").unwrap(), Default::default());
            }
        }
    });
}

#[test]
fn a_cut_holds_at_once_and_for_packets_on_their_way() {
    alone("wire::a_cut_holds_at_once_and_for_packets_on_their_way", || {
        for backend in backends() {
            let lab = up(&three(200.0), backend);
            let (from, to) = (udp(&lab, "a", false), udp(&lab, "b", false));
            let target = to.local_addr().unwrap();
            from.send_to(b"on its way", target).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            lab.cut("b", "a").unwrap();
            from.send_to(b"too late", target).unwrap();
            until("both are cut", || lab.counters("a", "b").unwrap().cut == 2);
            lab.set_delay("a", "b", Duration::from_millis(1)).unwrap();
            lab.heal("a", "b").unwrap();
            from.send_to(b"healed", target).unwrap();
            let mut buffer = [0; 64];
            let (length, sender) = to.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], sender.ip()), (&b"healed"[..], address(&lab, "a", false)));
            let counters = lab.counters("a", "b").unwrap();
            assert_eq!((counters.sent, counters.cut, counters.lost), (1, 2, 0), "{backend:?}");
            assert_eq!(counters.octets, 20 + 8 + 6);
        }
    });
}
