//! Which zone is in which generation where, and what brings a DNS-LB to the newest one (design
//! section 6): steps from generation to generation where they lead there and are shorter, else
//! everything. Whatever goes to many is encoded once.
//!
//! Invariant: a DNS-LB is sent a step only if what was sent to it before, or what it says that it
//! holds, is the step's base. Messages of one link keep their order, so nothing is waited for.

use std::collections::{BTreeMap, HashMap, VecDeque};

use dglb_core::{
    allowance::Allowance,
    catalogue::{CatalogueUpdate, Withdrawal, ZoneCatalogue},
    name::Name,
    proto::{BodyError, Encoded, message::Message},
};

use super::quota::Holdings;

/// Steps that are kept of each zone: who is further behind gets everything.
const STEPS: usize = 8;

/// Every zone that was ever served, and how it is sent.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    zones: BTreeMap<Name, Distributed>,
    /// Counts changes of any zone.
    version: u64,
}

/// One zone.
#[derive(Debug)]
pub(super) struct Distributed {
    number: u32,
    generation: u64,
    /// [`Distribution::version`] when it changed last.
    version: u64,
    /// Everything; of a zone that is gone, that it is.
    whole: Encoded,
    withdrawn: bool,
    /// What it takes of its publisher's quota.
    holdings: Holdings,
    /// Each leads from its base to the next one's, the last one to `generation`.
    steps: VecDeque<Step>,
}

#[derive(Debug)]
struct Step {
    base: u64,
    encoded: Encoded,
}

/// What the DNS-LB at the other end of a link has, once it has taken everything that is on its way.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// By zone number: the generation. Zones that are in here are kept up to date.
    at: HashMap<u32, At>,
    /// Of the distribution when the link was welcomed.
    welcomed: u64,
    /// Whether there is a way to send anything.
    established: bool,
}

/// Of one zone.
#[derive(Debug, Default)]
struct At {
    generation: u64,
    /// How often it was asked for.
    asked: Allowance,
}

impl Distribution {
    /// A zone has another catalogue than `old`, the one that was served before.
    ///
    /// # Errors
    /// When it cannot be sent; then nothing has changed.
    pub(super) fn publish(&mut self, old: Option<&ZoneCatalogue>, new: &ZoneCatalogue) -> Result<(), BodyError> {
        let whole = Message::snapshot(new.clone()).encode()?;
        let delta = old.and_then(|old| new.delta_from(old));
        let step = match delta {
            Some(delta) => {
                let base = delta.base;
                let encoded = Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta))).encode()?;
                Some(Step { base, encoded })
            }
            None => None,
        };
        let zone = self.renew(&new.zone, new.generation, whole, false);
        zone.holdings = Holdings::of(new);
        match step {
            Some(step) => zone.keep(step),
            None => zone.steps.clear(),
        }
        Ok(())
    }

    /// A zone is gone.
    ///
    /// # Errors
    /// When that cannot be sent, which cannot happen.
    pub(super) fn withdraw(&mut self, zone: &Name, generation: u64) -> Result<(), BodyError> {
        let update = CatalogueUpdate::Withdrawn(Withdrawal { zone: zone.clone(), generation });
        let whole = Message::Catalogue(Box::new(update)).encode()?;
        let zone = self.renew(zone, generation, whole, true);
        zone.steps.clear();
        zone.holdings = Holdings::default();
        Ok(())
    }

    fn renew(&mut self, zone: &Name, generation: u64, whole: Encoded, withdrawn: bool) -> &mut Distributed {
        self.version += 1;
        let (number, version) = (self.zones.len() as u32, self.version);
        let (holdings, steps) = (Holdings::default(), VecDeque::new());
        let new = || Distributed { number, generation, version, whole: whole.clone(), withdrawn, holdings, steps };
        let zone = self.zones.entry(zone.clone()).or_insert_with(new);
        (zone.generation, zone.version, zone.whole, zone.withdrawn) = (generation, version, whole, withdrawn);
        zone
    }

    /// The zone of this name.
    pub(super) fn zone(&self, zone: &Name) -> Option<&Distributed> {
        self.zones.get(zone)
    }

    /// The generation in which a zone was withdrawn; `None` while it is served, or never was.
    pub(super) fn withdrawn(&self, zone: &Name) -> Option<u64> {
        self.zones.get(zone).filter(|zone| zone.withdrawn).map(|zone| zone.generation)
    }

    /// Every zone, those that are gone included.
    pub(super) fn zones(&self) -> impl Iterator<Item = (&Name, &Distributed)> {
        self.zones.iter()
    }

    /// For a link that is about to be welcomed.
    pub(super) fn welcome(&self) -> Followed {
        Followed { at: HashMap::new(), welcomed: self.version, established: false }
    }

    /// The link can be sent something from now on. Returns what changed since its WELCOME was made.
    pub(super) fn establish(&self, followed: &mut Followed) -> Vec<Name> {
        followed.established = true;
        let since = followed.welcomed;
        self.zones.iter().filter(|(_, zone)| zone.version > since).map(|(name, _)| name.clone()).collect()
    }
}

