//! What DNS-LBs report, and how much of it is kept.

use std::{collections::HashSet, time::Instant};

use dglb_core::{
    directory::LbIndex,
    identity::Identity,
    name::Name,
    proto::message::{Message, Report, ReportAck, Resync},
    report::Ranking,
};

use super::{
    Keeper, LinkId,
    lb::{LbTruth, MAX_GENERATION},
    quota::Quota,
    reported::size_of,
};
use crate::config::Held;

/// Most rankings kept of services that no zone has yet.
const MAX_UNKNOWN: usize = 1_000;

impl Keeper {
    pub(super) fn report(&mut self, link: LinkId, identity: &Identity, report: Report, now: Instant) {
        let Some(index) = self.directory.lb_of(identity) else { return };
        let Some(truth) = self.lbs.get_mut(&index) else { return };
        let (held, offered) = (truth.report_generation, report.generation);
        // Everything of the generation that is held may come again: that is how agreement is proven.
        if offered < held || offered == held && report.base != 0 || offered >= MAX_GENERATION {
            self.figures.stale += 1;
            return;
        }
        if report.base != 0 && report.base != truth.report_generation {
            self.send(link, Message::Resync(Resync::Report));
            return;
        }
        self.figures.reports += 1;
        let mut gone = report.removed;
        if report.base == 0 {
            let named: HashSet<&Name> = report.rankings.iter().map(|r| &r.service).collect();
            gone.extend(truth.rankings.services().filter(|service| !named.contains(service)).cloned());
        }
        for service in &gone {
            truth.rankings.remove(service);
            self.verdicts.ranked(index, service, None);
            self.coming.known(index, service);
            self.directory.remove_ranking(index, service);
        }
        let over = self.take_rankings(index, report.generation, report.rankings, now);
        self.changed = true;
        self.keep_report(index);
        let refused = over.iter().map(|(_, count)| count).sum::<usize>() as u32;
        over.into_iter().for_each(|(quota, count)| self.over(link, quota, count));
        self.send(link, Message::ReportAck(ReportAck { generation: report.generation, refused }));
        self.judge(index, now);
    }

    /// New rankings, or others in the place of those that there are; how many were too much for what.
    pub(super) fn take_rankings(
        &mut self,
        index: LbIndex,
        generation: u64,
        rankings: impl IntoIterator<Item = Ranking>,
        now: Instant,
    ) -> [(Quota, usize); 3] {
        let mut over = [(Quota::Services, 0), (Quota::Sites, 0), (Quota::Held, 0)];
        let most = self.directory.find_lb(index).map_or(self.quotas, |lb| self.most_held(&lb.identity));
        let Some(truth) = self.lbs.get_mut(&index) else { return over };
        truth.report_generation = generation;
        truth.last_report = Some(now);
        if truth.unknown > 0 {
            // They may have got a zone since.
            truth.unknown = truth.rankings.services().filter(|service| !self.directory.has_service(service)).count();
        }
        let mut weighed = Vec::new();
        for ranking in rankings {
            let new = !truth.rankings.contains(&ranking.service);
            let is_unknown = new && !self.directory.has_service(&ranking.service);
            if let Err(quota) = truth.has_room(&ranking, (new, is_unknown), &most) {
                self.figures.rankings_refused += 1;
                over.iter_mut().filter(|(of, _)| *of == quota).for_each(|(_, count)| *count += 1);
                continue;
            }
            let unknown = self.directory.set_ranking(index, &ranking).is_err();
            self.figures.unknown_rankings += u64::from(unknown);
            truth.unknown += usize::from(is_unknown);
            match unknown {
                true => self.coming.unknown(index, &ranking, &self.directory),
                false => self.coming.known(index, &ranking.service),
            }
            // Who ranks what is in no catalogue has no say.
            if !unknown && self.verdicts.ranked(index, &ranking.service, Some(&ranking)) {
                weighed.push(ranking.service.clone());
            }
            truth.rankings.insert(&mut self.outlines, &ranking);
        }
        self.directory.set_counted(index, true);
        self.tell_of_coming();
        self.pronounce(&weighed, now);
        over
    }

    /// After a change of these services' sites: rankings that could not be used before, or not whole.
    pub(super) fn reapply_rankings(&mut self, services: &[Name]) {
        for (index, truth) in &self.lbs {
            for ranking in services.iter().filter_map(|service| truth.rankings.get(service)) {
                let _ = self.directory.set_ranking(*index, &ranking);
            }
        }
        self.changed = true;
    }
}

impl LbTruth {
    /// Whether one more ranking can be kept, or what it is too much for. Unknown services stay in store:
    /// their zone's catalogue may be on its way.
    fn has_room(&self, ranking: &Ranking, (new, unknown): (bool, bool), most: &Held) -> Result<(), Quota> {
        if new && (self.rankings.len() >= most.services || unknown && self.unknown >= MAX_UNKNOWN) {
            return Err(Quota::Services);
        }
        let ((sites, octets), (old_sites, old_octets)) = (size_of(ranking), self.rankings.size_of(&ranking.service));
        if self.rankings.sites() - old_sites + sites > most.sites {
            return Err(Quota::Sites);
        }
        match self.rankings.octets() - old_octets + octets > most.octets {
            true => Err(Quota::Held),
            false => Ok(()),
        }
    }
}
