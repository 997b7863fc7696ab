//! When to probe whom. One task per target, so that none waits for another; how a probe is done
//! is [`crate::probe`]'s.
//!
//! Invariant: between the starts of two probes of a target lies never more than its interval (or
//! the probe itself, where that takes longer), so a dead site is found within `fall` intervals;
//! where the address has a ceiling that allows less, it is what the module `turns` allows. A site that
//! hangs occupies no more than its own share of the probes under way.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Probe, Service},
    estimate::ENOUGH,
    load::Told,
    name::Name,
};
use rand::RngExt;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    probe::{Means, Outcome, Seen, probe},
    shares::InForce,
    trust::Trust,
    turns::{Turn, Turns},
};

/// After a first failure, and until there are enough round trips, a probe is repeated this soon.
const SOON: Duration = Duration::from_secs(1);
/// What is to be probed at once by all POPs is probed within this.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Bounds of the measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most probes under way.
    pub concurrency: usize,
    /// Most probes under way to one site of a service.
    pub per_site: usize,
    /// Most octets that are read of a body.
    pub body_limit: u64,
}

/// What is probed: one probe kind on one address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The service's name in the zone.
    pub service: Name,
    /// The site's name in the service.
    pub site: String,
    /// The site's address.
    pub address: IpAddr,
    /// Which of the service's probes, from 0.
    pub number: usize,
    /// That probe.
    pub probe: Probe,
    /// The host name that is asked for.
    pub host: Name,
}

/// What one probe saw.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was probed.
    pub target: Arc<Target>,
    /// How it went.
    pub outcome: Outcome,
    /// What the site said of itself.
    pub told: Told,
    /// When it ended.
    pub at: Instant,
}

/// The running probes; dropping it ends them.
#[derive(Debug)]
pub struct Prober {
    settings: Settings,
    means: Arc<Means>,
    running: HashMap<Arc<Target>, Running>,
    turns: Turns,
    all: Arc<Semaphore>,
    sites: HashMap<(Name, String), Arc<Semaphore>>,
    /// Where samples go. When it is full, probing waits for the reader.
    samples: mpsc::Sender<Sample>,
}

/// The probing of a target.
#[derive(Debug)]
struct Running {
    /// It is due at once.
    due: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// Every probe of every address of every site of `service`.
pub fn targets(service: &Service) -> impl Iterator<Item = Target> {
    let probes = move || service.probes.iter().enumerate();
    let addresses = service.sites.iter().flat_map(|site| {
        // An address that stands twice is still one.
        let distinct: HashSet<IpAddr> = site.addresses.iter().copied().collect();
        distinct.into_iter().map(move |address| (site, address))
    });
    addresses.flat_map(move |(site, address)| {
        probes().map(move |(number, probe)| Target {
            service: service.name.clone(),
            site: site.name.clone(),
            address,
            number,
            probe: probe.clone(),
            host: service.host.clone(),
        })
    })
}

impl Prober {
    /// A prober without targets, that believes the certificates of `trust`.
    pub fn new(settings: Settings, trust: Trust, samples: mpsc::Sender<Sample>) -> Self {
        Self {
            settings,
            means: Arc::new(Means { body_limit: settings.body_limit, trust }),
            running: HashMap::new(),
            turns: Turns::default(),
            all: Arc::new(Semaphore::new(settings.concurrency)),
            sites: HashMap::new(),
            samples,
        }
    }

    /// These are the shares of the addresses that have a ceiling.
    pub fn set_shares(&mut self, in_force: InForce) {
        self.turns.set(in_force);
    }

    /// Probes a site of a service now instead of when it is due; as far as its ceiling allows.
    pub fn probe_now(&self, service: &Name, site: &str) {
        for (_, running) in self.running.iter().filter(|(t, _)| t.service == *service && t.site == site) {
            running.due.notify_one();
        }
    }

    /// Probes these from now on and no others. A target that was there before goes on as if
    /// nothing had happened; must be called within a tokio runtime.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = Target>) {
        let wanted: HashSet<Target> = targets.into_iter().collect();
        self.running.retain(|target, _| wanted.contains(&**target));
        for target in wanted {
            if !self.running.contains_key(&target) {
                self.start(target);
            }
        }
        let sites: HashSet<_> = self.running.keys().map(|t| (t.service.clone(), t.site.clone())).collect();
        self.sites.retain(|site, _| sites.contains(site));
        let addresses: HashSet<IpAddr> = self.running.keys().map(|t| t.address).collect();
        self.turns.retain(|address| addresses.contains(address));
    }

