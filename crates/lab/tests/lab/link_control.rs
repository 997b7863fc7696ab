//! Changing the wire while packets are on it.

use std::{thread, time::Duration};

use dglb_lab::HostError;

use crate::support::{Echo, address, alone, backends, ping, three, udp, until, up};

#[test]
fn a_cut_holds_at_once_and_for_packets_on_their_way() {
    alone("link_control::a_cut_holds_at_once_and_for_packets_on_their_way", || {
        for backend in backends() {
            // Long enough for the cut to come while the first is on its way.
            let lab = up(&three(4_000.0), backend);
            let (from, to) = (udp(&lab, "a", false), udp(&lab, "b", false));
            let target = to.local_addr().unwrap();
            from.send_to(b"on its way", target).unwrap();
            thread::sleep(Duration::from_millis(20));
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

#[test]
fn a_host_is_cut_off_from_all_and_cuts_do_not_heal_each_other() {
    alone("link_control::a_host_is_cut_off_from_all_and_cuts_do_not_heal_each_other", || {
        let lab = up(&three(1.0), backends()[0]);
        let echoes = [Echo::on(&lab, "b", true), Echo::on(&lab, "c", true)];
        let socket = udp(&lab, "a", true);
        let mut number = 0;
        let mut reached = |wanted: [bool; 2], why| {
            number += 1;
            for (echo, wanted) in [&echoes[0], &echoes[1]].into_iter().zip(wanted) {
                // What shall come may take its time.
                socket.set_read_timeout(Some(Duration::from_millis(if wanted { 5_000 } else { 100 }))).unwrap();
                assert_eq!(ping(&socket, echo.address, number).is_some(), wanted, "{why}");
            }
        };
        reached([true, true], "all are there");
        lab.cut_host("b").unwrap();
        assert!(lab.is_cut_off("b").unwrap());
        reached([false, true], "one is cut off");
        lab.cut("b", "a").unwrap();
        lab.heal_host("b").unwrap();
        reached([false, true], "the pair is cut still");
        lab.cut_host("a").unwrap();
        lab.heal("a", "b").unwrap();
        reached([false, false], "the host is cut off still");
        lab.heal_host("a").unwrap();
        reached([true, true], "all are healed");
        let (there, back) = (lab.counters("a", "b").unwrap(), lab.counters("b", "a").unwrap());
        assert_eq!((there.sent, there.cut, back.sent, back.cut), (2, 3, 2, 0));
    });
}

#[test]
fn the_part_that_is_lost_is_the_part_that_was_asked_for() {
    alone("link_control::the_part_that_is_lost_is_the_part_that_was_asked_for", || {
        for backend in backends() {
            let lab = up(&three(0.0), backend);
            let (from, to) = (udp(&lab, "a", false), udp(&lab, "b", false));
            let target = to.local_addr().unwrap();
            lab.set_loss("a", "b", 0.3).unwrap();
            let (mut came, total) = (0, 2_000);
            to.set_nonblocking(true).unwrap();
            for number in 1..=total {
                from.send_to(b"x", target).unwrap();
                // A burst would test the queues of the interfaces instead.
                until("it is counted, and as sent only if it comes", || {
                    came += u64::from(to.recv(&mut [0; 8]).is_ok());
                    let counters = lab.counters("a", "b").unwrap();
                    assert_eq!((counters.cut, counters.overflowed), (0, 0));
                    counters.sent + counters.lost == number && counters.sent == came
                });
            }
            let counters = lab.counters("a", "b").unwrap();
            assert!((500..700).contains(&counters.lost), "{backend:?}: {counters:?}");
            assert_eq!(lab.counters("b", "a").unwrap().lost, 0);
        }
    });
}

#[test]
fn a_host_that_does_not_exist_is_told() {
    alone("link_control::a_host_that_does_not_exist_is_told", || {
        let lab = up(&three(0.0), backends()[0]);
        for outcome in [lab.cut("a", "x"), lab.heal("x", "a"), lab.cut_host("x"), lab.set_loss("x", "x", 1.0)] {
            assert!(matches!(outcome, Err(HostError::Unknown(name)) if name == "x"));
        }
        assert!(!lab.link("a", "b").unwrap().cut);
    });
}
