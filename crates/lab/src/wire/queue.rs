//! Packets on their way, the next to arrive first; those due at one moment in the order they came.

use std::{cmp::Ordering, collections::BinaryHeap, time::Instant};

use super::HostNumber;

/// Most packets, and most octets, that are on their way at once: enough for 1 Gbit/s over 400 ms.
const MOST_PACKETS: usize = 100_000;
const MOST_OCTETS: usize = 64 << 20;

/// A packet on its way.
#[derive(Debug)]
pub(crate) struct Travelling {
    pub(crate) due: Instant,
    pub(crate) from: HostNumber,
    pub(crate) to: HostNumber,
    /// Room for the receiver's link header, then the IP packet.
    pub(crate) frame: Vec<u8>,
}

/// All packets on their way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    octets: usize,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    packet: Travelling,
    sequence: u64,
}

impl Queue {
    /// Takes a packet in, or says that there is no room.
    pub(crate) fn push(&mut self, packet: Travelling) -> bool {
        if self.heap.len() >= MOST_PACKETS || self.octets + packet.frame.len() > MOST_OCTETS {
            return false;
        }
        self.octets += packet.frame.len();
        self.heap.push(Entry { packet, sequence: self.sequence });
        self.sequence += 1;
        true
    }

    /// The next packet that is due by `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Travelling> {
        self.next_due().filter(|&due| due <= now)?;
        let Entry { packet, .. } = self.heap.pop()?;
        self.octets -= packet.frame.len();
        Some(packet)
    }

    /// When the next packet is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.packet.due)
    }
}

/// The greatest entry of the heap is the next to arrive.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.packet.due, other.sequence).cmp(&(self.packet.due, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn packet(due: Instant, from: HostNumber, length: usize) -> Travelling {
        Travelling { due, from, to: 0, frame: vec![0; length] }
    }

    #[test]
    fn packets_leave_by_time_then_by_arrival() {
        let start = Instant::now();
        let mut queue = Queue::default();
        for (from, after) in [(0, 5), (1, 3), (2, 5), (3, 3), (4, 9)] {
            assert!(queue.push(packet(start + Duration::from_millis(after), from, 1)));
        }
        let now = start + Duration::from_millis(5);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_due(now)).map(|p| p.from).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(queue.next_due(), Some(start + Duration::from_millis(9)));
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let start = Instant::now();
        let mut queue = Queue::default();
        assert!(queue.push(packet(start, 0, MOST_OCTETS)));
        assert!(!queue.push(packet(start, 0, 1)));
        assert!(queue.pop_due(start).is_some());
        assert!(queue.push(packet(start, 0, 1)));
    }
}
