//! How much of what a peer says is held, and how often it gets what it asks for.
//!
//! Invariant: of no peer more is held than [`Held`] allows, whatever it says. What
//! is refused for that is counted by its kind, said on the wire, and logged once for each link.

use std::{collections::BTreeMap, time::Instant};

use dglb_core::{
    allowance::{Allowance, Rate},
    catalogue::{Service, Site, StaticRecord, ZoneCatalogue},
    directory::LbIndex,
    identity::Identity,
    name::Name,
};

use super::{Keeper, LinkId, check::CheckState};
use crate::config::Held;

/// What was too much, as the metric's `quota` has it.
pub const QUOTAS: [&str; 8] = ["entries", "services", "sites", "held", "proofs", "asked", "changes", "checks"];

/// What was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// Entries of a MAP.
    Entries,
    /// Services ranked or published.
    Services,
    /// Their sites.
    Sites,
    /// The octets that all that takes.
    Held,
    /// Proofs of residence.
    Proofs,
    /// A zone that is asked for again: it comes later.
    Asked,
    /// Catalogues of one zone: they are passed on later, and together.
    Changes,
    /// Checks of new addresses, or of a new process, at once: they come later.
    Checks,
}

/// Proofs: a challenge a second at most is sent, with a secret for each family.
const PROOFS: Rate = Rate { per_second: 4, at_once: 100 };
/// Lines of the log about one peer's mistakes. One that goes by the protocol makes few.
const LINES: Rate = Rate { per_second: 1, at_once: 10 };
/// Changes of one zone that are passed on at once, and how often after that.
const CHANGES: Rate = Rate { per_second: 1, at_once: 8 };
/// How often a DNS-LB gets the same zone that it asks for: three times at once, then every 10 s.
const ASKED: Rate = Rate { per_second: 1, at_once: 30 };
/// How often a DNS-LB that has moved, or was started anew, is checked at once: ten times, then every 10 s. It
/// says itself where it is asked, and could have somebody else asked all the time.
const CHECKS: Rate = Rate { per_second: 1, at_once: 100 };
/// What one time counts in those two.
const ONE_TIME: u64 = 10;

/// What one link has used up.
#[derive(Debug, Default)]
pub(super) struct Used {
    proofs: Allowance,
    lines: Allowance,
    /// Something was refused for being too much, and that was logged.
    told: bool,
}

/// What was put off.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    /// Zones that DNS-LBs have asked for again too soon, and when they get them.
    asked: BTreeMap<LinkId, BTreeMap<Name, Instant>>,
    /// Zones with changes that were not passed on.
    changed: BTreeMap<Name, Instant>,
    /// How often each zone has changed lately.
    changes: BTreeMap<Name, Allowance>,
}

impl PutOff {
    /// A DNS-LB gets a zone then.
    pub(super) fn ask(&mut self, link: LinkId, zone: &Name, at: Instant) {
        self.asked.entry(link).or_default().entry(zone.clone()).or_insert(at);
    }

    /// A link is gone.
    pub(super) fn gone(&mut self, link: LinkId) {
        self.asked.remove(&link);
    }

    /// Whether a zone's change is passed on now; else it is later.
    fn change(&mut self, zone: &Name, now: Instant) -> bool {
        let changes = self.changes.entry(zone.clone()).or_default();
        let taken = changes.try_take(CHANGES, 1, now);
        match taken {
            Ok(()) => drop(self.changed.remove(zone)),
            Err(wait) => _ = self.changed.entry(zone.clone()).or_insert(now + wait),
        }
        taken.is_ok()
    }

    fn take_due(&mut self, now: Instant) -> (Vec<(LinkId, Name)>, Vec<Name>) {
        let mut asked = Vec::new();
        self.asked.retain(|link, zones| {
            asked.extend(zones.extract_if(.., |_, at| *at <= now).map(|(zone, _)| (*link, zone)));
            !zones.is_empty()
        });
        let changed = self.changed.extract_if(.., |_, at| *at <= now).map(|(zone, _)| zone).collect();
        self.changes.retain(|_, changes| !changes.is_full(now));
        (asked, changed)
    }
}

impl Keeper {
    /// Something that a peer has said is too much. It is logged for the first time only.
    pub(super) fn over(&mut self, link: LinkId, quota: Quota, count: usize) {
        if count == 0 {
            return;
        }
        self.figures.over_quota[quota as usize] += count as u64;
        let Some(link) = self.links.get_mut(&link) else { return };
        if !std::mem::replace(&mut link.used.told, true) {
            let (identity, what) = (&link.identity, QUOTAS[quota as usize]);
            tracing::warn!(peer = %identity, what, count, "over its quota; whatever else is too much goes unlogged");
        }
    }

    /// Whether a line of the log may be spent on what a peer has said.
    pub(super) fn may_log(&mut self, link: LinkId, now: Instant) -> bool {
        self.links.get_mut(&link).is_some_and(|link| link.used.lines.try_take(LINES, 1, now).is_ok())
    }

    /// Whether one more proof of a DNS-LB is looked at.
    pub(super) fn may_prove_more(&mut self, link: LinkId, now: Instant) -> bool {
        let may = self.links.get_mut(&link).is_some_and(|link| link.used.proofs.try_take(PROOFS, 1, now).is_ok());
        if !may {
            self.over(link, Quota::Proofs, 1);
        }
        may
    }

