//! Two hosts with one identity (design section 6): noticed by their boot ids, the one that started
//! later stays, and an operator hears of it. Pure: what is known of one identity's processes.
//!
//! When a process started follows from how long it has run and from when that is heard. A HELLO that was
//! slow makes this too late, never too early, and by less than a handshake may take. So the earliest of what
//! is heard of a process counts, and of two that started at about the same time the one with the greater
//! boot id stays: by that all dns-bs decide alike, whichever HELLO was slow on its way to which of them.
//!
//! Invariant: two processes known at once do not take turns. What alternates all the same is damped, so
//! that a label is not handed to and fro for ever.
//!
//! `uptime_ms` is believed. Who says it has the identity's certificate, and could say anything else in
//! its name as well; a wrong one, from a clock that stood still in a suspended machine, say, costs
//! the choice between two hosts of which one should not be there.

use std::{
    cmp::Ordering,
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use dglb_core::{identity::Identity, proto::message::BootId};

/// Within so long, so many processes may take one another's place …
const WINDOW: Duration = Duration::from_secs(600);
/// … before the present one is kept.
const MOST: usize = 3;
/// For how long at first; twice as long each time after.
const KEEP: Duration = Duration::from_secs(60);
/// For how long at most.
const KEEP_MOST: Duration = Duration::from_secs(3_600);
/// Starts that lie no further apart are in no order. A handshake takes 5 s at most, and its HELLO with it.
const CLOSE: Duration = Duration::from_secs(10);
/// Processes of one identity that are remembered, the present one among them.
const REMEMBERED: usize = 4;

/// What is known of the processes of every identity that was heard of.
#[derive(Debug, Default)]
pub(super) struct Duplicates(HashMap<Identity, Processes>);

/// The processes of one identity.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// The last to be heard of stands last.
    heard: Vec<Process>,
    /// When one took the place of another that was connected.
    replaced: VecDeque<Instant>,
    /// Until when the present one is kept, and for how long that was from its start.
    kept: Option<(Instant, Duration)>,
    /// When it was last certain that two are at work.
    twins: Option<Instant>,
}

/// A process as its HELLO shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) boot: BootId,
    /// `None` for before this host's clock began.
    pub(super) started: Option<Instant>,
    pub(super) from: SocketAddr,
    /// Another has taken its place.
    pub(super) displaced: bool,
}

/// Whose place the comer would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody's.
    Nobody,
    /// The link of this process is up.
    Linked(BootId),
    /// It has no link, but its lease runs.
    Leased(BootId),
}

/// Why a process may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotNow {
    /// The other started later.
    #[error("a process of this identity that started later is connected, or its lease runs")]
    Older,
    /// Two took one another's place too often.
    #[error("processes of this identity replace one another; the present one is kept for {} s", .0.as_secs())]
    Kept(Duration),
}

/// What an operator should know of an identity.
#[derive(Clone, Debug)]
pub(super) struct Twins<'d> {
    pub(super) identity: &'d Identity,
    pub(super) processes: &'d [Process],
    /// Since two were last seen at work.
    pub(super) age: Option<Duration>,
    pub(super) replaced: usize,
    /// For how long the present one is kept yet.
    pub(super) kept: Option<Duration>,
}

impl Duplicates {
    /// The processes of an identity.
    pub(super) fn of(&mut self, identity: &Identity) -> &mut Processes {
        self.0.entry(identity.clone()).or_default()
    }

    /// Forgets identities that have no place here any more.
    pub(super) fn retain(&mut self, known: impl Fn(&Identity) -> bool) {
        self.0.retain(|identity, _| known(identity));
    }

    /// Identities with which something is or was lately wrong.
    pub(super) fn alarming(&self, now: Instant) -> impl Iterator<Item = Twins<'_>> {
        self.0.iter().filter_map(move |(identity, p)| {
            let age = p.twins.map(|at| now.duration_since(at)).filter(|age| *age < WINDOW);
            let kept = p.kept_for(now);
            let replaced = p.replaced.iter().filter(|at| now.duration_since(**at) < WINDOW).count();
            (age.is_some() || kept.is_some()).then_some(Twins { identity, processes: &p.heard, age, replaced, kept })
        })
    }
}

impl Processes {
    /// A process says HELLO. Whether it may have the holder's place, and whether this is the first sign
    /// for a while that two are at work.
    pub(super) fn comes(&mut self, comer: Process, holder: Holder, now: Instant) -> (Result<(), NotNow>, bool) {
        let comer = self.hear(comer);
        let (present, linked) = match holder {
            Holder::Nobody => return (Ok(()), false),
            Holder::Linked(boot) => (boot, true),
            Holder::Leased(boot) => (boot, false),
        };
        if present == comer.boot {
            return (Ok(()), false);
        }
        let older = self.find(present).is_some_and(|p| match order(p.started, comer.started) {
            // Whose link is down may be dead, so the other is given the benefit of the doubt.
            Ordering::Equal => linked && p.boot.0 > comer.boot.0,
            order => order == Ordering::Greater,
        });
        // The dead do not speak: who was displaced and still does, or is older than who is here, lives
        // beside it.
        let twins = linked && (older || comer.displaced);
        let news = twins && self.twins.is_none_or(|at| now.duration_since(at) >= WINDOW);
        if twins {
            self.twins = Some(now);
        }
        let may = if older {
            Err(NotNow::Older)
        } else if linked {
            self.replace(present, now)
        } else {
            Ok(())
        };
        (may, news)
    }

