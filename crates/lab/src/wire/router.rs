//! The thread that moves packets. It sleeps until a packet comes or is due, holds the fabric's lock
//! while it works, and works in turns short enough that no host starves another.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use super::{
    Fabric, Fate, HostNumber, Routes, Wire,
    lead::Lead,
    packet::{Destination, destination, ethernet_type},
    queue::{Queue, Travelling},
};
use crate::sys::poll::{Event, Poller, Timer, be_punctual};

/// Packets taken from one host before the next has its turn.
const TURN: usize = 64;
const TIMER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// Where a host's packets come out and go in.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) file: File,
    /// The link header of everything written, its type still to be set; may be empty. What is read
    /// has a header of the same length.
    pub(crate) header: Vec<u8>,
}

/// The running thread. Dropping it stops the wire; packets on their way are gone.
#[derive(Debug)]
pub(crate) struct Router {
    stop: Arc<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Starts moving packets between `ports`, one for each host of `wire`, in order of number.
    pub(crate) fn start(wire: Wire, ports: Vec<Port>, routes: Routes, seed: u64) -> io::Result<Self> {
        let stop = Arc::new(Event::new()?);
        let (poller, timer) = (Poller::new()?, Timer::new()?);
        poller.add(&*stop, STOP)?;
        poller.add(&timer, TIMER)?;
        for (number, port) in ports.iter().enumerate() {
            poller.add(&port.file, number as u64)?;
        }
        let chance = Chance(seed | 1);
        let mut work = Work {
            wire,
            ports,
            routes,
            poller,
            timer,
            queue: Queue::default(),
            armed: None,
            lead: Lead::new(),
            chance,
            scratch: vec![0; 1 << 16],
        };
        let run = move || {
            be_punctual();
            if let Err(error) = work.run() {
                tracing::error!(%error, "the wire has stopped");
            }
        };
        let thread = thread::Builder::new().name("lab-wire".into()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already, and there is nothing left to save.
            let _ = thread.join();
        }
    }
}

struct Work {
    wire: Wire,
    ports: Vec<Port>,
    routes: Routes,
    poller: Poller,
    timer: Timer,
    queue: Queue,
    armed: Option<Instant>,
    lead: Lead,
    chance: Chance,
    scratch: Vec<u8>,
}

impl Work {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let ready = self.poller.wait()?;
            if ready.contains(&STOP) {
                return Ok(());
            }
            if ready.contains(&TIMER) {
                self.settle();
            }
            let wire = self.wire.clone();
            let mut fabric = wire.fabric();
            for number in ready.into_iter().filter(|&number| number != TIMER) {
                self.receive(number as usize, &mut fabric)?;
            }
            self.deliver(&mut fabric);
            drop(fabric);
            self.arm()?;
        }
    }

    fn receive(&mut self, from: HostNumber, fabric: &mut Fabric) -> io::Result<()> {
        for _ in 0..TURN {
            match self.ports[from].file.read(&mut self.scratch) {
                Ok(length) => self.admit(from, length, fabric),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The kernel tells a socket once when its interface goes down.
                Err(e) if e.kind() == io::ErrorKind::Interrupted || e.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => {
                    tracing::warn!(host = from, %error, "a host's interface is gone");
                    return self.poller.remove(&self.ports[from].file);
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self, from: HostNumber, length: usize, fabric: &mut Fabric) {
        let header = self.ports[from].header.len();
        let packet = self.scratch.get(header..length).unwrap_or_default();
        let address = match destination(packet) {
            Destination::Host(address) => address,
            Destination::Everybody => {
                fabric.strays.multicast += 1;
                return;
            }
            Destination::Malformed => {
                fabric.strays.malformed += 1;
                return;
            }
        };
        let Some(&to) = self.routes.get(&address) else {
            fabric.strays.unroutable += 1;
            return;
        };
        fabric.tap.show(from, to, address, packet);
        let cut = fabric.is_cut(from, to);
        let pair = fabric.pair(from, to);
        let fate = if cut { Fate::Cut } else { pair.admit(Instant::now(), || self.chance.next()) };
        match fate {
            Fate::Cut => pair.counters.cut += 1,
            Fate::Lost => pair.counters.lost += 1,
            Fate::Due(due) => {
                let mut frame = Vec::with_capacity(self.ports[to].header.len() + packet.len());
                frame.extend_from_slice(&self.ports[to].header);
                if let Some(kind) = frame.last_chunk_mut() {
                    *kind = ethernet_type(packet);
                }
                frame.extend_from_slice(packet);
                if !self.queue.push(Travelling { due, from, to, frame }) {
                    pair.counters.overflowed += 1;
                }
            }
        }
    }

    fn deliver(&mut self, fabric: &mut Fabric) {
        while let Some(packet) = self.queue.pop_due(Instant::now()) {
            let cut = fabric.is_cut(packet.from, packet.to);
            let counters = &mut fabric.pair(packet.from, packet.to).counters;
            let port = &mut self.ports[packet.to];
            if cut {
                counters.cut += 1;
            } else if port.file.write(&packet.frame).is_ok() {
                counters.sent += 1;
                counters.octets += (packet.frame.len() - port.header.len()) as u64;
                let octets = packet.frame.get(port.header.len()..).unwrap_or_default();
                fabric.tap.show_delivered(packet.from, packet.to, octets);
            } else {
                counters.overflowed += 1;
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let due = self.queue.next_due();
        if due != self.armed {
            let ahead = |due: Instant| due.saturating_duration_since(Instant::now()).saturating_sub(self.lead.get());
            self.timer.set(due.map(ahead))?;
            self.armed = due;
        }
        Ok(())
    }

    /// After the timer has woken us: learns how long waking took, and bides what is left of the
    /// lead, which is shorter than going back to sleep would be.
    fn settle(&mut self) {
        let Some(due) = self.armed else { return };
        self.lead.woke(Instant::now(), due);
        while Instant::now() < due && due.saturating_duration_since(Instant::now()) <= Lead::MOST {
            std::hint::spin_loop();
        }
    }
}

/// xorshift64: repeatable, and good enough to lose packets by.
struct Chance(u64);

impl Chance {
    /// Evenly from 0.0 up to, but not including, 1.0.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_even() {
        let mut chance = Chance(88_172_645_463_325_252);
        let numbers: Vec<f64> = (0..100_000).map(|_| chance.next()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        let below = numbers.iter().filter(|&&n| n < 0.1).count();
        assert!((9_500..10_500).contains(&below), "{below}");
    }
}
