//! What several POPs say of a site: VERDICT (design sections 5 and 6). Pure: who calls which site down,
//! and when enough do.
//!
//! Invariant: a verdict moves nobody by itself. It goes out when a quorum is reached, so that all
//! others probe the site at once instead of an interval later, and again when fewer than half of a
//! quorum are left. An ISP has one voice, however many DNS-LBs it has.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::LbIndex,
    name::Name,
    proto::message::{Message, Verdict},
    report::{Health, Ranking},
};

use super::{
    Keeper, LinkId, Outgoing,
    voices::{Speakers, Voice},
};

/// The same site is called down no more often: what is re-probed already need not be told again.
const PAUSE: Duration = Duration::from_secs(10);

/// How many ISPs make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// At least so many. Default 3.
    pub least: u32,
    /// And at least this share of those that measure the service, in percent. Default 30.
    pub percent: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { least: 3, percent: 30 }
    }
}

impl Quorum {
    /// How many of `of` it takes.
    fn of(self, of: u32) -> u32 {
        let share = (u64::from(of) * u64::from(self.percent)).div_ceil(100);
        self.least.max(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
    }
}

/// What all DNS-LBs say of all sites.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    services: HashMap<Name, Service>,
    /// With whose voice each of them speaks; its own where nothing is said.
    voices: HashMap<LbIndex, Voice>,
}

#[derive(Debug, Default)]
struct Service {
    /// Who ranks it.
    pops: Speakers,
    sites: HashMap<String, Site>,
}

#[derive(Debug, Default)]
struct Site {
    down: Speakers,
    /// A verdict stands.
    called: bool,
    called_at: Option<Instant>,
}

impl Verdicts {
    /// A DNS-LB's ranking of a service is another now; `None`: it has none any more. Whether it says
    /// anything else of a site than before.
    pub(super) fn ranked(&mut self, lb: LbIndex, service: &Name, ranking: Option<&Ranking>) -> bool {
        let voice = self.voice(lb);
        let Some(ranking) = ranking else {
            let Some(held) = self.services.get_mut(service) else { return false };
            let mut changed = held.pops.remove(lb, voice);
            held.sites.values_mut().for_each(|site| changed |= site.down.remove(lb, voice));
            if held.pops.is_empty() {
                self.services.remove(service);
            }
            return changed;
        };
        let held = self.services.entry(service.clone()).or_default();
        let mut changed = held.pops.insert(lb, voice);
        let down = |name: &str| ranking.sites.iter().any(|s| s.site == name && s.health() == Health::Down);
        for (name, site) in &mut held.sites {
            changed |= !down(name) && site.down.remove(lb, voice);
        }
        for down in ranking.sites.iter().filter(|s| s.health() == Health::Down) {
            changed |= held.sites.entry(down.site.clone()).or_default().down.insert(lb, voice);
        }
        changed
    }

    /// Whether a DNS-LB was given a voice.
    pub(super) fn has_voice(&self, lb: LbIndex) -> bool {
        self.voices.contains_key(&lb)
    }

    pub(super) fn voice(&self, lb: LbIndex) -> Voice {
        self.voices.get(&lb).copied().unwrap_or(Voice::Lb(lb))
    }

    /// From now on a DNS-LB speaks with this voice. Which of `services`, all that it ranks, are to be judged
    /// anew.
    pub(super) fn give_voice(&mut self, lb: LbIndex, voice: Voice, services: Vec<Name>) -> Vec<Name> {
        let before = self.voice(lb);
        self.voices.insert(lb, voice);
        let mut judged = services;
        judged.retain(|name| {
            let Some(held) = self.services.get_mut(name) else { return false };
            for site in held.sites.values_mut() {
                site.down.moves(lb, before, voice);
            }
            held.pops.moves(lb, before, voice)
        });
        judged
    }

    /// What is to be said of a service's sites now.
    fn due(&mut self, service: &Name, quorum: Quorum, now: Instant) -> Vec<Verdict> {
        let Some(held) = self.services.get_mut(service) else { return Vec::new() };
        let of = held.pops.voices();
        let wanted = quorum.of(of);
        let mut due = Vec::new();
        held.sites.retain(|name, site| {
            let pops = site.down.majorities_of(&held.pops);
            let rested = site.called_at.is_none_or(|at| now.duration_since(at) >= PAUSE);
            let down = if site.called { pops >= wanted.div_ceil(2) } else { pops >= wanted && rested };
            if down != site.called {
                site.called = down;
                site.called_at = if down { Some(now) } else { site.called_at };
                due.push(Verdict { service: service.clone(), site: name.clone(), down, pops, of });
            }
            // It is remembered for as long as it says anything.
            site.called || !site.down.is_empty() || !rested
        });
        due
    }

    /// The verdicts that stand: service, site, how many say so, of how many.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&Name, &str, u32, u32)> {
        self.services.iter().flat_map(|(service, held)| {
            let called = held.sites.iter().filter(|(_, site)| site.called);
            let count = |site: &Site| site.down.majorities_of(&held.pops);
            called.map(move |(name, site)| (service, name.as_str(), count(site), held.pops.voices()))
        })
    }

    /// Who measures a service.
    fn pops(&self, service: &Name) -> impl Iterator<Item = LbIndex> {
        self.services.get(service).into_iter().flat_map(|held| held.pops.iter())
    }
}