    /// Remembers a process, with the earliest start that was heard of it.
    fn hear(&mut self, comer: Process) -> Process {
        let known = self.heard.iter().position(|p| p.boot == comer.boot).map(|at| self.heard.remove(at));
        let comer = known.map_or(comer, |known| {
            let started = earliest(known.started, comer.started);
            Process { from: comer.from, started, ..known }
        });
        if self.heard.len() >= REMEMBERED {
            self.heard.remove(0);
        }
        self.heard.push(comer);
        comer
    }

    fn find(&mut self, boot: BootId) -> Option<&mut Process> {
        self.heard.iter_mut().find(|p| p.boot == boot)
    }

    /// Gives the present one's place away, unless that was done too often.
    fn replace(&mut self, present: BootId, now: Instant) -> Result<(), NotNow> {
        if let Some(left) = self.kept_for(now) {
            return Err(NotNow::Kept(left));
        }
        self.replaced.retain(|at| now.duration_since(*at) < WINDOW);
        // After a quiet time all begins anew; until then the next time is twice as long.
        self.kept = self.kept.filter(|(until, _)| now.duration_since(*until) < WINDOW);
        if self.kept.is_some() || self.replaced.len() >= MOST {
            let keep = self.kept.map_or(KEEP, |(_, last)| (last * 2).min(KEEP_MOST));
            self.kept = Some((now + keep, keep));
            return Err(NotNow::Kept(keep));
        }
        self.replaced.push_back(now);
        if let Some(present) = self.find(present) {
            present.displaced = true;
        }
        Ok(())
    }