    fn start(&mut self, target: Target) {
        let site = self.sites.entry((target.service.clone(), target.site.clone()));
        let site = site.or_insert_with(|| Arc::new(Semaphore::new(self.settings.per_site)));
        let (target, due) = (Arc::new(target), Arc::new(Notify::new()));
        let task = Task {
            target: Arc::clone(&target),
            due: Arc::clone(&due),
            turn: self.turns.of(target.address),
            means: Arc::clone(&self.means),
            site: Arc::clone(site),
            all: Arc::clone(&self.all),
            samples: self.samples.clone(),
        };
        let running = Running { due, _task: AbortOnDropHandle::new(tokio::spawn(task.run())) };
        self.running.insert(target, running);
    }
}

/// The probing of one target.
struct Task {
    target: Arc<Target>,
    due: Arc<Notify>,
    turn: Arc<Turn>,
    means: Arc<Means>,
    site: Arc<Semaphore>,
    all: Arc<Semaphore>,
    samples: mpsc::Sender<Sample>,
}

impl Task {
    async fn run(self) {
        let mut pace = Pace::new(&self.target.probe);
        let mut due = tokio::time::Instant::now() + pace.first(rand::random());
        loop {
            self.wait_until(due).await;
            // First the site's own share, then its turn: who waits for those must not hold what others need.
            let Ok(_site) = self.site.acquire().await else { return };
            let turn = self.turn.wait().await;
            let Ok(_all) = self.all.acquire().await else { return };
            turn.start();
            let started = tokio::time::Instant::now();
            let Target { address, probe: kind, host, .. } = &*self.target;
            // On the heap while it lasts, so that who waits is small.
            let Seen { outcome, told } = Box::pin(probe(kind, *address, host, &self.means)).await;
            due = started + pace.next(&outcome, rand::rng().random());
            let sample = Sample { target: Arc::clone(&self.target), outcome, told, at: Instant::now() };
            if self.samples.send(sample).await.is_err() {
                return;
            }
        }
    }

    /// Until it is due, or wanted at once: then until a moment that is drawn, since every POP is told
    /// at the same time.
    async fn wait_until(&self, due: tokio::time::Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = self.due.notified() => {
                let drawn = tokio::time::Instant::now() + AT_ONCE.mul_f64(rand::random());
                tokio::time::sleep_until(drawn.min(due)).await;
            }
        }
    }
}

/// How long to wait between the starts of two probes of a target. `chance` is always from 0 to 1.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    fall: u8,
    failures: u8,
    /// Good probes still wanted before the pace is an ordinary one.
    wanted: usize,
    /// Whether this target's place in the interval has been drawn.
    placed: bool,
}

impl Pace {
    fn new(probe: &Probe) -> Self {
        let interval = Duration::from_millis(probe.interval_ms.into());
        let wanted = ENOUGH.max(probe.rise.into());
        Self { interval, fall: probe.fall, failures: 0, wanted, placed: false }
    }

    fn first(&self, chance: f64) -> Duration {
        self.soon().mul_f64(chance)
    }