impl Keeper {
    /// DNS-LBs say something else of these services' sites: whether that makes a verdict.
    pub(super) fn pronounce(&mut self, services: &[Name], now: Instant) {
        for service in services {
            for verdict in self.verdicts.due(service, self.quorum, now) {
                self.send_verdict(verdict);
            }
        }
    }

    fn send_verdict(&mut self, verdict: Verdict) {
        let Verdict { service, site, down, pops, of } = &verdict;
        tracing::warn!(%service, site, down, pops, of, "verdict of the POPs");
        self.figures.verdicts += 1;
        let to: Vec<LinkId> = self.verdicts.pops(service).filter_map(|lb| self.lbs.get(&lb)?.link).collect();
        let message = Message::Verdict(verdict);
        self.outbox.extend(to.into_iter().map(|link| (link, Outgoing::One(message.clone()))));
    }

    /// A DNS-LB is gone, and what it said of sites with it.
    pub(super) fn silence(&mut self, lb: LbIndex, now: Instant) {
        let services: Vec<Name> = self.lbs.get(&lb).map_or_else(Vec::new, |t| t.rankings.services().cloned().collect());
        let changed: Vec<Name> =
            services.into_iter().filter(|service| self.verdicts.ranked(lb, service, None)).collect();
        self.verdicts.voices.remove(&lb);
        self.coming.silence(lb);
        self.tell_of_coming();
        self.pronounce(&changed, now);
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::report::{Figures, RankedSite};

    use super::*;

    fn service() -> Name {
        "www.glb.test".parse().unwrap()
    }

    fn ranking(down: &[&str]) -> Ranking {
        let site = |name: &str| {
            let health = if down.contains(&name) { Health::Down } else { Health::Up };
            let figures = Figures { address: "203.0.113.1".parse().unwrap(), health, latency_us: None };
            RankedSite { site: name.to_owned(), score: None, addresses: vec![figures], share: 0 }
        };
        Ranking { service: service(), catalogue: 1, sites: vec![site("s1"), site("s2")], unsettled: false }
    }

    /// `s1 down 3/10`
    fn said(verdicts: &[Verdict]) -> Vec<String> {
        let word = |down| if down { "down" } else { "up" };
        verdicts.iter().map(|v| format!("{} {} {}/{}", v.site, word(v.down), v.pops, v.of)).collect()
    }

    fn pops(verdicts: &mut Verdicts, range: std::ops::Range<u32>, down: &[&str]) {
        for n in range {
            verdicts.ranked(LbIndex(n), &service(), Some(&ranking(down)));
        }
    }

    #[test]
    fn a_quorum_is_three_or_thirty_percent() {
        let quorum = Quorum::default();
        assert_eq!([1, 3, 10, 11, 100, 10_000].map(|of| quorum.of(of)), [3, 3, 3, 4, 30, 3_000]);
        assert_eq!(Quorum { least: 0, percent: 0 }.of(5), 1, "nobody says nothing");
    }

    #[test]
    fn said_at_the_quorum_and_taken_back_at_half_of_it() {
        let now = Instant::now();
        let mut v = Verdicts::default();
        pops(&mut v, 0..20, &[]);
        pops(&mut v, 0..5, &["s1"]);
        assert!(v.due(&service(), Quorum::default(), now).is_empty());
        pops(&mut v, 5..6, &["s1"]);
        assert_eq!(said(&v.due(&service(), Quorum::default(), now)), ["s1 down 6/20"]);
        pops(&mut v, 6..10, &["s1"]);
        assert!(v.due(&service(), Quorum::default(), now).is_empty(), "once");
        assert_eq!(v.standing().map(|(_, site, down, of)| (site, down, of)).collect::<Vec<_>>(), [("s1", 10, 20)]);
        pops(&mut v, 0..7, &[]);
        assert!(v.due(&service(), Quorum::default(), now).is_empty(), "half of a quorum still says so");
        pops(&mut v, 7..8, &[]);
        assert_eq!(said(&v.due(&service(), Quorum::default(), now)), ["s1 up 2/20"]);
        // Back at once: they probe it already.
        pops(&mut v, 0..10, &["s1"]);
        assert!(v.due(&service(), Quorum::default(), now + PAUSE / 2).is_empty());
        assert_eq!(said(&v.due(&service(), Quorum::default(), now + PAUSE)), ["s1 down 10/20"]);
    }

    #[test]
    fn who_measures_no_more_has_no_say() {
        let now = Instant::now();
        let mut v = Verdicts::default();
        pops(&mut v, 0..3, &["s1", "s2"]);
        assert_eq!(v.due(&service(), Quorum::default(), now).len(), 2);
        assert!((0..3).all(|n| v.ranked(LbIndex(n), &service(), None)));
        assert!(v.services.is_empty(), "nothing is left behind");
    }
}
