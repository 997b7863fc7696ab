//! When to probe whom. One task per target, so that none waits for another; how a probe is done
//! is [`crate::probe`]'s.
//!
//! Invariant: between the starts of two probes of a target lies never more than its interval (or
//! the probe itself, where that takes longer), so a dead site is found within `fall` intervals;
//! of a site that nobody is sent to soon it may be the longer one of [`crate::pace`]; where the address
//! has a ceiling that allows less, it is what the module `turns` allows. A site that hangs occupies no
//! more than its own share of the probes under way.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dglb_core::{
    catalogue::{Probe, Service},
    load::Told,
    name::Name,
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    pace::{Pace, Wait},
    probe::{Means, Outcome, Seen, probe},
    shares::InForce,
    trust::Trust,
    turns::{Turn, Turns},
};

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
    hints: Arc<Hints>,
    _task: AbortOnDropHandle<()>,
}

/// What a target's task is told while it waits.
#[derive(Debug, Default)]
struct Hints {
    /// It is due at once.
    at_once: AtomicBool,
    /// Nobody is sent there soon, so there is no hurry.
    calm: AtomicBool,
    /// One of them has changed.
    changed: Notify,
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
            running.hints.at_once.store(true, Ordering::Relaxed);
            running.hints.changed.notify_one();
        }
    }

    /// These sites of a service are probed slowly from now on, and its others at their interval. What a
    /// task waits for is then reckoned anew from its last probe.
    pub fn set_calm(&self, service: &Name, calm: &BTreeSet<String>) {
        for (target, running) in self.running.iter().filter(|(t, _)| t.service == *service) {
            let wanted = calm.contains(&target.site);
            if running.hints.calm.swap(wanted, Ordering::Relaxed) != wanted {
                running.hints.changed.notify_one();
            }
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
        let (target, hints) = (Arc::new(target), Arc::new(Hints::default()));
        let task = Task {
            target: Arc::clone(&target),
            hints: Arc::clone(&hints),
            turn: self.turns.of(target.address),
            means: Arc::clone(&self.means),
            site: Arc::clone(site),
            all: Arc::clone(&self.all),
            samples: self.samples.clone(),
        };
        let running = Running { hints, _task: AbortOnDropHandle::new(tokio::spawn(task.run())) };
        self.running.insert(target, running);
    }
}

/// The probing of one target.
struct Task {
    target: Arc<Target>,
    hints: Arc<Hints>,
    turn: Arc<Turn>,
    means: Arc<Means>,
    site: Arc<Semaphore>,
    all: Arc<Semaphore>,
    samples: mpsc::Sender<Sample>,
}

impl Task {
    async fn run(self) {
        let mut pace = Pace::new(&self.target.probe);
        let mut last = tokio::time::Instant::now();
        let mut wait = pace.first(rand::random());
        loop {
            self.wait(last, wait).await;
            // First the site's own share, then its turn: who waits for those must not hold what others need.
            let Ok(_site) = self.site.acquire().await else { return };
            let turn = self.turn.wait().await;
            let Ok(_all) = self.all.acquire().await else { return };
            turn.start();
            last = tokio::time::Instant::now();
            let Target { address, probe: kind, host, .. } = &*self.target;
            // On the heap while it lasts, so that who waits is small.
            let Seen { outcome, told } = Box::pin(probe(kind, *address, host, &self.means)).await;
            wait = pace.next(&outcome, rand::random());
            let sample = Sample { target: Arc::clone(&self.target), outcome, told, at: Instant::now() };
            if self.samples.send(sample).await.is_err() {
                return;
            }
        }
    }

    /// Until it is due, or wanted at once: then until a moment that is drawn, since every POP is told
    /// at the same time.
    async fn wait(&self, last: tokio::time::Instant, wait: Wait) {
        let mut at_once = None;
        loop {
            let calm = self.hints.calm.load(Ordering::Relaxed);
            let due = last + if calm { wait.calm } else { wait.usual };
            tokio::select! {
                () = tokio::time::sleep_until(at_once.map_or(due, |drawn| due.min(drawn))) => return,
                () = self.hints.changed.notified() => {}
            }
            if self.hints.at_once.swap(false, Ordering::Relaxed) {
                at_once.get_or_insert_with(|| tokio::time::Instant::now() + AT_ONCE.mul_f64(rand::random()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::{
        catalogue::{Mode, Policy, ProbeKind, Site},
        estimate::ENOUGH,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;
    use crate::shares::Share;

    const SETTINGS: Settings = Settings { concurrency: 16, per_site: 4, body_limit: 1_000 };

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
            least_ttl: None,
            sites: ["192.0.2.1 192.0.2.2 192.0.2.1", "2001:db8::1", ""]
                .iter()
                .enumerate()
                .map(|(n, list)| Site {
                    name: format!("s{n}"),
                    addresses: list.split_whitespace().map(|a| a.parse().unwrap()).collect(),
                    cost: 0.0,
                    ..Site::default()
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
        // So long that no place in it comes up by chance.
        let slow = Probe { interval_ms: 30 * 86_400_000, ..a_probe(good_site().await) };
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
    async fn the_rest_is_probed_slowly_until_it_is_wanted() {
        let probe = Probe { interval_ms: 100, ..a_probe(good_site().await) };
        let (tx, mut samples) = mpsc::channel(64);
        let mut prober = Prober::new(SETTINGS, Trust::nobody(), tx);
        prober.set_targets([target("a", 0, probe.clone()), target("b", 0, probe)]);
        let service = "www.glb.test".parse().unwrap();
        // Whoever is probed until "a" was, so many times.
        let others = async |samples: &mut mpsc::Receiver<Sample>, times| {
            let (mut a, mut b) = (0, 0);
            while a < times {
                match next(samples).await.target.site.as_str() {
                    "a" => a += 1,
                    _ => b += 1,
                }
            }
            b
        };
        others(&mut samples, ENOUGH).await;
        prober.set_calm(&service, &BTreeSet::from(["b".to_owned()]));
        others(&mut samples, 2).await;
        let b = others(&mut samples, 24).await;
        assert!((2..=6).contains(&b), "{b}: every sixth is one at a sixth of the pace");
        prober.set_calm(&service, &BTreeSet::new());
        let b = others(&mut samples, 24).await;
        assert!((20..=28).contains(&b), "{b}");
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
        let began = Instant::now();
        prober.set_shares(share(Share::AtMost(2_000)));
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