    fn kept_for(&self, now: Instant) -> Option<Duration> {
        self.kept.map(|(until, _)| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

/// The earlier of two estimates for one process, unless the later one is out of reach of any delay: then it
/// is some clock that is wrong, and the first one stands.
fn earliest(first: Option<Instant>, again: Option<Instant>) -> Option<Instant> {
    match (first, again) {
        (Some(first), Some(again)) if first.saturating_duration_since(again) <= CLOSE => Some(first.min(again)),
        _ => first,
    }
}

/// Which of two processes started first, as far as that can be told.
fn order(a: Option<Instant>, b: Option<Instant>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if a.saturating_duration_since(b).max(b.saturating_duration_since(a)) < CLOSE => {
            Ordering::Equal
        }
        _ => a.cmp(&b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Host {
        boot: BootId,
        started: Instant,
    }

    fn host(n: u8, started: Instant) -> Host {
        Host { boot: BootId([n; 16]), started }
    }

    fn at(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A host dials while `holder` has the place; whether it may come in, and whether that is news.
    fn dials(p: &mut Processes, host: &Host, holder: Holder, now: Instant) -> (Result<(), NotNow>, bool) {
        let from = "192.0.2.1:1".parse().unwrap();
        let comer = Process { boot: host.boot, started: Some(host.started), from, displaced: false };
        p.comes(comer, holder, now)
    }

    #[test]
    fn a_restart_is_no_duplicate_and_neither_is_the_same_process_again() {
        let start = Instant::now();
        let (old, new) = (host(1, start), host(2, start + at(100)));
        let mut p = Processes::default();
        assert_eq!(dials(&mut p, &old, Holder::Nobody, start + at(10)), (Ok(()), false));
        // Its old connection is half dead.
        assert_eq!(dials(&mut p, &old, Holder::Linked(old.boot), start + at(20)), (Ok(()), false));
        // It was restarted before its end was noticed.
        assert_eq!(dials(&mut p, &new, Holder::Linked(old.boot), start + at(101)), (Ok(()), false));
        assert_eq!(dials(&mut p, &new, Holder::Leased(new.boot), start + at(200)), (Ok(()), false));
        assert!(p.twins.is_none() && p.kept.is_none());
    }

    #[test]
    fn the_older_of_two_is_refused_and_that_is_news_once() {
        let start = Instant::now();
        let (old, new) = (host(1, start), host(2, start + at(100)));
        let mut p = Processes::default();
        let _ = dials(&mut p, &old, Holder::Nobody, start);
        assert_eq!(dials(&mut p, &new, Holder::Linked(old.boot), start + at(100)), (Ok(()), false));
        let again = |p: &mut Processes, now| dials(p, &old, Holder::Linked(new.boot), now);
        assert_eq!(again(&mut p, start + at(101)), (Err(NotNow::Older), true));
        assert_eq!(again(&mut p, start + at(111)), (Err(NotNow::Older), false));
        assert_eq!(again(&mut p, start + at(111) + WINDOW), (Err(NotNow::Older), true), "still");
        // While the newer one's lease runs, the older cannot take its place; after it, it may.
        let now = start + at(2_000);
        assert_eq!(dials(&mut p, &old, Holder::Leased(new.boot), now).0, Err(NotNow::Older));
        assert_eq!(dials(&mut p, &old, Holder::Nobody, now), (Ok(()), false));
    }

    #[test]
    fn who_claims_another_start_each_time_is_as_old_as_at_first() {
        let start = Instant::now();
        let (old, new) = (host(1, start), host(2, start + at(100)));
        let mut p = Processes::default();
        let _ = dials(&mut p, &old, Holder::Nobody, start);
        let _ = dials(&mut p, &new, Holder::Linked(old.boot), start + at(100));
        let younger = host(1, start + at(500));
        assert_eq!(dials(&mut p, &younger, Holder::Linked(new.boot), start + at(500)).0, Err(NotNow::Older));
    }

    /// Two processes that started seconds apart, and a HELLO that is slow on its way to one dns-b: whoever
    /// comes first where, both dns-bs end up with the same one.
    #[test]
    fn a_slow_hello_does_not_have_two_dns_bs_keep_different_processes() {
        let start = Instant::now();
        for (first, second) in [(1, 2), (2, 1)] {
            let (a, b) = (host(first, start), host(second, start + at(3)));
            let kept = [0, 8].map(|delay| {
                let mut p = Processes::default();
                // It says that it has run for less than it has by the time that this is heard.
                let slow = Host { started: a.started + at(delay), ..a };
                let _ = dials(&mut p, &slow, Holder::Nobody, start + at(10));
                let _ = match dials(&mut p, &b, Holder::Linked(a.boot), start + at(10)).0 {
                    Ok(()) => dials(&mut p, &a, Holder::Linked(b.boot), start + at(11)),
                    Err(_) => dials(&mut p, &b, Holder::Linked(a.boot), start + at(11)),
                };
                let present = if p.find(a.boot).is_some_and(|p| p.displaced) { b.boot } else { a.boot };
                // While its link is down the other may come, and leaves again when it is back.
                let (present, other) = if present == a.boot { (&a, &b) } else { (&b, &a) };
                assert_eq!(dials(&mut p, other, Holder::Leased(present.boot), start + at(20)).0, Ok(()));
                assert_eq!(dials(&mut p, present, Holder::Linked(other.boot), start + at(21)).0, Ok(()));
                present.boot
            });
            assert_eq!(kept, [BootId([2; 16]); 2]);
        }
    }

    #[test]
    fn the_earliest_of_what_is_heard_of_a_process_counts() {
        let start = Instant::now();
        let (old, new) = (host(1, start), host(2, start + at(15)));
        let mut p = Processes::default();
        let slow = Host { started: start + at(9), ..old };
        let _ = dials(&mut p, &slow, Holder::Nobody, start + at(30));
        let _ = dials(&mut p, &old, Holder::Leased(old.boot), start + at(40));
        assert_eq!(p.find(old.boot).unwrap().started, Some(start));
        assert_eq!(dials(&mut p, &new, Holder::Linked(old.boot), start + at(50)).0, Ok(()));
        assert_eq!(dials(&mut p, &old, Holder::Linked(new.boot), start + at(51)).0, Err(NotNow::Older));
    }

    /// Two supervisors that start a new process whenever theirs is refused.
    #[test]
    fn flapping_is_damped_for_a_growing_time() {
        let start = Instant::now();
        let mut p = Processes::default();
        let mut present = host(0, start);
        let _ = dials(&mut p, &present, Holder::Nobody, start);
        let (mut admitted, mut longest) = (Vec::new(), Duration::ZERO);
        for n in 1..=7_200_u64 {
            let now = start + at(n);
            let mut boot = [0; 16];
            boot[..8].copy_from_slice(&n.to_be_bytes());
            boot[8] = 1;
            let comer = Host { boot: BootId(boot), started: now };
            match dials(&mut p, &comer, Holder::Linked(present.boot), now).0 {
                Ok(()) => {
                    admitted.push(n);
                    present = comer;
                }
                Err(NotNow::Kept(left)) => longest = longest.max(left),
                Err(NotNow::Older) => panic!("at {n} s"),
            }
        }
        assert_eq!(admitted, [1, 2, 3], "then the present one is kept, for 1, 2, 4 … minutes");
        assert_eq!(longest, KEEP_MOST);
        assert!(p.heard.len() <= REMEMBERED && p.replaced.len() <= MOST);
        // The host of the present one dies: whoever comes next is welcome at once.
        let late = start + at(7_201);
        assert_eq!(dials(&mut p, &host(9, late), Holder::Leased(present.boot), late).0, Ok(()));
        // After a quiet time a restart is a restart again.
        let quiet = late + KEEP_MOST + WINDOW;
        assert_eq!(dials(&mut p, &host(10, quiet), Holder::Linked(BootId([9; 16])), quiet).0, Ok(()));
    }
}
