//! What follows from new rankings: answers, reports, decisions that are put down, and who is probed less often.
//!
//! Invariant: a new order reaches answers and reports at once; new figures alone wait for the next report of
//! everything.

use std::collections::BTreeSet;

use dglb_core::{name::Name, report::Ranking};
use dglb_probe::pace::calm;

use super::{Effects, Keeper};
use crate::measurements::Change;

impl Keeper {
    /// Brings new rankings to answers and reports; `gone` are no longer ranked.
    pub(super) fn ranked(&mut self, changes: Vec<Change>, gone: Vec<Name>, effects: &mut Effects) {
        let mut reordered = Vec::new();
        for change in changes {
            let (Change::Figures(ranking) | Change::Order(ranking)) = &change;
            self.pace(ranking, effects);
            match change {
                Change::Figures(ranking) => self.reports.refresh(ranking),
                Change::Order(ranking) => reordered.push(ranking),
            }
        }
        if !reordered.is_empty() {
            self.metrics.ranking_changes.inc_by(reordered.len() as u64);
            effects.answers = true;
            for ranking in &reordered {
                let names: Vec<_> = ranking.sites.iter().map(|s| (s.site.as_str(), s.health())).collect();
                tracing::info!(service = %ranking.service, order = ?names, "ranking changed");
                self.put_down(&ranking.service, effects);
            }
            self.answer_with(&reordered);
            self.keep_rankings(reordered.iter().map(|ranking| &ranking.service));
        }
        effects.send.extend(self.reports.change(reordered, gone, self.measurements.is_complete()));
    }

    /// Who need not be probed often, if those are others than before.
    fn pace(&mut self, ranking: &Ranking, effects: &mut Effects) {
        let service = self.catalogues.values().find_map(|zone| zone.service(&ranking.service));
        let answers = service.map_or(1, |service| service.answers);
        let calm: BTreeSet<String> = calm(ranking, answers).map(str::to_owned).collect();
        let before = self.calm.insert(ranking.service.clone(), calm.clone());
        if before.unwrap_or_default() != calm {
            effects.calm.push((ranking.service.clone(), calm));
        }
    }

    pub(super) fn answer_with(&mut self, rankings: &[Ranking]) {
        for ranking in rankings {
            if let Err(error) = self.directory.set_ranking(self.own, ranking) {
                tracing::error!(service = %ranking.service, %error, "own ranking not taken");
            }
        }
    }
}
