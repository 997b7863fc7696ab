//! Faults: how each begins and how it ends.

use crate::{
    net::Way,
    plan::{Fault, HEALED, LONGEST, Stop},
    random::Random,
    world::{Happening, World},
};

impl World {
    /// A fault begins.
    pub(crate) fn break_something(&mut self, number: usize) {
        let Some((_, fault)) = self.plan.get(number).cloned() else { return };
        self.trace.note((self.now, usize::MAX), "fault", [number as u64, 0]);
        self.trace.detail(|| format!("{fault:?}"));
        let mut random = Random::new(self.seed, 1 << 20 | number as u64);
        let lasts = match fault {
            Fault::Partition { from, to, one_way, lasts } => {
                self.net.set_shut(from, to, true);
                if !one_way {
                    self.net.set_shut(to, from, true);
                }
                Some(lasts)
            }
            Fault::Alone { host, lasts } => {
                self.shut_all(host, true);
                Some(lasts)
            }
            Fault::Slow { from, to, rate, delay, lasts } => {
                self.net.slow_down(from, to, Way { delay, rate });
                Some(lasts)
            }
            Fault::Cut { from, to } => {
                self.cut(from, to);
                None
            }
            Fault::Restart { host, how, down, blank } => {
                self.stop(host, how);
                if blank {
                    self.wipe(host);
                }
                Some(down)
            }
            Fault::Duplicate { host, lasts } => {
                self.start(self.size.spare(host));
                Some(lasts)
            }
            Fault::Pause { host, lasts } => {
                self.hosts[host].paused += 1;
                Some(lasts)
            }
            Fault::Publish { count, every } => {
                self.later(0, Happening::Publish { left: count, every });
                None
            }
            Fault::Remap { host } => {
                self.hosts[host].claim = crate::content::claim(host - self.size.bs, host, &mut random);
                None
            }
            Fault::Shift { host } => {
                self.shift(host, &mut random);
                None
            }
            Fault::SiteDown { site, lasts } => {
                *self.down.entry(site).or_default() += 1;
                Some(lasts)
            }
        };
        if let Some(lasts) = lasts {
            let left = HEALED.saturating_sub(self.now);
            self.later(lasts.min(left), Happening::Mend(number));
        }
    }

    /// A fault ends.
    pub(crate) fn mend(&mut self, number: usize) {
        let Some((_, fault)) = self.plan.get(number).cloned() else { return };
        self.trace.note((self.now, usize::MAX), "mended", [number as u64, 0]);
        match fault {
            Fault::Partition { from, to, one_way, .. } => {
                self.net.set_shut(from, to, false);
                if !one_way {
                    self.net.set_shut(to, from, false);
                }
                self.wake(from);
                self.wake(to);
            }
            Fault::Alone { host, .. } => {
                self.shut_all(host, false);
                (0..self.hosts.len()).for_each(|host| self.wake(host));
            }
            Fault::Slow { from, to, rate, delay, .. } => self.net.speed_up(from, to, Way { delay, rate }),
            Fault::Restart { host, .. } => self.start(host),
            // Half of the doubles stay: the one that started last is the one that was meant.
            Fault::Duplicate { host, lasts } if lasts % 2 == 0 => {
                self.stop(self.size.spare(host), Stop::Crash);
            }
            Fault::Pause { host, .. } => {
                self.hosts[host].paused = self.hosts[host].paused.saturating_sub(1);
                self.look_after(host);
            }
            Fault::SiteDown { site, .. } => {
                let down = self.down.entry(site).or_default();
                *down = down.saturating_sub(1);
            }
            Fault::Duplicate { .. }
            | Fault::Cut { .. }
            | Fault::Publish { .. }
            | Fault::Remap { .. }
            | Fault::Shift { .. } => {}
        }
    }

    /// Which of two processes started later, a dns-b tells from how long ago they say they did, and from
    /// when it heard that. Where a HELLO may have waited for longer than lies between them, dns-bs may
    /// judge differently; such doubles leave, so that there is something to agree on.
    pub(crate) fn part_doubles(&mut self) {
        for lb in self.size.bs..self.size.publisher() {
            let started = |host: usize| self.hosts[host].process.as_ref().map(|p| p.started);
            let spare = self.size.spare(lb);
            if let (Some(one), Some(other)) = (started(lb), started(spare))
                && one.abs_diff(other) <= LONGEST + 2_000
            {
                self.stop(spare, Stop::Crash);
            }
        }
    }

    /// What a host had on its disk is gone.
    fn wipe(&mut self, host: usize) {
        self.hosts[host].disk = crate::disk::Disk::default();
        self.oracle.wiped(host);
        if host == self.size.publisher() {
            self.disk = None;
        }
    }

    fn shut_all(&mut self, host: usize, shut: bool) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.net.set_shut(host, other, shut);
            self.net.set_shut(other, host, shut);
        }
    }

    /// What was held up on the way arrives.
    fn wake(&mut self, host: usize) {
        let links: Vec<u64> = self.conns.iter().filter(|(_, c)| c.has(host)).map(|(link, _)| *link).collect();
        for link in links {
            self.later(1, Happening::Pump { host, link });
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        let between = self.conns.iter_mut().filter(|(_, c)| c.has(from) && c.has(to));
        let links: Vec<u64> = between
            .map(|(link, conn)| {
                conn.tear();
                *link
            })
            .collect();
        for link in links {
            for host in [from, to] {
                self.later(1, Happening::Pump { host, link });
            }
        }
    }
}