    /// A DNS-LB is to be checked as if nothing were known of it: at once, or later where it is so too often.
    pub(super) fn check_anew(&mut self, index: LbIndex, now: Instant) {
        let Some(truth) = self.lbs.get_mut(&index) else { return };
        let wait = truth.anew.try_take(CHECKS, ONE_TIME, now).err();
        truth.check = CheckState::anew(wait.map(|wait| now + wait));
        let link = truth.link;
        if wait.is_some() {
            match link {
                Some(link) => self.over(link, Quota::Checks, 1),
                None => self.figures.over_quota[Quota::Checks as usize] += 1,
            }
        }
    }

    /// A zone has changed: whoever is owed it gets it, now or with what follows.
    pub(super) fn pass_on(&mut self, zone: &Name) {
        if self.put_off.change(zone, self.latest) {
            self.push(zone);
        } else {
            self.figures.over_quota[Quota::Changes as usize] += 1;
        }
    }

    /// A DNS-LB has asked for a zone: it gets it, now or when it has not asked for too long.
    pub(super) fn bring_asked(&mut self, link: LinkId, zone: &Name) {
        let now = self.latest;
        let (Some(peer), Some(served)) = (self.links.get_mut(&link), self.distribution.zone(zone)) else { return };
        if !peer.followed.lacks(served) {
            return;
        }
        match peer.followed.asked(served).try_take(ASKED, ONE_TIME, now) {
            Ok(()) => self.bring(link, zone),
            Err(wait) => {
                self.put_off.ask(link, zone, now + wait);
                self.over(link, Quota::Asked, 1);
            }
        }
    }

    /// Does what was put off and is due.
    pub(super) fn catch_up(&mut self, now: Instant) {
        let (asked, changed) = self.put_off.take_due(now);
        changed.iter().for_each(|zone| self.push(zone));
        asked.iter().for_each(|(link, zone)| self.bring_asked(*link, zone));
    }

    /// Why a catalogue is more than its publisher may have, if it is.
    pub(super) fn too_much(&mut self, link: LinkId, identity: &Identity, new: &ZoneCatalogue) -> Result<(), String> {
        let all = self.published_by(identity, Some(&new.zone)).and(Holdings::of(new));
        let most = self.most_held(identity);
        let bounds = [
            (Quota::Services, all.services, most.services, "services"),
            (Quota::Sites, all.sites, most.sites, "sites"),
            (Quota::Held, all.octets, most.octets, "octets"),
        ];
        let Some((quota, count, most, what)) = bounds.into_iter().find(|(_, count, most, _)| count > most) else {
            return Ok(());
        };
        self.over(link, quota, 1);
        Err(format!("with it \"{identity}\" would publish {count} {what}; {most} are allowed"))
    }

    /// How much may be held of a peer.
    pub(super) fn most_held(&self, identity: &Identity) -> Held {
        self.peers.get(identity).map_or(self.quotas, |peer| self.quotas.but(&peer.held))
    }

    /// What is held of a peer.
    pub fn holdings(&self, identity: &Identity) -> Holdings {
        let mut held = self.published_by(identity, None);
        if let Some(truth) = self.directory.lb_of(identity).and_then(|index| self.lbs.get(&index)) {
            held.entries += truth.entries;
            held.services += truth.rankings.len();
            held.sites += truth.rankings.sites();
            held.octets += truth.rankings.octets();
        }
        held
    }

    /// What a dns-a-sync has published, but for one zone.
    pub(super) fn published_by(&self, identity: &Identity, but: Option<&Name>) -> Holdings {
        let zones = self.peers.get(identity).into_iter().flat_map(|peer| &peer.may_publish);
        let served = zones.filter(|zone| Some(*zone) != but).filter_map(|zone| self.distribution.zone(zone));
        served.fold(Holdings::default(), |sum, zone| sum.and(zone.holdings()))
    }
}

/// How much is held of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Entries mapped.
    pub entries: usize,
    /// Services ranked or published.
    pub services: usize,
    /// Their sites.
    pub sites: usize,
    /// The octets that these take.
    pub octets: usize,
}

/// What a service, a site or a record takes beside its texts and addresses, about.
const OBJECT: usize = 64;

impl Holdings {
    /// What a catalogue takes, about.
    pub(super) fn of(zone: &ZoneCatalogue) -> Self {
        let site = |site: &Site| OBJECT + site.name.len() + 16 * site.addresses.len();
        let service = |s: &Service| {
            let names = s.name.wire().len() + s.host.wire().len();
            OBJECT + names + OBJECT * s.probes.len() + s.sites.iter().map(site).sum::<usize>()
        };
        let record = |record: &StaticRecord| OBJECT + record.name.wire().len() + record.rdata.len();
        Self {
            entries: 0,
            services: zone.services.len(),
            sites: zone.services.iter().map(|service| service.sites.len()).sum(),
            octets: zone.services.iter().map(service).chain(zone.records.iter().map(record)).sum(),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            services: self.services + other.services,
            sites: self.sites + other.sites,
            octets: self.octets + other.octets,
        }
    }
}
