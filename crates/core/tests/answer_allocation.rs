//! Answering allocates nothing, whatever is asked. One test alone in its process, since the allocator
//! counts for all of it.
#![allow(unsafe_code)]

#[path = "../benches/support/mod.rs"]
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use dglb_core::dns::{Decision, Exchange, Handled, Names, Responder};

use support::content::{Sent, Size, Sort};

/// The system's allocator, counting.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the caller's own arguments; growing is
// allocating anew, as the trait provides it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: `pointer` came from `System` in `alloc`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: Size = Size { prefixes_v4: 2_000, prefixes_v6: 500, dns_lbs: 100, zones: 4, services: 40, ranked: 5 };
/// Types that are asked for: A, NS, CNAME, SOA, TXT, AAAA, DS, HTTPS, IXFR, ANY and one that nobody has.
const TYPES: [u8; 11] = [1, 2, 5, 6, 16, 28, 43, 65, 251, 255, 99];

/// The question with another type.
fn of_type(sent: &Sent, rtype: u8) -> Sent {
    let mut packet = sent.packet.clone();
    let at = 12 + packet[12..].iter().position(|octet| *octet == 0).expect("a name") + 2;
    packet[at] = rtype;
    Sent { packet, ..*sent }
}

/// The question cut off, or with one octet of it changed.
fn spoiled(sent: &Sent) -> impl Iterator<Item = Sent> {
    let cut = (0..sent.packet.len()).map(|length| sent.packet[..length].to_vec());
    let changed = (0..sent.packet.len()).flat_map(|at| {
        [1, 0x20, 0x80].map(|bit| {
            let mut packet = sent.packet.clone();
            packet[at] ^= bit;
            packet
        })
    });
    cut.chain(changed).map(|packet| Sent { packet, ..*sent })
}

#[test]
fn answering_allocates_nothing() {
    let directory = SIZE.directory();
    let mut questions: Vec<Sent> = Vec::new();
    for sort in Sort::ALL {
        for sent in SIZE.questions(&directory, sort, 40) {
            questions.extend(TYPES.map(|rtype| of_type(&sent, rtype)));
            questions.extend(spoiled(&sent));
        }
    }
    let responder = Responder::with_defaults(&directory);
    let mut replies = vec![[0; 1_232]; questions.len()];
    let exchange = |(sent, reply): (_, _)| Exchange {
        asked: Sent::asked(sent),
        reply: <[u8; 1_232]>::as_mut_slice(reply),
        handled: Handled::DROPPED,
    };
    let mut exchanges: Vec<Exchange<'_>> = questions.iter().zip(&mut replies).map(exchange).collect();
    let mut names = Names::default();
    let before = CALLS.load(Relaxed);
    responder.respond_batch(&mut exchanges, &mut names);
    assert_eq!(CALLS.load(Relaxed) - before, 0, "a batch allocates");
    for Exchange { asked, reply, handled } in &mut exchanges {
        assert_eq!(responder.respond(asked, reply), *handled);
    }
    assert_eq!(CALLS.load(Relaxed) - before, 0, "a question alone allocates");
    let ways: BTreeSet<&str> = exchanges.iter().map(|e| e.handled.decision.as_str()).collect();
    println!("{} questions, answered in these ways: {ways:?}", exchanges.len());
    // The counter counts, and every common way was taken.
    assert!(CALLS.load(Relaxed) > before);
    let wanted = [Decision::Dropped, Decision::Malformed, Decision::Refused, Decision::Mapped, Decision::Referral];
    let more = [Decision::Label, Decision::Aggregate, Decision::Authority];
    assert!(wanted.into_iter().chain(more).all(|decision| ways.contains(decision.as_str())), "{ways:?}");
}