    fn next(&mut self, outcome: &Outcome, chance: f64) -> Duration {
        match outcome {
            Outcome::Good(_) => {
                self.failures = 0;
                self.wanted = self.wanted.saturating_sub(1);
                if self.wanted > 0 {
                    return self.soon().mul_f64(0.5 + chance / 2.0);
                }
            }
            Outcome::Failed(_) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.fall {
                    return self.soon();
                }
            }
            Outcome::Local => {}
        }
        // A catalogue reaches all POPs at once. Each draws its place in the whole interval, and
        // from then on shortens every wait a little, so that they neither strike a site together
        // nor fall into step, at a rate that is the interval's to a twentieth.
        let share = if self.placed { 0.9 + chance / 10.0 } else { chance };
        self.placed = true;
        self.interval.mul_f64(share)
    }

    fn soon(&self) -> Duration {
        SOON.min(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::{Mode, Policy, ProbeKind, Site};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;
    use crate::{
        probe::{Failure, Times},
        shares::Share,
    };

    const SETTINGS: Settings = Settings { concurrency: 16, per_site: 4, body_limit: 1_000 };
    const GOOD: Outcome =
        Outcome::Good(Times { connect: Duration::ZERO, tls: None, first_byte: None, whole: Duration::ZERO, bytes: 0 });
    const BAD: Outcome = Outcome::Failed(Failure::Refused);

    fn a_probe(port: u16) -> Probe {
        let kind = ProbeKind::http(port, "/");
        Probe { kind, interval_ms: 10_000, timeout_ms: 400, fall: 3, rise: 2 }
    }

    fn target(site: &str, number: usize, probe: Probe) -> Target {
        Target {
            service: "www.glb.test".parse().unwrap(),
            site: site.to_owned(),
            address: IpAddr::from([127, 0, 0, 1]),
            number,
            probe,
            host: "www.test".parse().unwrap(),
        }
    }

    fn seconds(pace: &mut Pace, outcome: &Outcome, chance: f64) -> f64 {
        pace.next(outcome, chance).as_secs_f64()
    }

    #[test]
    fn fast_at_first_then_once_an_interval() {
        let mut pace = Pace::new(&a_probe(80));
        assert_eq!((pace.first(0.0).as_secs_f64(), pace.first(1.0).as_secs_f64()), (0.0, 1.0));
        assert_eq!(seconds(&mut pace, &GOOD, 0.0), 0.5);
        assert_eq!(seconds(&mut pace, &GOOD, 1.0), 1.0);
        assert_eq!(seconds(&mut pace, &GOOD, 0.25), 2.5, "the place is drawn in the whole interval");
        for chance in [0.0, 0.5, 1.0] {
            let wait = seconds(&mut pace, &GOOD, chance);
            assert!((9.0..=10.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn failures_are_repeated_at_once_until_they_are_a_verdict() {
        let mut pace = Pace::new(&a_probe(80));
        for _ in 0..9 {
            pace.next(&GOOD, 0.5);
        }
        assert_eq!(seconds(&mut pace, &BAD, 0.5), 1.0);
        assert_eq!(seconds(&mut pace, &BAD, 0.5), 1.0);
        assert_eq!(seconds(&mut pace, &BAD, 1.0), 10.0, "the third is the verdict");
        assert_eq!(seconds(&mut pace, &BAD, 1.0), 10.0);
        assert_eq!(seconds(&mut pace, &GOOD, 1.0), 10.0);
        assert_eq!(seconds(&mut pace, &BAD, 0.5), 1.0, "a new first one");
        assert_eq!(seconds(&mut pace, &Outcome::Local, 1.0), 10.0, "our own trouble proves nothing");
    }

    #[test]
    fn soon_is_never_later_than_the_interval() {
        let mut pace = Pace::new(&Probe { interval_ms: 200, ..a_probe(80) });
        assert_eq!(pace.first(1.0), Duration::from_millis(200));
        assert_eq!(pace.next(&BAD, 0.5), Duration::from_millis(200));
    }

    #[test]
    fn every_probe_of_every_address_once() {
        let service = Service {
            name: "www.glb.test".parse().unwrap(),
            host: "www.test".parse().unwrap(),
            mode: Mode::Referral,
            ttl: 300,
            answers: 1,
            policy: Policy::default(),
            probes: vec![a_probe(80), a_probe(81)],
            https: None,
            probe_ceiling: None,
            sites: ["192.0.2.1 192.0.2.2 192.0.2.1", "2001:db8::1", ""]
                .iter()
                .enumerate()
                .map(|(n, list)| Site {
                    name: format!("s{n}"),
                    addresses: list.split_whitespace().map(|a| a.parse().unwrap()).collect(),
                    cost: 0.0,
                })
                .collect(),
        };
        let mut all: Vec<_> = targets(&service).map(|t| format!("{} {} {}", t.site, t.address, t.number)).collect();
        all.sort();
        let expected = [
            "s0 192.0.2.1 0",
            "s0 192.0.2.1 1",
            "s0 192.0.2.2 0",
            "s0 192.0.2.2 1",
            "s1 2001:db8::1 0",
            "s1 2001:db8::1 1",
        ];
        assert_eq!(all, expected);
    }

    /// A site that answers each request at once.
    async fn good_site() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1_024]).await;
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                });
            }
        });
        port
    }

    async fn next(samples: &mut mpsc::Receiver<Sample>) -> Sample {
        timeout(Duration::from_secs(10), samples.recv()).await.expect("no sample in time").unwrap()
    }

    #[tokio::test]
    async fn a_stuck_site_delays_no_other() {
        let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tx, mut samples) = mpsc::channel(64);
        let mut prober = Prober::new(SETTINGS, Trust::nobody(), tx);
        // More targets than there are probes at a time, each hanging for much longer than its
        // interval.
        let hanging = Probe { interval_ms: 100, timeout_ms: 60_000, ..a_probe(stuck.local_addr().unwrap().port()) };
        let good = Probe { interval_ms: 100, ..a_probe(good_site().await) };
        let started = Instant::now();
        prober.set_targets((0..40).map(|n| target("stuck", n, hanging.clone())).chain([target("good", 0, good)]));
        for _ in 0..10 {
            let sample = next(&mut samples).await;
            assert_eq!((sample.target.site.as_str(), sample.outcome.as_str()), ("good", "ok"));
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "ten probes at 100 ms took {took:?}");
        assert!(took > Duration::from_millis(400), "ten probes at 100 ms took only {took:?}");
    }

    #[tokio::test]
    async fn what_is_wanted_at_once_does_not_wait_for_its_interval() {
        let slow = Probe { interval_ms: 3_600_000, ..a_probe(good_site().await) };
        let (tx, mut samples) = mpsc::channel(64);
        let mut prober = Prober::new(SETTINGS, Trust::nobody(), tx);
        prober.set_targets([target("a", 0, slow.clone()), target("b", 0, slow)]);
        // Until both have what they need at first.
        let mut seen = HashMap::new();
        while seen.values().filter(|n| **n >= ENOUGH).count() < 2 {
            *seen.entry(next(&mut samples).await.target.site.clone()).or_insert(0) += 1;
        }
        prober.probe_now(&"www.glb.test".parse().unwrap(), "b");
        prober.probe_now(&"www.glb.test".parse().unwrap(), "elsewhere");
        let asked = Instant::now();
        assert_eq!(next(&mut samples).await.target.site, "b");
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert!(timeout(Duration::from_millis(700), samples.recv()).await.is_err(), "once, and nobody else");
    }

    #[tokio::test]
    async fn a_ceiling_stretches_the_interval() {
        let probe = Probe { interval_ms: 100, ..a_probe(good_site().await) };
        let (tx, mut samples) = mpsc::channel(64);
        let mut prober = Prober::new(SETTINGS, Trust::nobody(), tx);
        let share = |share| Arc::new(HashMap::from([(IpAddr::from([127, 0, 0, 1]), share)]));
        prober.set_shares(share(Share::None));
        prober.set_targets([target("a", 0, probe.clone()), target("b", 0, probe)]);
        assert!(timeout(Duration::from_millis(400), samples.recv()).await.is_err(), "probed without a share");
        // Two a second, for both.
        prober.set_shares(share(Share::AtMost(2_000)));
        let began = Instant::now();
        for _ in 0..4 {
            next(&mut samples).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn targets_come_and_go() {
        let probe = Probe { interval_ms: 100, ..a_probe(good_site().await) };
        let (tx, mut samples) = mpsc::channel(64);
        let mut prober = Prober::new(SETTINGS, Trust::nobody(), tx);
        prober.set_targets([target("a", 0, probe.clone()), target("b", 0, probe.clone())]);
        let mut seen = HashSet::new();
        while seen.len() < 2 {
            seen.insert(next(&mut samples).await.target.site.clone());
        }
        let kept = Arc::clone(prober.running.keys().find(|t| t.site == "b").unwrap());
        prober.set_targets([target("b", 0, probe.clone()), target("c", 0, probe)]);
        assert!(prober.running.keys().any(|t| Arc::ptr_eq(t, &kept)), "an unchanged target was started anew");
        assert_eq!(prober.sites.len(), 2);
        while samples.try_recv().is_ok() {}
        let mut seen = HashSet::new();
        // What was under way when "a" went is gone with it.
        while seen.len() < 2 {
            seen.insert(next(&mut samples).await.target.site.clone());
        }
        assert_eq!(seen, HashSet::from(["b".to_owned(), "c".to_owned()]));
        drop(prober);
        let rest = timeout(Duration::from_secs(10), async { while samples.recv().await.is_some() {} }).await;
        assert!(rest.is_ok(), "probing went on");
    }
}
