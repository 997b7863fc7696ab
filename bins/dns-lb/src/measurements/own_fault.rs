//! When nothing at all can be reached any more, that says nothing of the sites: it is this host that is cut
//! off. Then what was answered when the last probe went well is answered on, and when one goes well again
//! all sites are judged anew, as after a restart.
//!
//! Invariant: nobody blames this host while a dns-b or a single site can be reached.

use std::time::Instant;

use dglb_core::report::{Health, Ranking};

use super::{Change, Measurements, Watched};

impl Measurements {
    /// Whether every address of at least two sites was reached and is lost now.
    pub fn is_all_lost(&self) -> bool {
        let mut estimates = self.services.values().flat_map(|w| &w.estimates);
        let was_well = |ranking: &Ranking| ranking.sites.iter().any(|site| site.health() == Health::Up);
        !self.cut_off
            && estimates.all(|(_, estimate)| estimate.health() == Health::Down)
            && self.services.values().any(|w| w.estimates.len() > 1 && w.good.as_ref().is_some_and(was_well))
    }

    /// No dns-b can be reached either, so it is this host's fault: back to the last good order.
    pub fn blame_ourselves(&mut self) -> Vec<Change> {
        self.cut_off = true;
        self.services.values_mut().filter_map(Watched::back_to_good).collect()
    }

    /// Something can be reached again: all sites are judged anew.
    pub fn judge_anew(&mut self, now: Instant) {
        if std::mem::take(&mut self.cut_off) {
            self.services.values_mut().for_each(|w| (w.since, w.sampled) = (now, false));
        }
    }

    /// Whether this host is cut off, so that failed probes do not count.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }
}

impl Watched {
    /// What is answered now is what was answered when the last probe of all went well, unless one has gone
    /// well since that was kept. `goods` are those that went well ever.
    pub(super) fn keep_good(&mut self, goods: u64) {
        if self.goods != goods {
            (self.goods, self.good) = (goods, self.ranking.clone());
        }
    }

    fn back_to_good(&mut self) -> Option<Change> {
        self.estimates.values_mut().for_each(|estimate| estimate.judge_anew());
        let good = self.good.take()?;
        (self.ranking, self.restored, self.decision) = (Some(good.clone()), true, None);
        Some(Change::Order(good))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measurements::tests::{SETTLE, order, sample, service};

    const WWW: &str = "www.glb.test";

    /// Two sites of which the second is better, both up, and then lost one after the other.
    fn lost(start: Instant) -> Measurements {
        let www = service(WWW, 2);
        let mut m = Measurements::new(SETTLE);
        m.watch(&www, 1, start);
        for (n, ms) in [(1, 50), (1, 50), (1, 50), (2, 20), (2, 20), (2, 20)] {
            m.record(&sample(&www, n, Some(ms), start));
        }
        assert!(!m.is_all_lost());
        for (n, is_all) in [(2, false), (2, false), (1, false), (1, true)] {
            m.record(&sample(&www, n, None, start));
            assert_eq!(m.is_all_lost(), is_all);
        }
        m
    }

    fn ranking(m: &Measurements) -> &Ranking {
        m.rankings().next().unwrap().1.unwrap()
    }

    #[test]
    fn who_is_cut_off_keeps_the_last_good_order_and_judges_anew_afterwards() {
        let start = Instant::now();
        let (www, mut m) = (service(WWW, 2), lost(start));
        let [Change::Order(back)] = &m.blame_ourselves()[..] else { panic!("nothing to go back to") };
        assert_eq!((order(back), back.sites[0].health()), (vec!["s2", "s1"], Health::Up));
        // For hours nothing is heard, and nothing follows from that.
        let later = start + Duration::from_secs(36_000);
        for _ in 0..9 {
            assert_eq!(
                (m.record(&sample(&www, 1, None, later)), m.record(&sample(&www, 2, None, later))),
                (None, None)
            );
        }
        assert!(m.due(later).is_empty() && !m.is_all_lost());
        // The first site that is reached again does not get everybody for being the first.
        for _ in 0..3 {
            assert_eq!(m.record(&sample(&www, 1, Some(50), later)), None);
        }
        assert!(!m.is_cut_off() && m.due(later).is_empty());
        assert_eq!(order(ranking(&m)), ["s2", "s1"]);
        for _ in 0..3 {
            m.record(&sample(&www, 2, Some(20), later));
        }
        assert_eq!(order(ranking(&m)), ["s2", "s1"]);
        assert!(m.is_complete(), "that is a ranking of its own");
    }

    #[test]
    fn a_site_that_stays_away_is_down_after_all() {
        let start = Instant::now();
        let (www, mut m) = (service(WWW, 2), lost(start));
        m.blame_ourselves();
        for _ in 0..3 {
            m.record(&sample(&www, 1, Some(50), start));
        }
        assert_eq!(m.record(&sample(&www, 2, None, start)), None);
        let Some(Change::Order(ranking)) = m.record(&sample(&www, 2, None, start)) else { panic!("it is kept") };
        assert_eq!((order(&ranking), ranking.sites[1].health()), (vec!["s1", "s2"], Health::Down));
    }

    #[test]
    fn when_a_dns_b_is_reached_all_sites_are_judged_for_themselves() {
        let start = Instant::now();
        let (www, mut m) = (service(WWW, 2), lost(start));
        m.blame_ourselves();
        m.judge_anew(start);
        for n in [1, 1, 2, 2] {
            m.record(&sample(&www, n, None, start));
        }
        assert!(ranking(&m).sites.iter().all(|site| site.health() == Health::Down));
    }

    #[test]
    fn one_site_alone_or_never_reached_is_nobodys_fault_but_its_own() {
        let now = Instant::now();
        let (one, two) = (service(WWW, 1), service(WWW, 2));
        let mut m = Measurements::new(SETTLE);
        m.watch(&one, 1, now);
        for ms in [Some(5), Some(5), Some(5), None, None] {
            m.record(&sample(&one, 1, ms, now));
        }
        assert!(!m.is_all_lost());
        let mut m = Measurements::new(SETTLE);
        m.watch(&two, 1, now);
        for n in [1, 1, 2, 2] {
            m.record(&sample(&two, n, None, now));
        }
        assert!(!m.is_all_lost());
    }
}