impl Distributed {
    /// The newest generation.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything, or that the zone is gone.
    pub(super) fn whole(&self) -> &Encoded {
        &self.whole
    }

    /// What it takes of its publisher's quota.
    pub(super) fn holdings(&self) -> Holdings {
        self.holdings
    }

    /// Keeps a step, and of those before what together with it is shorter than everything: nobody is
    /// sent more.
    fn keep(&mut self, step: Step) {
        self.steps.push_back(step);
        let length = |steps: &VecDeque<Step>| steps.iter().map(|step| step.encoded.body().len()).sum::<usize>();
        while self.steps.len() > STEPS || !self.steps.is_empty() && length(&self.steps) >= self.whole.body().len() {
            self.steps.pop_front();
        }
    }

    /// Whether the zone is gone.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// What leads from generation `at`, 0 for none, to the newest one, in order.
    fn way(&self, at: u64) -> Vec<&Encoded> {
        // Newer than ours: it has that from another dns-b.
        if at >= self.generation {
            return Vec::new();
        }
        let first = self.steps.iter().position(|step| step.base == at);
        let steps: Vec<&Encoded> =
            first.map_or_else(Vec::new, |first| self.steps.range(first..).map(|step| &step.encoded).collect());
        let length: usize = steps.iter().map(|step| step.body().len()).sum();
        if steps.is_empty() || length >= self.whole.body().len() { vec![&self.whole] } else { steps }
    }
}

impl Followed {
    /// Whether the zone is kept up to date.
    pub(super) fn has(&self, zone: &Distributed) -> bool {
        self.at.contains_key(&zone.number)
    }

    /// What the DNS-LB says it holds, 0 for nothing.
    pub(super) fn says(&mut self, zone: &Distributed, held: u64) {
        self.at.entry(zone.number).or_default().generation = held;
    }

    /// It answered a CATALOGUE and holds this generation: believed when it holds less than what was
    /// sent, being refused, or more, from somebody else.
    pub(super) fn answers(&mut self, zone: &Distributed, held: u64, refused: bool) {
        if let Some(at) = self.at.get_mut(&zone.number)
            && (refused || held > at.generation)
        {
            at.generation = held;
        }
    }

    /// What brings the zone up to date, and keeps it so from now on; nothing as long as nothing can
    /// be sent: [`Distribution::establish`] makes up for it.
    pub(super) fn bring(&mut self, zone: &Distributed) -> Vec<Encoded> {
        if !self.established {
            return Vec::new();
        }
        let at = self.at.entry(zone.number).or_default();
        let way = zone.way(at.generation);
        at.generation = zone.generation.max(at.generation);
        way.into_iter().cloned().collect()
    }

    /// Whether there is anything that it could be sent.
    pub(super) fn lacks(&self, zone: &Distributed) -> bool {
        self.at.get(&zone.number).is_none_or(|at| at.generation < zone.generation)
    }

