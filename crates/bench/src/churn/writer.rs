//! The one who changes the map, at a fixed rate, as the keeper of a dns-b does: table first, then one
//! new version of everything for the lanes.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::{Directory, LbIndex, LbState, Settings},
    net::Prefix,
    published::Publisher,
    table::{Claim, Registry, Source},
};

use crate::{random::Random, world};

/// Changes in a second.
pub(super) const RATE: f64 = 1_000.0;
/// How often the writer looks whether it is to work, while it is not.
const REST: Duration = Duration::from_millis(5);
/// Versions differ in which of so many DNS-LBs holds [`WATCHED`], and in a time to live that belongs
/// to it. At most 60, the most that this time to live may be.
const WATCHERS: u32 = 50;
/// A /24 of which the map and the settings say things that belong together.
pub(super) const WATCHED: Ipv4Addr = Ipv4Addr::new(127, 200, 7, 0);

/// A thread that changes the map while it is told to.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    works: AtomicBool,
    changes: AtomicU64,
}

/// What the thread owns.
struct State {
    directory: Directory,
    registry: Registry,
    publisher: Publisher<Directory>,
    random: Random,
    changes: u32,
    /// Who holds a network beside its own DNS-LB, until the next change.
    guest: Option<(LbIndex, Prefix)>,
}

/// The seconds that belong to a watcher.
pub(super) fn ttl_of(watcher: u32) -> u32 {
    watcher + 1
}

impl Writer {
    /// Starts it; it rests at first.
    ///
    /// # Errors
    /// When there is no room for a thread.
    pub(crate) fn start(directory: Directory, registry: Registry, publisher: Publisher<Directory>) -> io::Result<Self> {
        let state = State { directory, registry, publisher, random: Random(3), changes: 0, guest: None };
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        thread::Builder::new().name("writer".into()).spawn(move || state.work(&its))?;
        Ok(Self { shared })
    }

    /// Lets it work or rest.
    pub(crate) fn go(&self, works: bool) {
        self.shared.works.store(works, Relaxed);
    }

    /// How often it has changed something.
    pub(crate) fn changes(&self) -> u64 {
        self.shared.changes.load(Relaxed)
    }
}

impl State {
    fn work(mut self, shared: &Shared) {
        loop {
            while !shared.works.load(Relaxed) {
                thread::sleep(REST);
            }
            if self.changes == 0 {
                self.appoint_watchers();
            }
            let (begin, mut done) = (Instant::now(), 0_u32);
            while shared.works.load(Relaxed) {
                self.change();
                done += 1;
                shared.changes.fetch_add(1, Relaxed);
                // What was missed is made up for.
                thread::sleep((begin + Duration::from_secs_f64(f64::from(done) / RATE)) - Instant::now());
            }
        }
    }

    /// The name of a suspect DNS-LB lives as long as a guess may: a setting.
    fn appoint_watchers(&mut self) {
        for watcher in 0..WATCHERS {
            self.directory.update_lb(LbIndex(watcher), |lb| lb.state = LbState::Suspect);
        }
        self.registry.remove(LbIndex(world::lb_of_loopback(WATCHED)), [net(WATCHED)]);
    }

    /// One version: some network of loopback is shared with another DNS-LB, the last one that was is
    /// its owner's alone again, and the watched one goes to the next watcher, whose time to live
    /// becomes that of guesses.
    fn change(&mut self) {
        let (last, next) = (self.changes % WATCHERS, (self.changes + 1) % WATCHERS);
        self.changes += 1;
        self.registry.remove(LbIndex(last), [net(WATCHED)]);
        self.claim(LbIndex(next), net(WATCHED));
        if let Some((lb, network)) = self.guest.take() {
            self.registry.remove(lb, [network]);
        }
        let network = Ipv4Addr::from_bits(0x7f00_0000 + (self.random.below(1 << 16) << 8));
        let lb = WATCHERS + self.random.below(world::DNS_LBS - WATCHERS);
        if network != WATCHED && lb != world::lb_of_loopback(network) {
            let guest = (LbIndex(lb), net(network));
            self.claim(guest.0, guest.1);
            self.guest = Some(guest);
        }
        let (table, ttl) = (self.registry.table().clone(), ttl_of(next));
        self.directory.set_settings(Settings { guess_ttl: ttl, ..self.directory.settings().clone() });
        self.directory.set_tables(table.clone(), table);
        self.publisher.publish(self.directory.clone());
    }

    fn claim(&mut self, lb: LbIndex, prefix: Prefix) {
        let claim = Claim { prefix, preference: 0, weight: 10, source: Source::Static };
        let generation = self.registry.generation(lb).unwrap_or(0) + 1;
        self.registry.add(lb, generation, None, [claim]).expect("far within the bound");
    }
}

fn net(address: Ipv4Addr) -> Prefix {
    Prefix::containing(address.into(), 24).expect("a prefix")
}
