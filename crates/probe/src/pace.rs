//! How long to wait from one probe of a target to the next, and what follows from it for how long a
//! failure may go unnoticed. Pure: chance is an argument.

use std::time::Duration;

use dglb_core::{
    catalogue::Probe,
    estimate::ENOUGH,
    report::{Health, Ranking},
};

use crate::{outcome::Outcome, shares::Share};

/// After a first failure, and until there are enough round trips, a probe is repeated this soon.
const SOON: Duration = Duration::from_secs(1);
/// So many of the best sites of a service are probed at its interval.
pub const CANDIDATES: usize = 5;
/// The others so many times more slowly …
const CALM: u32 = 6;
/// … but not more slowly than this, unless their interval is longer itself: round trips grow old.
const SLOWEST: Duration = Duration::from_secs(60);

/// From the start of one probe to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Of a site that clients are sent to, or may be soon.
    pub(crate) usual: Duration,
    /// Of any other.
    pub(crate) calm: Duration,
}

/// How long to wait between the starts of two probes of a target. `chance` is always from 0 to 1.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    calm: Duration,
    fall: u8,
    failures: u8,
    /// Good probes still wanted before the pace is an ordinary one.
    wanted: usize,
    /// Whether this target's place in the interval has been drawn.
    placed: bool,
}

impl Pace {
    pub(crate) fn new(probe: &Probe) -> Self {
        let interval = Duration::from_millis(probe.interval_ms.into());
        let calm = (interval * CALM).min(SLOWEST).max(interval);
        let wanted = ENOUGH.max(probe.rise.into());
        Self { interval, calm, fall: probe.fall, failures: 0, wanted, placed: false }
    }

    pub(crate) fn first(&self, chance: f64) -> Wait {
        Wait::both(self.soon().mul_f64(chance))
    }

    pub(crate) fn next(&mut self, outcome: &Outcome, chance: f64) -> Wait {
        match outcome {
            Outcome::Good(_) => {
                self.failures = 0;
                self.wanted = self.wanted.saturating_sub(1);
                if self.wanted > 0 {
                    return Wait::both(self.soon().mul_f64(0.5 + chance / 2.0));
                }
            }
            Outcome::Failed(_) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.fall {
                    return Wait::both(self.soon());
                }
            }
            Outcome::Local => {}
        }
        // A catalogue reaches all POPs at once. Each draws its place in the whole interval, and
        // from then on shortens every wait a little, so that they neither strike a site together
        // nor fall into step, at a rate that is the interval's to a twentieth.
        let share = if self.placed { 0.9 + chance / 10.0 } else { chance };
        self.placed = true;
        Wait { usual: self.interval.mul_f64(share), calm: self.calm.mul_f64(share) }
    }

    fn soon(&self) -> Duration {
        SOON.min(self.interval)
    }
}

impl Wait {
    fn both(wait: Duration) -> Self {
        Self { usual: wait, calm: wait }
    }
}

/// The sites of a ranking that are well and that no client is sent to soon, even if the first few fail:
/// those behind the [`CANDIDATES`] best, or behind as many as are answered with. Whoever is down or
/// suspect is looked at as often as the best.
pub fn calm(ranking: &Ranking, answers: u8) -> impl Iterator<Item = &str> {
    let behind = ranking.sites.iter().skip(CANDIDATES.max(answers.into()));
    behind.filter(|site| site.health() == Health::Up).map(|site| site.site.as_str())
}

/// What a probe of one address comes to, `targets` sharing the address's turns under a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Longest time from one probe to the next.
    pub interval: Duration,
    /// Longest time from a failure until the address is down: the interval until a probe meets it, then
    /// `fall` failed probes, each as long as its time-out, and the gaps between them.
    pub until_down: Duration,
}

/// See [`Effective`]; `None` while the address may not be probed at all. `share` is that of the address,
/// if it has a ceiling.
pub fn effective(probe: &Probe, share: Option<Share>, targets: u32) -> Option<Effective> {
    let turn = match share {
        Some(share) => share.interval()?.saturating_mul(targets.max(1)),
        None => Duration::ZERO,
    };
    let wanted = Duration::from_millis(probe.interval_ms.into());
    let timeout = Duration::from_millis(probe.timeout_ms.into());
    // A probe that takes longer than the interval delays the next one.
    let interval = wanted.max(turn).max(timeout);
    // The gap goes from start to start, so a probe that times out may use it up.
    let again = SOON.min(wanted).max(turn).max(timeout);
    let until_down = interval + again.saturating_mul(u32::from(probe.fall).saturating_sub(1)) + timeout;
    Some(Effective { interval, until_down })
}