    /// How often it has asked for the zone, which it follows from now on.
    pub(super) fn asked(&mut self, zone: &Distributed) -> &mut Allowance {
        &mut self.at.entry(zone.number).or_default().asked
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::{ZoneCatalogue, ZoneStyle};
    use dglb_core::proto::body::{MAX_ELEMENTS, decode};

    use super::*;

    fn zone(generation: u64, records: usize) -> ZoneCatalogue {
        let record = |n: usize| dglb_core::catalogue::StaticRecord {
            name: format!("r{n}.glb.test").parse().unwrap(),
            rtype: 16,
            ttl: 60,
            rdata: vec![1, b'x'],
        };
        ZoneCatalogue {
            zone: "glb.test".parse().unwrap(),
            generation,
            soa_serial: 1,
            style: ZoneStyle::SubZone,
            cname_ttl: 60,
            services: vec![],
            records: (0..records).map(record).collect(),
        }
        .normalised()
    }

    /// What a receiver has after these messages, with its generation before.
    fn take(messages: &[Encoded], mut held: Option<ZoneCatalogue>) -> (Option<ZoneCatalogue>, usize) {
        let mut deltas = 0;
        for encoded in messages {
            let decoded = decode(encoded.number(), encoded.body().clone(), MAX_ELEMENTS).unwrap().unwrap();
            let Message::Catalogue(update) = decoded.message else { panic!("another message") };
            held = match *update {
                CatalogueUpdate::Snapshot(zone) => Some(zone),
                CatalogueUpdate::Withdrawn(_) => None,
                CatalogueUpdate::Delta(delta) => {
                    deltas += 1;
                    Some(delta.apply(held.as_ref().unwrap()).unwrap())
                }
            };
        }
        (held, deltas)
    }

    #[test]
    fn whoever_is_near_gets_steps_and_whoever_is_not_everything() {
        let mut distribution = Distribution::default();
        let name: Name = "glb.test".parse().unwrap();
        let mut history = vec![zone(1, 50)];
        distribution.publish(None, &history[0]).unwrap();
        for generation in 2..=12_u64 {
            // The times to live change, the records do not: such a step is short.
            let next = ZoneCatalogue { cname_ttl: generation as u32, ..zone(generation, 50) };
            distribution.publish(history.last(), &next).unwrap();
            history.push(next);
        }
        let newest = history.last().cloned();
        for (at, steps) in [(0, 0), (3, 0), (4, 8), (11, 1), (12, 0), (13, 0)] {
            let mut followed = distribution.welcome();
            assert_eq!(distribution.establish(&mut followed), [] as [Name; 0]);
            let served = distribution.zone(&name).unwrap();
            followed.says(served, at);
            let sent = followed.bring(served);
            if at >= 12 {
                assert!(sent.is_empty());
                continue;
            }
            let held = at.checked_sub(1).map(|index| history[index as usize].clone());
            assert_eq!(take(&sent, held), (newest.clone(), steps), "from {at}");
            assert!(followed.bring(served).is_empty(), "nothing twice");
        }
    }

    #[test]
    fn steps_that_are_longer_than_everything_are_not_sent() {
        let mut distribution = Distribution::default();
        distribution.publish(None, &zone(1, 10)).unwrap();
        for generation in 2..=4 {
            distribution
                .publish(
                    Some(&zone(generation - 1, 9 + generation as usize - 1)),
                    &zone(generation, 9 + generation as usize),
                )
                .unwrap();
        }
        let served = distribution.zone(&"glb.test".parse().unwrap()).unwrap();
        let mut followed = distribution.welcome();
        distribution.establish(&mut followed);
        followed.says(served, 1);
        assert_eq!(take(&followed.bring(served), None), (Some(zone(4, 13)), 0));
    }

    #[test]
    fn what_is_refused_is_known_to_be_missing() {
        let mut distribution = Distribution::default();
        distribution.publish(None, &zone(1, 50)).unwrap();
        let mut followed = distribution.welcome();
        distribution.establish(&mut followed);
        let name: Name = "glb.test".parse().unwrap();
        assert_eq!(followed.bring(distribution.zone(&name).unwrap()).len(), 1);
        let second = ZoneCatalogue { cname_ttl: 2, ..zone(2, 50) };
        distribution.publish(Some(&zone(1, 50)), &second).unwrap();
        let served = distribution.zone(&name).unwrap();
        assert_eq!(followed.bring(served).len(), 1);
        followed.answers(served, 1, false);
        assert!(followed.bring(served).is_empty(), "an answer to what came before says nothing");
        followed.answers(served, 1, true);
        assert_eq!(take(&followed.bring(served), Some(zone(1, 50))), (Some(second), 1));
    }

    #[test]
    fn what_changes_while_a_link_comes_up_is_not_lost() {
        let mut distribution = Distribution::default();
        distribution.publish(None, &zone(1, 1)).unwrap();
        let mut followed = distribution.welcome();
        let name: Name = "glb.test".parse().unwrap();
        distribution.withdraw(&name, 2).unwrap();
        assert!(followed.bring(distribution.zone(&name).unwrap()).is_empty(), "there is no way to send it");
        assert_eq!(distribution.establish(&mut followed), std::slice::from_ref(&name));
        assert_eq!(distribution.withdrawn(&name), Some(2));
        assert_eq!(take(&followed.bring(distribution.zone(&name).unwrap()), Some(zone(1, 1))), (None, 0));
    }
}
