//! The reader of all these replies is no use if it forgives: what it must not take.

use dglb_scenarios::strict::Strict;

const QUESTION: &[u8] = b"\x03www\x04test\0\0\x01\0\x01";

/// A reply with these counts and what follows the question.
fn reply(counts: [u8; 3], tail: &[u8]) -> Vec<u8> {
    let [answers, authorities, additionals] = counts;
    let header = [0, 7, 0x84, 0, 0, 1, 0, answers, 0, authorities, 0, additionals];
    [&header, QUESTION, tail].concat()
}

/// An A record with this owner, TTL and last octet.
fn a(owner: &[u8], ttl: u8, last: u8) -> Vec<u8> {
    [owner, &[0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, last]].concat()
}

#[test]
fn what_is_right_is_read() {
    let own: &[u8] = &[0xc0, 12];
    let octets = reply([2, 0, 1], &[a(own, 60, 1), a(own, 60, 2), vec![0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]].concat());
    let read = Strict::read(&octets).unwrap();
    assert_eq!(read.answers(), ["www.test. 60 A 192.0.2.1", "www.test. 60 A 192.0.2.2"]);
    assert_eq!((read.rcode(), read.opt.map(|opt| opt.payload)), (0, Some(1_232)));
    // A pointer into the middle of the question, and one to a name that ends in a pointer.
    let octets = reply([2, 0, 0], &[a(b"\x01x\xc0\x10", 1, 1), a(&[0xc0, 26], 1, 2)].concat());
    assert_eq!(Strict::read(&octets).unwrap().answers(), ["x.test. 1 A 192.0.2.1", "x.test. 1 A 192.0.2.2"]);
}

#[test]
fn what_is_wrong_is_not() {
    let own: &[u8] = &[0xc0, 12];
    let opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    let mut question = reply([0, 0, 0], &[]);
    question[2] = 4;
    let mut reserved = reply([0, 0, 0], &[]);
    reserved[3] = 0x40;
    let cname = [own, &[0, 5, 0, 1, 0, 0, 0, 1, 0, 3, 0xc0, 12, 0]].concat();
    for (what, octets) in [
        ("no header", vec![0x80; 11]),
        ("no response", question),
        ("Z", reserved),
        ("an octet behind the end", reply([0, 0, 0], &[0])),
        ("a record that is not there", reply([1, 0, 0], &[])),
        ("a record cut short", reply([1, 0, 0], &a(own, 1, 1)[..15])),
        ("a pointer into a label", reply([1, 0, 0], &a(&[0xc0, 13], 1, 1))),
        ("a pointer to itself", reply([1, 0, 0], &a(&[0xc0, 26], 1, 1))),
        ("a pointer ahead", reply([1, 0, 0], &a(&[0xc0, 30], 1, 1))),
        ("a pointer into the header", reply([1, 0, 0], &a(&[0xc0, 0], 1, 1))),
        ("a pointer into RDATA", reply([2, 0, 0], &[a(own, 1, 1), a(&[0xc0, 38], 1, 2)].concat())),
        ("a label of an unknown kind", reply([1, 0, 0], &a(b"\x41x\0", 1, 1))),
        ("a long name", reply([1, 0, 0], &a(&[&[63; 256][..], &[0]].concat(), 1, 1))),
        ("two TTLs", reply([2, 0, 0], &[a(own, 1, 1), a(own, 2, 2)].concat())),
        ("a record twice", reply([2, 0, 0], &[a(own, 1, 1), a(own, 1, 1)].concat())),
        ("an RRset in two places", reply([3, 0, 0], &[a(own, 1, 1), a(&[0], 1, 1), a(own, 1, 2)].concat())),
        ("RDATA longer than its name", reply([1, 0, 0], &cname)),
        ("two OPT records", reply([0, 0, 2], &opt.repeat(2))),
        ("OPT as an answer", reply([1, 0, 0], &opt)),
        ("OPT with an owner", reply([0, 0, 1], &[&b"\x01x"[..], &opt].concat())),
    ] {
        assert!(Strict::read(&octets).is_err(), "{what}: {octets:02x?}");
    }
}