#[cfg(test)]
mod tests {
    use dglb_core::{
        catalogue::ProbeKind,
        report::{Figures, RankedSite},
    };

    use super::*;
    use crate::outcome::{Failure, Times};

    const BAD: Outcome = Outcome::Failed(Failure::Refused);

    fn good() -> Outcome {
        Outcome::Good(Times::default())
    }

    fn a_probe() -> Probe {
        Probe { kind: ProbeKind::Tcp { port: 80 }, interval_ms: 10_000, timeout_ms: 400, fall: 3, rise: 2 }
    }

    fn seconds(pace: &mut Pace, outcome: Outcome, chance: f64) -> f64 {
        pace.next(&outcome, chance).usual.as_secs_f64()
    }

    #[test]
    fn fast_at_first_then_once_an_interval() {
        let mut pace = Pace::new(&a_probe());
        let first = |chance| pace.first(chance).usual.as_secs_f64();
        assert_eq!((first(0.0), first(1.0)), (0.0, 1.0));
        assert_eq!(seconds(&mut pace, good(), 0.0), 0.5);
        assert_eq!(seconds(&mut pace, good(), 1.0), 1.0);
        assert_eq!(seconds(&mut pace, good(), 0.25), 2.5, "the place is drawn in the whole interval");
        for chance in [0.0, 0.5, 1.0] {
            let wait = seconds(&mut pace, good(), chance);
            assert!((9.0..=10.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn failures_are_repeated_at_once_until_they_are_a_verdict() {
        let mut pace = Pace::new(&a_probe());
        for _ in 0..9 {
            pace.next(&good(), 0.5);
        }
        let again = pace.next(&BAD, 0.5);
        assert_eq!((again.usual, again.calm), (SOON, SOON), "whoever fails is suspect, however far away");
        assert_eq!(seconds(&mut pace, BAD, 0.5), 1.0);
        assert_eq!(seconds(&mut pace, BAD, 1.0), 10.0, "the third is the verdict");
        assert_eq!(seconds(&mut pace, BAD, 1.0), 10.0);
        assert_eq!(seconds(&mut pace, good(), 1.0), 10.0);
        assert_eq!(seconds(&mut pace, BAD, 0.5), 1.0, "a new first one");
        assert_eq!(seconds(&mut pace, Outcome::Local, 1.0), 10.0, "our own trouble proves nothing");
    }

    #[test]
    fn soon_is_never_later_than_the_interval_and_calm_never_earlier() {
        let mut pace = Pace::new(&Probe { interval_ms: 200, ..a_probe() });
        assert_eq!(pace.first(1.0).usual, Duration::from_millis(200));
        assert_eq!(pace.next(&BAD, 0.5).usual, Duration::from_millis(200));
        for (interval_ms, calm) in [(200, 1_200), (10_000, 60_000), (30_000, 60_000), (300_000, 300_000)] {
            let mut pace = Pace::new(&Probe { interval_ms, fall: 1, ..a_probe() });
            assert_eq!(pace.next(&BAD, 1.0).calm, Duration::from_millis(calm));
        }
    }

    #[test]
    fn only_who_is_well_and_far_behind_is_left_in_peace() {
        let site = |n: u8| RankedSite {
            site: format!("s{n}"),
            score: None,
            addresses: vec![Figures {
                address: [192, 0, 2, n].into(),
                health: if n == 7 { Health::Down } else { Health::Up },
                latency_us: None,
            }],
            share: 0,
        };
        let service = "www.glb.test".parse().unwrap();
        let ranking = Ranking { service, catalogue: 1, sites: (1..=8).map(site).collect(), unsettled: false };
        assert_eq!(calm(&ranking, 1).collect::<Vec<_>>(), ["s6", "s8"]);
        assert_eq!(calm(&ranking, 7).collect::<Vec<_>>(), ["s8"]);
    }

    #[test]
    fn what_a_ceiling_makes_of_an_interval() {
        let ms = Duration::from_millis;
        let plain = effective(&a_probe(), None, 2).unwrap();
        assert_eq!((plain.interval, plain.until_down), (ms(10_000), ms(10_000 + 2 * 1_000 + 400)));
        assert_eq!(effective(&a_probe(), Some(Share::None), 2), None);
        // One in two seconds, for both: each has one in four, and re-probes wait for their turn, too.
        let shared = effective(&a_probe(), Some(Share::AtMost(500)), 2).unwrap();
        assert_eq!((shared.interval, shared.until_down), (ms(10_000), ms(10_000 + 2 * 4_000 + 400)));
        let scarce = effective(&a_probe(), Some(Share::AtMost(100)), 2).unwrap();
        assert_eq!((scarce.interval, scarce.until_down), (ms(20_000), ms(3 * 20_000 + 400)));
    }
}
